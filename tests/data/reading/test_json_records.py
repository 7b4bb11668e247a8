"""JSON Lines and JSON: every value as text, and a wrong line by its number."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.data.reading.tables import notes, read, rows
from twofold.records import InputError


def values(tmp_path: Path, *given: Any) -> tuple[list[str | None], list[str]]:
    """How values of a column are read, from JSON Lines and from JSON, and the notes."""
    records = [{"item_id": str(n), "x": value} for n, value in enumerate(given)]
    lines = read(tmp_path, "items.jsonl", "".join(f"{json.dumps(r)}\n" for r in records))
    listed = read(tmp_path, "items.json", json.dumps(records, indent=1))
    assert lines.rows.equals(listed.rows)
    assert len(lines.notes) == len(listed.notes)
    column = lines.rows["x"].to_list() if "x" in lines.rows.columns else []
    return column, notes(lines)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("a", "a"),
        ("", None),
        (None, None),
        (7, "7"),
        (6.0, "6.0"),
        (12345678901234567890123, "12345678901234567890123"),
        (True, "true"),
        (["a", "b"], "a|b"),
        (["a", None, 3, [True]], "a|3|true"),
        ([["Books", "Fiction"], ["Books"]], "Books|Fiction|Books"),
        ([], None),
        ([1, 2, 3], "1|2|3"),
        ("line\u2028separator\x85\x0b", "line\u2028separator\x85\x0b"),
        ("é🎬", "é🎬"),
        ("x" * 150_000, "x" * 150_000),
    ],
)
def test_a_value_becomes_text(tmp_path: Path, value: Any, text: str | None) -> None:
    assert values(tmp_path, value, "other") == ([text, "other"], [])


@pytest.mark.parametrize("value", [{"a": 1, "b": ["é"]}, [{"a": 1}, {"b": 2}], [[{"a": 1}]]])
def test_objects_become_json_with_a_note(tmp_path: Path, value: Any) -> None:
    (text, other), found = values(tmp_path, value, "other")
    assert text in ('{"a":1,"b":["é"]}', '{"a":1}|{"b":2}', '{"a":1}')
    assert other == "other"
    assert found == [
        "items.jsonl line 1: column 'x' has objects (1 value read as JSON); "
        "write the fields that you need to separate columns"
    ]


@pytest.mark.parametrize(
    ("value", "name"),
    [(float("nan"), "NaN"), (float("inf"), "Infinity"), (float("-inf"), "-Infinity")],
)
def test_what_is_no_number_is_empty_with_a_note(tmp_path: Path, value: float, name: str) -> None:
    texts, found = values(tmp_path, 1.5, value, [value, "a"], value)
    assert texts == ["1.5", None, "a", None]
    assert found == [
        f"items.jsonl line 2: x is {name}, which is not a number (2 values read as empty); "
        "write null for a missing value"
    ]


@pytest.mark.parametrize("vector", [[0.5] * 64, [1] * 64, [[0.1] * 8] * 8, [0.5, None] * 32])
def test_vectors_are_left_out_with_a_note(tmp_path: Path, vector: list[Any]) -> None:
    assert values(tmp_path, None, vector, vector, []) == (
        [],
        ["items.jsonl: column 'x' has vectors of 64 numbers (1 column left out); nothing to do"],
    )


def test_half_a_character_is_replaced_with_a_note(tmp_path: Path) -> None:
    texts, found = values(tmp_path, "cut \ud83d", "whole \U0001f3ac", ["\ud83d"], {"k": "\udc00"})
    assert texts == ["cut \ufffd", "whole \U0001f3ac", "\ufffd", '{"k":"\ufffd"}']
    assert any("an unpaired surrogate" in note and "3 values replaced by" in note for note in found)


def test_columns_are_those_of_any_line(tmp_path: Path) -> None:
    table = read(tmp_path, "items.ndjson", '{"item_id": 1}\n\n{"title": "B", "item_id": 2}\n \r\n')
    assert table.rows.columns == ["item_id", "title"]
    assert rows(table) == [("1", None), ("2", "B")]
    assert table.place(1).endswith("items.ndjson line 3")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"item_id": "a\u2028b"}\n{"item_id": "\x85"}\n{"item_id": "c\n', "line 3: Unterminated"),
        ('{"item_id": 1}\n\n{"item_id": 2}}\n', "line 3: characters after the object at column 15"),
        ('{"item_id": 1}\n{"item_id": }\n', "line 2: Expecting value at column 13"),
        ('{"item_id": 1} {"item_id": 2}\n', "line 1: characters after the object"),
        ('[{"item_id": 1}]\n', "line 1: an object is expected, not a list; name the file .json"),
        ('{"item_id": 1}\n3\n', "line 2: an object is expected, not 3"),
        ('{"item_id": 1}\nNaN\n', "line 2: an object is expected, not nan"),
        ('{"item_id": 1, "item_id": 2}\n', "line 1: key 'item_id' occurs twice in an object"),
        ('{"item_id": ' + "[" * 100_000 + "\n", "line 1: nested too deeply"),
        ('{"item_id": ' + "1" * 5000 + "}\n", "line 1: a number of more than 4,300 digits"),
        ('[\n{"item_id": 1},\n{"item_id": 2}\n]\n', r"line 1: '\[' alone .* name the file .json"),
        ('{\n "item_id": 1\n}\n', "line 1: '{' alone on a line, .* name the file .json"),
        ("{}\n{}\n", "no column has a name"),
        ("item_id,title\n1,A\n", "line 1: Expecting value at column 1"),
    ],
)
def test_a_broken_line_is_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=f"items.jsonl.*{message}"):
        read(tmp_path, "items.jsonl", text)


@pytest.mark.parametrize(
    "text",
    [
        '[{"item_id": 1},\n {"item_id": 2}]',
        '[{"item_id": 1},\n\n{"item_id"\n: 2}\n]\n',
        '{"item_id": 1}\n{"item_id": 2}\n',
        '{"item_id": 1}{"item_id": \n2\n}',
        '\ufeff[{"item_id": 1}, {"item_id": 2}]',
        '[{"item_id": 1}, {"item_id": 2},]',
    ],
)
def test_json_is_a_list_of_objects_or_one_object_after_another(tmp_path: Path, text: str) -> None:
    assert rows(read(tmp_path, "items.json", text)) == [("1",), ("2",)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[{"item_id": 1},\n {"item_id" 2}]', "line 2: Expecting ':' delimiter at column 13"),
        ('[{"item_id": 1}\n\n {"item_id": 2}]', "line 3: ',' or ']' is expected"),
        ('[{"item_id": 1}, {"item_id": 2}\n', "line 2: ',' or ']' is expected"),
        ('[{"item_id": 1}, {"item_id": 2},', "line 1: the list has no end"),
        ('[{"item_id": 1}]\n]', "characters after the list"),
        ('[{"item_id": 1},\n\n7]', "line 3: an object is expected, not 7"),
        ('{"item_id": {"0": 1}, "title": {"0": "A"}}', "one object of objects, .*orient='records'"),
        (
            '{"count": 2, "data": [{"item_id": 1}, {"item_id": 2}]}',
            "is one object, whose 'data' has 2 objects; if they are the rows, write that list",
        ),
        ("[]", "no column has a name"),
        ("[", "the list has no end"),
    ],
)
def test_broken_json_is_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=f"items.json.*{message}"):
        read(tmp_path, "items.json", text)


def test_rows_say_their_lines_in_json(tmp_path: Path) -> None:
    table = read(tmp_path, "items.json", '[\n{"item_id": 1},\n\n{"item_id": 2}, {"item_id": 3}]')
    assert [table.place(n).rpartition(" ")[2] for n in range(3)] == ["2", "4", "4"]


@pytest.mark.parametrize("name", ["items.jsonl", "items.json"])
def test_a_list_of_ids_is_refused(tmp_path: Path, name: str) -> None:
    text = '{"user_id": "u", "item_id": "a"}\n{"user_id": "u", "item_id": ["a", "b"]}\n'
    with pytest.raises(InputError, match=f"{name} line 2: item_id is a list, and one id is exp"):
        read(tmp_path, name, text.encode())
