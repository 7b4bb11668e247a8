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
    """A change of the training data of one of an arm's tasks; the arm's name identifies it."""

    @property
    def task(self) -> Task:
        """The task whose training data are changed."""
        ...

    def training(self, source: Source, items: int, seed: int) -> Source:
        """The changed examples, made from those in `source`; `items` is the size of the catalog."""
        ...

    def describe(self, source: Source, items: int, seed: int) -> dict[str, Any]:
        """A description of the change of `source`, for the stamp."""
        ...

    def validation(
        self, judged: JudgedRequests, source: Source, catalog: Catalog, seed: int
    ) -> JudgedRequests:
        """The validation requests that match the changed examples."""
        ...


SettingOverrides = tuple[tuple[str, Any], ...]
"""Names and values of settings that replace those of a configuration."""


@dataclass(frozen=True, slots=True)
class Arm:
    """The tasks that a model is trained on, with changes of its data and settings.

    Attributes:
        name: the name in folders and reports.
        tasks: the tasks that the model is trained on; each is a source.
        step_matched: whether the number of steps follows from that of `joint`. With one task, early
            stopping can end the training before, with four times the patience.
        intervention: a change of the training data of one source.
        settings: settings of this arm, which replace those of the configuration.
    """

    name: str
    tasks: tuple[Task, ...]
    step_matched: bool = False
    intervention: Intervention | None = None
    settings: SettingOverrides = ()

    @property
    def lineage(self) -> str:
        """The name that identifies the steps in a training state: a step-matched control takes the
        steps of its task's plain arm, and then more.
        """
        alone = len(self.tasks) == 1 and not self.intervention and not self.settings
        return self.tasks[0] if alone else self.name

    @property
    def judged(self) -> tuple[Task, ...]:
        """The tasks that the arm is evaluated on: those whose training data are unchanged."""
        changed = self.intervention.task if self.intervention else None
        return tuple(task for task in self.tasks if task != changed)

    def learned(self, sources: Mapping[Task, Source], items: int, seed: int) -> dict[Task, Source]:
        """The examples of the arm's tasks, with its intervention.

        Args:
            sources: the unchanged examples, by task.
            items: the size of the catalog.
            seed: the random seed of the intervention.
        """
        learned = {task: sources[task] for task in self.tasks}
        if self.intervention:
            task = self.intervention.task
            learned[task] = self.intervention.training(sources[task], items, seed)
        return learned

    def require_tasks(self, dataset: PreparedDataset) -> None:
        """Raise InputError if the dataset lacks one of the tasks."""
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
    """The given arm, or the arm with the given name.

    Raises:
        InputError: no arm has this name.
    """
    if isinstance(arm, Arm):
        return arm
    if arm not in NAMED_ARMS:
        raise InputError(f"--arm '{arm}': no such arm; choose one of {', '.join(NAMED_ARMS)}")
    return NAMED_ARMS[arm]
