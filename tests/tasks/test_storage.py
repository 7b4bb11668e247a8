"""A prepared folder gives back what was prepared."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from tests.conftest import WriteFolder
from twofold import artifact
from twofold.records import SPLITS, TASKS, InputError
from twofold.tasks import prepared
from twofold.tasks.prepared import PreparedDataset
from twofold.tasks.storage import KIND, load_dataset, save_dataset


def test_a_prepared_folder_is_the_same_dataset(catalog: PreparedDataset, tmp_path: Path) -> None:
    save_dataset(catalog, tmp_path / "out")
    loaded = load_dataset(tmp_path / "out")
    assert loaded.digest == catalog.digest
    assert loaded.protocol == catalog.protocol
    assert loaded.notes == catalog.notes
    report = json.loads((tmp_path / "out" / "data_report.json").read_text())
    assert report["sizes"]["items"] == 60


def test_a_changed_file_is_refused(catalog: PreparedDataset, tmp_path: Path) -> None:
    save_dataset(catalog, tmp_path / "out")
    with (tmp_path / "out" / "qrels.parquet").open("ab") as file:
        file.write(b"x")
    with pytest.raises(InputError, match=r"qrels.parquet: changed since it was written"):
        load_dataset(tmp_path / "out")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({}, "config.source: Field required"),
        ({"source": "x"}, "config.protocol: Field required"),
        ({"source": "x", "protocol": {"split": "odd"}}, 'config.protocol.split: .*, not "odd"'),
    ],
)
def test_a_config_with_another_form_is_refused(
    catalog: PreparedDataset, tmp_path: Path, config: dict[str, Any], message: str
) -> None:
    save_dataset(catalog, tmp_path / "out")
    artifact.seal(tmp_path / "out", KIND, config)
    with pytest.raises(InputError, match=f"manifest.json: {message}.*; make the dataset again"):
        load_dataset(tmp_path / "out")


def test_a_split_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--split 'random': choose last or temporal"):
        load_dataset(tmp_path, split="random")  # type: ignore[arg-type]


def test_a_copy_without_the_manifest_is_no_source(catalog: PreparedDataset, tmp_path: Path) -> None:
    """Its tables would be read as if they were not split."""
    save_dataset(catalog, tmp_path / "prepared")
    (tmp_path / "prepared" / "manifest.json").unlink()
    with pytest.raises(InputError, match=r"no manifest\.json, .*; copy the whole folder"):
        load_dataset(tmp_path / "prepared")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (None, "NoneType is no source; give a folder"),
        (5, "int is no source"),
        ([], "list is no source; .* or tables, such as"),
        (b"folder", "bytes is no source"),
        ("", "str is no source when it is empty"),
        (pl.DataFrame({"user_id": ["u", "v"]}), "DataFrame is no source; give"),
    ],
)
def test_what_is_no_source_is_refused(source: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_dataset(source)


def test_a_prepared_folder_gives_the_same_examples_and_requests(
    catalog: PreparedDataset, tmp_path: Path
) -> None:
    save_dataset(catalog, tmp_path / "out")
    loaded = load_dataset(tmp_path / "out")
    for task in TASKS:
        for ours, theirs in zip(
            catalog.task(task).examples, loaded.task(task).examples, strict=True
        ):
            assert ours.query == theirs.query
            for name in ("history", "targets", "visible"):
                assert np.array_equal(getattr(ours, name), getattr(theirs, name))
        for split in SPLITS[1:]:
            one, other = catalog.task(task).requests(split), loaded.task(task).requests(split)
            assert list(one.requests) == list(other.requests)
            assert dict(one.qrels) == dict(other.qrels)
            assert one.sample(7).requests == other.sample(7).requests
            assert set(one.sample(7).qrels) == {r.request_id for r in one.sample(7).requests}
    assert list(catalog.histories) == list(loaded.histories)
    for user, history in catalog.training_histories.items():
        assert np.array_equal(history, loaded.training_histories[user])


def test_arrays_are_read_where_they_are_and_no_table_is(
    catalog: PreparedDataset, tmp_path: Path
) -> None:
    save_dataset(catalog, tmp_path / "out")
    loaded = load_dataset(tmp_path / "out")
    loaded.task("recommendation").source()
    loaded.task("search").requests("validation").sample(3)
    assert loaded.digest == catalog.digest
    assert loaded.tasks == TASKS
    assert set(vars(loaded.tables)) <= {"folder", "columns"}
    assert not loaded.columns.events.items.flags.writeable


def test_the_digest_is_that_of_the_protocol_and_the_tables_in_use(
    catalog: PreparedDataset, tmp_path: Path
) -> None:
    save_dataset(catalog, tmp_path / "out")
    loaded = load_dataset(tmp_path / "out")
    kept = dataclasses.replace(loaded.protocol, seen="keep")
    assert dataclasses.replace(loaded, protocol=kept).digest != loaded.digest
    fewer = loaded.with_tables(qrels=loaded.qrels[1:])
    assert fewer.digest not in (loaded.digest, dataclasses.replace(loaded, protocol=kept).digest)


def test_the_digest_is_the_same_whatever_is_hashed_together(
    catalog: PreparedDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prepared, "_ROWS", 7)
    assert dataclasses.replace(catalog).digest == catalog.digest


def test_a_dataset_is_printed_in_a_line(write_folder: WriteFolder) -> None:
    """A notebook prints what a cell returns, and a catalog may have a million items."""
    folder = write_folder()
    assert repr(load_dataset(folder)) == (
        f"PreparedDataset(source={str(folder)!r}, items=5, "
        "tasks=('search', 'recommendation'), split='last')"
    )
