"""Properties of won and lost requests: item pairs that are only in the other task's data (H2), and
the popularity of the target (H1).

The *sources* of a request are, in recommendation, the items of its history and, in search, the
relevant items of the training queries that share its rarest word. A request is *linked* if a source
and a target occur together only in the other task's training data. The share that is linked by
chance is measured with a random item of about the same popularity in place of the target: if the
two shares are equal, the pairs explain nothing.
"""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pydantic
from scipy import stats

from twofold.data.words import query_key, words
from twofold.records import Floats, Ints, Request, Task, other_task
from twofold.studies.analyses.analysis import Analysis, Evidence
from twofold.studies.analyses.representation import matched_pairs
from twofold.studies.scores import Scores
from twofold.studies.statistics.pairs import Pairs
from twofold.studies.statistics.reasons import LEVEL
from twofold.studies.values import Interval, Value
from twofold.tasks.popularity import combined_popularity
from twofold.tasks.prepared import PreparedDataset
from twofold.tasks.requests import JudgedRequests

Mask = npt.NDArray[np.bool_]

_SOURCES = 200
"""The largest number of sources of a request; of a history, the last ones."""


class Cases(Value):
    """Test requests that joint training wins, loses or ties against the plain arm."""

    requests: int
    linked: float | None = pydantic.Field(alias="told")
    """The share of cases that are linked."""
    interval: Interval | None
    """The Wilson interval of that share."""
    by_chance: float | None
    """The share with a random item of about the same popularity in place of the target."""


class Coefficient(Value):
    """A coefficient of a regression."""

    value: float
    interval: Interval


class Regression(Value):
    """A least-squares regression of the mean gain of each target item on standardised logs."""

    items: int
    coefficients: dict[str, Coefficient]


class TaskWins(Value):
    """The won, lost and tied requests of one task."""

    only_known_to: Task
    """The other task; requests are linked by pairs that are only in its training data."""
    won: Cases
    lost: Cases
    tied: Cases
    regression: Regression | None
    """None if there are too few items."""

    @property
    def outcomes(self) -> Mapping[str, Cases]:
        """The cases by name."""
        return {"won": self.won, "lost": self.lost, "tied": self.tied}


Wins = dict[Task, TaskWins]
"""The cases by task."""


def wins(evidence: Evidence) -> Wins:
    """The linked cases that joint wins, loses and ties, and a regression of the gain."""
    popularity = combined_popularity(evidence.dataset)
    return {task: _of_task(evidence, task, popularity) for task in evidence.dataset.tasks}


def _of_task(evidence: Evidence, task: Task, popularity: Ints) -> TaskWins:
    dataset, pairs = evidence.dataset, evidence.pairs
    judged = dataset.task(task).requests("test")
    gain = _gains(evidence.scores, task)
    linked, by_chance = _linked(dataset, judged, pairs, popularity)
    chosen = {"won": gain > 0, "lost": gain < 0, "tied": gain == 0}
    return TaskWins(
        only_known_to=other_task(task),
        **{name: _cases(linked[rows], by_chance[rows]) for name, rows in chosen.items()},
        regression=_regression(dataset, judged, gain, pairs),
    )


def _gains(scores: Scores, task: Task) -> Floats:
    """Joint minus plain of each request, averaged over the seeds, (R,). With folds, only the first
    seed's requests are used, since other folds have other training data."""
    joint, plain = (scores.of_first_fold(arm, task).mean(axis=0) for arm in ("joint", task))
    return np.asarray(joint - plain)


def _cases(linked: Mask, by_chance: Mask) -> Cases:
    """The share of linked cases, and the share that is linked by chance."""
    size, count = len(linked), int(linked.sum())
    if not size:
        return Cases(requests=0, linked=None, interval=None, by_chance=None)
    interval = stats.binomtest(count, size).proportion_ci(LEVEL, method="wilson")
    return Cases(
        requests=size,
        linked=count / size,
        interval=(interval.low, interval.high),
        by_chance=float(by_chance.mean()),
    )


def _linked(
    dataset: PreparedDataset, judged: JudgedRequests, pairs: Pairs, popularity: Ints
) -> tuple[Mask, Mask]:
    """Whether each request is linked, and whether it is linked by chance, (R,) each."""
    links = pairs.known_only_to[other_task(judged.task)]
    sources = _Sources(dataset)
    positions = dataset.catalog.positions
    items = np.arange(len(popularity))
    other = matched_pairs(np.stack([items, items], axis=1), popularity)[:, 0]
    linked = np.zeros((2, len(judged.requests)), dtype=bool)
    for row, request in enumerate(judged.requests):
        joined = links[sources.of(request)]
        right = [positions[item_id] for item_id in judged.qrels[request.request_id]]
        linked[:, row] = [joined[:, targets].nnz > 0 for targets in (right, other[right])]
    return linked[0], linked[1]


class _Sources:
    """The sources of a request; see the module."""

    def __init__(self, dataset: PreparedDataset) -> None:
        self._positions = dataset.catalog.positions
        self._relevant = dataset.task("search").items_by_query
        self._queries: dict[str, list[str]] = {}
        for key in self._relevant:
            for word in set(words(key)):
                self._queries.setdefault(word, []).append(key)

    def of(self, request: Request) -> Ints:
        """The sources as catalog positions."""
        if request.query is None:
            last = request.history[-_SOURCES:]
            return np.array([self._positions[item_id] for item_id in last], dtype=np.int64)
        trained_words = [w for w in words(query_key(request.query)) if w in self._queries]
        if not trained_words:
            return np.zeros(0, dtype=np.int64)
        rarest = min(trained_words, key=lambda word: (len(self._queries[word]), word))
        queries = self._queries[rarest][:_SOURCES]
        return np.concatenate([self._relevant[key] for key in queries])[:_SOURCES]


