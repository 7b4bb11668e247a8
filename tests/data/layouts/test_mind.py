"""MIND's folders, made here."""

from pathlib import Path

import pytest

from tests.contracts.test_layouts import write
from twofold.data.sources import read_source
from twofold.records import InputError

NEWS = "".join(
    f'N{n}\tsports\tgolf\tTitle "{n}"\tAbstract\thttps://x\t[]\t[{{"Label": "A"}}]\n'
    for n in range(1, 6)
)


def test_history_comes_first_and_clicks_follow_in_time(tmp_path: Path) -> None:
    behaviors = (
        "1\tU1\t11/15/2019 10:05:58 AM\tN1 N2\tN5-1 N4-0\n"
        "2\tU1\t11/15/2019 9:05:58 AM\tN1 N2\tN3-1 N4-0\n"
        "3\tU2\t11/15/2019 1:00:00 PM\t\tN4-1 N9-1\n"
    )
    dataset = read_source(write(tmp_path, {"news.tsv": NEWS, "behaviors.tsv": behaviors}))
    assert dataset.catalog.title("N1") == 'Title "1"'
    rows = dataset.interactions.select("user_id", "item_id").rows()
    assert rows == [("U1", "N1"), ("U1", "N2"), ("U1", "N3"), ("U1", "N5"), ("U2", "N4")]
    assert any("news 'N9' is not in news.tsv" in note.problem for note in dataset.notes)


def test_a_time_that_is_none_is_named(tmp_path: Path) -> None:
    files = {"news.tsv": NEWS, "behaviors.tsv": "1\tU1\t2019-11-15\tN1\tN5-1\n"}
    with pytest.raises(InputError, match=r"behaviors.tsv line 1: time '2019-11-15'"):
        read_source(write(tmp_path, files))


def test_impressions_that_do_not_say_what_was_clicked_are_counted(tmp_path: Path) -> None:
    behaviors = (
        "1\tU1\t11/15/2019 9:05:58 AM\tN1 N2\tN3 N4\n2\tU2\t11/15/2019 9:05:58 AM\tN1\tN3-1\n"
        "3\tU3\t11/15/2019 9:05:58 AM\tN1\tN3-0 N4-0\n4\tU4\t11/15/2019 9:05:58 AM\tN1\t\n"
    )
    dataset = read_source(write(tmp_path, {"news.tsv": NEWS, "behaviors.tsv": behaviors}))
    (note,) = (note for note in dataset.notes if "have no click labels" in note.problem)
    assert (note.count, note.effect) == (1, "not read")
    assert note.place.endswith("behaviors.tsv line 1")
    rows = dataset.interactions.select("user_id", "item_id").rows()
    assert rows == [
        ("U1", "N1"),
        ("U1", "N2"),
        ("U2", "N1"),
        ("U2", "N3"),
        ("U3", "N1"),
        ("U4", "N1"),
    ]
