"""The pages of docs/benchmarks say what their JSON files hold."""

import json
import re
from pathlib import Path

import pages
import pytest
from pages import Column, Page, Run, Scored, Table


def made_run(name: str, **changes: object) -> Run:
    table = Table(
        columns=[
            Column(key="system", title=""),
            Column(key="recall", title="Recall@10", format=".4f", target="goal"),
            Column(key="difference", title="joint - it", format="+.3f"),
        ],
        rows=[
            {"kind": "ours", "system": "joint", "recall": 0.373, "goal": 0.3},
            {"kind": "baseline", "system": "BM25", "recall": 0.25, "difference": [0.1, -0.02, 0.3]},
            {"kind": "published", "system": "SASRec", "recall": 0.31},
            {"kind": "published, given the time", "system": "HSTU", "recall": 0.36},
        ],
        scoreboard=Scored(
            dataset="films", task="recommendation", requests="last event", measure="Recall@10"
        ),
    )
    fields = {
        "title": "Films: one",
        "command": "python benchmarks/quality.py run films",
        "seeds": "1",
        "protocol": "full catalog",
        "commit": "`abc1234`",
        "date": "2026-11-26",
        "machine": "one core",
        "tables": [table],
    }
    return Run.model_validate({"name": name, **fields, **changes})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    page = Page(title="Quality", question="How good?", script="quality.py", runs=[made_run("one")])
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "quality.json").write_text(pages.dump_page(page), encoding="utf-8")
    return tmp_path


def test_published_pages_equal_what_their_json_makes() -> None:
    for path, text in pages.render_all().items():
        assert path.read_text(encoding="utf-8") == text, f"{path}: run python benchmarks/pages.py"


def test_the_page_of_conclusions_quotes_the_scoreboard() -> None:
    conclusions = (pages.FOLDER.parent / "results" / "quality.md").read_text(encoding="utf-8")
    quoted = [
        re.findall(r"(?<!\d)\.\d{3}\b", row)
        for row in re.findall(r"^\| (?:ml|be).*", conclusions, re.M)
    ]
    board = pages.render_all()[pages.FOLDER / "scoreboard.md"]
    for row in re.findall(r"^\| (?:ml|be).*", board, re.M):
        best = [f"{float(digits):.3f}"[1:] for digits in re.findall(r"(?<!\d)\.\d{4}\b", row)]
        assert any(set(best) <= set(numbers) for numbers in quoted), row
    assert len(quoted) == board.count("\n| ml") + board.count("\n| be")


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


def test_publishing_replaces_the_run_of_its_name_and_writes_the_page(folder: Path) -> None:
    pages.publish_run("quality", made_run("two", title="Second"), folder)
    pages.publish_run("quality", made_run("one", title="Again"), folder)
    page = pages.load_page(folder / "data" / "quality.json")
    assert [(run.name, run.title) for run in page.runs] == [("one", "Again"), ("two", "Second")]
    written = (folder / "quality.md").read_text(encoding="utf-8")
    assert "## Again" in written
    assert "## Films: one" not in written


def test_a_page_with_an_unknown_key_is_refused(folder: Path) -> None:
    path = folder / "data" / "quality.json"
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | {"sedes": 3}))
    with pytest.raises(ValueError, match="sedes"):
        pages.load_page(path)


def test_a_run_names_its_command_commit_and_day(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["benchmarks/quality.py", "run", "my films"])
    run = pages.describe_run("films", "Films", [], seeds="1", protocol="full catalog")
    assert run.command == "python benchmarks/quality.py run 'my films'"
    assert run.commit.strip("`")
    assert run.date.startswith("20")
