"""New items in a trained model, without training: placed by their text among the catalog's.

An atomic identifier needs a row: a linear map from texts to the trained rows says where it would
stand, the items with the nearest texts say how far training moved such items from there, and what
could be asked for by the item's words moves it on (`new_rows`); a hybrid part needs a document,
which borrows from the same nearest texts. A semantic ID needs codes: those of the nearest texts,
level by level, and a last one that is free.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import polars as pl
import torch
from scipy.linalg import solve
from scipy.special import softmax

from twofold.additions.embeddings import Others, fit_rows
from twofold.data.dataset import Catalog
from twofold.encoders.encoders import TextEncoder, Vectors, resolve_encoder, sentence_vectors
from twofold.identifiers.identifiers import Identifiers, IdSpaces, atomic, shared
from twofold.model.checkpoint import GenerativeModel, tries_of
from twofold.model.hybrid import Hybrid, Neighbours
from twofold.records import InputError, Ints

_NEIGHBOURS = 10
_SHARPNESS = 20.0
"""Of the weights of neighbours over their cosines."""
_RIDGE = 1.0
"""Over texts of unit length."""
_COSINES = 1 << 22
"""That are held at once: 16 MB of float32, a few times over."""
_TEXTS = 8192
"""Vectors that are held at once in double precision, 32 MB of a width of 512."""

Placement = Mapping[str, np.ndarray]
"""Of new items: `rows-0`, ..., (M, D), one for each table of rows, and where there is a hybrid part
`neighbours` and `shares`, (M, K), as `Neighbours` has them; or the codes of each task's
identifiers, (M, levels)."""


class UnplaceableError(InputError):
    """Items that have no place in a model.

    Attributes:
        item_ids: theirs; one at least.
        why: and what to do about it.
    """

    def __init__(self, item_ids: Sequence[str], why: str) -> None:
        super().__init__(f"item '{item_ids[0]}': {why}")
        self.item_ids, self.why = list(item_ids), why


@dataclass
class CatalogTexts:
    """Where the texts of a catalog stand, and what that says of its rows.

    Attributes:
        encoder: the model's own, or word weights of the catalog where it has none.
        vectors: of the items, (N, E).
    """

    encoder: TextEncoder
    vectors: Vectors
    _maps: list[Vectors] = field(default_factory=list)
    _others: Others | None = None

    @classmethod
    def of(cls, model: GenerativeModel) -> "CatalogTexts":
        """What the model carries; encoded anew where it carries nothing, which takes a while.

        Raises:
            InputError: the catalog has no texts to go by.
        """
        texts, encoder, vectors = model.catalog.texts, model.vocabulary.encoder, model.item_vectors
        if encoder is None:
            encoder, vectors = resolve_encoder("auto", texts, ()), None
        if encoder is None:
            raise InputError("the catalog has no texts, so no new item can be placed in it")
        known = encoder.encode(texts) if vectors is None else vectors.astype(np.float32)
        made = cls(encoder, known)
        if not model.tries:
            made._maps = [made._map(table) for table in _tables(model)]
            if "search" in model.tasks:
                made._others = Others.of(model)
        return made

    def _map(self, rows: Vectors) -> Vectors:
        """From texts to rows, (E, D), by ridge regression."""
        items, width = self.vectors.shape
        gram, wanted = _RIDGE * np.eye(width), np.zeros((width, rows.shape[1]))
        for first in range(0, items, _TEXTS):
            some = slice(first, min(first + _TEXTS, items))
            x = self.vectors[some].astype(np.float64)
            gram += x.T @ x
            wanted += x.T @ rows[some]
        found: Vectors = solve(gram, wanted, assume_a="pos").astype(np.float32)
        return found

    def place(self, model: GenerativeModel, items: pl.DataFrame) -> Placement:
        """Where new items stand, by `like_catalog`'s rows.

        Args:
            model: as it was given to `of`, or grown by `with_items` since.
            items: the new ones.

        Raises:
            UnplaceableError: items without any word that the encoder knows, or near whose
                neighbours no identifier is free.
        """
        vectors = self.encoder.encode(Catalog.of(items).texts)
        wordless = items["item_id"].filter(pl.Series(~vectors.any(axis=1)))
        if len(wordless):
            raise UnplaceableError(
                wordless.to_list(),
                "the model knows no word of its text, so it cannot be placed; "
                "give it a title or text",
            )
        nearest, weights = self._neighbours(vectors)
        if model.tries:
            return _codes(model.vocabulary.spaces, items["item_id"].to_list(), nearest, weights)
        placed: dict[str, np.ndarray] = {}
        if model.hybrid is not None:
            placed |= {"neighbours": nearest, "shares": weights}
        for number, (rows, mapped) in enumerate(zip(_tables(model), self._maps, strict=True)):
            moved = rows[nearest] - self.vectors[nearest] @ mapped  # (M, K, D)
            placed[f"rows-{number}"] = vectors @ mapped + np.einsum("mk,mkd->md", weights, moved)
        if self._others is not None:  # the last table is the one that items are scored by
            name = f"rows-{len(self._maps) - 1}"
            self._others = self._others.grown(model)
            placed[name] = fit_rows(model, placed[name], Catalog.of(items), self._others)
        return placed

    def _neighbours(self, vectors: Vectors) -> tuple[Ints, Vectors]:
        """The items with the nearest texts, (M, K), and their weights, which sum to 1."""
        count = min(_NEIGHBOURS, len(self.vectors))
        nearest = np.zeros((len(vectors), count), np.int64)
        cosines = np.zeros((len(vectors), count), np.float32)
        at_once = max(1, _COSINES // len(self.vectors))
        for first in range(0, len(vectors), at_once):
            some = slice(first, first + at_once)
            found = vectors[some] @ self.vectors.T
            nearest[some] = np.argpartition(-found, count - 1, axis=1)[:, :count]
            cosines[some] = np.take_along_axis(found, nearest[some], 1)
        return nearest, softmax(_SHARPNESS * cosines, axis=1)


def _tables(model: GenerativeModel) -> list[Vectors]:
    """The code rows that a model reads and writes, (codes, D); one table where they are tied."""
    return [table.detach().float().cpu().numpy() for table in model.backbone.code_tables()]


def is_whole(model: GenerativeModel, placement: Placement) -> bool:
    """Whether a placement says all that `with_items` reads; one of an earlier release may not."""
    return model.hybrid is None or "neighbours" in placement


def with_items(
    model: GenerativeModel, items: pl.DataFrame, placement: Placement
) -> GenerativeModel:
    """The model with new items at the end of its catalog.

    Args:
        model: its backbone's rows grow in place, so the one given is not to be used any more.
        items: by `like_catalog`.
        placement: of `CatalogTexts.place`.
    """
    if model.tries:
        grown = _named(model.vocabulary.spaces, placement)
    else:
        names = sorted(name for name in placement if name.startswith("rows-"))
        model.backbone.append_rows([torch.from_numpy(placement[name]) for name in names])
        grown = shared(atomic(len(model.catalog) + items.height))
        model.backbone.repack(grown.codebooks)
    return replace(
        model,
        catalog=Catalog.of(pl.concat([model.catalog.items, items])),
        hybrid=_hybrid(model, items, placement),
        vocabulary=replace(model.vocabulary, spaces=grown),
        tries=tries_of(grown),
    )


def _hybrid(model: GenerativeModel, items: pl.DataFrame, placement: Placement) -> Hybrid | None:
    """The model's hybrid part, if any, with the documents of new items."""
    if model.hybrid is None:
        return None
    nearest, texts = placement["neighbours"], None
    if model.item_vectors is not None:
        shape = (*nearest.shape, -1)
        known = model.item_vectors[nearest.reshape(-1)]
        found = sentence_vectors(model.vocabulary.encoder, known)
        texts = None if found is None else found.reshape(shape)
    near = Neighbours(nearest, placement["shares"], texts)
    return model.hybrid.with_items(Catalog.of(items).texts, near)


