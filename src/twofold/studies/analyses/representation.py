"""H2: does joint training move the embeddings of related items closer together?

The analysis reads the item embeddings of the arms' models. Pairs of items share items, so the
intervals over pairs are exploratory.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from twofold.data.dataset import Catalog
from twofold.encoders.vectors import unit
from twofold.evaluation.significance import difference, mean
from twofold.records import TASKS, Floats, Ints, Task
from twofold.studies import plots
from twofold.studies.analyses.analysis import Analysis, Evidence
from twofold.studies.statistics.pairs import CLASSES, PairClass, PairCounts, Pairs
from twofold.studies.values import Difference, SeedMean, Value
from twofold.tasks.folds import Folds
from twofold.tasks.popularity import combined_popularity

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from twofold.model.checkpoint import GenerativeModel
    from twofold.studies.result import StudyResult

_ARMS = (*TASKS, "joint")
_SAMPLE = 5_000
"""The largest number of pairs that are drawn from each class."""
_NEAR = 0.01
"""Items are equally popular if their popularity ranks differ by at most this share of the
catalog."""
_REDRAWS = 20
"""The number of times that a matched pair is drawn again if its two items are the same."""
_POINTS = 1_000
_NEIGHBOURS = 10
_FEW, _MANY = 2, 50
"""An attribute may colour the projection if its number of values is in this range."""
_NAMED = 6
"""The number of values with their own colour."""

Embeddings = Mapping[str, Sequence[Floats]]
"""By arm, the item embeddings (N, D) of each seed."""


class ArmCosine(Difference):
    """The mean cosine of an arm's pairs of one class, and its difference to matched pairs."""

    cosine: float
    matched: float
    """The mean cosine of random pairs of equally popular items."""


class ClassCosines(Value):
    """The cosines of one class of pairs, by arm."""

    sampled: int
    """The number of pairs that were drawn."""
    search: ArmCosine
    recommendation: ArmCosine
    joint: ArmCosine
    joint_minus: dict[Task, Difference]
    """The joint arm's difference to matched pairs, minus that of the task's plain arm."""

    @property
    def arms(self) -> dict[str, ArmCosine]:
        """The cosines by the arm's name."""
        return {arm: getattr(self, arm) for arm in _ARMS}


class Projection(Value):
    """Items in two dimensions."""

    labels: list[str]
    """The value that colours each item, (P,)."""
    points: dict[str, list[tuple[float, float]]]
    """By arm, the coordinates of each item, (P, 2)."""


class Representation(Value):
    """The effect of joint training on the item embeddings."""

    pairs: PairCounts
    cosines: dict[PairClass, ClassCosines | None]
    """By class of pairs; None if a class has too few pairs."""
    attribute: str | None
    """The attribute of items that colours the projection."""
    neighbours_alike: dict[str, SeedMean] | None
    """By arm, the share of an item's nearest neighbours with the same value of the attribute."""
    projection: Projection


def representation(evidence: Evidence) -> Representation:
    """The redundancy of the tasks' pairs, cosines by class of pair, neighbours, a projection."""
    from twofold.retrieval.generative import load_model

    embeddings = {
        arm: [
            item_embeddings(load_model(evidence.folder.model(arm, seed)).model)
            for seed in range(evidence.plan.seeds)
        ]
        for arm in _ARMS
    }
    of_pairs = _of_pairs(embeddings, evidence.scores.folds)
    dataset, attribute = evidence.dataset, first_attribute(evidence.dataset.catalog)
    popularity = combined_popularity(dataset)
    return Representation(
        pairs=evidence.pairs.counts(),
        cosines={name: _cosines(name, evidence.pairs, popularity, of_pairs) for name in CLASSES},
        attribute=attribute.name if attribute is not None else None,
        neighbours_alike=_neighbours(embeddings, attribute),
        projection=_projection(popularity, embeddings, attribute),
    )


