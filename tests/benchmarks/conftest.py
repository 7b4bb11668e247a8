"""A small page of one run."""

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
