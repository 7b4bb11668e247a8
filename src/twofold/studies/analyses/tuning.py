"""How the arms' recipes were chosen: the trials on validation, the same number for each arm."""

from typing import Any

from twofold.studies.analyses.analysis import Analysis, Evidence
from twofold.studies.arms import TUNED
from twofold.studies.questions import SUFFIXES
from twofold.studies.values import Value


class RecipeTrial(Value):
    """What one recipe reached by the end of a rung."""

    recipe: int
    """Its number, from 0, the fixed recipe."""
    rung: int
    """How many times the steps of the first rung."""
    settings: dict[str, Any]
    """What differs from the fixed recipe."""
    steps: int
    """The steps that it had taken."""
    value: float
    """Its best validation; -1 where it diverged."""


class ArmTuning(Value):
    """The choice for one arm."""

    recipes: int
    """Recipes that were tried."""
    chosen: dict[str, Any]
    """What the chosen one changes in the fixed recipe."""
    measure: str
    """The measure on validation."""
    seed: int
    """The random seed of the trials."""
    steps: int
    """The steps of all trials together."""
    trials: list[RecipeTrial]
    """Every trial of every rung."""

    @property
    def last(self) -> list[RecipeTrial]:
        """The last trial of each recipe, best first among those of as many steps."""
        by_recipe = {trial.recipe: trial for trial in self.trials}
        return sorted(by_recipe.values(), key=lambda trial: (-trial.rung, -trial.value))


class Tuning(Value):
    """The choices, and what they took."""

    arms: dict[str, ArmTuning]
    """By arm; step-matched controls have the recipe of their task's arm, interventions joint's."""
    steps: int
    """The steps of all trials of all arms."""
    steps_of_seeds: int
    """The steps of all trained models of the study."""


def tuning(evidence: Evidence) -> Tuning | None:
    """What the stamps say; None for a study with the fixed recipe."""
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


CHAPTER = """
<h2>Recipes</h2>
<p>Each arm's recipe was chosen on validation, by successive halving among
{{ result.arms.values() | map(attribute="recipes") | max }} recipes, with a seed of its own. A
step-matched control has the recipe of its task's arm, an intervention joint's. The trials took
{{ result.steps | count }} steps, the models of this study {{ result.steps_of_seeds | count }}.</p>
<div class="wide">
<table>
<thead><tr><th>arm</th><th>recipe</th><th>steps</th><th>validation</th><th>chosen</th></tr></thead>
<tbody>
{% for arm, own in result.arms.items() %}{% for trial in own.last %}
<tr><td>{{ arm }}</td><td class="text">
{%- for key, value in trial.settings.items() %}{{ key }}={{ value }} {% else %}the fixed recipe
{%- endfor %}</td><td>{{ trial.steps }}</td><td>{{ trial.value | number }}</td>
<td>{{ "yes" if loop.first else "" }}</td></tr>
{% endfor %}{% endfor %}
</tbody>
</table>
</div>
"""

ANALYSIS = Analysis("tuning", Tuning | None, tuning, CHAPTER)
