"""A model folder and the changes made to its catalog since, as an engine."""

import logging
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from twofold import artifact
from twofold.additions.fields import (
    ItemFields,
    items_table,
    nonempty_fields,
    require_known_fields,
    require_unchanged,
    unknown_fields,
)
from twofold.additions.log import CatalogChange, ChangeLog
from twofold.additions.placement import ItemPlacer, Placement, UnplaceableError, with_items
from twofold.additions.replay import ReplayedItems, encode_placement, stack_placements
from twofold.model.checkpoint import GenerativeModel
from twofold.records import InputError, Request
from twofold.retrieval.attributes import Attributes
from twofold.retrieval.generative import GenerativeRetriever, load_model
from twofold.retrieval.scoring import Context, explain, score_items
from twofold.serving.engines.engine import Asked, Found

log = logging.getLogger(__name__)


class CatalogEngine:
    """See `twofold.serving.engines.engine.Engine`.

    Args:
        retriever: of a model folder, for this engine alone.
        model_version: of that folder.
        log: of changes; those that it holds take effect now. Without one the catalog stays.
    """

    def __init__(
        self, retriever: GenerativeRetriever, model_version: str, log: ChangeLog | None = None
    ) -> None:
        self.arm = retriever.name
        self.model_version = model_version
        self._log = log
        self._applied = 0
        self._placer: ItemPlacer | None = None
        self._preparing = threading.Lock()
        self._absent: dict[str, dict[str, str]] = {}  # what the log says of items not taken in
        self._take(retriever)
        self._popularity = _popularity(retriever)
        self.catch_up()

    def _take(self, retriever: GenerativeRetriever) -> None:
        self._retriever = retriever
        self._model = retriever.model
        self._attributes = Attributes(self._model.catalog)
        titles = self._model.catalog.items["title"].fill_null("")
        self._titles = titles.str.to_lowercase()

    @property
    def catalog_version(self) -> str:
        """Manifest hash and position in the log."""
        return f"{self.model_version}+{self._applied}"

    @property
    def carries_histories(self) -> bool:
        return bool(self._model.histories)

    @property
    def items(self) -> int:
        return int(self._retriever.alive.sum())

    @property
    def tasks(self) -> tuple[str, ...]:
        return self._model.tasks

    def check(self, request: Request) -> None:
        self._require_learned(request)
        for item_id in (*request.history, *request.exclude):
            self._position(item_id)
        self._attributes.require(request.where)

    def history_of(self, user_id: str) -> tuple[str, ...]:
        positions = self._model.histories.get(user_id)
        if positions is None:
            raise InputError(f"user '{user_id}' is not known; give the history itself")
        return tuple(self._model.catalog.items["item_id"].gather(positions))

    def excludes_seen(self, request: Request) -> bool:
        return request.query is None and self._model.seen == "exclude"

    def answer(self, asked: Sequence[Asked]) -> list[list[Found]]:
        most = max(a.k for a in asked)
        # Ids of requests are their callers'; here each is named by its place.
        requests = [_renamed(a.request, str(n)) for n, a in enumerate(asked)]
        run = self._retriever.retrieve(requests, min(most, len(self._model.catalog)))
        return [
            [self._found(i, s) for i, s in zip(r.item_ids[:shown], r.scores, strict=False)]
            for shown, r in ((a.shown or a.k, run[str(n)]) for n, a in enumerate(asked))
        ]

    def score(self, request: Request, candidates: Sequence[str]) -> list[Found]:
        self._require_learned(request)
        wanted = sorted(set(candidates), reverse=True)
        items = np.array([self._living(item_id) for item_id in wanted])
        scores = score_items(self._model, [self._context(request)], items)[0].tolist()
        found = [self._found(item_id, s) for item_id, s in zip(wanted, scores, strict=True)]
        return sorted(found, key=lambda f: -f.score)  # equal ones by item_id, descending

    def explain(self, request: Request, item_id: str) -> tuple[float, list[tuple[str, str, float]]]:
        self._require_learned(request)
        score, parts = explain(self._model, self._context(request), self._living(item_id))
        words = (request.query or "").split()
        names = {"history": request.history, "query": words}
        return score, [(part.kind, names[part.kind][part.place], part.score) for part in parts]

    def item(self, item_id: str) -> Found | None:
        position = self._model.catalog.positions.get(item_id)
        if position is None or not self._retriever.is_alive(position):
            return None
        return self._found(item_id, 0.0)

    def find_titles(self, text: str, most: int) -> list[Found]:
        wanted = text.strip().lower()
        holds = self._titles.str.contains(wanted, literal=True).to_numpy()
        items = np.flatnonzero(holds & self._retriever.alive)
        starts = self._titles.gather(items).str.starts_with(wanted).to_numpy()
        popular = self._popularity[np.minimum(items, len(self._popularity) - 1)]
        order = np.lexsort((items, -popular, ~starts))[:most]
        return [self._found(self._id(item), 0.0) for item in items[order].tolist()]

    def prepare(self) -> None:
        with self._preparing:  # who comes second waits, and finds it done
            if self._placer is None:
                self._placer = ItemPlacer.of(self._model)

    def place(self, rows: Sequence[Mapping[str, str]]) -> Mapping[str, str]:
        """See `Engine`. From any one thread beside that of the engines, as long as nothing is
        added meanwhile: answers and removals leave alone what it reads."""
        self._require(rows)
        catalog = self._model.catalog
        fresh = [row["item_id"] for row in rows if row["item_id"] not in catalog.positions]
        fields = {item_id: self._absent.get(item_id, {}) for item_id in fresh}
        for row in rows:
            if row["item_id"] in fields:
                fields[row["item_id"]] = fields[row["item_id"]] | nonempty_fields(row)
        if not fields:
            return {}
        items = items_table(catalog, fields.values())
        return {self.model_version: encode_placement(items, self._place(self._model, items))}

    def add(
        self, rows: Sequence[Mapping[str, str]], placed: Mapping[str, str] | None = None
    ) -> int:
        self._require_log()
        fields = [nonempty_fields(row) for row in rows]
        self._require(fields)
        placed = self.place(fields) if placed is None else placed
        if not placed and all(self.item(row["item_id"]) is not None for row in fields):
            return 0
        return self._change(CatalogChange("add", fields, placed))

    def remove(self, item_ids: Sequence[str]) -> int:
        self._require_log()
        there = [self._retriever.is_alive(self._position(item_id)) for item_id in item_ids]
        if not any(there):
            return 0
        return self._change(CatalogChange("remove", [{"item_id": i} for i in item_ids]))

    def catch_up(self) -> None:
        """Let every change that the log holds take effect, all new items in one go."""
        changes = self._log.changes[self._applied :] if self._log is not None else []
        if not changes:
            return
        replayed = ReplayedItems.of(self._model, self.model_version, changes, self._absent)
        retriever = self._with(replayed)
        known, alive = retriever.model.catalog.positions, replayed.alive
        retriever.remove([i for i, stays in alive.items() if not stays and i in known])
        retriever.restore([i for i, stays in alive.items() if stays and i in known])
        if retriever is not self._retriever:
            self._take(retriever)
        self._absent = {i: row for i, row in replayed.fields.items() if i not in known}
        self._applied += len(changes)

    def close(self) -> None:
        """Let another process have the log."""
        if self._log is not None:
            self._log.close()

    def _require(self, rows: Sequence[ItemFields]) -> None:
        require_known_fields(self._model.catalog, rows)
        require_unchanged(self._model.catalog, rows)

    def _require_log(self) -> ChangeLog:
        if self._log is None:
            raise InputError("the catalog cannot change without a place to keep it; give --state")
        return self._log

    def _change(self, change: CatalogChange) -> int:
        before = self.items
        self._require_log().append(change)
        self.catch_up()
        return abs(self.items - before)

    def _with(self, replayed: ReplayedItems) -> GenerativeRetriever:
        """The retriever with the items that arrive; this engine's own without any."""
        gone = [self._id(item) for item in np.flatnonzero(~self._retriever.alive).tolist()]
        model = self._model
        if replayed.placed:
            rows, places = zip(*replayed.placed.values(), strict=True)
            model = with_items(model, self._table(rows), stack_placements(places))
        if placeable := self._placeable(model, replayed.unplaced):
            model = with_items(model, *placeable)
        if model is self._model:
            return self._retriever
        retriever = GenerativeRetriever(model, self.arm)
        retriever.remove(gone)
        return retriever

    def _placeable(
        self, model: GenerativeModel, rows: Mapping[str, ItemFields]
    ) -> tuple[pl.DataFrame, Placement] | None:
        """Those of the items that have a place in the model, beside those that it has, and it."""
        while rows:
            items = items_table(model.catalog, rows.values())
            try:
                placement = self._place(model, items)
            except UnplaceableError as error:
                left, why = error.item_ids, error.why
            except InputError as error:
                left, why = list(rows), str(error)
            else:
                return self._table(list(rows.values())), placement
            # What another model could take must not keep this one from being served.
            for item_id in left:
                log.warning("arm '%s' leaves item '%s' out: %s", self.arm, item_id, why)
            rows = {item_id: row for item_id, row in rows.items() if item_id not in left}
        return None

    def _table(self, rows: Sequence[ItemFields]) -> pl.DataFrame:
        for row in rows:
            if names := unknown_fields(self._model.catalog, row):
                what = "arm '%s' takes item '%s' without %s, which its catalog lacks"
                log.warning(what, self.arm, row["item_id"], ", ".join(names))
        return items_table(self._model.catalog, rows)

    def _place(self, model: GenerativeModel, items: pl.DataFrame) -> Placement:
        """Where items stand beside those that the model has, which may be more than are served."""
        self.prepare()
        assert self._placer is not None
        return self._placer.place(model, items)

    def _require_learned(self, request: Request) -> None:
        task = self._model.vocabulary.task(request.query)
        if task not in self.tasks:
            raise InputError(
                f"arm '{self.arm}' was trained for {' and '.join(self.tasks)} alone; for {task} "
                f"take an arm that learned it, if one is served: GET /arms"
            )

    def _context(self, request: Request) -> Context:
        history = [self._position(item_id) for item_id in request.history]
        return Context(np.array(history, np.int64), request.query)

    def _knows(self, item_id: str) -> bool:
        return item_id in self._model.catalog.positions

    def _position(self, item_id: str) -> int:
        if not self._knows(item_id):
            raise InputError(f"item '{item_id}' is not in the catalog; use an item_id of it")
        return self._model.catalog.positions[item_id]

    def _living(self, item_id: str) -> int:
        position = self._position(item_id)
        if not self._retriever.is_alive(position):
            raise InputError(f"item '{item_id}' was removed from the catalog")
        return position

    def _id(self, position: int) -> str:
        found: str = self._model.catalog.items["item_id"][position]
        return found

    def _found(self, item_id: str, score: float) -> Found:
        catalog = self._model.catalog
        attributes: Mapping[str, Any] = self._attributes.of(catalog.positions[item_id])
        return Found(item_id, catalog.title(item_id), attributes, score)