def _named(spaces: IdSpaces, codes: Placement) -> IdSpaces:
    """The spaces with identifiers of the new items."""

    def grown(identifiers: Identifiers, new: np.ndarray) -> Identifiers:
        both = np.vstack([identifiers.codes, new])
        return Identifiers(identifiers.kind, both, identifiers.codebook_sizes)

    ours = grown(spaces.recommendation, codes["recommendation"])
    if spaces.are_shared:
        return shared(ours)
    return IdSpaces(ours, grown(spaces.search, codes["search"]), spaces.shared_levels)


def _codes(spaces: IdSpaces, item_ids: Sequence[str], nearest: Ints, weights: Vectors) -> Placement:
    """Identifiers of new items in both spaces."""
    nothing = np.zeros((len(nearest), 0), np.int64)
    ours = _voted(spaces.recommendation, item_ids, nearest, weights, nothing)
    theirs = ours
    if not spaces.are_shared:
        fixed = ours[:, : spaces.shared_levels]
        theirs = _voted(spaces.search, item_ids, nearest, weights, fixed)
    return {"recommendation": ours, "search": theirs}


def _voted(
    identifiers: Identifiers,
    item_ids: Sequence[str],
    nearest: Ints,
    weights: Vectors,
    fixed: Ints,
) -> Ints:
    taken = {tuple(row) for row in identifiers.codes[_near(identifiers, nearest)].tolist()}
    made: list[tuple[int, ...]] = []
    without: list[str] = []
    rows = zip(item_ids, nearest, weights, fixed.tolist(), strict=True)
    for item_id, items, shares, prefix in rows:
        found = _free(identifiers, identifiers.codes[items], shares, taken, tuple(prefix))
        if found is None:
            without.append(item_id)
        else:
            made.append(found)
            taken.add(found)
    if without:
        why = "no identifier is free near items with such texts; train the model anew"
        raise UnplaceableError(without, why)
    return np.array(made, np.int64).reshape(len(nearest), identifiers.levels)


