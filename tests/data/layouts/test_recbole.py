"""RecBole's atomic files, made here."""

import gzip
from pathlib import Path

import pytest

from tests.contracts.test_layouts import write
from twofold.data.sources import read_source
from twofold.records import InputError

INTER = "user_id:token\titem_id:token\ttimestamp:float\nu1\ti1\t978300760\nu1\ti2\t978300761\n"


def test_types_are_taken_off_and_sequences_are_values(tmp_path: Path) -> None:
    items = (
        "item_id:token\tmovie_title:token_seq\tgenre:token_seq\tvector:float_seq\n"
        'i1\tToy "Story"\tComedy  Drama\t0.1 0.2\ni2\tUp\t\t0.3 0.4\n'
    )
    dataset = read_source(write(tmp_path, {"ml.inter": INTER, "ml.item": items}))
    assert dataset.catalog.items.rows(named=True) == [
        {"item_id": "i1", "title": 'Toy "Story"', "genre": "Comedy|Drama"},
        {"item_id": "i2", "title": "Up", "genre": None},
    ]
    assert dataset.interactions.row(0) == ("u1", "i1", 978300760.0)
    assert [str(note) for note in dataset.notes if "vector" in note.problem]


def test_sets_whose_ids_have_names_of_their_own(tmp_path: Path) -> None:
    inter = "session_id:token\tartist_id:token\n1\t51\n1\t52\n"
    items = "artist_id:token\tname:token_seq\n51\tDuran Duran\n52\tMorcheeba\n"
    dataset = read_source(write(tmp_path, {"fm.inter": inter, "fm.item": items}))
    assert dataset.catalog.title("51") == "Duran Duran"
    assert dataset.interactions["user_id"].to_list() == ["1", "1"]


def test_without_items_those_that_occur_are_the_catalog(tmp_path: Path) -> None:
    dataset = read_source(write(tmp_path, {"toy.inter": INTER}))
    assert dataset.catalog.item_ids == ["i1", "i2"]
    assert any("items" in note.problem for note in dataset.notes)


def test_compressed_files_are_read(tmp_path: Path) -> None:
    items = "item_id:token\ttitle:token_seq\ni1\tToy Story\ni2\tUp\n"
    for name, text in (("ml.inter.gz", INTER), ("ml.item.gz", items)):
        (tmp_path / name).write_bytes(gzip.compress(text.encode()))
    dataset = read_source(tmp_path)
    assert dataset.catalog.title("i1") == "Toy Story"
    assert dataset.interactions.height == 2
    write(tmp_path, {"ml.inter": INTER})
    with pytest.raises(InputError, match=r"ml.inter and ml.inter.gz are several"):
        read_source(tmp_path)


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    untyped = write(tmp_path / "a", {"toy.inter": "user_id\titem_id\nu1\ti1\n"})
    with pytest.raises(InputError, match=r"toy.inter line 1: column 'user_id' has no type"):
        read_source(untyped)
    commas = write(tmp_path / "d", {"toy.inter": INTER.replace("\t", ",")})
    with pytest.raises(InputError, match=r"line 1: the header is separated by ','; .*sep="):
        read_source(commas)
    parts = write(tmp_path / "b", {"toy.train.inter": INTER, "toy.test.inter": INTER})
    with pytest.raises(InputError, match=r"toy.test.inter and toy.train.inter are several RecBole"):
        read_source(parts)
    other = write(tmp_path / "c", {"toy.inter": INTER, "toy.item": "item_id:token\ni1\n"})
    with pytest.raises(InputError, match=r"toy.inter line 3: item_id 'i2' is not in the table"):
        read_source(other)


def test_sequences_that_are_cut_already_are_refused(tmp_path: Path) -> None:
    header = "session_id:token\titem_id_list:token_seq\titem_id:token\n"
    folder = write(tmp_path, {"d.train.inter": header + "1\ta b\tc\n1\ta b c\td\n"})
    with pytest.raises(InputError, match="column 'item_id_list' has the items before each event"):
        read_source(folder)
