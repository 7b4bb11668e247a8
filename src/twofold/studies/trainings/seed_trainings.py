"""Train the arms of a study with one seed, and score them on the full catalog.

Invariant: a model or an evaluation in the folder is finished and is not computed again, so a
resumed study repeats nothing.
"""

import logging
import math
import shutil
import time
from dataclasses import dataclass

from twofold.model.checkpoint import load_model_folder
from twofold.retrieval.generative import GenerativeRetriever
from twofold.studies.arms import arms_before, is_plain
from twofold.studies.trainings.arm_training import ArmTraining
from twofold.studies.trainings.evaluations import score_as_deployed, score_for_transfer
from twofold.studies.trainings.seed_outputs import SeedOutputs
from twofold.tasks.prepared import PreparedDataset
from twofold.training.arm import NAMED_ARMS, Arm
from twofold.training.train import train

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SeedTrainings:
    """The trainings of a study's arms with one seed.

    Attributes:
        dataset: the dataset to learn and to be tested on.
        training: how the arms are trained.
        outputs: the arms and their outputs.
    """

    dataset: PreparedDataset
    training: ArmTraining
    outputs: SeedOutputs

    def run_all(self) -> None:
        """Train and score every arm, one after another."""
        for arm in sorted(self.outputs.arms, key=lambda arm: (not is_plain(arm), arm.step_matched)):
            self.run(arm)

    def run(self, arm: Arm) -> None:
        """Train and score an arm, after the arms of `arms_before`; what is finished is kept."""
        steps = self.matched_steps(arm) if arm.step_matched else None
        # A cosine schedule depends on the arm's own number of steps, so another arm's weights
        # are not on its path.
        schedule = self.training.of(arm)[0].lr_schedule
        if steps and len(arm.tasks) == 1 and schedule != "cosine":
            self.outputs.continue_plain(arm, steps)
        if not self.outputs.is_complete(arm):
            self._train_and_score(arm, steps)
        for state in self.outputs.states_last_read_by(arm):
            shutil.rmtree(state, ignore_errors=True)

    def matched_steps(self, arm: Arm) -> int:
        """The number of steps of a step-matched arm. One of two tasks has joint's recipe and steps.

        A control has its task's recipe, whose batches may be smaller than joint's, and the plain
        arm may train for longer than joint. So the control may take the steps of joint, those in
        which it reads as many tokens, or those of the plain arm, whichever are most: a gain of
        joint over the control is not due to longer training. Early stopping can end it before.
        """
        steps = self.outputs.stamp("joint").steps
        if len(arm.tasks) > 1:
            return steps
        (joint, _), (control, _) = self.training.of(NAMED_ARMS["joint"]), self.training.of(arm)
        of_tokens = math.ceil(steps * joint.batch_tokens / control.batch_tokens)
        return max(steps, of_tokens, self.outputs.stamp(arm.tasks[0]).steps)

    def _train_and_score(self, arm: Arm, steps: int | None) -> None:
        """Train an arm, and score it as it would be deployed and for the question *transfer*."""
        start, outputs = time.monotonic(), self.outputs
        retriever = self._train(arm, steps)
        if outputs.transfer != outputs.folder:
            score_as_deployed(retriever, self.dataset, arm, outputs)
        if self._is_scored_by_checkpoint(arm):
            # A model that was loaded for retrieval has packed weights; this one has them as saved.
            # Reusing the name frees the memory of the other model.
            model = load_model_folder(outputs.model(arm.name), retriever.model.device)
            retriever = GenerativeRetriever(model, arm.name)
        if outputs.transfer is not None:
            score_for_transfer(retriever, self.dataset, arm, outputs)
        name, seconds = outputs.model(arm.name).parent.name, time.monotonic() - start
        _log.info("%s, seed %d: trained and scored in %.0f s", name, outputs.seed, seconds)

    def _train(self, arm: Arm, steps: int | None) -> GenerativeRetriever:
        """The trained arm; `steps` limits a step-matched one."""
        config, chosen = self.training.of(arm)
        return train(
            self.dataset,
            self.training.with_scaled_batches(arm),
            out=self.outputs.model(arm.name),
            config=config,
            seed=self.outputs.seed,
            device=self.training.device,
            threads=self.training.threads,
            resume=True,
            histories=False,
            reference=self._reference(arm),
            identifiers=self.training.identifiers(arm.settings),
            tuning=chosen,
            steps=steps,
            keep_state=is_plain(arm) or self._is_scored_by_checkpoint(arm),
        )

    def _reference(self, arm: Arm) -> dict[str, float]:
        """The validation scores of the plain arms, by which an arm of two tasks is validated."""
        if len(arm.tasks) == 1:
            return {}
        plain = [other for other in arms_before(arm, self.outputs.arms) if is_plain(other)]
        return {str(other.tasks[0]): self.outputs.stamp(other.name).best_value for other in plain}

    def _is_scored_by_checkpoint(self, arm: Arm) -> bool:
        """Whether each task is scored at its own best checkpoint, from the training state."""
        return self.outputs.transfer is not None and len(arm.tasks) > 1
