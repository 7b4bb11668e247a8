"""How much of a gain is due to popularity (H1) and how much to content (H2).

The analysis answers two questions. *What is the effect of the added task's data?* The cells of the
2 x 2 are means of one task under joint training with the other one *real*, *shuffled* (popularity
without content), *flattened* (pairs without popularity) and *noise* (neither). The gain of real
data over noise is divided between the two factors by their Shapley values: each factor's effect,
averaged over the presence and absence of the other. *What are the parts of joint's gain over the
plain arm?* The step-matched control and the placebo *absent*, whose added task has popularity but
no pair, decompose it: longer training, popularity, and pairs sum to the gain.

Noise teaches wrong pairs, which is not the same as no pairs, so the first gain may include the harm
of noise. A finding is therefore given only if joint also differs from the plain arm.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from twofold.evaluation.significance import Estimate, Moments
from twofold.records import TASKS, Floats, Ints, Task, other_task
from twofold.studies import plots
from twofold.studies.analyses.analysis import Analysis, Evidence
from twofold.studies.arms import control_name
from twofold.studies.cells import Cell, Row, Table
from twofold.studies.interventions import PLACEBOS, TWO_BY_TWO, TaskIntervention
from twofold.studies.values import Difference, Interval, Value

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from twofold.studies.result import StudyResult

CellName = Literal[
    "real", "shuffled", "flattened", "noise", "absent", "random-weights", "plain", "control"
]
CELLS: tuple[CellName, ...] = ("real", "shuffled", "flattened", "noise")
"""The cells of the 2 x 2."""
ALL_CELLS: tuple[CellName, ...] = (*CELLS, *PLACEBOS, "plain", "control")
"""The cells of the 2 x 2, its placebos, and the two arms that learn the helped task alone."""


class Quantity(NamedTuple):
    """A weighted sum of the cells' means.

    Attributes:
        name: its name in the report.
        weights: the weight of each cell that is part of it.
    """

    name: str
    weights: Mapping[CellName, float]


QUANTITIES: Mapping[str, Quantity] = {
    "gain_over_plain": Quantity("joint − plain", {"real": 1, "plain": -1}),
    "training": Quantity("longer training: control − plain", {"control": 1, "plain": -1}),
    "popularity_alone": Quantity(
        "popularity alone: absent − control", {"absent": 1, "control": -1}
    ),
    "pairs": Quantity("pairs: joint − absent", {"real": 1, "absent": -1}),
    "gain": Quantity("joint − noise", {"real": 1, "noise": -1}),
    "popularity": Quantity(
        "popularity (H1)", {"real": 0.5, "shuffled": 0.5, "flattened": -0.5, "noise": -0.5}
    ),
    "content": Quantity(
        "content (H2)", {"real": 0.5, "shuffled": -0.5, "flattened": 0.5, "noise": -0.5}
    ),
    "popularity_minus_content": Quantity("H1 − H2", {"shuffled": 1, "flattened": -1}),
    "interaction": Quantity(
        "interaction", {"real": 1, "shuffled": -1, "flattened": -1, "noise": 1}
    ),
    "shuffled_minus_noise": Quantity("shuffled − noise", {"shuffled": 1, "noise": -1}),
    "flattened_minus_noise": Quantity("flattened − noise", {"flattened": 1, "noise": -1}),
    "wrong_pairs": Quantity("wrong pairs: shuffled − absent", {"shuffled": 1, "absent": -1}),
    "weights_alone": Quantity(
        "weights alone: random weights − joint", {"random-weights": 1, "real": -1}
    ),
    "noise_minus_plain": Quantity("noise − plain", {"noise": 1, "plain": -1}),
}
"""Every quantity, by its field in `Parts`, in the order of the report. `training`,
`popularity_alone` and `pairs` sum to `gain_over_plain`; `popularity` and `content` sum to `gain`.
"""

_WIDEST_SHARE = 1.0
"""No share is given if its interval is wider than this."""

Finding = Literal[
    "popularity",
    "content",
    "both",
    "only together",
    "cannot be told apart",
    "not what noise lacks",
    "no gain",
]
"""The possible findings, as in study.json."""

_SENTENCES: dict[Finding, str] = {
    "no gain": "nothing to attribute: {what} cannot be distinguished from 0.",
    "not what noise lacks": (
        "nothing to attribute: joint training and the real data in {added} change {task} in "
        "opposite directions."
    ),
    "popularity": "mostly popularity (H1): it accounts for more of {what} than content.",
    "content": "mostly content (H2): it accounts for more of {what} than popularity.",
    "both": "popularity and content both contribute to {what}; neither significantly more.",
    "only together": (
        "popularity and content only together: neither of them alone explains any of {what}."
    ),
    "cannot be told apart": "the parts of popularity and content in {what} are uncertain.",
}


class Shares(Value):
    """Popularity and content as shares of the gain."""

    popularity: float
    content: float
    popularity_interval: Interval | None = None
    """The 95 % interval by Fieller's method; None in older studies."""
    content_interval: Interval | None = None


