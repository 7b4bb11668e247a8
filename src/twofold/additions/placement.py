"""The placement of new items in a trained model, computed from their texts.

An atomic identifier needs an embedding. A linear map from texts to the trained embeddings gives an
estimate, the residuals of the items with the nearest texts correct it, and it is learned further
from requests with the item's words (`embeddings`). The hybrid part needs a document, to which those
of the neighbours are added. A semantic ID needs codes: the neighbours vote level by level, and the
last level takes a free code.

Shapes: M new items, N items of the catalog, K neighbours, E width of text vectors, D model width.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import polars as pl
import torch
from scipy.linalg import solve
from scipy.special import softmax

from twofold.additions.embeddings import NegativeRequests, fit_embeddings
from twofold.data.dataset import Catalog
from twofold.encoders.text_encoder import resolve_encoder, sentence_vectors
from twofold.encoders.vectors import TextEncoder, Vectors
from twofold.identifiers.identifiers import Identifiers, IdSpaces, atomic, shared
from twofold.model.checkpoint import GenerativeModel, tries_of
from twofold.model.hybrid import HistoryMatch, Hybrid, Neighbours
from twofold.records import InputError, Ints

_NUM_NEIGHBOURS = 10
_SCALE = 20.0
"""Inverse temperature of the softmax that converts cosines into weights of neighbours."""
_RIDGE = 1.0
"""Ridge penalty of the map from texts of unit length."""
_MAX_COSINES = 1 << 22
"""The number of cosines in memory at once: 16 MB of float32, in a few copies."""
_CHUNK_TEXTS = 8192
"""The number of text vectors in memory at once in double precision: 32 MB at a width of 512."""
_TABLE = "rows-"
"""The prefix of the name, on disk, of new embeddings for one of the model's embedding tables."""

Placement = Mapping[str, np.ndarray]
"""Arrays that place M new items in a model. Atomic identifiers: `rows-0`, ..., (M, D), one for each
embedding table, and with a hybrid part `neighbours` and `shares`, (M, K), as in `Neighbours`.
Semantic IDs: `search` and `recommendation`, the codes of each task's identifiers, (M, levels)."""


class UnplaceableError(InputError):
    """Items that cannot be placed in a model.

    Attributes:
        item_ids: the ids of these items, at least one.
        why: the reason and the remedy.
    """

    def __init__(self, item_ids: Sequence[str], why: str) -> None:
        super().__init__(f"item '{item_ids[0]}': {why}")
        self.item_ids, self.why = list(item_ids), why


