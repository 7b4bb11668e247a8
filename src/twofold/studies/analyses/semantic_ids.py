"""The scores of the joint model with each kind of semantic IDs."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal

from twofold.records import TASKS, Task
from twofold.studies.analyses.analysis import Analysis, Evidence
from twofold.studies.cells import Cell, Row, Table
from twofold.studies.values import Difference, Value

if TYPE_CHECKING:
    from twofold.studies.result import StudyResult


class SemanticIds(Value):
    """The joint arm with one kind of semantic IDs; its means are in `arms`."""

    embeddings: str
    """The source of the embeddings that are quantized."""
    space: Literal["shared", "separate", "shared-prefix"]
    """Whether the tasks share their codes."""
    codebook_sizes: list[list[int]]
    """The number of codes of each level, by ID space."""
    collisions: list[int]
    """The number of items that share all their codes with another item, by ID space."""
    minus_joint: dict[Task, Difference]
    """This arm minus `joint` in the primary measure; both are evaluated by generative scores alone
    if *transfer* is a question of the study."""
    judged_as: str = ""
    """The suffix of both arms' names in `arms`."""


def semantic_ids(evidence: Evidence) -> dict[str, SemanticIds] | None:
    """The results by arm; None if the study has no such arms."""
    if not evidence.plan.semantic_ids:
        return None
    scores = evidence.generative
    return {
        arm.name: SemanticIds(
            **_description(scores.stamps[arm.name][0].identifiers),
            judged_as=scores.evaluated_as,  # the key in study.json
            minus_joint={task: scores.difference(arm.name, "joint", task) for task in TASKS},
        )
        for arm in scores.arms.values()
        if arm.settings
    }


def _description(identifiers: Mapping[str, Any]) -> dict[str, Any]:
    """How identifiers were made, from a model's stamp."""
    reports = [report for report in identifiers.values() if isinstance(report, dict)]
    return {
        "embeddings": identifiers["embeddings"],
        "space": identifiers["space"],
        "codebook_sizes": [[level["size"] for level in report["levels"]] for report in reports],
        "collisions": [report["collisions"] for report in reports],
    }


def tables(result: Mapping[str, SemanticIds], study: "StudyResult") -> Iterable[Table]:
    """One row for each arm."""
    primary = study.stamp.primary
    rows: list[Row] = []
    for name, arm in result.items():
        cells: list[Cell | str] = []
        for task in study.tasks:
            cells.append(Cell.mean(study.arms[name + arm.judged_as][task][primary]))
            cells.append(Cell.difference(arm.minus_joint[task]))
        rows.append((name, cells))
    columns = [column for task in study.tasks for column in (task, f"{task} − joint")]
    yield Table(f"Semantic IDs, {primary}", columns, rows)


CHAPTER = """
{% set judged_as = (result.values() | first).judged_as %}
<h2>Semantic IDs</h2>
<p>Each row is the joint model with another kind of semantic IDs. The kinds differ in the data from
which the embeddings behind the IDs are learned, and in whether both tasks use the same IDs. The
first row is the study's own <em>joint</em>.</p>
<div class="wide">
<table>
<thead><tr><th>identifiers</th><th>collisions</th>{% for task in tasks %}<th>{{ task }}</th>
<th>− joint</th>{% endfor %}</tr></thead>
<tbody>
<tr><td>joint ({{ study.stamp.training.identifiers }})</td><td></td>{% for task in tasks %}
<td>{{ study.arms["joint" ~ judged_as][task][study.stamp.primary].mean | number }}</td><td></td>
{%- endfor %}</tr>
{% for name, arm in result.items() %}
<tr><td>{{ name }}</td><td>{{ arm.collisions | join(", ") }}</td>
{% for task in tasks %}{% set means = study.arms[name ~ arm.judged_as][task] %}
<td>{{ means[study.stamp.primary].mean | number }}</td>
<td>{{ arm.minus_joint[task] | effect }}</td>{% endfor %}</tr>
{% endfor %}
</tbody>
<caption>{{ study.stamp.primary }}; differences are paired by request and exploratory. The codebooks
have {{ (result.values() | first).codebook_sizes[0] | join(" × ") }} codes. Collisions: the number
of items that share all their codes with another item (in recommendation, in search); one more level
resolves them. {% if judged_as %}All models are evaluated with generative scores alone.{% else %}All
models may have a hybrid part (hybrid={{ study.stamp.training.hybrid }}).{% endif %}
</caption>
</table>
</div>
"""

ANALYSIS = Analysis(
    "semantic_ids", dict[str, SemanticIds] | None, semantic_ids, CHAPTER, tables=tables
)
