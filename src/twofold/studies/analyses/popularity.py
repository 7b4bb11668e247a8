"""H1: does joint training correct the model's estimate of popularity?

The popularity distribution of each arm's retrieved items is compared with that of the test targets.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

import numpy as np
import pydantic

from twofold.evaluation.measures import PRIMARY
from twofold.records import Floats, Ints, Run, Task, other_task
from twofold.studies import plots
from twofold.studies.analyses.analysis import Analysis, Evidence
from twofold.studies.arms import control_name
from twofold.studies.values import SeedMean, Value
from twofold.tasks.popularity import kullback_leibler, popularity_distribution
from twofold.tasks.slicings import BANDS, popularity_bands

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from twofold.studies.result import StudyResult

Share = Annotated[float, pydantic.Field(ge=0, le=1)]


class Bands(Value):
    """The shares of targets or retrieved items in head, torso and tail."""

    of: str
    """The source of the targets or items: training of a task, test, or an arm."""
    head: Share
    torso: Share
    tail: Share


class Retrieved(Value):
    """The popularity of the items that an arm retrieves, by seed."""

    divergence: SeedMean
    """KL(test || retrieved) in nats."""
    gini: SeedMean
    coverage: SeedMean
    """The share of the catalog that is retrieved at least once."""


class TaskPopularity(Value):
    """The popularity distributions in training, in the test, and of each arm's retrieved items."""

    bands: list[Bands]
    arms: dict[str, Retrieved]


Popularity = dict[Task, TaskPopularity]


def popularity(evidence: Evidence) -> Popularity:
    """The popularity distributions of each task."""
    return {task: _of_task(evidence, task) for task in evidence.dataset.tasks}


def _of_task(evidence: Evidence, task: Task) -> TaskPopularity:
    """The popularity of what each arm of a task retrieves."""
    dataset, other = evidence.dataset, other_task(task)
    own, test = dataset.task(task).popularity, dataset.task(task).test_popularity
    folds, seeds = evidence.scores.folds, range(evidence.plan.seeds)
    tests = [folds.of(seed).task(task).test_popularity for seed in seeds]
    positions = dict(dataset.catalog.positions)
    retrieved = {
        arm: [retrieved_counts(run, positions) for run in evidence.scores.runs(arm, task)]
        for arm in (task, control_name(task), "joint")
    }
    counts = {
        f"training, {task}": own,
        f"training, {other}": dataset.task(other).popularity,
        "test": test,
        **{arm: np.sum(by_seed, axis=0) for arm, by_seed in retrieved.items()},
    }
    bands = popularity_bands(own)
    return TaskPopularity(
        bands=[
            Bands(of=name, **_shares(item_counts, bands)) for name, item_counts in counts.items()
        ],
        arms={
            arm: Retrieved(
                divergence=SeedMean.of(list(map(retrieved_divergence, by_seed, tests))),
                gini=SeedMean.of([gini(item_counts) for item_counts in by_seed]),
                coverage=SeedMean.of([float((item_counts > 0).mean()) for item_counts in by_seed]),
            )
            for arm, by_seed in retrieved.items()
        },
    )


def retrieved_counts(run: Run, positions: Mapping[str, int]) -> Ints:
    """How often each item is in the first k ranks, (N,); k is that of Recall@30."""
    counts = np.zeros(len(positions), dtype=np.int64)
    for request_id in run:
        first = run[request_id].item_ids[: PRIMARY.k]
        np.add.at(counts, [positions[item_id] for item_id in first], 1)
    return counts


def retrieved_divergence(retrieved: Ints, test: Ints) -> float:
    """KL(test || retrieved) of the two popularity distributions, in nats, add-one smoothed: small
    if the model has learned the popularity of the test.

    Args:
        retrieved, test: the counts of each item, (N,).
    """
    return kullback_leibler(popularity_distribution(test), popularity_distribution(retrieved))


