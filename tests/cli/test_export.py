"""`twofold export`, in one process: torch is loaded once."""

from pathlib import Path

import pytest

from tests.commands import mistake, run_here
from tests.model.exported import assert_equal_answers, reader_of
from twofold.serving.engines.catalog_engine import load_engine


def test_items_that_came_and_went_are_exported(
    semantic_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state, out = tmp_path / "state", tmp_path / "exported"
    come, gone = tmp_path / "come.csv", tmp_path / "gone.csv"
    come.write_text("item_id,title\nnew,Robots in love\nother,A wedding\n")
    gone.write_text("item_id\nother\nfilm-3\n")
    for verb, table in (("add", come), ("remove", gone)):
        assert not run_here("items", verb, semantic_folder, table, "--state", state).returncode
    done = run_here("export", semantic_folder, "--out", out, "--state", state)
    assert done.stdout.startswith(f"60 items for search and recommendation in {out}"), done.stderr
    reader = reader_of(out, monkeypatch)
    allowed = dict(zip(reader["items"]["item_id"], reader["items"]["allowed"], strict=True))
    assert allowed["new"]
    assert [item_id for item_id, may in allowed.items() if not may] == ["film-3", "other"]
    engine = load_engine(semantic_folder, "model", state)
    try:
        assert_equal_answers(reader, engine.retriever, k=60)
    finally:
        engine.close()


def test_what_cannot_be_exported_is_said_in_one_line(model_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "exported"
    assert "has atomic identifiers" in mistake("export", model_folder, "--out", out)
    assert not out.exists()
    assert "does not exist" in mistake("export", model_folder, "--out", out, "--state", out)
    assert "no such folder" in mistake("export", out, "--out", out)
