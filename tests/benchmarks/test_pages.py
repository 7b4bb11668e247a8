"""The pages of docs/benchmarks say what their JSON files hold."""

import json
import re
from pathlib import Path

import pages
import pytest


def test_published_pages_equal_what_their_json_makes() -> None:
    for path, text in pages.render_all().items():
        assert path.read_text(encoding="utf-8") == text, f"{path}: run python benchmarks/pages.py"


def test_the_page_of_conclusions_quotes_the_scoreboard() -> None:
    conclusions = (pages.FOLDER.parent / "results" / "quality.md").read_text(encoding="utf-8")
    quoted = [
        re.findall(r"(?<!\d)\.\d{3}\b", row)
        for row in re.findall(r"^\| (?:ml|be|ci).*", conclusions, re.M)
    ]
    board = pages.render_all()[pages.FOLDER / "scoreboard.md"]
    for row in re.findall(r"^\| (?:ml|be|ci).*", board, re.M):
        best = [f"{float(digits):.3f}"[1:] for digits in re.findall(r"(?<!\d)\.\d{4}\b", row)]
        assert any(set(best) <= set(numbers) for numbers in quoted), row
    assert len(quoted) == sum(board.count(f"\n| {name}") for name in ("ml", "be", "ci"))


def test_every_page_in_the_folder_is_made_from_json() -> None:
    assert set(pages.FOLDER.glob("*.md")) == set(pages.render_all())


def test_published_json_is_written_as_publishing_writes_it() -> None:
    for path in (pages.FOLDER / "data").glob("*.json"):
        assert pages.dump_page(pages.load_page(path)) == path.read_text(encoding="utf-8"), path


@pytest.mark.parametrize(
    ("cell", "format_", "text"),
    [
        (0.373, ".4f", ".3730"),
        (-0.0295, ".4f", "-.0295"),
        (12.5, "+.1f", "+12.5"),
        (3250, ",", "3,250"),
        ([0.1, 0.25], ".2f", "[.10, .25]"),
        ([0.1, -0.02, 0.3], "+.2f", "+.10 [-.02, +.30]"),
        (0, ",", "0"),
        ("not reached", ".4f", "not reached"),
        (None, ".4f", ""),
    ],
)
def test_cells_have_no_zero_before_the_point(cell: pages.Cell, format_: str, text: str) -> None:
    assert pages.render_cell(cell, format_) == text


def test_targets_that_are_met_are_bold_and_published_figures_are_in_italics(folder: Path) -> None:
    page = pages.render_all(folder)[folder / "quality.md"]
    assert "| joint | **.3730** |  |" in page
    assert "| BM25 | .2500 | +.100 [-.020, +.300] |" in page
    assert "| *SASRec* | *.3100* |  |" in page


def test_the_scoreboard_takes_the_best_of_each_kind_and_none_that_was_given_the_time(
    folder: Path,
) -> None:
    board = pages.render_all(folder)[folder / "scoreboard.md"]
    assert "| .3730 (joint) | .2500 (BM25) | .3100 (SASRec) |" in board
    assert "| films | recommendation, last event | Recall@10 |" in board
    assert "[2026-11-26](quality.md#films-one)" in board
    assert "\npython benchmarks/quality.py run films\n" in board


def test_a_page_with_an_unknown_key_is_refused(folder: Path) -> None:
    path = folder / "data" / "quality.json"
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | {"sedes": 3}))
    with pytest.raises(ValueError, match="sedes"):
        pages.load_page(path)


def test_long_commands_break_before_options() -> None:
    command = "python benchmarks/decode.py " + " ".join(f"--set key-{n}=value" for n in range(9))
    lines = pages.wrap_command(command).split("\n")
    assert all(len(line) <= 100 for line in lines)
    assert all(line.endswith(" \\") for line in lines[:-1])
    assert " ".join(line.removesuffix(" \\").strip() for line in lines) == command
    assert pages.wrap_command("a --b 1\nc") == "a --b 1\nc"
