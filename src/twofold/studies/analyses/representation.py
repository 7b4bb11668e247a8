"""H2: does joint training move the rows of items that belong together closer?

Reads the output rows of the arms' models. Pairs of items share items, so the intervals over pairs
are exploratory.
"""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from sklearn.manifold import TSNE

from twofold.data.dataset import Catalog
from twofold.encoders.vectors import unit
from twofold.evaluation.significance import difference, mean
from twofold.model.checkpoint import GenerativeModel
from twofold.records import Floats, Ints
from twofold.retrieval.generative import load_model
from twofold.studies.analyses.pairs import CLASSES, Pairs
from twofold.studies.results import describe_difference
from twofold.tasks.popularity import combined_popularity
from twofold.tasks.prepared import PreparedDataset
from twofold.training.arm import PLAIN_ARMS

_SAMPLE = 5_000
"""Pairs of each class."""
_NEAR = 0.01
"""Items as popular as another: those within this share of the catalog around it."""
_REDRAWS = 20
"""Of a matched pair whose two items are the same one."""
_POINTS = 1_000
_NEIGHBOURS = 10
_FEW, _MANY = 2, 50
"""An attribute of so many values may colour the projection."""
_NAMED = 6
"""Values with a colour of their own."""


def representation_evidence(
    dataset: PreparedDataset, pairs: Pairs, folder: Path, seeds: int
) -> dict[str, Any]:
    """Redundancy of the tasks' pairs, cosines by class of pair, neighbours alike, a projection.

    Args:
        dataset: whose training data say which pairs are joined.
        pairs: those pairs.
        folder: of the study, with its models.
        seeds: of each arm.
    """
    rows = {
        arm: [
            item_rows(load_model(folder / "models" / arm / f"seed-{s}").model) for s in range(seeds)
        ]
        for arm in PLAIN_ARMS
    }
    attribute = first_attribute(dataset.catalog)
    return {
        "pairs": {**pairs.counts(), "looked_at": pairs.shares},
        "cosines": _cosines(dataset, pairs, rows),
        "attribute": attribute.name if attribute is not None else None,
        "neighbours_alike": _neighbours(rows, attribute),
        "projection": _projection(dataset, rows, attribute),
    }


def item_rows(model: GenerativeModel) -> Floats:
    """The output rows of each item's codes side by side, (N, levels x D)."""
    rows = model.backbone.code_rows().detach().cpu().double().numpy()
    codes = model.vocabulary.spaces.recommendation.codes
    starts = [codebook.start for codebook in model.vocabulary.spaces.codebooks[: codes.shape[1]]]
    found: Floats = rows[codes + starts].reshape(len(codes), -1)
    return found


def pair_cosines(rows: Floats, pairs: Ints) -> Floats:
    """Cosine between the rows of pairs of items, (P,).

    Args:
        rows: (N, D).
        pairs: (P, 2).
    """
    directions = unit(rows)
    found: Floats = (directions[pairs[:, 0]] * directions[pairs[:, 1]]).sum(axis=1)
    return found


def matched_pairs(pairs: Ints, popularity: Ints, seed: int = 0) -> Ints:
    """For each pair, one of other items that are about as popular, (P, 2).

    Equally popular items are in random order: in that of the catalog they may be alike.
    """
    rng = np.random.default_rng(seed)
    order = np.lexsort((rng.random(len(popularity)), -popularity))
    place = np.empty(len(order), dtype=np.int64)
    place[order] = np.arange(len(order))
    reach = min(len(order) - 1, max(2, round(_NEAR * len(order))))

    def near(places: Ints) -> Ints:
        """An item up to `reach` places away from each."""
        steps = rng.integers(1, reach + 1, len(places)) * rng.choice([-1, 1], len(places))
        # At the ends of the order the step goes the other way.
        outside = (places + steps < 0) | (places + steps >= len(order))
        moved: Ints = np.clip(np.where(outside, places - steps, places + steps), 0, len(order) - 1)
        return moved

    first, second = near(place[pairs[:, 0]]), near(place[pairs[:, 1]])
    for _ in range(_REDRAWS):
        same = first == second
        second[same] = near(place[pairs[same, 1]])
    return np.stack([order[first], order[second]], axis=1)


