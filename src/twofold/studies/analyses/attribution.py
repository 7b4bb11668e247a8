"""How much of a gain is due to popularity (H1) and how much to content (H2).

The four cells of the 2 x 2 are means of one task under joint training with the other one *real*,
*shuffled* (popularity without content), *flattened* (pairs without popularity) and *noise*
(neither). What the real one gains over noise is shared between the two factors by their Shapley
values: each factor's effect, averaged over the other one being present and absent.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Literal

from twofold.evaluation.significance import Estimate, contrast
from twofold.records import TASKS, Floats, Ints, Task, other_task
from twofold.studies import plots
from twofold.studies.analyses.analysis import Analysis, Evidence
from twofold.studies.cells import Cell, Row, Table
from twofold.studies.interventions import TWO_BY_TWO, TaskIntervention
from twofold.studies.values import Difference, Value

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from twofold.studies.result import StudyResult

CellName = Literal["real", "shuffled", "flattened", "noise"]
CELLS: tuple[CellName, ...] = ("real", "shuffled", "flattened", "noise")

_WEIGHTS: dict[str, tuple[float, float, float, float]] = {
    "gain": (1.0, 0.0, 0.0, -1.0),
    "popularity": (0.5, 0.5, -0.5, -0.5),
    "content": (0.5, -0.5, 0.5, -0.5),
    "popularity_minus_content": (0.0, 1.0, -1.0, 0.0),
    "interaction": (1.0, -1.0, -1.0, 1.0),
}
"""The weight of each of `CELLS` in each quantity. `popularity` and `content` sum to `gain`."""

PARTS = {
    "gain": "joint − noise",
    "popularity": "popularity (H1)",
    "content": "content (H2)",
    "popularity_minus_content": "H1 − H2",
    "interaction": "interaction",
    "noise_minus_plain": "noise − plain",
}
"""The quantities as the report names them."""

Finding = Literal["popularity", "content", "both", "cannot be told apart", "no gain"]
"""The values of study.json."""


class Shares(Value):
    """The two parts as shares of the gain."""

    popularity: float
    content: float


class Shuffling(Value):
    """What shuffling did to the added task's training data; the largest over the seeds."""

    kl_before_after: float
    """Divergence of the popularity before from that after, in nats."""
    targets_renamed: float
    """The share of targets that became another item."""


class Parts(Value):
    """The parts of one task's gain, and what they say."""

    means: dict[CellName, float]
    gain: Difference
    """Joint with real data minus joint with noise."""
    popularity: Difference
    content: Difference
    popularity_minus_content: Difference
    interaction: Difference
    noise_minus_plain: Difference
    shares: Shares | None
    """None where the interval of the gain includes 0."""
    finding: Finding

    @property
    def quantities(self) -> dict[str, Difference]:
        """Each difference by its name in `PARTS`."""
        return {name: getattr(self, part) for part, name in PARTS.items()}


class TaskAttribution(Parts):
    """The attribution of what one task gains."""

    added: Task
    """The task that is changed."""
    still_improving: Sequence[CellName]
    """Cells with an arm that a cap ended while its validation rose."""
    shuffling: Shuffling

    def sentence(self, task: Task, by_models: bool) -> str:
        """What the 2 x 2 says of `task`.

        Args:
            task: the helped one.
            by_models: whether seeds are too few to estimate their variance.
        """
        change = "gain" if self.gain.difference > 0 else "loss"
        what = f"the {change} of {task} from real rather than noise in {self.added}"
        sentence = {
            "no gain": f"nothing to attribute: {what} cannot be distinguished from 0.",
            "popularity": f"mostly popularity (H1): it accounts for more of {what} than content.",
            "content": f"mostly content (H2): it accounts for more of {what} than popularity.",
            "both": f"popularity and content both contribute to {what}; neither surely more.",
            "cannot be told apart": f"the parts of popularity and content in {what} are uncertain.",
        }[self.finding]
        care = ["for these trained models"] if by_models else []
        if self.still_improving:
            care.append("while arms are still improving")
        return f"{', '.join(care)}: {sentence}" if care else sentence


Attribution = dict[Task, TaskAttribution]
"""By helped task."""


def attribution(evidence: Evidence) -> Attribution | None:
    """The parts of what the added task brings; None without the interventions of the 2 x 2."""
    if "2x2" not in evidence.plan["interventions"]:
        return None
    return {task: _of_task(evidence, task) for task in TASKS}


