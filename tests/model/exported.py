"""Reads an exported folder by the Python code of `docs/guides/export.md`, as it stands there."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from twofold.encoders.text_encoder import load_encoder, sentence_encoder_of
from twofold.model.hybrid import load_history_match, load_hybrid
from twofold.records import Request, Task
from twofold.retrieval.generative import GenerativeRetriever

GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "export.md"
CLOSE = 1e-4
QUERIES = [
    "space opera",
    "slow dance",
    "heist <answer> in space, <history>",
    "slow slow space heist",
]

Reader = dict[str, Any]
"""The names that the guide's code defines."""


def reader_of(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Reader:
    """The guide's code up to the requests that it prints, run next to a folder `exported`."""
    (block,) = re.findall(r"^```python\nimport json\n.*?^```", GUIDE.read_text(), re.M | re.S)
    code = block.removeprefix("```python\n").partition("\nrecommended = ")[0]
    assert "twofold" not in code, "an engine has no line of the package"
    names: Reader = {}
    monkeypatch.chdir(folder.parent)
    exec(compile(code, str(GUIDE), "exec"), names)
    return names


def _requests(retriever: GenerativeRetriever) -> Iterator[tuple[Task, Request]]:
    """Histories, empty and longer than what is read; queries, some with the names of special
    tokens; both at once."""
    ids = retriever.model.catalog.item_ids
    for n, query in enumerate(QUERIES):
        history = tuple(ids[n : n + 3 * n])
        seen = frozenset(history)
        yield "recommendation", Request(f"history {n}", history=history, exclude=seen)
        yield "search", Request(f"query {n}", query=query)
        yield "search", Request(f"both {n}", query=query, history=history, exclude=seen)


def assert_equal_answers(reader: Reader, retriever: GenerativeRetriever, k: int) -> None:
    """The guide's beam search finds the retriever's items, with its scores."""
    encoder = load_encoder(reader["folder"])
    hybrid = load_hybrid(reader["folder"], sentence_encoder_of(encoder))
    history_match = load_history_match(reader["folder"])
    for task, request in _requests(retriever):
        prompt = reader["prompt_of"](list(request.history), request.query)
        options: dict[str, Any] = {"k": k, "beams": max(retriever.beams, k)}
        options["exclude"] = request.exclude
        if encoder and request.query:
            options["vector"] = encoder.encode([request.query])[0]
        if hybrid and request.query:
            options["matches"] = hybrid.scores([request.query])[0]
        elif history_match and not request.query:
            rows = [reader["row_of"][item_id] for item_id in request.history]
            options["matches"] = history_match.scores([np.array(rows, np.int64)])[0]
        theirs = reader["best_matched"](prompt, task, **options)
        ours = retriever.retrieve([request], k)[request.request_id]
        assert tuple(item_id for item_id, _ in theirs) == ours.item_ids, request
        assert [score for _, score in theirs] == pytest.approx(ours.scores, abs=CLOSE), request