class Shuffling(Value):
    """The effect of shuffling on the added task's training data; the largest over the seeds."""

    kl_before_after: float
    """KL(before || after) of the popularity distributions, in nats."""
    targets_renamed: float
    """The share of targets that were replaced by another item."""


class Parts(Value):
    """The parts of one task's gain, and the finding."""

    means: dict[CellName, float]
    gain_over_plain: Difference | None = None
    """Joint minus the plain arm. Older studies lack this and other fields, which are then null."""
    training: Difference | None = None
    """The step-matched control minus the plain arm."""
    popularity_alone: Difference | None = None
    """Joint with the added task's targets in random contexts (absent), minus the control."""
    pairs: Difference | None = None
    """Joint minus joint with the added task's targets in random contexts (absent)."""
    gain: Difference
    """Joint with real data minus joint with noise."""
    popularity: Difference
    content: Difference
    popularity_minus_content: Difference
    interaction: Difference
    shuffled_minus_noise: Difference | None = None
    """The effect of popularity without content."""
    flattened_minus_noise: Difference | None = None
    """The effect of content without popularity."""
    wrong_pairs: Difference | None = None
    """Shuffled minus absent: the effect of wrong pairs."""
    weights_alone: Difference | None = None
    """Joint with the weights of flattened on random targets, minus joint."""
    noise_minus_plain: Difference
    shares: Shares | None
    """None if the interval of the gain includes 0, or the interval of a share is wider than 1."""
    finding: Finding

    @property
    def quantities(self) -> dict[str, Difference]:
        """Each difference by its name in the report."""
        parts = {quantity.name: getattr(self, part) for part, quantity in QUANTITIES.items()}
        return {name: value for name, value in parts.items() if value is not None}


class TaskAttribution(Parts):
    """The attribution of one task's gain."""

    added: Task
    """The added task, whose training data are changed."""
    still_improving: Sequence[CellName]
    """Cells with an arm whose training a cap ended while its validation rose."""
    shuffling: Shuffling
    effective_targets: float | None = None
    """The effective sample size of flattened, (sum of weights)^2 / sum of squared weights, as a
    share of its targets; the smallest over the seeds."""

    def sentence(self, task: Task, by_models: bool) -> str:
        """The finding of the 2 x 2 for `task`, as a sentence.

        Args:
            task: the helped task.
            by_models: whether there are too few seeds to estimate the seed variance.
        """
        over_plain = self.gain_over_plain
        if self.finding == "no gain" and over_plain and not over_plain.excludes_zero:
            what = f"the effect of joint training on {task}"
        else:
            change = "gain" if self.gain.difference > 0 else "loss"
            what = f"the {change} of {task} from real rather than noise in {self.added}"
        sentence = _SENTENCES[self.finding].format(what=what, task=task, added=self.added)
        care = ["for these trained models"] if by_models else []
        if self.still_improving:
            care.append("while arms are still improving")
        return f"{', '.join(care)}: {sentence}" if care else sentence


Attribution = dict[Task, TaskAttribution]
"""The attribution by helped task."""


def attribution(evidence: Evidence) -> Attribution | None:
    """The attribution of each task's gain; None without the interventions of the 2 x 2."""
    if "2x2" not in evidence.plan.interventions:
        return None
    return {task: _of_task(evidence, task) for task in TASKS}


def _of_task(evidence: Evidence, task: Task) -> TaskAttribution:
    """The attribution of one task's gain, from the scores of its arms."""
    scores, added = evidence.scores, other_task(task)
    arms: dict[CellName, str] = {"real": "joint", "plain": task, "control": control_name(task)}
    arms |= {kind: TaskIntervention(kind, added).arm.name for kind in (*TWO_BY_TWO, *PLACEBOS)}
    cells = {cell: scores.matrix(arms[cell], task) for cell in ALL_CELLS}
    done = {
        kind: [stamp.intervention or {} for stamp in scores.stamps[arms[kind]]]
        for kind in TWO_BY_TWO
    }
    return TaskAttribution(
        **dict(attribute(cells, scores.clusters(task))),
        added=added,
        still_improving=[cell for cell in CELLS if scores.is_still_improving(arms[cell])],
        shuffling=Shuffling(
            kl_before_after=max(made["kl_before_after"] for made in done["shuffled"]),
            targets_renamed=max(made["targets_renamed"] for made in done["shuffled"]),
        ),
        effective_targets=min(
            (
                made["effective_targets"]
                for made in done["flattened"]
                if "effective_targets" in made
            ),
            default=None,
        ),
    )


