"""Options that only `twofold study` has."""

from enum import StrEnum
from typing import Annotated

import typer

Seeds = Annotated[
    int | None,
    typer.Option(
        "--seeds",
        min=1,
        help="Number of models that are trained for each arm; 3 by default.",
        metavar="N",
    ),
]
MaxSeeds = Annotated[
    int | None,
    typer.Option(
        "--max-seeds",
        min=3,
        help="Instead of --seeds: add seeds, at most N, until every task has a verdict for each "
        "question. There are interim looks after 3, 5, 8, 12 and N seeds; alpha spending keeps the "
        "error of all of them at 5 %. A resumed study keeps its plan of looks.",
        metavar="N",
    ),
]
Sesoi = Annotated[
    float,
    typer.Option(
        "--sesoi",
        min=0,
        help="The smallest effect of interest, as a share of the plain arm's mean.",
    ),
]


StudyThreads = Annotated[
    int | None,
    typer.Option(
        "--threads",
        min=1,
        max=1024,
        help="Number of CPU threads of each worker; an equal share of all by default. "
        "Results are the same to the last digit for the same number.",
    ),
]
Workers = Annotated[
    int | None,
    typer.Option(
        "--workers",
        min=1,
        help="Trainings that run at once, each in its own process with --threads; by default as "
        "many as threads and memory allow, and one on a GPU. The results do not depend on it.",
        metavar="N",
    ),
]


class FoldsName(StrEnum):
    """Whether each seed holds out another part of the data."""

    auto = "auto"
    all = "all"
    none = "none"


FoldsOption = Annotated[
    FoldsName | None,
    typer.Option(
        "--folds",
        help="Whether each seed tests other queries and, for users with at least ten events, "
        "another event, and trains on the rest: auto does so where Twofold made the split, all "
        "also for queries with a split column, and none keeps one split for all seeds. "
        "auto by default.",
    ),
]


class QuestionName(StrEnum):
    """The questions that a study can answer."""

    transfer = "transfer"
    replace_ = "replace"
    both = "both"


class TextName(StrEnum):
    """Whether models read the items' texts."""

    with_ = "with"
    without = "without"
    both = "both"


QuestionOption = Annotated[
    QuestionName,
    typer.Option(
        "--question",
        help="transfer: does learning the other task help? replace: can one model, as it would be "
        "deployed, take the place of two?",
    ),
]
TextOption = Annotated[
    TextName,
    typer.Option(
        "--text",
        help="Models that read the items' titles, texts and attributes (with), that do not and "
        "learn from behaviour alone (without), or both; both trains twice as many models.",
    ),
]
Margin = Annotated[
    float | None,
    typer.Option(
        "--margin",
        min=0,
        help="Non-inferiority margin of the question replace, as a share of the plain arm's mean; "
        "--sesoi by default.",
    ),
]
MeasureName = Annotated[
    str | None,
    typer.Option(
        "--measure",
        help="The primary measure, which decides the verdict: Recall@30 (Recall@10 for a small "
        "catalog) or another one of the report, such as nDCG@10.",
    ),
]
Interventions = Annotated[
    bool,
    typer.Option(
        "--interventions",
        help="Also attribute the gain to popularity and content, by changed training data: ten to "
        "twenty-six more arms for each seed.",
    ),
]
Only = Annotated[
    list[str] | None,
    typer.Option(
        "--only",
        help="Run one set of interventions only, 2x2 or caps, also without --interventions.",
    ),
]
SemanticIds = Annotated[
    bool,
    typer.Option(
        "--semantic-ids",
        help="Also train the joint arm with each kind of semantic IDs: "
        "up to eight more arms for each seed.",
    ),
]
Baselines = Annotated[
    bool,
    typer.Option(
        "--baselines", help="Tune every baseline and compare it with the arms; takes longer."
    ),
]