@dataclass
class ItemPlacer:
    """Places items by their texts; the computations on the catalog are done once.

    Attributes:
        encoder: the model's text encoder, or TF-IDF of the catalog if it has none.
        vectors: text vectors of the items, (N, E).
    """

    encoder: TextEncoder
    vectors: Vectors
    _text_maps: list[Vectors] = field(default_factory=list)
    _negatives: NegativeRequests | None = None

    @classmethod
    def of(cls, model: GenerativeModel) -> "ItemPlacer":
        """A placer with the text vectors that the model stores; without any, the texts are encoded
        again, which is slow.

        Raises:
            InputError: the catalog has no texts.
        """
        texts, encoder, vectors = model.catalog.texts, model.vocabulary.encoder, model.item_vectors
        if encoder is None:
            encoder, vectors = resolve_encoder("auto", texts, ()), None
        if encoder is None or not any(texts):
            raise InputError("the catalog has no texts, so no new item can be placed in it")
        item_vectors = encoder.encode(texts) if vectors is None else vectors.astype(np.float32)
        placer = cls(encoder, item_vectors)
        if not model.tries:
            placer._text_maps = [placer._text_map(table) for table in _embedding_tables(model)]
            if "search" in model.tasks:
                placer._negatives = NegativeRequests.of(model)
        return placer

    def _text_map(self, embeddings: Vectors) -> Vectors:
        """The linear map from texts to embeddings, (E, D), by ridge regression."""
        items, width = self.vectors.shape
        gram, moment = _RIDGE * np.eye(width), np.zeros((width, embeddings.shape[1]))
        for first in range(0, items, _CHUNK_TEXTS):
            some = slice(first, min(first + _CHUNK_TEXTS, items))
            x = self.vectors[some].astype(np.float64)
            gram += x.T @ x
            moment += x.T @ embeddings[some]
        solution: Vectors = solve(gram, moment, assume_a="pos").astype(np.float32)
        return solution

    def place(self, model: GenerativeModel, items: pl.DataFrame) -> Placement:
        """The placement of new items.

        Args:
            model: the model that was given to `of`, also after `with_items`.
            items: a table from `new_items_table`.

        Raises:
            UnplaceableError: an item has no word that the encoder knows, or no identifier is free
                near its neighbours.
        """
        vectors = self.encoder.encode(Catalog.of(items).texts)
        wordless = items["item_id"].filter(pl.Series(~vectors.any(axis=1)))
        if len(wordless):
            raise UnplaceableError(
                wordless.to_list(),
                "its text has no word that the model knows, so it cannot be placed; "
                "give it a title or text with words of the catalog",
            )
        neighbours, weights = self._neighbours(vectors)
        placement: dict[str, np.ndarray] = {}
        if _reads_neighbours(model):
            placement |= {"neighbours": neighbours, "shares": weights}
        if model.tries:
            item_ids, spaces = items["item_id"].to_list(), model.vocabulary.spaces
            return {**placement, **identifiers_by_vote(spaces, item_ids, neighbours, weights)}
        return placement | self._embeddings(model, items, vectors, neighbours, weights)

    def _embeddings(
        self,
        model: GenerativeModel,
        items: pl.DataFrame,
        vectors: Vectors,
        neighbours: Ints,
        weights: Vectors,
    ) -> dict[str, np.ndarray]:
        """Embeddings of new items, for each table of the model."""
        placed: dict[str, np.ndarray] = {}
        tables = zip(_embedding_tables(model), self._text_maps, strict=True)
        for number, (table, text_map) in enumerate(tables):
            residuals = table[neighbours] - self.vectors[neighbours] @ text_map  # (M, K, D)
            moved = np.einsum("mk,mkd->md", weights, residuals)
            placed[f"{_TABLE}{number}"] = vectors @ text_map + moved
        if self._negatives is not None:  # items are scored by the last table
            name = f"{_TABLE}{len(self._text_maps) - 1}"
            self._negatives = self._negatives.extended(model)
            catalog = Catalog.of(items)
            placed[name] = fit_embeddings(model, placed[name], catalog, self._negatives)
        return placed

    def _neighbours(self, vectors: Vectors) -> tuple[Ints, Vectors]:
        """The items with the nearest texts, (M, K), and their weights, which sum to 1."""
        count = min(_NUM_NEIGHBOURS, len(self.vectors))
        nearest = np.zeros((len(vectors), count), np.int64)
        cosines = np.zeros((len(vectors), count), np.float32)
        chunk = max(1, _MAX_COSINES // len(self.vectors))
        for first in range(0, len(vectors), chunk):
            some = slice(first, first + chunk)
            products = vectors[some] @ self.vectors.T
            nearest[some] = np.argpartition(-products, count - 1, axis=1)[:, :count]
            cosines[some] = np.take_along_axis(products, nearest[some], 1)
        return nearest, softmax(_SCALE * cosines, axis=1)


def _embedding_tables(model: GenerativeModel) -> list[Vectors]:
    """Input and output embeddings of codes, (codes, D); a single table if they are tied."""
    return [table.detach().float().cpu().numpy() for table in model.backbone.code_tables()]


def _reads_neighbours(model: GenerativeModel) -> bool:
    """Whether new items get the matches of their neighbours."""
    return model.hybrid is not None or model.history_match is not None


def with_items(
    model: GenerativeModel, items: pl.DataFrame, placement: Placement
) -> GenerativeModel:
    """The model with new items at the end of its catalog.

    Args:
        model: its embeddings are extended in place, so do not use this object afterwards.
        items: a table by `new_items_table`.
        placement: the result of `ItemPlacer.place` for these items.
    """
    if model.tries:
        spaces = _extended_spaces(model.vocabulary.spaces, placement)
    else:
        names = sorted(name for name in placement if name.startswith(_TABLE))
        model.backbone.append_rows([torch.from_numpy(placement[name]) for name in names])
        spaces = shared(atomic(len(model.catalog) + items.height))
        model.backbone.repack(spaces.codebooks)
    return replace(
        model,
        catalog=Catalog.of(pl.concat([model.catalog.items, items])),
        hybrid=_extended_hybrid(model, items, placement),
        history_match=_extended_history_match(model, placement),
        vocabulary=replace(model.vocabulary, spaces=spaces),
        tries=tries_of(spaces),
    )


def _extended_hybrid(
    model: GenerativeModel, items: pl.DataFrame, placement: Placement
) -> Hybrid | None:
    """The model's hybrid part, if any, with the documents of new items."""
    if model.hybrid is None:
        return None
    nearest, texts = placement["neighbours"], None
    if model.item_vectors is not None:
        shape = (*nearest.shape, -1)
        vectors = model.item_vectors[nearest.reshape(-1)]
        sentences = sentence_vectors(model.vocabulary.encoder, vectors)
        texts = None if sentences is None else sentences.reshape(shape)
    near = Neighbours(nearest, placement["shares"], texts)
    return model.hybrid.with_items(Catalog.of(items).texts, near)


def _extended_history_match(model: GenerativeModel, placement: Placement) -> HistoryMatch | None:
    """The model's history match, if any, with new items."""
    if model.history_match is None:
        return None
    return model.history_match.with_items(Neighbours(placement["neighbours"], placement["shares"]))


def _extended_spaces(spaces: IdSpaces, placement: Placement) -> IdSpaces:
    """The ID spaces with the identifiers of new items."""

    def extended(identifiers: Identifiers, new: np.ndarray) -> Identifiers:
        codes = np.vstack([identifiers.codes, new])
        return Identifiers(identifiers.kind, codes, identifiers.codebook_sizes)

    recommendation = extended(spaces.recommendation, placement["recommendation"])
    if spaces.are_shared:
        return shared(recommendation)
    search = extended(spaces.search, placement["search"])
    return IdSpaces(recommendation, search, spaces.shared_levels)


def identifiers_by_vote(
    spaces: IdSpaces, item_ids: Sequence[str], neighbours: Ints, weights: Vectors
) -> Placement:
    """Semantic IDs of new items in both ID spaces, by a vote of their neighbours.

    Raises:
        UnplaceableError: no identifier is free near the neighbours of an item.
    """
    no_prefix = np.zeros((len(neighbours), 0), np.int64)
    recommendation = _vote(spaces.recommendation, item_ids, neighbours, weights, no_prefix)
    search = recommendation
    if not spaces.are_shared:
        prefixes = recommendation[:, : spaces.shared_levels]
        search = _vote(spaces.search, item_ids, neighbours, weights, prefixes)
    return {"recommendation": recommendation, "search": search}


def _vote(
    identifiers: Identifiers,
    item_ids: Sequence[str],
    neighbours: Ints,
    weights: Vectors,
    prefixes: Ints,
) -> Ints:
    """Identifiers of new items, (M, levels), that begin with the given prefixes."""
    rivals = _with_first_codes_of(identifiers, neighbours)
    taken = {tuple(codes) for codes in identifiers.codes[rivals].tolist()}
    assigned: list[tuple[int, ...]] = []
    unplaced: list[str] = []
    for item_id, items, shares, prefix in zip(
        item_ids, neighbours, weights, prefixes.tolist(), strict=True
    ):
        codes = _free_codes(identifiers, identifiers.codes[items], shares, taken, tuple(prefix))
        if codes is None:
            unplaced.append(item_id)
        else:
            assigned.append(codes)
            taken.add(codes)
    if unplaced:
        why = "no identifier is free near items with such texts; train the model anew"
        raise UnplaceableError(unplaced, why)
    return np.array(assigned, np.int64).reshape(len(neighbours), identifiers.levels)


def _with_first_codes_of(identifiers: Identifiers, neighbours: Ints) -> Ints:
    """Items whose identifiers begin with the codes of a neighbour; a new identifier can only
    collide with these.
    """
    first = np.unique(identifiers.codes[neighbours.reshape(-1), 0])
    return np.flatnonzero(np.isin(identifiers.codes[:, 0], first))


def _free_codes(
    identifiers: Identifiers,
    neighbours: Ints,
    shares: Vectors,
    taken: set[tuple[int, ...]],
    prefix: tuple[int, ...],
) -> tuple[int, ...] | None:
    """The free identifier with this prefix and the most votes, by depth-first search; None if none
    is free near the neighbours, whose codes are (K, levels).
    """
    level = len(prefix)
    if level == identifiers.levels:
        return prefix
    voters = (neighbours[:, :level] == prefix).all(axis=1)
    votes = np.bincount(
        neighbours[voters, level], shares[voters], identifiers.codebook_sizes[level]
    )
    is_last = level == identifiers.levels - 1
    for code in np.argsort(-votes, kind="stable"):
        if not is_last and not votes[code]:
            break
        longer = (*prefix, int(code))
        if is_last and longer in taken:
            continue
        codes = _free_codes(identifiers, neighbours, shares, taken, longer)
        if codes is not None:
            return codes
    return None


def are_free(model: GenerativeModel, placement: Placement) -> npt.NDArray[np.bool_]:
    """Whether each new item's identifier belongs to no item of the model and to no new item before
    it, (M,)."""
    spaces = model.vocabulary.spaces
    if not model.tries:
        return np.ones(len(next(iter(placement.values()))), bool)
    recommendation = _untaken(spaces.recommendation, placement["recommendation"])
    return recommendation & _untaken(spaces.search, placement["search"])


def _untaken(identifiers: Identifiers, new: Ints) -> npt.NDArray[np.bool_]:
    rivals = identifiers.codes[np.isin(identifiers.codes[:, 0], new[:, 0])]
    _, first = np.unique(np.vstack([rivals, new]), axis=0, return_index=True)
    return np.isin(np.arange(len(rivals), len(rivals) + len(new)), first)