def _near(identifiers: Identifiers, nearest: Ints) -> Ints:
    """Items whose identifiers begin as those of the neighbours: all that a new one could meet."""
    first = np.unique(identifiers.codes[nearest.reshape(-1), 0])
    return np.flatnonzero(np.isin(identifiers.codes[:, 0], first))


def _free(
    identifiers: Identifiers,
    neighbours: Ints,
    shares: Vectors,
    taken: set[tuple[int, ...]],
    prefix: tuple[int, ...],
) -> tuple[int, ...] | None:
    """The free identifier that the neighbours vote for, depth first, most votes first; None where
    nothing is free near them."""
    level = len(prefix)
    if level == identifiers.levels:
        return prefix
    alike = (neighbours[:, :level] == prefix).all(axis=1)
    votes = np.bincount(neighbours[alike, level], shares[alike], identifiers.codebook_sizes[level])
    last = level == identifiers.levels - 1
    for code in np.argsort(-votes, kind="stable"):
        if not last and not votes[code]:
            break
        following = (*prefix, int(code))
        if last and following in taken:
            continue
        found = _free(identifiers, neighbours, shares, taken, following)
        if found is not None:
            return found
    return None


def are_free(model: GenerativeModel, placement: Placement) -> npt.NDArray[np.bool_]:
    """Of new items, those whose identifiers no item has, nor a new one before it, (M,)."""
    spaces = model.vocabulary.spaces
    if not model.tries:
        return np.ones(len(next(iter(placement.values()))), bool)
    ours = _untaken(spaces.recommendation, placement["recommendation"])
    return ours & _untaken(spaces.search, placement["search"])


def _untaken(identifiers: Identifiers, new: Ints) -> npt.NDArray[np.bool_]:
    alike = identifiers.codes[np.isin(identifiers.codes[:, 0], new[:, 0])]
    _, first = np.unique(np.vstack([alike, new]), axis=0, return_index=True)
    return np.isin(np.arange(len(alike), len(alike) + len(new)), first)
