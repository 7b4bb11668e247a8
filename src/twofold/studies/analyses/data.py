"""The data report, and the items that each task trains on."""

from typing import TYPE_CHECKING, Any

import pydantic

from twofold.studies import plots
from twofold.studies.analyses.analysis import Analysis, Evidence
from twofold.studies.forecast.forecast import Expectation, report_forecast
from twofold.studies.values import Value
from twofold.tasks.report import data_report

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from twofold.studies.result import StudyResult


class DataReport(Value):
    """The content of the data report; see `twofold.tasks.report`."""

    model_config = pydantic.ConfigDict(extra="allow")

    source: str
    digest: str
    tasks: list[str]
    sizes: dict[str, int]
    splits: dict[str, Any]
    overlap: dict[str, int | float]
    divergence: dict[str, float]
    queries: dict[str, Any]
    repeat_share: float
    seen: str
    left_out: list[str]
    forecast: Expectation | None
    """The forecast before training; null if the data are too large or too small for a forecast."""


def data(evidence: Evidence) -> DataReport:
    """The report that `twofold prepare` writes."""
    dataset = evidence.dataset
    return DataReport(**data_report(dataset), forecast=report_forecast(dataset))


def figure(result: DataReport, _study: "StudyResult") -> "Figure":
    """How many items each task trains on."""
    parts = [
        ("search only", "items_in_search_only", plots.COLOURS["search"]),
        ("both", "items_in_both", plots.COLOURS["joint"]),
        ("recommendation only", "items_in_recommendation_only", plots.COLOURS["recommendation"]),
        ("neither", "items_in_neither", plots.INK),
    ]
    figure, (axis,) = plots.panels(1, 1, 1.3)
    left: float = 0
    for label, key, colour in parts:
        items = result.overlap[key]
        axis.barh(0, items, left=left, color=colour, label=f"{label} {items:,}")
        left += items
    axis.set_yticks([])
    axis.set_xlim(0, left)
    axis.set_xlabel("items with training targets")
    axis.legend(frameon=False, ncols=4, fontsize=8, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    axis.spines["left"].set_visible(False)
    return figure


CHAPTER = """
<h2>The data</h2>
<figure>
{{ figures.overlap | safe }}
<figcaption>Items that are a training target of search, of recommendation, or of both.
{{ result.overlap.searched_also_recommended | percent }} of the searched items are also recommended,
{{ result.overlap.recommended_also_searched | percent }} of the recommended items are also searched.
The Jensen-Shannon divergence of the two popularity distributions is
{{ result.divergence.jensen_shannon_train | number }} nats (0: equal; the most is .6931).
</figcaption>
</figure>
<ul>
{% for task in tasks %}<li>{% if task in study.stamp.folded %}{{ task | capitalize }}: each seed
holds out another part of the data ({% if task == "search" %}other queries{% elif
study.stamp.folded_users is none %}other events of users with long histories{% else %}other events
of {{ study.stamp.folded_users | percent }} of the tested users; the histories of the others are too
short{% endif %}) and trains on the rest, so the intervals include a part of the variance over data.
{%- elif study.stamp.why_fixed %}{{ task | capitalize }}: test requests and training data are the
same for all seeds ({{ study.stamp.why_fixed[task] }}); the intervals hold for these data.{% else %}
{{ task | capitalize }}: test requests and training data are the same for all seeds.{% endif %}</li>
{% endfor %}
<li>There are {{ result.sizes.interactions | count }} interactions of
{{ result.sizes.users | count }} users. {{ result.sizes.users_that_only_train | count }} users have
no test event, since they have fewer than three events or none from the cutoff on.
{{ (100 * result.repeat_share) | round(1) }} % of the events repeat an item of the same user.</li>
<li>There are {{ result.sizes.queries | count }} queries with
{{ result.sizes.qrels | count }} judgments of relevant items.</li>
<li>Possible leaks: {{ result.queries.same_text_as_training }} test queries have the text of a
training query, {{ result.queries.near_duplicates_of_training }} are near-duplicates of one, and
{{ result.queries.equal_to_a_title }} queries equal an item's title.</li>
{% if result.events is defined and result.events.near_copies %}<li>
{{ result.events.near_copies | count }} events have the same user and item as one within an hour
before, {{ result.events.near_copies_held_out | count }} of them held out.</li>{% endif %}
{% if result.events is defined and result.events.tied %}<li>{{ result.events.tied | count }} events
have the time of another event of their user; in {{ result.events.held_out_by_file_order | count }}
cases the order of the file decides which of them is held out.</li>{% endif %}
{% for note in result.left_out %}<li>{{ note }}</li>{% endfor %}
</ul>
{% if result.forecast %}
<h2>Forecast</h2>
<p>{{ result.forecast.lines[0] }} The verdicts do not use it.</p>
<ul>{% for line in result.forecast.lines[1:] %}<li>{{ line }}</li>{% endfor %}</ul>
{% endif %}
"""

ANALYSIS = Analysis("data", DataReport, data, CHAPTER, {"overlap": figure})
