"""Judgments: relevance is a whole number, equal rows are one, and no two contradict each other."""

import pytest

from tests.conftest import QRELS, WriteFolder
from twofold.data.sources import read_source
from twofold.records import InputError


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("1e20", "relevance '1e20' is above 2147483647; use 0 for not relevant, 1 or more"),
        ("0.5", "relevance '0.5' is not an integer; use 0"),
        ("nan", "relevance 'nan' is not an integer"),
        ("inf", "relevance 'inf' is above"),
        ("-1e300", "relevance '-1e300' is not an integer"),
        ("1,0", "4 fields, the header has 3"),
        ("high", "relevance 'high' is not an integer"),
        ("", "relevance is empty; use 0 for not relevant, 1 or more for relevant, or remove"),
        (" ", "relevance is empty"),
    ],
)
def test_a_relevance_that_is_none_names_line_and_value(
    write_folder: WriteFolder, value: str, message: str
) -> None:
    with pytest.raises(InputError, match=f"qrels.csv line 6: {message}"):
        read_source(write_folder(qrels=f"{QRELS}q1,b,{value}\n"))


@pytest.mark.parametrize("value", ["2", "2.0", "2e0", " 2"])
def test_a_whole_number_may_be_written_as_a_fraction(write_folder: WriteFolder, value: str) -> None:
    dataset = read_source(write_folder(qrels=f"{QRELS}q1,b,{value}\n"))
    assert dataset.qrels.row(-1) == ("q1", "b", 2)


@pytest.mark.parametrize(("one", "other"), [("2", "0"), ("0", "2"), ("1", "2"), ("0", "1")])
def test_two_judgments_that_contradict_each_other_are_refused(
    write_folder: WriteFolder, one: str, other: str
) -> None:
    folder = write_folder(qrels=f"{QRELS}q1,b,{one}\nq2,e,2\nq1,b,{other}\n")
    with pytest.raises(InputError) as error:
        read_source(folder)
    assert str(error.value) == (
        f"{folder}/qrels.csv line 8: query 'q1' and item 'b' have relevance {other}, and {one} at "
        f"{folder}/qrels.csv line 6; keep one of the rows"
    )


def test_equal_judgments_are_one_and_counted(write_folder: WriteFolder) -> None:
    dataset = read_source(write_folder(qrels=QRELS + "q1,a,1.0\nq3,b,0\nq3,b,0\n"))
    assert [str(note).partition("qrels.csv ")[2] for note in dataset.notes] == [
        "line 7: relevance 0 judges the item as not relevant (2 rows left out); nothing to do",
        "line 6: query 'q1' and item 'a' occur twice (1 row left out); keep one of the rows",
    ]
    assert dataset.qrels.height + sum(n.rows_left_out for n in dataset.notes) == 7
