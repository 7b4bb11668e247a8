"""What a study was asked for, and what it trains for that.

The plan is a dictionary, as it is kept in the study's folder and compared with that of a study that
is resumed.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from twofold.evaluation.significance import MIN_SEEDS
from twofold.records import InputError, Split
from twofold.studies.arms import semantic_arms, study_arms
from twofold.studies.folder import StudyFolder
from twofold.studies.questions import SUFFIXES, Questions, Text, settings_of
from twofold.studies.statistics.looks import looks_end
from twofold.studies.statistics.task_scores import primary_measure
from twofold.studies.workers.units import Kind
from twofold.tasks.prepared import PreparedDataset
from twofold.training.config import TrainingConfig
from twofold.training.tuning import recipes_to_try

_FEWEST_REQUESTS: Mapping[Split, int] = {"validation": 1, "test": 2}
"""Users, or queries without one, that each task needs in a split."""


def require_answerable(
    dataset: PreparedDataset, asked: Mapping[str, Any], workers: int | None
) -> None:
    """Raise InputError where a study of this dataset cannot be what was asked for.

    Args:
        dataset: the dataset.
        asked: see `settled`.
        workers: the trainings that run at once.
    """
    if asked["seeds"] < 1:
        raise InputError(f"--seeds {asked['seeds']}: at least 1")
    if (most := asked["max_seeds"]) is not None and most < MIN_SEEDS:
        raise InputError(f"--max-seeds {most}: at least {MIN_SEEDS}, where the first look is")
    if workers is not None and workers < 1:
        raise InputError(f"--workers {workers}: at least 1")
    if asked["interventions"] and asked["question"] == "replace":
        raise InputError(
            "--interventions: they explain how the other task helps, and --question replace does "
            "not ask whether it does; leave them out, or give --question both"
        )
    primary_measure(len(dataset.catalog), asked["measure"])
    _require_both_tasks(dataset)


def _require_both_tasks(dataset: PreparedDataset) -> None:
    """Raise InputError unless both tasks have training examples and enough requests."""
    if len(dataset.tasks) < 2:
        need = "queries with qrels" if "search" not in dataset.tasks else "interactions"
        raise InputError(
            f"{dataset.source}: a study compares two tasks, and this dataset has no {need}; "
            f"add them, or train one task with: twofold train --arm {dataset.tasks[0]}"
        )
    for task in dataset.tasks:
        dataset.task(task).require_examples()
        for split, fewest in _FEWEST_REQUESTS.items():
            requests = dataset.task(task).requests(split).requests
            if len({request.user_id or request.request_id for request in requests}) < fewest:
                raise InputError(
                    f"{dataset.source}: too few {split} requests for {task} ({len(requests)}); "
                    f"a user needs three events, and some queries must be in every split"
                )


def settled(
    asked: Mapping[str, Any], folder: StudyFolder, begun: Mapping[str, Any]
) -> dict[str, Any]:
    """What is asked for, with what was left open: as in the study that is resumed, or the default.

    Args:
        asked: the arguments of `twofold.study` that its numbers depend on, by their names in
            study.json; None where they were left open.
        folder: the study's.
        begun: the plan of the study that is resumed; empty without one.

    Raises:
        InputError: more seeds than the plan of its looks has, or more recipes than there are.
    """
    most, taken = asked["max_seeds"], folder.looks() if begun else []
    first = MIN_SEEDS if most else asked["seeds"]
    before = begun.get("looks_end") or begun.get("max_seeds")
    # With more seeds, a study that is resumed still has its number of recipes.
    kept = asked["tune"] is None and bool(begun)
    return {
        **asked,
        "seeds": max(first, begun.get("seeds", 0)) if most else first,
        "looks_end": looks_end(first, most, taken, before),
        "folds": asked["folds"] or begun.get("folds", "auto"),
        "margin": asked["sesoi_share"] if asked["margin"] is None else asked["margin"],
        "tune": begun["tune"] if kept else recipes_to_try(asked["tune"], asked["budget"], first),
    }


def kinds_of(
    dataset: PreparedDataset,
    folder: StudyFolder,
    asked: Mapping[str, Any],
    questions: Questions,
    config: TrainingConfig,
) -> dict[Text, Kind]:
    """What is trained: arms with semantic IDs where models are deployed, interventions where the
    first question is asked.

    Raises:
        InputError: semantic IDs of models that read no item text.
    """
    if asked["semantic_ids"] and "with" not in questions.texts and any(dataset.catalog.texts):
        raise InputError(
            "--semantic-ids: they are made of item texts, which no model of this study reads; "
            "leave it out, or give --text both"
        )
    kinds: dict[Text, Kind] = {}
    for text in questions.texts:
        is_first = text == questions.asked[0].text
        arms = study_arms(dataset, asked["interventions"] if is_first else ())
        if asked["semantic_ids"] and text == questions.texts[0]:
            arms = (*arms, *semantic_arms(dataset, config))
        trained_as = questions.trained_as(text)
        kinds[text] = Kind(
            arms=arms,
            folder=replace(folder, trained_as=trained_as, judged_as=trained_as),
            transfer=replace(folder, trained_as=trained_as, judged_as=SUFFIXES[text])
            if any(each.question == "transfer" for each in questions.asked)
            else None,
            config=config.model_copy(update=settings_of(text, dataset, config)),
        )
    return kinds
