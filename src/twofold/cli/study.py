"""`twofold study`."""

import shlex
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from twofold.cli.options import (
    Budget,
    BudgetName,
    Config,
    DatasetArgument,
    Device,
    Json,
    MaxSteps,
    MaxTime,
    Out,
    Resume,
    Settings,
    SkipUnknown,
    TextEncoder,
    Tune,
    parse_tune,
    say_left_out,
)
from twofold.records import InputError

if TYPE_CHECKING:
    from twofold.studies.arms import InterventionSet
    from twofold.tasks.prepared import PreparedDataset


Seeds = Annotated[
    int | None,
    typer.Option("--seeds", min=1, help="Trained models of each arm; 3 by default.", metavar="N"),
]
MaxSeeds = Annotated[
    int | None,
    typer.Option(
        "--max-seeds",
        min=3,
        help="In place of --seeds: add seeds until every verdict of every question stands, N at "
        "most. Looks are taken after 3, 5, 8 and 12; all together keep the error of a single one.",
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
        help="Number of CPU threads of each worker; an equal share of all by default. Numbers "
        "repeat to the last digit for one number of threads.",
    ),
]
Workers = Annotated[
    int | None,
    typer.Option(
        "--workers",
        min=1,
        help="Trainings that run at once, each in a process of its own with --threads; by default "
        "as many as there are threads and memory for, and one on a GPU. They change no number.",
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
        help="Each seed tests other queries and, of users with ten events and more, another event, "
        "and trains on the rest: where Twofold made the split (auto), also of queries that name "
        "their split (all), or never (none). auto by default.",
    ),
]


class QuestionName(StrEnum):
    """What a study may be asked."""

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
        help="Models that read the items' titles, texts and attributes (with), that read none and "
        "learn from behaviour alone (without), or both; both trains twice as many models.",
    ),
]
Margin = Annotated[
    float | None,
    typer.Option(
        "--margin",
        min=0,
        help="What joint may lose and still take the place of two models, as a share of the plain "
        "arm's mean; --sesoi by default.",
    ),
]
MeasureName = Annotated[
    str | None,
    typer.Option(
        "--measure",
        help="The primary measure, which decides: Recall@30 (Recall@10 where the catalog is "
        "small) unless another of the reported ones is named, such as nDCG@10.",
    ),
]
Interventions = Annotated[
    bool,
    typer.Option(
        "--interventions",
        help="Also attribute the gain to popularity and content, by changed training data: ten to "
        "twenty-six more arms a seed.",
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
        "up to eight more arms a seed.",
    ),
]
Baselines = Annotated[
    bool,
    typer.Option(
        "--baselines", help="Tune every baseline and compare it with the arms; takes longer."
    ),
]


def study(
    context: typer.Context,
    dataset: DatasetArgument,
    out: Out,
    seeds: Seeds = None,
    max_seeds: MaxSeeds = None,
    folds: FoldsOption = None,
    budget: Budget = BudgetName.standard,
    sesoi: Sesoi = 0.05,
    question: QuestionOption = QuestionName.both,
    text: TextOption = TextName.both,
    margin: Margin = None,
    measure: MeasureName = None,
    interventions: Interventions = False,
    only: Only = None,
    semantic_ids: SemanticIds = False,
    baselines: Baselines = False,
    tune: Tune = None,
    text_encoder: TextEncoder = None,
    skip_unknown: SkipUnknown = False,
    resume: Resume = False,
    max_steps: MaxSteps = None,
    max_time: MaxTime = None,
    config: Config = None,
    settings: Settings = None,
    device: Device = "auto",
    threads: StudyThreads = None,
    workers: Workers = None,
    json: Json = False,
) -> None:
    """Does one task help the other, and can one model take the place of two? Train the arms,
    compare them, write a report."""
    from twofold.extras import require_extra

    require_extra("study", "a study")
    from twofold import artifact
    from twofold.studies.folder import StudyFolder
    from twofold.studies.pages.words import condition, verdict_sentence, what_to_do
    from twofold.studies.result import load_result
    from twofold.studies.study import study as run
    from twofold.training.config import resolve_config

    if seeds is not None and max_seeds is not None:
        raise InputError("--seeds and --max-seeds: give one of them")
    recipes = parse_tune(tune)
    resolved = resolve_config(
        budget.value,
        config,
        tuple(settings or ()),
        text_encoder=text_encoder,
        max_steps=max_steps,
        max_time=max_time,
    )
    folder = StudyFolder(out)
    with artifact.claim(out):
        folder.require_free(resume)
        result = run(
            _prepared(dataset, folder.dataset, skip_unknown),
            out=out,
            seeds=3 if seeds is None else seeds,
            max_seeds=max_seeds,
            folds=folds.value if folds else None,
            config=resolved,
            budget=budget.value,
            sesoi=sesoi,
            question=question.value,
            text=text.value,
            margin=margin,
            measure=measure,
            interventions=_interventions(interventions, only),
            semantic_ids=semantic_ids,
            baselines=baselines,
            tune=recipes,
            resume=resume,
            device=device,
            threads=threads,
            workers=workers,
            machines=context.obj,
            command=shlex.join(["twofold", *sys.argv[1:]]),
        )
    if json:
        print(folder.result.read_text(encoding="utf-8"), end="")
        return
    found = load_result(result.folder)
    print(what_to_do(found))
    for answer in found.answers:
        for task, verdict in answer.verdicts.items():
            print(f"{task}, {condition(answer)}: {verdict_sentence(task, verdict)}")
    print(f"report: {folder.report}")


def _interventions(asked: bool, only: list[str] | None) -> list["InterventionSet"]:
    from twofold.studies.arms import INTERVENTION_SETS

    if unknown := [kind for kind in only or [] if kind not in INTERVENTION_SETS]:
        raise InputError(
            f"--only '{unknown[0]}': no such set; choose one of {', '.join(INTERVENTION_SETS)}"
        )
    chosen = only or (INTERVENTION_SETS if asked else ())
    return [kind for kind in INTERVENTION_SETS if kind in chosen]


def _prepared(source: str, place: Path, skip_unknown: bool) -> "PreparedDataset":
    """The dataset; it is prepared into `place` unless it is a prepared folder already."""
    from twofold import artifact
    from twofold.tasks.storage import load_dataset, save_dataset

    data = load_dataset(source, skip_unknown=skip_unknown)
    say_left_out(data)
    if artifact.is_complete(Path(source)):
        return data
    if not artifact.is_complete(place):
        save_dataset(data, place)
    elif load_dataset(place).digest != data.digest:
        raise InputError(f"{place}: holds other data than {source} does now; give another --out")
    return data
