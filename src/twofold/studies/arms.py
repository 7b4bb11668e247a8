"""The arms of a study, in the order in which they are trained.

Gen_S, Gen_R and Gen_{R+S} of the paper are `search`, `recommendation` and `joint`. A step-matched
control learns one task for as many updates as `joint` takes: what it gains over the plain arm is
due to training for longer, and a gain of `joint` over it is not.
"""

from twofold.records import TASKS, Task
from twofold.training.train import PLAIN_ARMS, Arm


def control_name(task: Task) -> str:
    """The name of a task's step-matched control."""
    return f"{task}-step-matched"


ARMS: tuple[Arm, ...] = (
    *(PLAIN_ARMS[task] for task in TASKS),
    *(Arm(control_name(task), (task,), step_matched=True) for task in TASKS),
    PLAIN_ARMS["joint"],
)
"""`joint` comes last: its checkpoint is chosen against the plain arms' best values."""
