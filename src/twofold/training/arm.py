"""Arms: the tasks that a model is trained on, and the intervention on one of its sources."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from twofold.data.dataset import Catalog
from twofold.records import TASKS, InputError, Task
from twofold.tasks.prepared import PreparedDataset
from twofold.tasks.requests import JudgedRequests
from twofold.training_examples import Source


class Intervention(Protocol):
    """A change to what an arm learns of one task. The arm's name identifies it."""

    @property
    def task(self) -> Task:
        """The task whose training data it changes."""
        ...

    def training(self, source: Source, items: int, seed: int) -> Source:
        """The changed examples; `source` holds the real ones, over a catalog of `items`."""
        ...

    def describe(self, source: Source, items: int, seed: int) -> dict[str, Any]:
        """What `training` does to `source`, for the stamp."""
        ...

    def validation(
        self, judged: JudgedRequests, source: Source, catalog: Catalog, seed: int
    ) -> JudgedRequests:
        """Validation requests that match the examples that `training` makes of `source`."""
        ...


SettingOverrides = tuple[tuple[str, Any], ...]
"""Names and values of settings that replace those of a configuration."""


@dataclass(frozen=True, slots=True)
class Arm:
    """What a model is trained on, and for how long.

    Attributes:
        name: its name in folders and reports.
        tasks: the tasks that it trains on, its sources.
        step_matched: whether it takes no fewer steps than `joint` took, instead of as many as
            validation says.
        intervention: a change to one of its sources.
        settings: settings of its own, in place of the configuration's.
    """

    name: str
    tasks: tuple[Task, ...]
    step_matched: bool = False
    intervention: Intervention | None = None
    settings: SettingOverrides = ()

    @property
    def lineage(self) -> str:
        """The name that identifies its steps: a control takes those of its task's own arm, for
        longer."""
        alone = len(self.tasks) == 1 and not self.intervention and not self.settings
        return self.tasks[0] if alone else self.name

    @property
    def judged(self) -> tuple[Task, ...]:
        """The tasks that it is scored on: those whose training data are unchanged."""
        changed = self.intervention.task if self.intervention else None
        return tuple(task for task in self.tasks if task != changed)

    def learned(self, sources: Mapping[Task, Source], items: int, seed: int) -> dict[Task, Source]:
        """The examples of the arm's tasks, with its intervention.

        Args:
            sources: the real examples, by task.
            items: the size of the catalog.
            seed: the random seed of the intervention.
        """
        own = {task: sources[task] for task in self.tasks}
        if self.intervention:
            task = self.intervention.task
            own[task] = self.intervention.training(sources[task], items, seed)
        return own

    def require_tasks(self, dataset: PreparedDataset) -> None:
        """Raise InputError where the dataset lacks one of the tasks."""
        for task in self.tasks:
            if task not in dataset.tasks:
                need = (
                    "queries with qrels (of a relevance above 0)"
                    if task == "search"
                    else "interactions"
                )
                have = " and ".join(dataset.tasks)
                raise InputError(
                    f"{dataset.source}: the arm {self.name} needs {need}, and this dataset is for "
                    f"{have} alone; add the table, or use --arm {dataset.tasks[0]}"
                )


NAMED_ARMS = {
    "search": Arm("search", ("search",)),
    "recommendation": Arm("recommendation", ("recommendation",)),
    "joint": Arm("joint", TASKS),
}


def named_arm(arm: str | Arm) -> Arm:
    """The arm itself, or the arm of that name.

    Raises:
        InputError: there is no arm of that name.
    """
    if isinstance(arm, Arm):
        return arm
    if arm not in NAMED_ARMS:
        raise InputError(f"--arm '{arm}': no such arm; choose one of {', '.join(NAMED_ARMS)}")
    return NAMED_ARMS[arm]
