"""Ids that stand for none, or for the same, are kept and counted in a note."""

from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import INTERACTIONS, WriteFolder
from twofold.data.formats import Table
from twofold.data.ids import require_trec_ids, trec_id
from twofold.data.sources import read_source
from twofold.records import InputError

EVENTS = "user_id,item_id,timestamp\n"


@pytest.mark.parametrize("word", ["nan", "NaN", "None", "null", "<NA>", "#N/A", "undefined", r"\N"])
def test_users_called_as_a_missing_value_are_counted(write_folder: WriteFolder, word: str) -> None:
    folder = write_folder(interactions=f"{INTERACTIONS}{word},a,7\n{word},b,8\n")
    dataset = read_source(folder)
    assert dataset.interactions.filter(user_id=word).height == 2
    assert [str(note).replace(f"{folder}/", "") for note in dataset.notes] == [
        f"interactions.csv line 16: user_id '{word}' stands for a missing value in many tools; "
        f"all such rows count as one user (2 rows kept); remove them, if they have no user"
    ]


@pytest.mark.parametrize("rounded", ["1.23457E+11", "1.2345678901234567e+18", "1E+15", " 1.5e11"])
def test_users_whose_numbers_lost_digits_are_counted(
    write_folder: WriteFolder, rounded: str
) -> None:
    folder = write_folder(interactions=f"{INTERACTIONS}{rounded},a,7\n{rounded},b,8\n")
    dataset = read_source(folder)
    assert dataset.interactions.filter(user_id=rounded).height == 2
    assert [str(note).replace(f"{folder}/", "") for note in dataset.notes] == [
        f"interactions.csv line 16: user_id '{rounded}' is a number without its last digits, so "
        f"that several users may count as one (2 rows kept); write the column as text or as "
        f"integers, without an exponent"
    ]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("u9", "u9 "),
        ("u9", "\u00a0u9"),
        ("9", "9.0"),
        ("9", "009"),
        ("u9", "u9\u200b"),
        ("\ufeffu9", "u9"),
        ("z\u00e9", "ze\u0301"),
    ],
)
def test_a_user_written_in_two_ways_is_counted(
    write_folder: WriteFolder, one: str, other: str
) -> None:
    dataset = read_source(write_folder(interactions=f"{EVENTS}{one},a,7\nu1,a,7\n{other},b,8\n"))
    assert dataset.interactions["user_id"].to_list() == [one, "u1", other]
    (note,) = dataset.notes
    assert (note.count, note.unit, note.effect) == (2, "id", "kept apart")
    assert note.problem.startswith(f"user_id '{other}' and '{one}' differ only in")
    assert note.place.endswith("interactions.csv line 4")


def test_items_written_in_two_ways_are_counted(write_folder: WriteFolder) -> None:
    events = f"{EVENTS}u1,5,7\nu1,5.0,8\nu1,6,9\n"
    alone = write_folder("alone", items=None, queries=None, qrels=None, interactions=events)
    described = write_folder(
        "described",
        items="item_id,title\n5,Five\n6,Six\n5.0,Also five\n",
        queries=None,
        qrels=None,
        interactions=events,
    )
    for folder in (alone, described):
        problems = [note.problem for note in read_source(folder).notes]
        assert any(p.startswith("item_id '5.0' and '5' differ only in") for p in problems)


def test_other_ids_are_as_they_stand(write_folder: WriteFolder) -> None:
    ids = (
        "u1",
        "U1",
        "1.5",
        "15",
        "5E10",
        "1.5E",
        "u 1",
        "u01",
        "-0",
        "1e5",
        "100000",
        "nancy",
        "one",
        "A/N",
    )
    events = "".join(f"{user},a,{n}\n" for n, user in enumerate(ids))
    assert not read_source(write_folder(interactions=EVENTS + events)).notes


def test_one_item_alone_is_said(write_folder: WriteFolder) -> None:
    folder = write_folder(
        items="item_id,title\na,Alpha\n", queries=None, qrels=None, interactions=f"{EVENTS}u,a,1\n"
    )
    assert [str(note).replace(f"{folder}/", "") for note in read_source(folder).notes] == [
        "items.csv line 2: item 'a' is the only one, so that every ranking is correct "
        "(1 item kept); add the other items"
    ]


@pytest.mark.parametrize(
    ("table", "text"),
    [
        ("items", "item_id,title\na,\nb,\nc,\nd,\ne,\nx%20y,One\nx y,Two\n"),
        ("queries", "query_id,text\nq1,one\nq2,two\nq3,three\nx y,four\nx%20y,five\n"),
        ("interactions", f"{INTERACTIONS}x y,a,7\nx%20y,b,8\n"),
    ],
)
def test_ids_that_are_one_in_a_run_are_refused(
    write_folder: WriteFolder, table: str, text: str
) -> None:
    with pytest.raises(InputError, match=rf"{table}.csv line \d+: .*'x%20y' is what 'x y' at .*;"):
        read_source(write_folder(**{table: text}))


@given(st.lists(st.text("a% \t\u00a0209\x1c", min_size=1, max_size=4), unique=True, max_size=8))
def test_exactly_ids_with_one_trec_id_are_refused(ids: list[str]) -> None:
    table = Table(Path("items.csv"), pl.DataFrame({"item_id": ids}, {"item_id": pl.String}))
    if len(set(map(trec_id, ids))) == len(ids):
        require_trec_ids(table, "item_id")
    else:
        with pytest.raises(InputError, match="rename one of them"):
            require_trec_ids(table, "item_id")