def _of_pairs(embeddings: Embeddings, folds: Folds) -> Embeddings:
    """The embeddings of models that learned from these pairs. The pairs are from the first seed's
    training data; with folds, other seeds learned from other data."""
    return {arm: seeds[:1] if folds.any else seeds for arm, seeds in embeddings.items()}


def item_embeddings(model: "GenerativeModel") -> Floats:
    """The embeddings of each item's codes, concatenated over the levels, (N, levels x D)."""
    by_code = model.backbone.output_embeddings().detach().cpu().double().numpy()
    codes = model.vocabulary.spaces.recommendation.codes
    starts = [codebook.start for codebook in model.vocabulary.spaces.codebooks[: codes.shape[1]]]
    embeddings: Floats = by_code[codes + starts].reshape(len(codes), -1)
    return embeddings


def pair_cosines(embeddings: Floats, pairs: Ints) -> Floats:
    """The cosine between the embeddings of pairs of items, (P,).

    Args:
        embeddings: the item embeddings, (N, D).
        pairs: the catalog positions of the pairs, (P, 2).
    """
    directions = unit(embeddings)
    cosines: Floats = (directions[pairs[:, 0]] * directions[pairs[:, 1]]).sum(axis=1)
    return cosines


def matched_pairs(pairs: Ints, popularity: Ints, seed: int = 0) -> Ints:
    """For each pair, a pair of other items of about the same popularity, (P, 2).

    Equally popular items are in random order, since neighbours in the catalog may be similar.
    """
    rng = np.random.default_rng(seed)
    order = np.lexsort((rng.random(len(popularity)), -popularity))
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order))
    reach = min(len(order) - 1, max(2, round(_NEAR * len(order))))

    def near(places: Ints) -> Ints:
        """For each item, one at most `reach` ranks away."""
        steps = rng.integers(1, reach + 1, len(places)) * rng.choice([-1, 1], len(places))
        # At the ends of the order the step goes the other way.
        outside = (places + steps < 0) | (places + steps >= len(order))
        moved: Ints = np.clip(np.where(outside, places - steps, places + steps), 0, len(order) - 1)
        return moved

    first, second = near(rank[pairs[:, 0]]), near(rank[pairs[:, 1]])
    for _ in range(_REDRAWS):
        same = first == second
        second[same] = near(rank[pairs[same, 1]])
    return np.stack([order[first], order[second]], axis=1)


def _cosines(
    name: PairClass, pairs: Pairs, popularity: Ints, embeddings: Embeddings
) -> ClassCosines | None:
    """The mean cosine of one class by arm, that of matched random pairs, and the difference."""
    chosen = pairs.sample(name, _SAMPLE)
    if len(chosen) < 2:
        return None
    matched, units = matched_pairs(chosen, popularity), np.arange(len(chosen))
    by_arm, beyond = {}, {}
    for arm, seeds in embeddings.items():
        cosines = np.stack([pair_cosines(of_seed, chosen) for of_seed in seeds])
        random = np.stack([pair_cosines(of_seed, matched) for of_seed in seeds])
        beyond[arm] = cosines - random
        by_arm[arm] = ArmCosine(
            cosine=float(cosines.mean()),
            matched=float(random.mean()),
            **dict(Difference.of(mean(beyond[arm], units))),
        )
    return ClassCosines(
        sampled=len(chosen),
        **by_arm,
        joint_minus={
            task: Difference.of(difference(beyond["joint"], beyond[task], units)) for task in TASKS
        },
    )


def first_attribute(catalog: Catalog) -> pl.Series | None:
    """The attribute that colours items: the first one with few values that are not numbers. If an
    item has several values (`Action|Comedy`), the first one is used."""
    for name in catalog.items.columns:
        if name in ("item_id", "title", "text"):
            continue
        values = catalog.items[name].cast(pl.String).fill_null("").str.split("|").list.first()
        filled = values.filter(values != "")
        numbers = filled.cast(pl.Float64, strict=False).is_not_null().all()
        if _FEW <= filled.n_unique() <= _MANY and not numbers:
            return values.alias(name)
    return None