def attribute(cells: Mapping[CellName, Floats], clusters: Ints) -> Parts:
    """The parts of the gain, with 95 % intervals, and the finding.

    Args:
        cells: the scores (S, R) of each of `ALL_CELLS`.
        clusters: the cluster of each request, (R,).
    """
    moments = Moments([cells[name] for name in ALL_CELLS], clusters)

    def estimate(weights: Mapping[CellName, float]) -> Estimate:
        return moments.contrast([weights.get(cell, 0.0) for cell in ALL_CELLS])

    estimates = {part: estimate(quantity.weights) for part, quantity in QUANTITIES.items()}
    parts = {name: Difference.of(value) for name, value in estimates.items()}
    return Parts(
        means={name: float(np.nanmean(cells[name])) for name in ALL_CELLS},
        **parts,
        shares=_shares(estimates, estimate) if parts["gain"].excludes_zero else None,
        finding=_finding(parts),
    )


def _shares(
    estimates: Mapping[str, Estimate], estimate: Callable[[Mapping[CellName, float]], Estimate]
) -> Shares | None:
    """Both parts as shares of the gain; None if the interval of a share is too wide."""
    gain = estimates["gain"].value
    popularity, content = estimates["popularity"].value / gain, estimates["content"].value / gain
    of_popularity = _share_interval("popularity", popularity, estimate)
    of_content = _share_interval("content", content, estimate)
    if of_popularity is None or of_content is None:
        return None
    return Shares(
        popularity=popularity,
        content=content,
        popularity_interval=of_popularity,
        content_interval=of_content,
    )


def _share_interval(
    part: str, share: float, estimate: Callable[[Mapping[CellName, float]], Estimate]
) -> Interval | None:
    """The interval of a part's share of the gain by Fieller's method: the shares `r` for which
    part - r x gain cannot be distinguished from 0; None if it is wider than `_WIDEST_SHARE`."""
    own, whole = QUANTITIES[part].weights, QUANTITIES["gain"].weights

    def rejected(share: float) -> bool:
        weights = {cell: own.get(cell, 0.0) - share * whole.get(cell, 0.0) for cell in CELLS}
        return Difference.of(estimate(weights)).excludes_zero

    low, high = (_bound(rejected, share, direction) for direction in (-1.0, 1.0))
    if low is None or high is None or high - low > _WIDEST_SHARE:
        return None
    return low, high


def _bound(rejected: Callable[[float], bool], start: float, direction: float) -> float | None:
    """The last share from `start` on that is not rejected; None if it is `_WIDEST_SHARE` away."""
    inside, outside = 0.0, _WIDEST_SHARE
    if not rejected(start + direction * outside):
        return None
    for _ in range(30):
        middle = (inside + outside) / 2
        inside, outside = (
            (inside, middle) if rejected(start + direction * middle) else (middle, outside)
        )
    return start + direction * inside


def _finding(parts: Mapping[str, Difference]) -> Finding:
    """The larger part if the two differ significantly, both if neither is 0, or else uncertain."""
    whole, gain = parts["gain_over_plain"], parts["gain"]
    if not (whole.excludes_zero and gain.excludes_zero):
        return "no gain"
    if whole.difference * gain.difference < 0:
        return "not what noise lacks"
    alone = (parts["shuffled_minus_noise"], parts["flattened_minus_noise"])
    interaction = parts["interaction"]
    together = interaction.excludes_zero and interaction.difference * gain.difference > 0
    if together and not any(part.excludes_zero for part in alone):
        return "only together"
    popularity, content = parts["popularity"], parts["content"]
    if parts["popularity_minus_content"].excludes_zero:
        larger = abs(popularity.difference) > abs(content.difference)
        return "popularity" if larger else "content"
    if popularity.excludes_zero and content.excludes_zero:
        return "both"
    return "cannot be told apart"