def gini(counts: Ints) -> float:
    """The Gini coefficient: 0 if all items are retrieved equally often, near 1 if only few are."""
    if not counts.sum():
        return 0.0
    ordered: Floats = np.sort(counts).astype(np.float64)
    below = np.cumsum(ordered) / ordered.sum()
    return float(1 - 2 * below.mean() + 1 / len(counts))


def _shares(counts: Ints, bands: Ints) -> dict[str, float]:
    total = max(1, int(counts.sum()))
    return {name: float(counts[bands == n].sum() / total) for n, name in enumerate(BANDS)}


def figure(result: Popularity, _study: "StudyResult") -> "Figure":
    """Head, torso and tail in training, in the test and of each arm's retrieved items."""
    figure, axes = plots.panels(len(result), 1, 2.0 * len(result) + 0.5)
    for axis, (task, of_task) in zip(axes, result.items(), strict=True):
        rows = of_task.bands[::-1]
        for row, bands in enumerate(rows):
            left = 0.0
            for name, alpha in (("head", 1.0), ("torso", 0.6), ("tail", 0.25)):
                label, share = name if row == 0 else None, getattr(bands, name)
                axis.barh(
                    row, share, left=left, color=plots.COLOURS[task], alpha=alpha, label=label
                )
                left += share
        axis.set_yticks(range(len(rows)), [bands.of for bands in rows])
        axis.tick_params(axis="y", labelsize=8)
        axis.set_xlim(0, 1)
        plots.title(axis, task)
        axis.legend(frameon=False, ncols=3, fontsize=8, loc="lower right", bbox_to_anchor=(1, 1))
    axes[-1].set_xlabel("share of targets, or of retrieved items")
    return figure


CHAPTER = """
<h2>Popularity (H1)</h2>
<p>Hypothesis H1 of Penha et al.: a joint model is better since it learns from both tasks how
popular each item is. {% set divergence = study.of("data").divergence %}
{% for task in tasks %}{% set key = "kl_test_" ~ task ~ "_from_train_" %}
The popularity distribution of the test targets of {{ task }} diverges by
{{ divergence[key ~ task] | number }} nats from that of its own training targets, and by
{{ divergence[key ~ other_task(task)] | number }} nats from that of {{ other_task(task) }}'s.
{% endfor %} H1 can explain a gain of a task only if the divergence from the other task's targets
is small.</p>
<figure>
{{ figures.bands | safe }}
<figcaption>Shares of head, torso and tail items among the training targets of each task, among the
test targets, and among the first {{ study.stamp.primary.split("@")[1] }} ranks of each arm. If H1
holds, the bar of joint is nearer to that of the test than the bar of the plain arm is.</figcaption>
</figure>
<div class="wide">
<table>
<caption>The rows <em>training</em> and <em>test</em> describe the data, the others the items that
an arm retrieves. KL: the Kullback-Leibler divergence of the test's popularity distribution from
that of the retrieved items, in nats, add-one smoothed; smaller is nearer. Gini: 0 if all items are
retrieved equally often, near 1 if only few are. Coverage: the share of the catalog that is
retrieved for some request. Means over the seeds.</caption>
<thead><tr><th>targets or arm</th><th>head</th><th>torso</th>
<th>tail</th><th>KL</th><th>Gini</th><th>cover&shy;age</th></tr></thead>
<tbody>
{% for task, of_task in result.items() %}
<tr><th class="group" colspan="7">{{ task }}</th></tr>
{% for bands in of_task.bands %}
{% set arm = of_task.arms.get(bands.of) %}
<tr><td>{{ bands.of }}</td>
<td>{{ bands.head | number }}</td><td>{{ bands.torso | number }}</td>
<td>{{ bands.tail | number }}</td>
{% if arm %}<td>{{ arm.divergence.mean | number }}</td><td>{{ arm.gini.mean | number }}</td>
<td>{{ arm.coverage.mean | number }}</td>{% else %}<td></td><td></td><td></td>{% endif %}</tr>
{% endfor %}{% endfor %}
</tbody>
</table>
</div>
"""

ANALYSIS = Analysis("popularity", Popularity, popularity, CHAPTER, {"bands": figure})
