"""New items in a trained model, without training: placed by their text among the catalog's.

An atomic identifier needs a row: a linear map from texts to the trained rows says where it would
stand, and the items with the nearest texts say how far training moved such items from there. A
semantic ID needs codes: those of the nearest texts, level by level, and a last one that is free.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars as pl
import torch
from scipy.special import softmax
from sklearn.linear_model import RidgeCV

from twofold.data.dataset import Catalog
from twofold.encoders.encoders import TextEncoder, Vectors, resolve_encoder
from twofold.identifiers.identifiers import Identifiers, IdSpaces, atomic, shared
from twofold.model.checkpoint import GenerativeModel, tries_of
from twofold.records import InputError, Ints

_NEIGHBOURS = 10
_SHARPNESS = 20.0
"""Of the weights of neighbours over their cosines."""
_RIDGES = (0.1, 1.0, 10.0, 100.0)


@dataclass(frozen=True)
class CatalogTexts:
    """Where the texts of a catalog stand.

    Attributes:
        encoder: the model's own, or word weights of the catalog where it has none.
        vectors: of the items, (N, E).
    """

    encoder: TextEncoder
    vectors: Vectors

    @classmethod
    def of(cls, model: GenerativeModel) -> "CatalogTexts":
        """Encode the catalog.

        Raises:
            InputError: it has no texts to go by.
        """
        texts = model.catalog.texts
        encoder = model.vocabulary.encoder or resolve_encoder("auto", texts, ())
        if encoder is None:
            raise InputError("the catalog has no texts, so no new item can be placed in it")
        return cls(encoder, encoder.encode(texts))

    def place(self, model: GenerativeModel, rows: pl.DataFrame) -> tuple[pl.DataFrame, Vectors]:
        """New rows as the catalog has them, and where their texts stand, (M, E).

        Raises:
            InputError: a column that the catalog lacks, or an item without any known word.
        """
        items = _like(model.catalog.items, rows)
        vectors = self.encoder.encode(Catalog.of(items).texts)
        for item_id, vector in zip(items["item_id"], vectors, strict=True):
            if not vector.any():
                raise InputError(
                    f"item '{item_id}': the model knows no word of its text, so it cannot be "
                    f"placed; give it a title or text"
                )
        return items, vectors

    def neighbours(self, vectors: Vectors) -> tuple[Ints, Vectors]:
        """The items with the nearest texts, (M, K), and their weights, which sum to 1."""
        cosines = vectors @ self.vectors.T
        count = min(_NEIGHBOURS, cosines.shape[1])
        nearest = np.argsort(-cosines, axis=1, kind="stable")[:, :count]
        return nearest, softmax(_SHARPNESS * np.take_along_axis(cosines, nearest, 1), axis=1)


def with_items(
    model: GenerativeModel, rows: pl.DataFrame, texts: CatalogTexts
) -> tuple[GenerativeModel, CatalogTexts]:
    """The model with new items at the end of its catalog.

    Args:
        model: its backbone's rows grow in place, so the one given is not to be used any more.
        rows: of the items table; the catalog's columns, those missing are empty.
        texts: of the catalog.

    Raises:
        InputError: a column that the catalog lacks, or an item without any known word.
    """
    items, vectors = texts.place(model, rows)
    nearest, weights = texts.neighbours(vectors)
    spaces = model.vocabulary.spaces
    if model.tries:
        grown = _named(spaces, nearest, weights)
    else:
        model.backbone.append_rows(_placed_by(texts.vectors, vectors, nearest, weights))
        grown = shared(atomic(len(model.catalog) + items.height))
    catalog = Catalog.of(pl.concat([model.catalog.items, items]))
    model.backbone.repack(grown.slots)
    changed = replace(
        model,
        catalog=catalog,
        vocabulary=replace(model.vocabulary, spaces=grown),
        tries=tries_of(grown),
    )
    return changed, CatalogTexts(texts.encoder, np.vstack([texts.vectors, vectors]))


def _like(items: pl.DataFrame, rows: pl.DataFrame) -> pl.DataFrame:
    """`rows` with the columns of the catalog."""
    if unknown := [name for name in rows.columns if name not in items.columns]:
        raise InputError(
            f"attribute '{unknown[0]}' is not in the catalog, which has "
            f"{', '.join(items.columns)}; leave it out, or train with it"
        )
    empty = rows.with_columns(
        pl.lit(None).alias(name) for name in items.columns if name not in rows.columns
    )
    return empty.select(items.columns).cast(dict(items.schema))  # type: ignore[arg-type]


def _placed_by(
    before: Vectors, vectors: Vectors, nearest: Ints, weights: Vectors
) -> Callable[[torch.Tensor], torch.Tensor]:
    """What gives the rows of new items, (M, D), by those of the catalog, (N, D)."""

    def placed(rows: torch.Tensor) -> torch.Tensor:
        trained = rows.detach().float().cpu().numpy()
        ridge = RidgeCV(_RIDGES).fit(before, trained)
        moved = trained - ridge.predict(before)
        found = ridge.predict(vectors) + np.einsum("mk,mkd->md", weights, moved[nearest])
        return torch.from_numpy(found.astype(np.float32))

    return placed


def _named(spaces: IdSpaces, nearest: Ints, weights: Vectors) -> IdSpaces:
    """The spaces with identifiers of the new items."""
    ours = _with_codes(spaces.recommendation, nearest, weights)
    if spaces.are_shared:
        return shared(ours)
    fixed = ours.codes[len(spaces.recommendation) :, : spaces.shared_levels]
    theirs = _with_codes(spaces.search, nearest, weights, fixed)
    return IdSpaces(ours, theirs, spaces.shared_levels)


def _with_codes(
    identifiers: Identifiers, nearest: Ints, weights: Vectors, fixed: Ints | None = None
) -> Identifiers:
    taken = {tuple(row) for row in identifiers.codes.tolist()}
    made: list[tuple[int, ...]] = []
    for number, (items, shares) in enumerate(zip(nearest, weights, strict=True)):
        prefix = () if fixed is None else tuple(fixed[number].tolist())
        made.append(_free(identifiers, identifiers.codes[items], shares, taken, prefix))
        taken.add(made[-1])
    codes = np.vstack([identifiers.codes, np.array(made, np.int64)])
    return Identifiers(identifiers.kind, codes, identifiers.codebook_sizes)


def _free(
    identifiers: Identifiers,
    neighbours: Ints,
    shares: Vectors,
    taken: set[tuple[int, ...]],
    prefix: tuple[int, ...],
) -> tuple[int, ...]:
    """The free identifier that the neighbours vote for: depth first, most votes first.

    Raises:
        InputError: nothing is free near the neighbours.
    """
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
        if last:
            if following not in taken:
                return following
            continue
        try:
            return _free(identifiers, neighbours, shares, taken, following)
        except InputError:
            continue
    raise InputError("no identifier is free near items with such texts; train the model anew")


def new_rows(catalog: Catalog, given: Sequence[Mapping[str, str]]) -> pl.DataFrame:
    """Rows of the items table that the catalog does not hold yet, the last of each id."""
    fresh = {row["item_id"]: row for row in given if row["item_id"] not in catalog.positions}
    names = dict.fromkeys(name for row in fresh.values() for name in row)
    return pl.DataFrame(
        [dict(row) for row in fresh.values()], schema=dict.fromkeys(names, pl.String)
    )
