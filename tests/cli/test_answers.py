"""How items are named on the command line, and how answers are printed."""

import json
from pathlib import Path

import pytest

from tests.commands import mistake, run_here
from twofold.cli.options import parse_ids
from twofold.cli.show import show
from twofold.records import InputError, RankedItem


@pytest.mark.parametrize(
    ("values", "known", "expected"),
    [
        (["a,b"], "a b", ["a", "b"]),
        (["a, b ,"], "a b", ["a", "b"]),
        (["a", "b"], "a b", ["a", "b"]),
        (["a,b"], "a,b a b", ["a,b"]),
        (["a,b", "c"], "a,b a b c", ["a,b", "c"]),
        (["c,a,b"], "a,b c", ["c", "a,b"]),
        (["a,,b"], "a,,b c", ["a,,b"]),
        (['["a,b", "c", 7]'], "a b c", ["a,b", "c", "7"]),
        (["[1]"], "[1] 1", ["[1]"]),
        (["[1]"], "1", ["1"]),
        (["[1"], "[1 1", ["[1"]),
        (["a,zz"], "a b", ["a", "zz"]),
        (["商品,一"], "商品,一 b", ["商品,一"]),
        ([""], "a", []),
        (None, "a", []),
    ],
)
def test_ids_of_a_history(values: list[str] | None, known: str, expected: list[str]) -> None:
    assert list(parse_ids(values, set(known.split()))) == expected


def test_ids_with_spaces_stand_as_they_are() -> None:
    assert parse_ids([" x "], {" x ", "x"}) == (" x ",)
    assert parse_ids(["new york, ny,b"], {"new york, ny", "b"}) == ("new york, ny", "b")


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("a,b,c", r'is ambiguous: \["a,b", "c"\] or |is ambiguous: \["a", "b", "c"\] or '),
        ('["a", null]', r"null is not an item id; give a JSON list of ids"),
        ('[{"a": 1}]', r"is not an item id"),
        ("[1.5]", r"1.5 is not an item id"),
    ],
)
def test_what_has_no_one_reading_is_refused(value: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        parse_ids([value], {"a", "b", "c", "a,b"})


def test_a_long_list_is_read_at_once() -> None:
    ids = [f"i{n}" for n in range(2000)]
    assert parse_ids([",".join(ids)], set(ids)) == tuple(ids)


def test_ids_are_printed_whole(capsys: pytest.CaptureFixture[str]) -> None:
    long = "catalog:item:" + "3tnC1ZyTZra63cuDl" * 20
    show([RankedItem(1, long, "A very long title " * 30, -1.0)], as_json=False)
    show([RankedItem(1, "[red]x", "two\nlines", -1.0)], as_json=False)
    printed = capsys.readouterr().out
    assert long in printed
    assert "…" not in printed
    assert "[red]x" in printed
    assert "two lines" in printed


def test_control_characters_are_printed_as_escape_sequences(
    capsys: pytest.CaptureFixture[str],
) -> None:
    show([RankedItem(1, "a", "\x1b[31mred\x07\ttab\x9b2J", -1.0)], as_json=False)
    assert "\\x1b[31mred\\x07 tab\\x9b2J" in capsys.readouterr().out


def test_an_unknown_query_is_quoted_on_one_line(model_folder: Path) -> None:
    message = run_here("search", model_folder, "zzqx\nzzqy\x1b[2J").stderr
    assert message.startswith("No word of 'zzqx zzqy\\x1b[2J' is known")


def test_a_ranking_without_items_says_why(model_folder: Path) -> None:
    every = json.loads(run_here("search", model_folder, "x", "-k", 500, "--json").stdout)
    history = json.dumps([item["item_id"] for item in every])
    done = run_here("recommend", model_folder, "--history", history, "--json")
    assert json.loads(done.stdout) == []
    assert "all of them are in the history, so excluded; --seen keep keeps them" in done.stderr
    done = run_here("recommend", model_folder, "--history", history, "--seen", "keep", "--json")
    assert len(json.loads(done.stdout)) == 10


def test_a_deeply_nested_list_is_no_item(model_folder: Path) -> None:
    assert "is not in the catalog" in mistake("recommend", model_folder, "--history", "[" * 100_000)


def test_a_small_catalog_returns_what_it_has(model_folder: Path) -> None:
    everything = run_here("search", model_folder, "x", "-k", 500, "--json")
    assert len(json.loads(everything.stdout)) == 60


def test_history_may_be_repeated(model_folder: Path) -> None:
    forms = (["film-1,film-2"], ["film-1", "film-2"], ['["film-1", "film-2"]'])
    answers = [
        run_here("recommend", model_folder, *(p for v in values for p in ("--history", v))).stdout
        for values in forms
    ]
    assert answers[0].count("film-") == 10
    assert len(set(answers)) == 1
    assert "the history is empty" in mistake("recommend", model_folder, "--history", "")


def test_filters_narrow_both_answers(model_folder: Path) -> None:
    genre = ("--filter", "genre=western", "--filter", "genre=comedy", "--json")
    searched = json.loads(run_here("search", model_folder, "x", "-k", 500, *genre).stdout)
    history = ("--history", "film-1", "-k", 500)
    recommended = json.loads(run_here("recommend", model_folder, *history, *genre).stdout)
    assert 0 < len(searched) < 60
    assert 0 < len(recommended) < 60
    done = run_here("search", model_folder, "x", "--filter", "genre=none")
    assert "No item is left: none has genre 'none'" in done.stderr
    said = mistake("search", model_folder, "x", "--filter", "genre")
    assert "--filter 'genre': give ATTRIBUTE=VALUE, such as genre=western" in said
    assert "attribute 'gen' is not in" in mistake("search", model_folder, "x", "--filter", "gen=a")
