"""A prepared folder gives back what was prepared."""

import json
from pathlib import Path
from typing import Any

import pytest

from twofold.records import InputError
from twofold.tasks.prepared import PreparedDataset
from twofold.tasks.storage import load_dataset, save_dataset


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
    ("source", "message"),
    [
        (None, "NoneType is no source; give a folder"),
        (5, "int is no source"),
        ([], "list is no source; .* or tables, such as"),
        (b"folder", "bytes is no source"),
        ("", "str is no source when it is empty"),
    ],
)
def test_what_is_no_source_is_refused(source: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_dataset(source)
