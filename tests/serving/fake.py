"""A small engine without a model: deterministic, slow or failing on demand."""

import hashlib
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

from twofold.records import InputError, Request
from twofold.serving.engines.engine import Contribution, ScoredItem, ServedModel, TopK

FILMS = {
    "1": ("Alpha", {"genres": "Comedy"}),
    "2": ("Beta", {"genres": "Comedy|Drama"}),
    "a/b": ("Slashed", {"genres": "Drama"}),
    "ü ?#%": ("Ünïcode", {"genres": "Drama"}),
} | {f"f{n}": (f"Film {n}", {"genres": ("Comedy", "Drama")[n % 2]}) for n in range(120)}


class FakeEngine:
    """Scores are a hash of the request and the item.

    Args:
        name: the name under which the model is served.
        model_version: any.
        seconds: time that a batch takes.
        tasks: the tasks that it was trained for.
    """

    def __init__(
        self,
        name: str = "joint",
        model_version: str = "m1",
        seconds: float = 0.0,
        tasks: tuple[str, ...] = ("search", "recommendation"),
    ) -> None:
        self.name = name
        self.model_version = model_version
        self.tasks = tasks
        self.seconds = seconds
        self.gate = threading.Event()
        """Batches begin only while it is set."""
        self.gate.set()
        self.fail_on: str | None = None
        self.refuses: str | None = None
        self.batches: list[list[TopK]] = []
        self.changes = 0
        self._rows: dict[str, tuple[str, dict[str, Any]]] = dict(FILMS)

    @property
    def catalog_version(self) -> str:
        return f"{self.model_version}-{self.changes}"

    @property
    def served(self) -> ServedModel:
        return ServedModel(
            model=self.name,
            model_version=self.model_version,
            catalog_version=self.catalog_version,
            items=len(self._rows),
            carries_histories=True,
            tasks=self.tasks,
        )

    def check(self, request: Request) -> None:
        task = "recommendation" if request.query is None else "search"
        if task not in self.tasks:
            raise InputError(f"model '{self.name}' was trained for {self.tasks[0]} alone")
        for item_id in request.history:
            if item_id not in self._rows:
                raise InputError(f"item '{item_id}' is not in the catalog; take another")
        for attribute, _ in request.where:
            if attribute != "genres":
                raise InputError(f"attribute '{attribute}' is not in the catalog; take genres")

    def has_known_word(self, request: Request) -> bool:
        return request.query != "unknown"

    def history_of(self, user_id: str) -> tuple[str, ...]:
        if user_id != "u1":
            raise InputError(f"user '{user_id}' is not known; give the history itself")
        return ("1", "2")

    def excludes_seen(self, request: Request) -> bool:
        return request.query is None

    def answer(self, requests: Sequence[TopK]) -> list[list[ScoredItem]]:
        self.batches.append(list(requests))
        self._work()
        for each in requests:
            if self.fail_on and each.request.query == self.fail_on:
                raise RuntimeError("the engine broke")
            if each.request.query == "refused":
                raise InputError("this query is refused; type another")
        return [self._ranked(each.request, self._rows)[: each.k] for each in requests]

    def score(self, request: Request, candidates: Sequence[str]) -> list[ScoredItem]:
        self.check(request)
        self._work()
        for item_id in candidates:
            if item_id not in self._rows:
                raise InputError(f"item '{item_id}' is not in the catalog; take another")
        return self._ranked(request, candidates)

    def explain(self, request: Request, item_id: str) -> tuple[float, list[Contribution]]:
        score = self.score(request, [item_id])[0].score
        parts = [("history", part) for part in request.history]
        parts += [("query", word) for word in (request.query or "").split()]
        return score, [Contribution(*part, 0.5 / n) for n, part in enumerate(parts, start=1)]

    def item(self, item_id: str) -> ScoredItem | None:
        return self._scored_item(item_id, 0.0) if item_id in self._rows else None

    def find_titles(self, text: str, k: int) -> list[ScoredItem]:
        rows = self._rows.items()
        named = [i for i, (title, _) in rows if text.casefold() in title.casefold()]
        return [self._scored_item(item_id, 0.0) for item_id in named[:k]]

    def place(self, items: Sequence[Mapping[str, str]]) -> Mapping[str, str]:
        for row in items:
            if row["title"] == self.refuses:
                raise InputError(f"item '{row['item_id']}' cannot be placed; give it a title")
        return {}

    def add(
        self, items: Sequence[Mapping[str, str]], placed: Mapping[str, str] | None = None
    ) -> int:
        del placed
        new = {row["item_id"]: row for row in items if row["item_id"] not in self._rows}
        for item_id, row in new.items():
            kept = {key: value for key, value in row.items() if key not in ("item_id", "title")}
            self._rows[item_id] = (row.get("title") or item_id, kept)
        self.changes += len(new)
        return len(new)

    def remove(self, item_ids: Sequence[str]) -> int:
        gone = [i for i in dict.fromkeys(item_ids) if self._rows.pop(i, None) is not None]
        self.changes += len(gone)
        return len(gone)

    def catch_up(self) -> None:
        """No log, nothing to read."""

    def _work(self) -> None:
        assert self.gate.wait(30)
        time.sleep(self.seconds)

    def _scored_item(self, item_id: str, score: float) -> ScoredItem:
        title, attributes = self._rows[item_id]
        return ScoredItem(item_id, title, attributes, score)

    def _ranked(self, request: Request, candidates: Any) -> list[ScoredItem]:
        where = dict(request.where)
        allowed = [
            item_id
            for item_id in candidates
            if item_id not in request.exclude
            and all(
                values & set(str(self._rows[item_id][1].get(attribute, "")).split("|"))
                for attribute, values in where.items()
            )
        ]
        scores = {item_id: _score(request, item_id) for item_id in allowed}
        best = sorted(scores, key=lambda item_id: (-scores[item_id], item_id))
        return [self._scored_item(item_id, scores[item_id]) for item_id in best]


def _score(request: Request, item_id: str) -> float:
    text = f"{request.query}\n{request.history}\n{item_id}"
    return -int(hashlib.sha256(text.encode()).hexdigest()[:6], 16) / (1 << 20)