def _cosines(dataset: PreparedDataset, pairs: Pairs, rows: dict[str, list[Floats]]) -> Any:
    """By class and arm: mean cosine, that of matched random pairs, and the difference."""
    popularity = combined_popularity(dataset)
    found: dict[str, Any] = {}
    for name in CLASSES:
        chosen = pairs.sample(name, _SAMPLE)
        if len(chosen) < 2:
            found[name] = None
            continue
        matched = matched_pairs(chosen, popularity)
        found[name] = {"sampled": len(chosen)}
        beyond = {}
        for arm, seeds in rows.items():
            own = np.stack([pair_cosines(r, chosen) for r in seeds])
            random = np.stack([pair_cosines(r, matched) for r in seeds])
            beyond[arm] = own - random
            found[name][arm] = {
                "cosine": float(own.mean()),
                "matched": float(random.mean()),
                **describe_difference(mean(beyond[arm], np.arange(len(chosen)))),
            }
        found[name]["joint_minus"] = {
            task: describe_difference(
                difference(beyond["joint"], beyond[task], np.arange(len(chosen)))
            )
            for task in dataset.tasks
        }
    return found


def first_attribute(catalog: Catalog) -> pl.Series | None:
    """An attribute to colour items by: the first of few values that are not numbers; of an item
    with several (`Action|Comedy`) the first."""
    for name in catalog.items.columns:
        if name in ("item_id", "title", "text"):
            continue
        values = catalog.items[name].cast(pl.String).fill_null("").str.split("|").list.first()
        given = values.filter(values != "")
        numbers = given.cast(pl.Float64, strict=False).is_not_null().all()
        if _FEW <= given.n_unique() <= _MANY and not numbers:
            return values.alias(name)
    return None


def _neighbours(rows: dict[str, list[Floats]], attribute: pl.Series | None) -> Any:
    """Share of an item's nearest rows with its own value of the attribute, by arm and seed."""
    if attribute is None:
        return None
    values = attribute.to_numpy()
    asked = np.flatnonzero(values != "")
    asked = np.sort(np.random.default_rng(0).permutation(asked)[:_POINTS])
    found = {}
    for arm, seeds in rows.items():
        shares = []
        for matrix in seeds:
            nearest = _nearest(unit(matrix), asked)
            shares.append(float((values[nearest] == values[asked][:, None]).mean()))
        found[arm] = {"mean": float(np.mean(shares)), "by_seed": shares}
    return found


def _nearest(unit: Floats, asked: Ints) -> Ints:
    """The other rows with the largest cosine, (A, up to 10)."""
    depth = min(_NEIGHBOURS, len(unit) - 1)
    found = []
    for chunk in np.array_split(asked, max(1, len(asked) // 100)):
        scores = unit[chunk] @ unit.T
        scores[np.arange(len(chunk)), chunk] = -np.inf
        found.append(np.argpartition(-scores, depth - 1, axis=1)[:, :depth])
    return np.concatenate(found)


def _projection(
    dataset: PreparedDataset, rows: dict[str, list[Floats]], attribute: pl.Series | None
) -> dict[str, Any]:
    """t-SNE of the first seed's rows of the most popular items, and what colours them."""
    popularity = combined_popularity(dataset)
    chosen = np.argsort(-popularity, kind="stable")[:_POINTS]
    labels = ["all"] * len(chosen)
    if attribute is not None:
        values = attribute[chosen.tolist()]
        top = values.filter(values != "").value_counts(sort=True)[attribute.name][:_NAMED].to_list()
        labels = [value if value in top else "other" for value in values]
    return {
        "labels": labels,
        "points": {arm: _flat(seeds[0][chosen]) for arm, seeds in rows.items()},
    }


def _flat(rows: Floats) -> Any:
    """(N, 2), rounded: enough for a picture."""
    tsne = TSNE(perplexity=min(30.0, len(rows) / 4), init="pca", random_state=0)
    return np.round(tsne.fit_transform(unit(rows)), 2).tolist()
