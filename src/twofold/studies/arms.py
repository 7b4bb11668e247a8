"""The arms of a study, in the order of the report.

Gen_S, Gen_R and Gen_{R+S} of the paper are `search`, `recommendation` and `joint`. A step-matched
control learns one task and may train for as long as `joint`; early stopping can end it before. Its
gain over the plain arm is due to longer training; a gain of `joint` over it is not.
"""

from collections.abc import Sequence
from typing import Literal

from twofold.identifiers.identifiers import default_shape
from twofold.records import TASKS, InputError, Task
from twofold.studies.interventions import caps, two_by_two
from twofold.tasks.prepared import PreparedDataset
from twofold.training.arm import NAMED_ARMS, Arm
from twofold.training.config import TrainingConfig, scheme_of

InterventionSet = Literal["2x2", "caps"]
INTERVENTION_SETS: tuple[InterventionSet, ...] = ("2x2", "caps")
"""The sets that a study offers; `twofold.studies.interventions` describes them."""


def control_name(task: Task) -> str:
    """The name of a task's step-matched control."""
    return f"{task}-step-matched"


def is_plain(arm: Arm) -> bool:
    """Whether an arm learns one task alone and is not step-matched."""
    return len(arm.tasks) == 1 and not arm.step_matched


ARMS: tuple[Arm, ...] = (
    *(NAMED_ARMS[task] for task in TASKS),
    *(Arm(control_name(task), (task,), step_matched=True) for task in TASKS),
    NAMED_ARMS["joint"],
)
"""The arms that every study trains with each seed."""


TUNED: tuple[str, ...] = tuple(NAMED_ARMS)
"""The arms whose recipe is chosen on validation."""


def tuned_arm(arm: Arm) -> str:
    """The arm whose recipe an arm uses: an arm of one task uses that task's, any other joint's."""
    return arm.tasks[0] if len(arm.tasks) == 1 else "joint"


def arms_before(arm: Arm, arms: Sequence[Arm]) -> list[Arm]:
    """The arms that are trained before an arm with the same seed, in the order of `arms`.

    The checkpoint of an arm of two tasks is chosen by its validation scores relative to those of
    the plain arms. A step-matched arm also needs the number of steps of `joint`.
    """
    if is_plain(arm):
        return []
    return [
        other
        for other in arms
        if is_plain(other) or (arm.step_matched and other.name == NAMED_ARMS["joint"].name)
    ]


def semantic_arms(dataset: PreparedDataset, config: TrainingConfig) -> tuple[Arm, ...]:
    """`joint` with each kind of semantic IDs.

    With L codes in an identifier, histories have L times as many tokens, so batches are L times as
    large; `ArmTraining.with_scaled_batches` does the same if the recipe changes the batch size.
    Twenty beams are enough for the ten items that validation scores.
    """
    from twofold.identifiers.assign import schemes

    levels = config.levels or default_shape(len(dataset.catalog))[0]
    common = {
        "identifiers": "semantic",
        "batch_tokens": levels * config.batch_tokens,
        "num_beams": min(20, config.num_beams),
    }
    arms = []
    for name, scheme in schemes(dataset, scheme_of(config)).items():
        settings = common | {"id_embeddings": scheme.embeddings, "id_space": scheme.space}
        arms.append(Arm(f"semantic-{name}", TASKS, settings=tuple(settings.items())))
    return tuple(arms)


def study_arms(
    dataset: PreparedDataset, interventions: Sequence[InterventionSet] = ()
) -> tuple[Arm, ...]:
    """`ARMS`, then the arms of the interventions; a cap that removes no target has none.

    Raises:
        InputError: an unknown set of interventions.
    """
    for name in interventions:
        if name not in INTERVENTION_SETS:
            raise InputError(
                f"interventions '{name}': no such set; choose one of {', '.join(INTERVENTION_SETS)}"
            )
    changes = []
    for task in TASKS:
        if "2x2" in interventions:
            changes += two_by_two(task)
        if "caps" in interventions:
            changes += caps(dataset.task(task).source(), task, len(dataset.catalog))
    return (*ARMS, *(change.arm for change in changes))
