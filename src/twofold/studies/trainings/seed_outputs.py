"""What the arms of a study write with one seed: models, training states and evaluations."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from twofold import artifact
from twofold.model.stamp import Stamp
from twofold.studies.arms import is_plain
from twofold.studies.folder import StudyFolder
from twofold.studies.scores import model_stamp
from twofold.training.arm import Arm
from twofold.training.state import state_folder


@dataclass(frozen=True, slots=True)
class SeedOutputs:
    """The outputs of a study's arms with one seed.

    Attributes:
        arms: all arms of the study.
        folder: the folder of the models, and of their evaluations as they would be deployed.
        seed: the random seed.
        transfer: the folder of the evaluations for the question *transfer*: `folder` itself if
            there are no others, and None for none.
    """

    arms: Sequence[Arm]
    folder: StudyFolder
    seed: int
    transfer: StudyFolder | None = None

    def model(self, arm: str) -> Path:
        """The model of an arm."""
        return self.folder.model(arm, self.seed)

    def state(self, arm: str) -> Path:
        """The training state of an arm, if it is kept."""
        return state_folder(self.model(arm))

    def stamp(self, arm: str) -> Stamp:
        """The stamp of a trained arm."""
        return model_stamp(self.folder, arm, self.seed)

    def as_deployed(self, arm: str) -> Path:
        """The evaluation of a model as it would be deployed."""
        return self.folder.evaluation(arm, self.seed)

    def for_transfer(self, arm: str) -> Path:
        """The evaluation for the question *transfer*; that of the deployed model if not asked."""
        return (self.transfer or self.folder).evaluation(arm, self.seed)

    def is_complete(self, arm: Arm) -> bool:
        """Whether an arm is trained and scored."""
        outputs = self.model(arm.name), self.as_deployed(arm.name), self.for_transfer(arm.name)
        return all(map(artifact.is_complete, outputs))

    def is_done(self, arm: Arm) -> bool:
        """Whether an arm is trained and scored, and no training state is left to remove."""
        return self.is_complete(arm) and not any(map(Path.exists, self.states_last_read_by(arm)))

    def states_last_read_by(self, arm: Arm) -> list[Path]:
        """The training states that no other arm needs after this one.

        The step-matched control of a task continues the training of its plain arm.
        """
        if not is_plain(arm):
            names = [arm.name, arm.tasks[0]] if len(arm.tasks) == 1 else [arm.name]
        elif any(other.step_matched and other.tasks == arm.tasks for other in self.arms):
            names = []
        else:
            names = [arm.name]
        return [self.state(name) for name in names]

    def continue_plain(self, control: Arm, steps: int) -> None:
        """Let a control continue the plain arm's training, if that one did not take more steps.

        Up to there the weights are bit-identical to those of a training from the beginning.

        Args:
            control: the step-matched control of one task.
            steps: the number of steps that it may take.
        """
        plain = control.tasks[0]
        plain_state, control_state = self.state(plain), self.state(control.name)
        stamp = self.stamp(plain)
        ended_alike = stamp.ended_by == "patience" or stamp.steps == steps
        can_continue = ended_alike and stamp.steps <= steps
        if can_continue and plain_state.is_dir() and not control_state.exists():
            control_state.parent.mkdir(parents=True, exist_ok=True)
            plain_state.rename(control_state)
