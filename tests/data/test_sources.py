"""A source that names nothing readable is refused; tests/contracts reads every one that does."""

from pathlib import Path

import pytest

from twofold.data.sources import read_source
from twofold.records import InputError


def test_a_folder_that_is_no_dataset(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(InputError, match="is not a dataset; it needs items"):
        read_source(tmp_path)


def test_an_unknown_source_names_the_known_ones() -> None:
    with pytest.raises(InputError, match=r"no such folder.*ml-1m.*simulate:catalog"):
        read_source("nowhere")
    with pytest.raises(InputError, match="no such simulator; choose one of catalog"):
        read_source("simulate:nothing")


def test_a_file_is_told_to_give_its_folder(tmp_path: Path) -> None:
    (tmp_path / "items.csv").write_text("item_id,title\na,Alpha\n")
    with pytest.raises(InputError, match=r"items.csv: is a file, .*; give its folder "):
        read_source(tmp_path / "items.csv")
    (tmp_path / "ml-1m.zip").write_bytes(b"PK")
    with pytest.raises(InputError, match=r"ml-1m.zip: is a file, .*; unpack it"):
        read_source(tmp_path / "ml-1m.zip")
