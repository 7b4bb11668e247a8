"""Whether a dataset allows a study with a config."""

from collections.abc import Iterable, Mapping

from twofold import artifact
from twofold.evaluation.significance import MIN_SEEDS
from twofold.model.fresh import is_fresh, width_of
from twofold.records import InputError, Split
from twofold.studies.folder import StudyFolder
from twofold.studies.planning.conditions import Condition
from twofold.studies.planning.config import StudyConfig
from twofold.studies.statistics.task_scores import primary_measure
from twofold.tasks.evaluate import NEEDS
from twofold.tasks.prepared import PreparedDataset

_FEWEST_REQUESTS: Mapping[Split, int] = {"validation": 1, "test": 2}
"""The smallest number of users, or of queries without a user, of each task in a split."""
_FLOAT = 4
"""The bytes of a weight in a model folder."""
_MIB = 2**20


def require_answerable(
    dataset: PreparedDataset, config: StudyConfig, workers: int | None = None
) -> None:
    """Raise InputError if this dataset does not allow a study with this config.

    Args:
        dataset: the dataset.
        config: the config of the study.
        workers: the number of trainings that run at once.
    """
    _require_numbers(config, workers)
    if config.interventions and config.question == "replace":
        raise InputError(
            "--interventions: they explain how the other task helps, and --question replace does "
            "not ask whether it does; leave them out, or give --question both"
        )
    if len(dataset.catalog) < 2:
        raise InputError(
            f"{dataset.source}: the catalog has one item, so that every ranking is correct and no "
            f"study can distinguish models; add the other items"
        )
    primary_measure(len(dataset.catalog), config.measure)
    _require_both_tasks(dataset)


def _require_numbers(config: StudyConfig, workers: int | None) -> None:
    """Raise InputError if a number of the config, or the number of workers, is not allowed."""
    numbers = {
        "seeds": config.seeds,
        "max-seeds": config.max_seeds,
        "tune": config.tune,
        "workers": workers,
    }
    given = {name: number for name, number in numbers.items() if number is not None}
    for name, number in given.items():
        if isinstance(number, bool) or not isinstance(number, int):
            raise InputError(f"--{name} {number!r}: must be a whole number")
    for name, least in {"seeds": 1, "max-seeds": MIN_SEEDS, "workers": 1}.items():
        if given.get(name, least) < least:
            raise InputError(f"--{name} {given[name]}: at least {least}")
    for name, share in (("sesoi", config.sesoi_share), ("margin", config.margin)):
        if share is not None and not (isinstance(share, float | int) and 0 <= share <= 1):
            raise InputError(
                f"--{name} {share!r}: must be a share of the plain arm's mean, from 0 to 1; write "
                f"5 % as 0.05"
            )


def require_space(
    folder: StudyFolder, conditions: Iterable[Condition], seeds: int, items: int
) -> None:
    """Raise InputError if the disk is too small for the models that are not trained yet.

    Only the item embeddings of models with an identifier for each item are counted, so that no
    study is refused that would fit.

    Args:
        folder: the folder of the study; its parent exists.
        conditions: the arms to train.
        seeds: the number of models of each arm.
        items: the number of items of the catalog.
    """
    sizes = []
    for condition in conditions:
        for arm in condition.arms:
            config = condition.training.model_copy(update=dict(arm.settings))
            if config.identifiers != "atomic" or not is_fresh(config.backbone):
                continue
            models = [condition.folder.model(arm.name, seed) for seed in range(seeds)]
            missing = sum(not artifact.is_complete(model) for model in models)
            sizes += [_FLOAT * items * width_of(config.backbone)] * missing
    free = artifact.free_space(folder.path)
    if free < sum(sizes):
        raise InputError(
            f"{folder.path}: its disk has {free / _MIB:,.0f} MiB left, and {len(sizes)} models "
            f"take at least {sum(sizes) / _MIB:,.0f} MiB; free some space, give a folder on a "
            f"larger disk, or train fewer models (--seeds, --text)"
        )


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
            units = len({request.user_id or request.request_id for request in requests})
            if units < fewest:
                raise InputError(
                    f"{dataset.source}: too few {split} requests for {task} (users or queries: "
                    f"{units}, at least {fewest} are needed); {NEEDS[task]}"
                )
