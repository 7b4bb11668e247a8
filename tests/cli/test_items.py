"""`twofold items add` and `twofold items remove`, in one process: torch is loaded once."""

from pathlib import Path

import pytest

from twofold.cli import app
from twofold.records import InputError


def run(*arguments: object) -> None:
    """A command; what its user has done wrong is raised, and `main` prints it."""
    app([str(argument) for argument in arguments], standalone_mode=False)


def test_items_come_and_go(
    model_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = ("--state", tmp_path / "state")
    table = tmp_path / "items.csv"
    table.write_text("item_id,title,genre\nnew,Robots in love,Comedy\nother,A wedding,\n")
    run("items", "add", model_folder, table, *state)
    said = capsys.readouterr().out
    assert said.startswith("added 2 of 2; 62 items, version ")
    assert said.endswith("+1\n")
    run("items", "add", model_folder, table, *state)
    assert capsys.readouterr().out.startswith("added 0 of 2; 62 items, version ")
    lines = tmp_path / "gone.jsonl"
    lines.write_text('{"item_id": "other", "colour": "not read"}\n')
    run("items", "remove", model_folder, lines, *state)
    assert capsys.readouterr().out.startswith("removed 1 of 1; 61 items, version ")


@pytest.mark.parametrize(
    ("verb", "content", "says"),
    [
        ("add", "id,title\na,x\n", "no column 'item_id' among id, title"),
        ("add", "item_id,title\na,Robots\n,Nameless\n", "items.csv line 3: no item_id; give one"),
        ("remove", "item_id,title\na,Robots\n,Nameless\n", "items.csv line 3: no item_id"),
        (
            "add",
            "item_id,title\na,Robots\nb,Films\nb,Films\na,Toys\n",
            "items.csv line 5: item_id 'a' has another row at .*items.csv line 2; keep one of them",
        ),
        ("add", "item_id,title,colour\na,Robots,red\n", "attribute 'colour' is not in the catalog"),
        ("add", "item_id,title\na,\n", "item 'a': its text has no word that the model knows"),
        (
            "add",
            "item_id,title\nfilm-1,Other\n",
            "item 'film-1': its title is '.*', not 'Other'",
        ),
        ("remove", "item_id\nghost\n", "item 'ghost' is not in the catalog"),
    ],
)
def test_a_mistake_is_named_and_nothing_is_written(
    model_folder: Path, tmp_path: Path, verb: str, content: str, says: str
) -> None:
    table, state = tmp_path / "items.csv", tmp_path / "state"
    table.write_text(content)
    with pytest.raises(InputError, match=says):
        run("items", verb, model_folder, table, "--state", state)
    changes = state / "changes.jsonl"
    assert not changes.exists() or not changes.read_bytes()


def test_a_damaged_log_is_named(model_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "changes.jsonl").write_text("{}\n")
    table = tmp_path / "items.csv"
    table.write_text("item_id\nfilm-1\n")
    with pytest.raises(InputError, match=r"changes.jsonl line 1: corrupt"):
        run("items", "remove", model_folder, table, "--state", tmp_path)
