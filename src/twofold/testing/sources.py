"""The contract of a data source after it is read and split, as tests."""

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import polars as pl
import pytest

from twofold.records import SPLITS, TASKS, Task
from twofold.tasks.prepared import PreparedDataset
from twofold.tasks.storage import load_dataset, save_dataset


class SourceContract:
    """A source has ids that are text, valid references, and the same data in each reading.

    Inherit from this class and implement `source`, or override the fixture `dataset`.
    """

    tasks: ClassVar[Sequence[Task]] = TASKS
    """The tasks for which the source has data."""

    def source(self, folder: Path) -> str | Path:
        """The argument of `twofold.load_dataset`; write the files that it needs into `folder`."""
        raise NotImplementedError("implement source(self, folder), or override the fixture dataset")

    @pytest.fixture
    def dataset(self, tmp_path: Path) -> PreparedDataset:
        return load_dataset(self.source(tmp_path))

    def test_the_tasks_are_those_that_the_data_make_possible(
        self, dataset: PreparedDataset
    ) -> None:
        assert dataset.tasks == tuple(self.tasks)

    def test_ids_are_text_and_no_item_stands_twice(self, dataset: PreparedDataset) -> None:
        tables = (dataset.catalog.items, dataset.interactions, dataset.queries, dataset.qrels)
        for table in tables:
            ids = [name for name in table.columns if name.endswith("_id")]
            assert {table.schema[name] for name in ids} == {pl.String()}
        assert len(set(dataset.catalog.item_ids)) == len(dataset.catalog)

    def test_every_reference_holds(self, dataset: PreparedDataset) -> None:
        known = set(dataset.catalog.item_ids)
        assert set(dataset.interactions["item_id"]) <= known
        assert set(dataset.qrels["item_id"]) <= known
        assert set(dataset.queries["query_id"]) == set(dataset.qrels["query_id"])

    def test_every_event_and_every_query_has_a_split(self, dataset: PreparedDataset) -> None:
        assert set(dataset.interactions["split"]) <= set(SPLITS)
        has_one = dataset.queries["split"].is_in(SPLITS)
        # A query that has the same words as one in a later split is not used.
        repeats = set(dataset.queries.filter(~has_one.fill_null(False))["key"])
        assert repeats <= set(dataset.queries.filter(has_one)["key"])

    def test_it_is_prepared_and_read_again(self, dataset: PreparedDataset, tmp_path: Path) -> None:
        save_dataset(dataset, tmp_path / "saved")
        assert load_dataset(tmp_path / "saved").digest == dataset.digest
        report = (tmp_path / "saved" / "data_report.md").read_text(encoding="utf-8")
        assert f"{len(dataset.catalog):,}" in report

    def test_reading_twice_gives_the_same_data(
        self, dataset: PreparedDataset, tmp_path: Path
    ) -> None:
        again = tmp_path / "again"
        again.mkdir()
        assert load_dataset(self.source(again)).digest == dataset.digest
