"""The choice of each arm's recipe on validation, from the same number of trials for every arm."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from twofold.studies.arms import TUNED
from twofold.studies.folder import StudyFolder
from twofold.studies.trainings.arm_training import ArmTraining
from twofold.tasks.prepared import PreparedDataset
from twofold.training.arm import Arm
from twofold.training.tuning.recipes import recipes_of
from twofold.training.tuning.trials import Tuned, choose_recipe


@dataclass(frozen=True, slots=True)
class RecipeChoice:
    """Chooses the recipes of a study's arms.

    Attributes:
        dataset: the trials learn its training split and are scored on its validation requests.
        arms: all arms of the study. If the data allow fewer recipes for one of them, all arms try
            that smaller number.
        folder: the folder of the trials.
        training: how the arms are trained.
        recipes: the number of recipes to try for each arm.
    """

    dataset: PreparedDataset
    arms: Sequence[Arm]
    folder: StudyFolder
    training: ArmTraining
    recipes: int

    def choose(self, name: str, tuned: Mapping[str, Tuned]) -> Tuned:
        """The recipe that validation chooses for one arm.

        Joint's trials are compared by their validation scores relative to those of the plain arms.

        Args:
            name: the name of the arm.
            tuned: the results of the plain arms, which joint needs.
        """
        candidates = {
            arm.name: recipes_of(self.dataset, arm, self.training.config, self.recipes)
            for arm in self._tuned_arms.values()
        }
        arm, fewest = self._tuned_arms[name], min(map(len, candidates.values()))
        scored = [task for task in arm.tasks if task in tuned and tuned[task].value > 0]
        return choose_recipe(
            self.dataset,
            arm,
            self.folder.tuning(name),
            self.training.config,
            candidates[name][:fewest],
            device=self.training.device,
            reference={str(task): tuned[task].value for task in scored},
            identifiers=self.training.identifiers(arm.settings),
        )

    @property
    def _tuned_arms(self) -> dict[str, Arm]:
        return {arm.name: arm for arm in self.arms if arm.name in TUNED}