def _regression(
    dataset: PreparedDataset, judged: JudgedRequests, gain: Floats, pairs: Pairs
) -> Regression | None:
    """Weighted least squares of the mean gain of each target item on the logs of its popularity
    in each task and of the pairs that are only in the other task, each standardised; robust errors.
    """
    total, weight = _gain_by_item(dataset, judged, gain)
    asked, other = np.flatnonzero(weight), other_task(judged.task)
    links = pairs.known_only_to[other]
    columns = {
        **{
            f"log popularity in {task}": np.log1p(dataset.task(task).popularity)
            for task in dataset.tasks
        },
        f"log pairs only in {other}": np.log1p(np.diff(links.indptr)),
    }
    usable = {name: c[asked] for name, c in columns.items() if c[asked].std() > 0}
    if len(asked) <= 2 * (len(usable) + 1) or not usable:
        return None
    standard = [(c - c.mean()) / c.std() for c in usable.values()]
    design = np.stack([np.ones(len(asked)), *standard], axis=1)
    values, errors = weighted_least_squares(design, total[asked] / weight[asked], weight[asked])
    half = float(stats.norm.ppf(0.5 + LEVEL / 2)) * errors
    return Regression(
        items=len(asked),
        coefficients={
            name: Coefficient(value=float(v), interval=(float(v - h), float(v + h)))
            for name, v, h in zip(usable, values[1:], half[1:], strict=True)
        },
    )


def _gain_by_item(
    dataset: PreparedDataset, judged: JudgedRequests, gain: Floats
) -> tuple[Floats, Floats]:
    """For each item, the summed gain and the number of the requests with it as a target, (N,)."""
    n, positions = len(dataset.catalog), dataset.catalog.positions
    total, weight = np.zeros(n), np.zeros(n)
    for row, request in enumerate(judged.requests):
        for item_id in judged.qrels[request.request_id]:
            total[positions[item_id]] += gain[row]
            weight[positions[item_id]] += 1
    return total, weight


def weighted_least_squares(
    design: Floats, outcome: Floats, weights: Floats
) -> tuple[Floats, Floats]:
    """Coefficients and their heteroscedasticity-robust (HC1) standard errors.

    Args:
        design: (M, P).
        outcome: (M,).
        weights: (M,).
    """
    inverse = np.linalg.pinv(design.T @ (design * weights[:, None]))
    values = inverse @ (design.T @ (weights * outcome))
    residuals = weights * (outcome - design @ values)
    middle = design.T @ (design * residuals[:, None] ** 2)
    m, p = design.shape
    return values, np.sqrt(np.diag(inverse @ middle @ inverse) * m / (m - p))


CHAPTER = """
<h2>Wins and losses</h2>
<p>A request is <em>won</em> if joint has a higher {{ study.stamp.primary }} for it than the plain
arm. Do the requests that joint wins have something in common? A request is <em>linked</em> if the
other task's training data, and only these, have the relevant item together with an item of the
history (in search: with an item that is relevant to training queries with the query's rarest word).
If H2 holds, won requests are linked more often than lost ones, and more often than by chance, which
is measured with a random item of about the same popularity in place of the relevant one. If nearly
all or nearly no requests are linked by chance, the table says nothing about H2.</p>
<div class="wide">
<table>
<thead><tr><th>joint against plain</th><th>requests</th><th>share linked</th><th>95 % interval</th>
<th>linked by chance</th></tr></thead>
<tbody>
{% for task, wins in result.items() %}
<tr><th class="group" colspan="5">{{ task }}</th></tr>
{% for name, cases in wins.outcomes.items() %}
<tr><td>{{ name }}</td><td>{{ cases.requests | count }}</td>
{% if cases.requests %}<td>{{ cases.linked | number }}</td><td>{{ cases.interval | range }}</td>
<td>{{ cases.by_chance | number }}</td>{% else %}<td></td><td></td><td></td>{% endif %}</tr>
{% endfor %}{% endfor %}
</tbody>
</table>
</div>
<p>Which items gain? A positive coefficient means that items with a larger value gain more from
joint training.</p>
<div class="wide">
<table>
<caption>Least-squares regression of the mean gain of each target item, weighted by its requests, on
the standardised logarithms in the first column; heteroscedasticity-robust intervals.
Exploratory.</caption>
<thead><tr><th>property of an item</th><th>coefficient</th><th>95 % interval</th></tr></thead>
<tbody>
{% for task, wins in result.items() if wins.regression %}
<tr><th class="group" colspan="3">gain in {{ task }}</th></tr>
{% for name, coefficient in wins.regression.coefficients.items() %}
<tr><td>{{ name }}</td><td>{{ coefficient.value | signed }}</td>
<td>{{ coefficient.interval | interval }}</td></tr>
{% endfor %}{% endfor %}
</tbody>
</table>
</div>
"""

ANALYSIS = Analysis("wins", Wins, wins, CHAPTER)
