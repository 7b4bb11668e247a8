"""The choice of the arms' recipes: trials on validation, the same number for each arm."""

from typing import TYPE_CHECKING, Any

from twofold.records import TASKS
from twofold.studies import plots
from twofold.studies.analyses.analysis import Analysis, Evidence
from twofold.studies.arms import TUNED
from twofold.studies.planning.questions import SUFFIXES
from twofold.studies.values import Value

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from twofold.studies.result import StudyResult


class RecipeTrial(Value):
    """The result of one recipe at the end of a rung."""

    recipe: int
    """The number of the recipe; 0 is the fixed recipe."""
    rung: int
    """The steps of the rung, as a multiple of the first rung's."""
    settings: dict[str, Any]
    """The settings that differ from the fixed recipe."""
    steps: int
    """The number of steps at the end of the rung."""
    value: float
    """Its best validation score; -1 if it diverged."""
    tasks: dict[str, float]
    """The validation score of each task there."""

    @property
    def weights(self) -> str:
        """The weights of the tasks in its loss."""
        weights = self.settings.get("source_weights", "proportional")
        if isinstance(weights, str):
            return weights
        return " : ".join(f"{100 * weights[task]:.0f}" for task in TASKS)


class ArmTuning(Value):
    """The tuning of one arm."""

    recipes: int
    """The number of recipes that were tried."""
    chosen: dict[str, Any]
    """The settings of the chosen recipe that differ from the fixed recipe."""
    measure: str
    """The validation measure."""
    seed: int
    """The random seed of the trials."""
    steps: int
    """The total number of steps of all trials."""
    trials: list[RecipeTrial]
    """Every trial of every rung."""

    @property
    def last(self) -> list[RecipeTrial]:
        """The last trial of each recipe; trials with the same steps are sorted, best first."""
        by_recipe = {trial.recipe: trial for trial in self.trials}
        return sorted(by_recipe.values(), key=lambda trial: (-trial.rung, -trial.value))


class Tuning(Value):
    """The tuning of all arms, and its cost."""

    arms: dict[str, ArmTuning]
    """By arm; a step-matched control uses its task's recipe, an intervention uses joint's."""
    steps: int
    """The total number of steps of all trials of all arms."""
    steps_of_seeds: int
    """The total number of steps of all trained models of the study."""

    @property
    def frontiers(self) -> dict[str, list[RecipeTrial]]:
        """The trials of each joint arm with scores for both tasks, if their weights differ."""
        of_both_tasks = {
            arm: [trial for trial in of_arm.last if len(trial.tasks) > 1]
            for arm, of_arm in self.arms.items()
            if arm.startswith("joint")
        }
        return {
            arm: trials
            for arm, trials in of_both_tasks.items()
            if len({trial.weights for trial in trials}) > 1
        }


def tuning(evidence: Evidence) -> Tuning | None:
    """The tuning of all arms, from the stamps; None for a study with the fixed recipe."""
    stamps = evidence.trained
    arms = {
        arm: ArmTuning.model_validate(stamps[arm][0].tuning)
        for suffix in ("", *SUFFIXES.values())
        for arm in (f"{name}{suffix}" for name in TUNED)
        if arm in stamps and stamps[arm][0].tuning
    }
    if not arms:
        return None
    return Tuning(
        arms=arms,
        steps=sum(arm.steps for arm in arms.values()),
        steps_of_seeds=sum(stamp.steps for of_arm in stamps.values() for stamp in of_arm),
    )


def frontier(result: Tuning, study: "StudyResult") -> "Figure":
    """The scores of joint's trials in both tasks, by source weights; a line marks the score of each
    single-task arm's chosen trial."""
    drawn = result.frontiers
    figure, axes = plots.panels(1, max(1, len(drawn)), 3.0)
    for axis, (arm, trials) in zip(axes, drawn.items(), strict=False):
        shown = sorted({trial.weights for trial in trials})
        for colour, weights in zip(plots.CATEGORIES, shown, strict=False):
            of_weights = [trial.tasks for trial in trials if trial.weights == weights]
            places = [[measured[task] for measured in of_weights] for task in TASKS]
            axis.plot(*places, "o", color=colour, ms=6, label=weights)
        suffix = arm.removeprefix("joint")
        for task, line in zip(TASKS, (axis.axvline, axis.axhline), strict=True):
            single = result.arms.get(f"{task}{suffix}")
            if single is not None and task in single.last[0].tasks:
                line(single.last[0].tasks[task], color=plots.INK, lw=1, ls="--")
        plots.title(axis, arm)
        axis.set_xlabel(f"{TASKS[0]}, {study.stamp.selection}")
        axis.set_ylabel(f"{TASKS[1]}, {study.stamp.selection}")
        plots.legend(axis)
    return figure


CHAPTER = """
<h2>Recipes</h2>
<p>The hyperparameters of each arm (its recipe) were chosen on validation, by successive halving
among {{ result.arms.values() | map(attribute="recipes") | max }} recipes, with a seed that no
model of the study has. A step-matched control has the recipe of its task's arm, an intervention
that of joint. All trials together took {{ result.steps | count }} steps, the models of this study
{{ result.steps_of_seeds | count }}.</p>
<div class="wide">
<table>
<caption>The settings that differ from the preset, best first; the first recipe of an arm was
chosen. Validation is {{ study.stamp.selection }} for an arm of one task; for joint it is the mean
over the tasks of {{ study.stamp.selection }} divided by that of the task's own arm.</caption>
<thead><tr><th class="text">recipe</th><th>steps</th><th>validation</th></tr></thead>
<tbody>
{% for arm, tuning in result.arms.items() %}
<tr><th class="group" colspan="3">{{ arm }}</th></tr>
{% for trial in tuning.last %}
<tr><td class="text">
{%- for key, value in trial.settings.items() %}{{ key | breakable }}={{ value | setting }}
{{- "; " if not loop.last }}{% else %}the preset as it is
{%- endfor %}{{ " (chosen)" if loop.first }}</td>
<td>{{ trial.steps }}</td><td>{{ trial.value | number }}</td></tr>
{% endfor %}{% endfor %}
</tbody>
</table>
</div>
{% if result.frontiers %}
<figure>
{{ figures.frontier | safe }}
<figcaption>Validation scores of joint's trials in both tasks. A point is a trial; its colour shows
the weights of the tasks in the loss (search : recommendation). A dashed line is the chosen trial
of a single-task arm. Up and to the right is better. If no point lies beyond a dashed line, joint
lost something in that task with each of these weights.</figcaption>
</figure>
{% endif %}
"""

ANALYSIS = Analysis("tuning", Tuning | None, tuning, CHAPTER, {"frontier": frontier})
