"""The engine of a model folder, with the changes to its catalog since training."""

import logging
import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
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
from twofold.data.words import fold
from twofold.model.checkpoint import GenerativeModel
from twofold.records import InputError, Ranking, Request
from twofold.retrieval.attributes import Attributes
from twofold.retrieval.generative import GenerativeRetriever, load_model
from twofold.retrieval.scoring import Context, explain, score_items
from twofold.serving.engines.engine import Contribution, ScoredItem, ServedModel, TopK

_log = logging.getLogger(__name__)


class CatalogEngine:
    """The `Engine` of a model folder.

    Args:
        retriever: a retriever of the model folder, which no other object uses.
        model_version: the version of that folder.
        log: catalog changes, which are applied now; without a log the catalog cannot change.
    """

    def __init__(
        self, retriever: GenerativeRetriever, model_version: str, log: ChangeLog | None = None
    ) -> None:
        self.name = retriever.name
        self.model_version = model_version
        self._log = log
        self._applied = 0
        self._placer: ItemPlacer | None = None
        self._preparing = threading.Lock()
        self._unplaced: dict[str, dict[str, str]] = {}  # fields of items that could not be placed
        self._use(retriever)
        self._popularity = _popularity(retriever)
        self.catch_up()

    def _use(self, retriever: GenerativeRetriever) -> None:
        self._retriever = retriever
        self._model = retriever.model
        self._attributes = Attributes(self._model.catalog)
        titles = self._model.catalog.items["title"].fill_null("")
        self._titles = pl.Series(map(fold, titles), dtype=pl.String)

    @property
    def retriever(self) -> GenerativeRetriever:
        """The retriever of the present catalog, with all items that were added after training."""
        return self._retriever

    @property
    def catalog_version(self) -> str:
        """Model version and position in the log."""
        return f"{self.model_version}+{self._applied}"

    @property
    def items(self) -> int:
        """The number of items that can be retrieved now."""
        return int(self._retriever.alive.sum())

    @property
    def served(self) -> ServedModel:
        return ServedModel(
            model=self.name,
            model_version=self.model_version,
            catalog_version=self.catalog_version,
            items=self.items,
            carries_histories=bool(self._model.histories),
            reads_time=self._model.reads_time,
            tasks=self._model.tasks,
        )

    def check(self, request: Request) -> None:
        self._model.require_task(request.query, self.name)
        self._retriever.require_word(request)
        self._retriever.require_time(request)
        for item_id in (*request.history, *request.exclude):
            self._position(item_id)
        self._attributes.require(request.where)

    def has_known_word(self, request: Request) -> bool:
        return self._retriever.has_known_word(request)

    def history_of(self, user_id: str) -> tuple[str, ...]:
        positions = self._model.histories.get(user_id)
        if positions is None:
            raise InputError(f"user '{user_id}' is not known; give the history itself")
        return tuple(self._model.catalog.items["item_id"].gather(positions))

    def excludes_seen(self, request: Request) -> bool:
        return request.query is None and self._model.seen == "exclude"

    def answer(self, requests: Sequence[TopK]) -> list[list[ScoredItem]]:
        k = min(max(each.k for each in requests), len(self._model.catalog))
        # The ids of requests belong to the caller; here the position in the batch is the id.
        numbered = [replace(each.request, request_id=str(n)) for n, each in enumerate(requests)]
        run = self._retriever.retrieve(numbered, k)
        rankings = [run[request.request_id] for request in numbered]
        return [
            self._described(ranking, each.described or each.k)
            for ranking, each in zip(rankings, requests, strict=True)
        ]

    def _described(self, ranking: Ranking, k: int) -> list[ScoredItem]:
        best = zip(ranking.item_ids[:k], ranking.scores, strict=False)
        return [self._scored_item(item_id, score) for item_id, score in best]

    def score(self, request: Request, candidates: Sequence[str]) -> list[ScoredItem]:
        self._model.require_task(request.query, self.name)
        item_ids = sorted(set(candidates), reverse=True)
        positions = np.array([self._alive_position(item_id) for item_id in item_ids])
        scores = score_items(self._model, [self._context(request)], positions)[0].tolist()
        items = [self._scored_item(*each) for each in zip(item_ids, scores, strict=True)]
        return sorted(items, key=lambda item: -item.score)  # equal scores by item_id, descending

    def explain(self, request: Request, item_id: str) -> tuple[float, list[Contribution]]:
        self._model.require_task(request.query, self.name)
        score, parts = explain(self._model, self._context(request), self._alive_position(item_id))
        words = (request.query or "").split()
        names = {"history": request.history, "query": words}
        return score, [
            Contribution(part.kind, names[part.kind][part.place], part.score) for part in parts
        ]

    def item(self, item_id: str) -> ScoredItem | None:
        position = self._model.catalog.positions.get(item_id)
        if position is None or not self._retriever.is_retrievable(position):
            return None
        return self._scored_item(item_id, 0.0)

    def find_titles(self, text: str, k: int) -> list[ScoredItem]:
        pattern = fold(text.strip())
        contains = self._titles.str.contains(pattern, literal=True).to_numpy()
        items = np.flatnonzero(contains & self._retriever.alive)
        starts = self._titles.gather(items).str.starts_with(pattern).to_numpy()
        popularity = self._popularity[np.minimum(items, len(self._popularity) - 1)]
        order = np.lexsort((items, -popularity, ~starts))[:k]
        return [self._scored_item(self._id(item), 0.0) for item in items[order].tolist()]

    def prepare(self) -> None:
        """Compute once what every placement needs; a second caller waits for the first."""
        with self._preparing:
            if self._placer is None:
                self._placer = ItemPlacer.of(self._model)

    def place(self, items: Sequence[Mapping[str, str]]) -> Mapping[str, str]:
        """See `Engine`. It may run in another thread as long as no item is added: answers and
        removals do not change the data that it reads.
        """
        self._require_valid(items)
        catalog = self._model.catalog
        new = [item["item_id"] for item in items if item["item_id"] not in catalog.positions]
        fields = {item_id: self._unplaced.get(item_id, {}) for item_id in new}
        for item in items:
            if item["item_id"] in fields:
                fields[item["item_id"]] = fields[item["item_id"]] | nonempty_fields(item)
        if not fields:
            return {}
        table = items_table(catalog, fields.values())
        return {self.model_version: encode_placement(table, self._place(self._model, table))}

    def add(
        self, items: Sequence[Mapping[str, str]], placed: Mapping[str, str] | None = None
    ) -> int:
        self._require_log()
        fields = [nonempty_fields(item) for item in items]
        self._require_valid(fields)
        placed = self.place(fields) if placed is None else placed
        if not placed and all(self.item(item["item_id"]) is not None for item in fields):
            return 0
        return self._change(CatalogChange("add", fields, placed))

    def remove(self, item_ids: Sequence[str]) -> int:
        self._require_log()
        alive = [self._retriever.is_retrievable(self._position(item_id)) for item_id in item_ids]
        if not any(alive):
            return 0
        return self._change(CatalogChange("remove", [{"item_id": i} for i in item_ids]))

    def catch_up(self) -> None:
        """See `Engine`; all new items are placed together."""
        changes = self._log.changes[self._applied :] if self._log is not None else []
        if not changes:
            return
        replayed = ReplayedItems.of(self._model, self.model_version, changes, self._unplaced)
        retriever = self._retriever_with(replayed)
        known, alive = retriever.model.catalog.positions, replayed.alive
        retriever.remove([i for i, stays in alive.items() if not stays and i in known])
        retriever.restore([i for i, stays in alive.items() if stays and i in known])
        if retriever is not self._retriever:
            self._use(retriever)
        self._unplaced = {i: f for i, f in replayed.fields.items() if i not in known}
        self._applied += len(changes)

    def close(self) -> None:
        """Unlock the log for other processes."""
        if self._log is not None:
            self._log.close()

    def _require_valid(self, items: Sequence[ItemFields]) -> None:
        require_known_fields(self._model.catalog, items)
        require_unchanged(self._model.catalog, items)

    def _require_log(self) -> ChangeLog:
        if self._log is None:
            raise InputError("changes of the catalog need a state folder; give --state")
        return self._log

    def _change(self, change: CatalogChange) -> int:
        before = self.items
        self._require_log().append(change)
        self.catch_up()
        return abs(self.items - before)

    def _retriever_with(self, replayed: ReplayedItems) -> GenerativeRetriever:
        """A retriever with the replayed items; the present one if there are none."""
        removed = [self._id(item) for item in np.flatnonzero(~self._retriever.alive).tolist()]
        model = self._model
        if replayed.placed:
            fields, placements = zip(*replayed.placed.values(), strict=True)
            model = with_items(model, self._table(fields), stack_placements(placements))
        if placed := self._place_again(model, replayed.unplaced):
            model = with_items(model, *placed)
        if model is self._model:
            return self._retriever
        retriever = GenerativeRetriever(model, self.name)
        retriever.remove(removed)
        return retriever

    def _place_again(
        self, model: GenerativeModel, items: Mapping[str, ItemFields]
    ) -> tuple[pl.DataFrame, Placement] | None:
        """Table and placement of those items that this model can place, if any."""
        while items:
            table = items_table(model.catalog, items.values())
            try:
                placement = self._place(model, table)
            except UnplaceableError as error:
                unplaceable, why = error.item_ids, error.why
            except InputError as error:
                unplaceable, why = list(items), str(error)
            else:
                return self._table(list(items.values())), placement
            # The log may contain items that only another model can place; this one is still served.
            for item_id in unplaceable:
                _log.warning("model '%s' leaves out item '%s': %s", self.name, item_id, why)
            items = {item_id: f for item_id, f in items.items() if item_id not in unplaceable}
        return None

    def _table(self, items: Sequence[ItemFields]) -> pl.DataFrame:
        for fields in items:
            if names := unknown_fields(self._model.catalog, fields):
                message = "model '%s' adds item '%s' without %s, which its catalog does not have"
                _log.warning(message, self.name, fields["item_id"], ", ".join(names))
        return items_table(self._model.catalog, items)

    def _place(self, model: GenerativeModel, items: pl.DataFrame) -> Placement:
        """The placement of items in a model, which may have more items than the served one."""
        self.prepare()
        assert self._placer is not None
        return self._placer.place(model, items)

    def _context(self, request: Request) -> Context:
        self._retriever.require_time(request)
        history = [self._position(item_id) for item_id in request.history]
        return Context(np.array(history, np.int64), request.query, request.since_last_event)

    def _position(self, item_id: str) -> int:
        if item_id not in self._model.catalog.positions:
            raise InputError(f"item '{item_id}' is not in the catalog; use an item_id of it")
        return self._model.catalog.positions[item_id]

    def _alive_position(self, item_id: str) -> int:
        position = self._position(item_id)
        if not self._retriever.is_retrievable(position):
            raise InputError(f"item '{item_id}' was removed from the catalog")
        return position

    def _id(self, position: int) -> str:
        item_id: str = self._model.catalog.items["item_id"][position]
        return item_id

    def _scored_item(self, item_id: str, score: float) -> ScoredItem:
        catalog = self._model.catalog
        attributes: Mapping[str, Any] = self._attributes.of(catalog.positions[item_id])
        return ScoredItem(item_id, catalog.title(item_id), attributes, score)