def figure(result: Attribution, study: "StudyResult") -> "Figure":
    """The parts of joint's gain, and the effects of popularity and content added to noise, with
    95 % intervals."""
    shown = ("interaction", "content", "popularity", "gain")
    steps = ("pairs", "popularity_alone", "training", "gain_over_plain")
    known = next(iter(result.values())).quantities  # an older study lacks some
    names = [QUANTITIES[part].name for part in (*shown, *steps)]
    drawn = [name for name in names if name in known]
    figure, axes = plots.panels(len(result), 1, 0.35 * len(drawn) * len(result) + 0.8)
    for axis, (task, parts) in zip(axes, result.items(), strict=True):
        axis.axvline(0, color=plots.INK, lw=1)
        for row, name in enumerate(drawn):
            part = parts.quantities[name]
            axis.plot(part.interval, [row, row], color=plots.COLOURS[task], lw=3)
            axis.plot(part.difference, row, "o", color=plots.COLOURS[task], ms=8)
        axis.set_yticks(range(len(drawn)), drawn)
        axis.set_ylim(-0.6, len(drawn) - 0.4)
        plots.title(axis, task)
    axes[-1].set_xlabel(f"difference in {study.stamp.primary}")
    return figure


def tables(result: Mapping[Task, TaskAttribution], _study: "StudyResult") -> Iterable[Table]:
    """One row for each quantity."""
    rows: list[Row] = [
        (name, [Cell.difference(parts.quantities[name]) for parts in result.values()])
        for name in next(iter(result.values())).quantities
    ]
    yield Table("Attribution to popularity and content", list(result), rows)


CHAPTER = """
<h2>Popularity or content?</h2>
<p>Where does the effect of the added task come from: from the popularity of its items (H1), or from
the content of its pairs of request and item (H2)? To find out, joint is also trained on changed
data of the added task:</p>
<ul>
<li><em>shuffled</em>: items are permuted among about equally popular ones, which keeps
popularity and removes content;</li>
<li><em>flattened</em>: every item has the same total weight in the loss, which removes popularity
and keeps the pairs;</li>
<li><em>noise</em>: both.</li>
</ul>
<p>The gain of joint over noise is divided between popularity and content by their Shapley
values.</p>
{% if (result.values() | first).pairs %}
<p>Noise teaches wrong pairs, which is not the same as no pairs. So the difference of joint from
the plain arm is also divided without noise, into three parts that sum to it: longer training
(control − plain), popularity alone (absent − control, where <em>absent</em> has the added task's
targets in random contexts), and pairs (joint − absent). <em>Random weights</em> measures the
effect of weighting alone: it has the weights of flattened, but on random targets.</p>
{% endif %}
<figure>
{{ figures.attribution | safe }}
<figcaption>{% for task, parts in result.items() %}{{ task | capitalize }}:
{{ parts.sentence(task, study.by_models) }} {% endfor %}
Bars: 95 % intervals{{ " for these trained models" if study.by_models }}.</figcaption>
</figure>
<div class="wide">
<table class="roomy">
<thead><tr><th>{{ study.stamp.primary }}</th>{% for task in result %}<th>{{ task }}</th>{% endfor %}
</tr></thead>
<tbody>
{% for cell in (result.values() | first).means %}
<tr><td>{{ cell if cell in ("plain", "control") else "joint, " ~ cell }}</td>
{% for parts in result.values() %}<td>{{ parts.means[cell] | number }}</td>{% endfor %}</tr>
{% endfor %}
{% for name in (result.values() | first).quantities %}
<tr><td>{{ name }}</td>{% for parts in result.values() %}
<td>{{ parts.quantities[name] | effect }}</td>{% endfor %}</tr>
{% endfor %}
</tbody>
<caption>{% for task, parts in result.items() %}{{ task | capitalize }}:
{% if parts.shares and parts.shares.popularity_interval %}popularity
{{ parts.shares.popularity | percent }} ({{ parts.shares.popularity_interval[0] | percent }} to
{{ parts.shares.popularity_interval[1] | percent }}), content {{ parts.shares.content | percent }}
({{ parts.shares.content_interval[0] | percent }} to
{{ parts.shares.content_interval[1] | percent }}) of joint − noise{% else %}no shares, since their
intervals are too wide{% endif %}; shuffling {{ parts.added }} permutes
{{ parts.shuffling.targets_renamed | percent }} of its targets and changes its popularity
distribution by {{ parts.shuffling.kl_before_after | number }} nats{% if parts.effective_targets %};
the weights of flattened leave an effective sample size of
{{ parts.effective_targets | percent }} of the targets{% endif %}. {% endfor %}Inputs keep their
popularity in every arm. Exploratory.</caption>
</table>
</div>
"""

ANALYSIS = Analysis(
    "attribution", Attribution | None, attribution, CHAPTER, {"attribution": figure}, tables
)