def _neighbours(embeddings: Embeddings, attribute: pl.Series | None) -> dict[str, SeedMean] | None:
    """By arm, the share of an item's nearest neighbours with the same value of the attribute."""
    if attribute is None:
        return None
    values = attribute.to_numpy()
    items = np.flatnonzero(values != "")
    items = np.sort(np.random.default_rng(0).permutation(items)[:_POINTS])

    def share_alike(of_seed: Floats) -> float:
        nearest = _nearest(unit(of_seed), items)
        return float((values[nearest] == values[items][:, None]).mean())

    return {
        arm: SeedMean.of([share_alike(of_seed) for of_seed in seeds])
        for arm, seeds in embeddings.items()
    }


def _nearest(directions: Floats, items: Ints) -> Ints:
    """The other items with the largest cosine, (A, up to 10)."""
    depth = min(_NEIGHBOURS, len(directions) - 1)
    nearest = []
    for chunk in np.array_split(items, max(1, len(items) // 100)):
        scores = directions[chunk] @ directions.T
        scores[np.arange(len(chunk)), chunk] = -np.inf
        nearest.append(np.argpartition(-scores, depth - 1, axis=1)[:, :depth])
    return np.concatenate(nearest)


def _projection(
    popularity: Ints, embeddings: Embeddings, attribute: pl.Series | None
) -> Projection:
    """t-SNE of the first seed's embeddings of the most popular items, and their labels."""
    chosen = np.argsort(-popularity, kind="stable")[:_POINTS]
    labels = ["all"] * len(chosen)
    if attribute is not None:
        values = attribute[chosen.tolist()]
        top = values.filter(values != "").value_counts(sort=True)[attribute.name][:_NAMED].to_list()
        labels = [value if value in top else "other" for value in values]
    return Projection(
        labels=labels,
        points={arm: _flat(seeds[0][chosen]) for arm, seeds in embeddings.items()},
    )


def _flat(embeddings: Floats) -> list[tuple[float, float]]:
    """The t-SNE coordinates, (N, 2), rounded for a figure."""
    from sklearn.manifold import TSNE

    tsne = TSNE(perplexity=min(30.0, len(embeddings) / 4), init="pca", random_state=0)
    points: list[tuple[float, float]] = np.round(tsne.fit_transform(unit(embeddings)), 2).tolist()
    return points


def cosine_figure(result: Representation, _study: "StudyResult") -> "Figure":
    """The cosine of pairs of each class minus that of random, equally popular pairs."""
    classes = {name: result.cosines[name] for name in CLASSES}
    shown = {name: cosines for name, cosines in classes.items() if cosines is not None}
    figure, (axis,) = plots.panels(1, 1, 2.6)
    axis.axhline(0, color=plots.INK, lw=1)
    for shift, arm in zip((-0.2, 0.0, 0.2), _ARMS, strict=True):
        colour = plots.COLOURS[arm]
        for x, cosines in enumerate(shown.values()):
            effect, label = cosines.arms[arm], arm if x == 0 else None
            axis.plot([x + shift] * 2, effect.interval, color=colour, lw=2)
            axis.plot(x + shift, effect.difference, "o", color=colour, label=label)
    axis.set_xticks(range(len(shown)), list(shown))
    axis.set_ylabel("cosine − that of matched pairs")
    plots.legend(axis)
    return figure


def projection_figure(result: Representation, _study: "StudyResult") -> "Figure":
    """Item embeddings of the single-task arms and of joint in two dimensions."""
    labels = result.projection.labels
    names = _by_size(labels)
    figure, axes = plots.panels(1, 3, 2.9)
    for axis, (arm, points) in zip(axes, result.projection.points.items(), strict=True):
        for number, name in enumerate(names):
            of_group = [point for point, label in zip(points, labels, strict=True) if label == name]
            *colours, other = plots.CATEGORIES
            colour = other if name == "other" else colours[number % len(colours)]
            across, up = zip(*of_group, strict=True)
            axis.scatter(across, up, s=4, color=colour, label=name, lw=0)
        axis.set_xticks([])
        axis.set_yticks([])
        plots.title(axis, arm)
    if len(names) > 1:
        handles, names = axes[0].get_legend_handles_labels()
        style = {"ncols": 4, "fontsize": 8, "frameon": False, "markerscale": 3}
        figure.legend(handles, names, loc="outside lower center", **style)
    return figure


def _by_size(labels: Sequence[str]) -> list[str]:
    """The different labels, the most frequent first and `other` last."""
    names = sorted(set(labels), key=lambda name: (-labels.count(name), name))
    return sorted(names, key=lambda name: name == "other")


CHAPTER = """
{% macro share(value) %}{{ "unknown" if value is none else value | number }}{% endmacro %}
{% set pairs = result.pairs %}
<h2>Representation (H2)</h2>
<p>Hypothesis H2 of Penha et al.: a joint model is better since each task teaches it which items
belong together. How much do the tasks share? {{ share(pairs.relevant_given_together) }} of the item
pairs in one training history are also relevant to one training query (of all pairs,
{{ pairs.relevant_at_random | number }} are). {{ share(pairs.together_given_relevant) }} of the item
pairs that are relevant to one query are also in one history (of all pairs,
{{ pairs.together_at_random | number }} are).</p>
<figure>
{{ figures.cosines | safe }}
<figcaption>The mean cosine between the item embeddings of a pair, minus that of random pairs of
equally popular items. <em>Together only</em>: pairs in one history but not relevant to one query.
<em>Relevant only</em>: the reverse. If H2 holds, <em>relevant only</em> pairs are closer in joint
than in recommendation, and <em>together only</em> pairs are closer in joint than in
search.</figcaption>
</figure>
<div class="wide">
<table>
<caption>Matched: the cosine of random pairs of equally popular items. Joint − arm: the difference
in joint minus that in the arm of the row. At most 5,000 pairs of each class are drawn; pairs share
items, so the intervals are exploratory.
{% if study.stamp.folded %}Models and pairs are those of the first seed, since other seeds
have other training data. {% endif %}
{% if pairs.looked_at.histories < 1 or pairs.looked_at.queries < 1 %}Counts are those of a sample:
{{ pairs.looked_at.histories | number }} of the histories and {{ pairs.looked_at.queries | number }}
of the queries.{% endif %}</caption>
<thead><tr><th>arm</th><th>cosine</th><th>matched</th>
<th>difference</th><th>joint − arm</th></tr></thead>
<tbody>
{% for name, cosines in result.cosines.items() %}
<tr><th class="group" colspan="5">{{ name }}: {{ pairs.of(name) | count }} pairs</th></tr>
{% if cosines %}{% for arm, cosine in cosines.arms.items() %}
<tr><td>{{ arm }}</td>
<td>{{ cosine.cosine | signed }}</td><td>{{ cosine.matched | signed }}</td>
<td>{{ cosine | effect }}</td>
<td>{% if arm != "joint" %}{{ cosines.joint_minus[arm] | effect }}{% endif %}</td></tr>
{% endfor %}{% else %}
<tr><td colspan="5">too few pairs to measure</td></tr>
{% endif %}{% endfor %}
</tbody>
</table>
</div>
<figure>
{{ figures.projection | safe }}
<figcaption>Embeddings of the {{ result.projection.labels | length }} most popular items by t-SNE,
first seed{% if result.attribute %}, coloured by {{ result.attribute }}. Share of an item's 10
nearest neighbours that have its {{ result.attribute }}:
{% for arm, share in result.neighbours_alike.items() %}
{{ arm }} {{ share.mean | number }}{{ ", " if not loop.last }}{% endfor %}{% endif %}.</figcaption>
</figure>
"""

ANALYSIS = Analysis(
    "representation",
    Representation,
    representation,
    CHAPTER,
    {"cosines": cosine_figure, "projection": projection_figure},
)