def _of_task(evidence: Evidence, task: Task) -> TaskAttribution:
    scores, added = evidence.scores, other_task(task)
    arms: dict[CellName, str] = {"real": "joint"}
    arms |= {kind: TaskIntervention(kind, added).arm.name for kind in TWO_BY_TWO}
    cells = {cell: scores.matrix(arms[cell], task) for cell in CELLS}
    parts = attribute(cells, scores.matrix(task, task), scores.clusters(task))
    shuffled = [stamp.intervention or {} for stamp in scores.stamps[arms["shuffled"]]]
    return TaskAttribution(
        **dict(parts),
        added=added,
        still_improving=[cell for cell in CELLS if scores.is_still_improving(arms[cell])],
        shuffling=Shuffling(
            kl_before_after=max(made["kl_before_after"] for made in shuffled),
            targets_renamed=max(made["targets_renamed"] for made in shuffled),
        ),
    )


def attribute(cells: Mapping[CellName, Floats], plain: Floats, clusters: Ints) -> Parts:
    """The parts of the gain, with 95 % intervals, and what they say.

    Args:
        cells: scores (S, R) of each of `CELLS`.
        plain: scores (S, R) of the plain arm, for what noise alone does.
        clusters: (R,).
    """
    parts = {
        name: contrast([(w, cells[c]) for w, c in zip(weights, CELLS, strict=True)], clusters)
        for name, weights in _WEIGHTS.items()
    }
    noise = contrast([(1.0, cells["noise"]), (-1.0, plain)], clusters)
    shares = None
    if _excludes_zero(parts["gain"]):
        gain, popularity, content = (
            parts[name].value for name in ("gain", "popularity", "content")
        )
        shares = Shares(popularity=popularity / gain, content=content / gain)
    return Parts(
        means={name: float(cells[name].mean()) for name in CELLS},
        **{name: Difference.of(estimate) for name, estimate in parts.items()},
        noise_minus_plain=Difference.of(noise),
        shares=shares,
        finding=_finding(parts),
    )


def _finding(parts: Mapping[str, Estimate]) -> Finding:
    """The larger part, where the two differ; both, where neither is 0; else it is open."""
    if not _excludes_zero(parts["gain"]):
        return "no gain"
    popularity, content = parts["popularity"], parts["content"]
    if _excludes_zero(parts["popularity_minus_content"]):
        return "popularity" if abs(popularity.value) > abs(content.value) else "content"
    if _excludes_zero(popularity) and _excludes_zero(content):
        return "both"
    return "cannot be told apart"


def _excludes_zero(estimate: Estimate) -> bool:
    return Difference.of(estimate).excludes_zero


def figure(result: Attribution, study: "StudyResult") -> "Figure":
    """What popularity and what content add to each task, with 95 % intervals."""
    drawn = [PARTS[part] for part in ("interaction", "content", "popularity", "gain")]
    figure, axes = plots.panels(len(result), 1, 1.7 * len(result) + 0.4)
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
        for name in PARTS.values()
    ]
    yield Table("Attribution to popularity and content", list(result), rows)


CHAPTER = """
<h2>Popularity or content?</h2>
<p>The added task's training data are shuffled (items renamed among equally popular ones: popularity
stays, content goes), flattened (every item counts the same in the loss: popularity goes, pairs
stay), or both (noise). What the real data bring beyond noise is shared between popularity and
content by their Shapley values.</p>
<figure>
{{ figures.attribution | safe }}
<figcaption>{% for task, parts in result.items() %}{{ task | capitalize }}:
{{ parts.sentence(task, study.by_models) }} {% endfor %}
Bars: 95 % intervals{{ " for these trained models" if study.by_models }}.</figcaption>
</figure>
<div class="wide">
<table>
<thead><tr><th>{{ study.stamp.primary }}</th>{% for task in result %}<th>{{ task }}</th>{% endfor %}
</tr></thead>
<tbody>
{% for cell in ["real", "shuffled", "flattened", "noise"] %}
<tr><td>joint, {{ cell }}</td>{% for parts in result.values() %}
<td>{{ parts.means[cell] | number }}</td>{% endfor %}</tr>
{% endfor %}
{% for name in (result.values() | first).quantities %}
<tr><td>{{ name }}</td>{% for parts in result.values() %}
<td>{{ parts.quantities[name] | effect }}</td>{% endfor %}</tr>
{% endfor %}
</tbody>
<caption>{% for task, parts in result.items() %}{{ task | capitalize }}:
{% if parts.shares %}popularity {{ parts.shares.popularity | percent }}, content
{{ parts.shares.content | percent }} of the gain{% else %}no shares, since the gain's interval
includes 0{% endif %}; shuffling {{ parts.added }} renames
{{ parts.shuffling.targets_renamed | percent }} of its targets and moves its popularity by
{{ parts.shuffling.kl_before_after | number }} nats. {% endfor %}Exploratory.</caption>
</table>
</div>
"""

ANALYSIS = Analysis(
    "attribution", Attribution | None, attribution, CHAPTER, {"attribution": figure}, tables
)