def load_engine(
    folder: Path, name: str, state: ChangeLog | Path | None = None, device: str = "cpu"
) -> CatalogEngine:
    """Load a model folder, verified by its hashes, with the changes made to its catalog.

    Args:
        folder: the model folder.
        name: the name under which the model is served.
        state: the log of changes, or its folder; None if the catalog cannot change.
        device: `cpu`, `cuda`, or `auto`.

    Raises:
        InputError: the folder or the log is damaged, or the log is in use.
    """
    version = _version(folder)
    retriever = load_model(folder, device, name)
    if _version(folder) != version:
        raise InputError(f"{folder}: was changed while it was read; try again")
    log = ChangeLog(state) if isinstance(state, Path) else state
    return CatalogEngine(retriever, version, log)


def _version(folder: Path) -> str:
    if not artifact.is_complete(folder):
        return ""
    return artifact.sha256(folder / artifact.MANIFEST)[:12]


def _popularity(retriever: GenerativeRetriever) -> np.ndarray:
    """The interactions of each item in the model's histories, (N + 1,).

    The last entry, 0, is for items that were added later.
    """
    model = retriever.model
    counts = np.zeros(len(model.catalog) + 1, np.int64)
    for items in model.histories.values():
        np.add.at(counts, items, 1)
    return counts