def load_engine(
    folder: Path, arm: str, state: ChangeLog | Path | None = None, device: str = "cpu"
) -> CatalogEngine:
    """Load a model folder, verified by hash, with the changes made to its catalog.

    Args:
        folder: the model folder.
        arm: how it is called.
        state: the log of changes, or the folder that holds it; None where nothing may change.
        device: `cpu`, `cuda`, or `auto`.

    Raises:
        InputError: the folder or the log is damaged, or the log is in use.
    """
    version = _version(folder)
    retriever = load_model(folder, device, arm)
    if _version(folder) != version:
        raise InputError(f"{folder}: was changed while it was read; try again")
    log = ChangeLog(state) if isinstance(state, Path) else state
    return CatalogEngine(retriever, version, log)


def _version(folder: Path) -> str:
    if not artifact.is_complete(folder):
        return ""
    return artifact.sha256(folder / artifact.MANIFEST)[:12]


def _renamed(request: Request, request_id: str) -> Request:
    return Request(request_id, request.query, request.history, request.exclude, None, request.where)


def _popularity(retriever: GenerativeRetriever) -> np.ndarray:
    """Events of each item in the histories that the model carries, and 0 for a later one."""
    model = retriever.model
    counts = np.zeros(len(model.catalog) + 1, np.int64)
    for items in model.histories.values():
        np.add.at(counts, items, 1)
    return counts
