"""How much of a gain is due to popularity (H1) and how much to content (H2).

`twofold.studies.statistics.decomposition` divides the gain of real data over noise between the two,
and the gain of joint over the plain arm into longer training, popularity, and pairs. Popularity
and pairs are separated by the placebo *absent*, whose added task has popularity but no pair.

Noise teaches wrong pairs, which is not the same as no pairs, so the first gain may include the harm
of noise. A finding is therefore given only if joint also differs from the plain arm.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from twofold.records import TASKS, Task, other_task
from twofold.studies import plots
from twofold.studies.analyses.analysis import Analysis, Evidence
from twofold.studies.arms import control_name
from twofold.studies.cells import Cell, Row, Table
from twofold.studies.interventions import PLACEBOS, TWO_BY_TWO, TaskIntervention
from twofold.studies.statistics.decomposition import (
    ALL_CELLS,
    CELLS,
    QUANTITIES,
    CellName,
    Finding,
    Parts,
    decompose,
)
from twofold.studies.values import Value

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from twofold.studies.result import StudyResult

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


class Shuffling(Value):
    """The effect of shuffling on the added task's training data; the largest over the seeds."""

    kl_before_after: float
    """KL(before || after) of the popularity distributions, in nats."""
    targets_renamed: float
    """The share of targets that were replaced by another item."""


class TaskAttribution(Parts):
    """The attribution of one task's gain."""

    added: Task
    """The added task, whose training data are changed."""
    still_improving: Sequence[CellName]
    """Cells with an arm whose training a cap ended while its validation rose."""
    shuffling: Shuffling
    effective_targets: float
    """The effective sample size of flattened, (sum of weights)^2 / sum of squared weights, as a
    share of its targets; the smallest over the seeds."""

    def sentence(self, task: Task, by_models: bool) -> str:
        """The finding of the 2 x 2 for `task`, as a sentence.

        Args:
            task: the helped task.
            by_models: whether there are too few seeds to estimate the seed variance.
        """
        if self.finding == "no gain" and not self.gain_over_plain.excludes_zero:
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
    changes = {
        kind: [stamp.intervention or {} for stamp in scores.stamps[arms[kind]]]
        for kind in TWO_BY_TWO
    }
    return TaskAttribution(
        **dict(decompose(cells, scores.clusters(task))),
        added=added,
        still_improving=[cell for cell in CELLS if scores.is_still_improving(arms[cell])],
        shuffling=Shuffling(
            kl_before_after=max(change["kl_before_after"] for change in changes["shuffled"]),
            targets_renamed=max(change["targets_renamed"] for change in changes["shuffled"]),
        ),
        effective_targets=min(change["effective_targets"] for change in changes["flattened"]),
    )


def figure(result: Attribution, study: "StudyResult") -> "Figure":
    """The parts of joint's gain, and the effects of popularity and content added to noise, with
    95 % intervals."""
    shown = ("interaction", "content", "popularity", "gain")
    steps = ("pairs", "popularity_alone", "training", "gain_over_plain")
    drawn = [QUANTITIES[part].name for part in (*shown, *steps)]
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
<p>Noise teaches wrong pairs, which is not the same as no pairs. So the difference of joint from
the plain arm is also divided without noise, into three parts that sum to it: longer training
(control − plain), popularity alone (absent − control, where <em>absent</em> has the added task's
targets in random contexts), and pairs (joint − absent). <em>Random weights</em> measures the
effect of weighting alone: it has the weights of flattened, but on random targets.</p>
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
{% if parts.shares %}popularity
{{ parts.shares.popularity | percent }} ({{ parts.shares.popularity_interval[0] | percent }} to
{{ parts.shares.popularity_interval[1] | percent }}), content {{ parts.shares.content | percent }}
({{ parts.shares.content_interval[0] | percent }} to
{{ parts.shares.content_interval[1] | percent }}) of joint − noise{% else %}no shares, since their
intervals are too wide{% endif %}; shuffling {{ parts.added }} permutes
{{ parts.shuffling.targets_renamed | percent }} of its targets and changes its popularity
distribution by {{ parts.shuffling.kl_before_after | number }} nats;
the weights of flattened leave an effective sample size of
{{ parts.effective_targets | percent }} of the targets. {% endfor %}Inputs keep their
popularity in every arm. Exploratory.</caption>
</table>
</div>
"""

ANALYSIS = Analysis(
    "attribution", Attribution | None, attribution, CHAPTER, {"attribution": figure}, tables
)
