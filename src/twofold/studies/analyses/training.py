"""The training of the arms: their steps, and validation by step."""

from typing import TYPE_CHECKING, Any

from twofold.model.stamp import Stamp
from twofold.studies import plots
from twofold.studies.analyses.analysis import Analysis, Evidence
from twofold.studies.scores import still_improving
from twofold.studies.values import Value

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from twofold.studies.result import StudyResult


class TrainedModel(Value):
    """The training of one arm with one seed."""

    budget: int | None
    """The limit of its steps; null if only early stopping ended it."""
    ended_by: str
    """What ended the training: `patience`, the name of a cap's setting, or `steps`, the number of
    steps that follows from joint's."""
    validation_share: float
    """The share of validation in the arithmetic operations of the training."""
    updates: int
    """The number of steps."""
    best_update: int
    """The step whose checkpoint was kept."""
    best_value: float
    """The validation score of this checkpoint."""
    passes: float
    """The number of epochs."""
    targets_seen: dict[str, int]
    """The number of targets that were trained on, by task."""
    curve: list[dict[str, Any]]
    """One entry for each validation: the step, and the score of each task."""
    still_improving: bool
    """Whether a cap ended it while validation rose: the best step is in the last tenth."""


Training = dict[str, list[TrainedModel]]
"""By arm, one entry for each seed."""


def training(evidence: Evidence) -> Training:
    """The training of all models, from their stamps."""
    return {arm: [_trained(stamp) for stamp in stamps] for arm, stamps in evidence.trained.items()}


def _trained(stamp: Stamp) -> TrainedModel:
    """The training of one model, from its stamp."""
    return TrainedModel(
        budget=stamp.max_steps,
        ended_by=stamp.ended_by,
        validation_share=stamp.validation_share,
        updates=stamp.steps,
        best_update=stamp.best_step,
        best_value=stamp.best_value,
        passes=stamp.epochs,
        targets_seen=dict(stamp.targets_seen),
        curve=[
            {"update" if key == "step" else key: value for key, value in point.items()}
            for point in stamp.curve
        ],
        still_improving=still_improving(stamp),
    )


def figure(result: Training, study: "StudyResult") -> "Figure":
    """Validation by step for the five arms and their seeds; a dot marks the best checkpoint."""
    figure, axes = plots.panels(1, len(study.tasks), 3.0)
    for axis, task in zip(axes, study.tasks, strict=True):
        for arm, colour in plots.COLOURS.items():
            for number, model in enumerate(result[arm]):
                curve = [(point["update"], point[task]) for point in model.curve if task in point]
                if not curve:
                    continue
                label = arm if number == 0 else None
                # A control repeats the plain arm's curve up to its end.
                order = 3 if arm in study.tasks else 2
                steps, values = zip(*curve, strict=True)
                axis.plot(steps, values, color=colour, lw=1.5, label=label, zorder=order)
                best = [point for point in curve if point[0] == model.best_update]
                axis.plot(*zip(*best, strict=True), "o", color=colour, ms=5)
        plots.title(axis, task)
        axis.set_xlabel("steps")
        plots.legend(axis)
    axes[0].set_ylabel(f"validation {study.stamp.selection}")
    return figure


CHAPTER = """
<h2>Training</h2>
<figure>
{{ figures.curves | safe }}
<figcaption>Validation {{ study.stamp.selection }} during training, one line for each seed. A dot
marks the best checkpoint, which is kept; joint keeps one checkpoint for both tasks. A step-matched
control continues the training of its single-task arm. Each panel has its own scale.</figcaption>
</figure>
<div class="wide">
<table>
<caption>Ended by: <em>patience</em> is early stopping; <em>steps</em> means that an arm took
all steps that follow from those of joint; any other value is the cap (the setting) that ended the
training. Cost of validation: its share of the arithmetic operations. Still improving: a cap ended
the training while its validation rose.</caption>
<thead><tr><th>seed</th><th>steps</th><th>best step</th><th>epochs</th>
<th>ended by</th><th>cost of vali&shy;dation</th><th>still im&shy;proving</th></tr></thead>
<tbody>
{% for arm, models in result.items() %}
<tr><th class="group" colspan="7">{{ arm }}</th></tr>
{% for model in models %}
<tr><td>{{ loop.index0 }}</td>
<td>{{ model.updates }}</td><td>{{ model.best_update }}</td><td>{{ model.passes | round(1) }}</td>
<td>{{ model.ended_by | breakable }}</td>
<td>{{ "%.0f" | format(100 * model.validation_share) }} %</td>
<td>{{ "yes" if model.still_improving else "no" }}</td></tr>
{% endfor %}{% endfor %}
</tbody>
</table>
</div>
"""

ANALYSIS = Analysis("training", Training, training, CHAPTER, {"curves": figure})
