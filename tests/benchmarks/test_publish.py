"""What a benchmark publishes becomes a run of its page."""

from pathlib import Path

import pages
import publish
import pytest

from tests.benchmarks.conftest import made_run


def test_publishing_replaces_the_run_of_its_name_and_writes_the_page(folder: Path) -> None:
    publish.publish_run("quality", made_run("two", title="Second"), folder)
    publish.publish_run("quality", made_run("one", title="Again"), folder)
    page = pages.load_page(folder / "data" / "quality.json")
    assert [(run.name, run.title) for run in page.runs] == [("one", "Again"), ("two", "Second")]
    written = (folder / "quality.md").read_text(encoding="utf-8")
    assert "## Again" in written
    assert "## Films: one" not in written


def test_a_run_names_its_command_commit_and_day(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["benchmarks/quality.py", "run", "my films"])
    run = publish.describe_run("films", "Films", [], seeds="1", protocol="full catalog")
    assert run.command == "python benchmarks/quality.py run 'my films'"
    assert run.commit.strip("`")
    assert run.date.startswith("20")


def test_records_become_rows_with_a_column_for_each_key() -> None:
    records = [
        {"k": 10, "ms": {"ours": 42.12345, "theirs": 1910.0}, "gain": [0.1, 0.05, 0.15]},
        {"k": 100, "levels": [31.5, 30.5, 31.0], "sizes": [256, 58], "same": True},
    ]
    assert list(pages.render_table(publish.table_of(records))) == [
        "| k | ms, ours | ms, theirs | gain | levels | sizes | same |",
        "|---|---|---|---|---|---|---|",
        "| 10 | 42.12 | 1,910.0 | .1 [.05, .15] |  |  |  |",
        "| 100 |  |  |  | 31.5, 30.5, 31.0 | 256, 58 | True |",
        "",
    ]


def test_records_are_published_where_a_name_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    published: list[str] = []
    monkeypatch.setattr(publish, "_commit", lambda: "abc1234")
    monkeypatch.setattr(
        publish, "publish_run", lambda page, run: published.append(f"{page}: {run.name}")
    )
    for name in (None, "one"):
        publish.publish_records(
            name, "quality", "Title", [{"k": 1}], seeds="1", protocol="full catalog"
        )
    assert published == ["quality: one"]


def test_measures_become_rows() -> None:
    assert publish.rows_of({"p50, ms": 2.5, "failed": 0}) == [
        {"": "p50, ms", "measured": 2.5},
        {"": "failed", "measured": 0},
    ]
    assert publish.rows_of({"BM25": {"p50, ms": 3.9}}) == [{"": "BM25", "p50, ms": 3.9}]
