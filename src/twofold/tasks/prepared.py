"""A dataset whose interactions and queries have a split, from which every later stage starts."""

import dataclasses
import hashlib
import json
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, TypeVar

import numpy as np
import polars as pl

from twofold.data.dataset import LEFT_OUT, Catalog, Note
from twofold.records import TASKS, InputError, Ints, Task
from twofold.tasks.task_data import TaskData

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class SplitProtocol:
    """How a dataset is split and judged; part of every stamp.

    Attributes:
        split: `last` (each user's last event is held out) or `temporal` (the first one from
            `cutoff` on).
        cutoff: seconds since 1970, or a position where the timestamps are positions.
        seen: whether a user's earlier items may come back in recommendation.
    """

    split: Literal["last", "temporal"] = "last"
    cutoff: float | None = None
    seen: Literal["exclude", "keep"] = "exclude"


def require_dataset(value: object) -> None:
    """Raise InputError where `value` is no dataset, such as the folder of one."""
    if not isinstance(value, PreparedDataset):
        raise InputError(
            f"{type(value).__name__} is no dataset; give what twofold.load_dataset(FOLDER) returns"
        )


@dataclass(frozen=True)
class PreparedDataset:
    """A dataset whose interactions and queries each have a split.

    Attributes:
        catalog: the items.
        interactions: user_id, item_id, timestamp, split; in time order within each user.
        queries: query_id, text, split, kind, user_id, timestamp, key (the normalised text).
        qrels: query_id, item_id, relevance.
        protocol: how it was split and is judged.
        source: the source that it was read from, as the user named it.
        notes: what was left out, or is otherwise not as it stands in the files.
        left_out: the rows that name an unknown id, where they were left out; not kept on disk
            with the tables but as a list.
    """

    catalog: Catalog
    interactions: pl.DataFrame
    queries: pl.DataFrame
    qrels: pl.DataFrame
    protocol: SplitProtocol
    source: str
    notes: tuple[Note, ...] = ()
    left_out: pl.DataFrame = field(default_factory=LEFT_OUT.to_frame, compare=False)

    @property
    def tasks(self) -> tuple[Task, ...]:
        """The tasks that the data make possible."""
        tables = {"search": self.queries, "recommendation": self.interactions}
        return tuple(task for task in TASKS if tables[task].height)

    def task(self, task: Task) -> TaskData:
        """What one task learns from and is judged on, read once."""
        return self._task_data[task]

    @cached_property
    def _task_data(self) -> dict[Task, TaskData]:
        return {task: TaskData(self, task) for task in TASKS}

    def once(self, key: tuple[Hashable, ...], make: Callable[[], T]) -> T:
        """What `make` returns; it is called once for each key, and the result kept and shared.

        Args:
            key: all that the result depends on, besides this dataset.
            make: makes the result.
        """
        if key not in self._kept:
            self._kept[key] = make()
        kept: T = self._kept[key]
        return kept

    @cached_property
    def _kept(self) -> dict[tuple[Hashable, ...], Any]:
        return {}

    @cached_property
    def digest(self) -> str:
        """SHA-256 of every row of the four tables and of the protocol, in hex."""
        digest = hashlib.sha256(json.dumps(dataclasses.asdict(self.protocol)).encode())
        for table in (self.catalog.items, self.interactions, self.queries, self.qrels):
            digest.update(table.write_csv().encode())
        return digest.hexdigest()

    @cached_property
    def histories(self) -> dict[str, Ints]:
        """Every user's events in time order, as catalog positions."""
        return self._histories(self.interactions)

    @cached_property
    def training_histories(self) -> dict[str, Ints]:
        """Every user's training events in time order, as catalog positions."""
        return self._histories(self.interactions.filter(pl.col("split") == "train"))

    def _histories(self, interactions: pl.DataFrame) -> dict[str, Ints]:
        positions = pl.col("item_id").replace_strict(
            dict(self.catalog.positions), return_dtype=pl.Int64
        )
        grouped = interactions.group_by("user_id", maintain_order=True).agg(positions)
        return {user: np.asarray(items, dtype=np.int64) for user, items in grouped.iter_rows()}
