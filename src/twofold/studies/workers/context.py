"""What every unit of a study reads: the data, the plan, and the folder."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from twofold.baselines.selection import Baseline, every_baseline, quick_baselines
from twofold.studies.folder import StudyFolder
from twofold.studies.planning.conditions import Condition
from twofold.studies.planning.plan import StudyPlan
from twofold.studies.planning.questions import Text
from twofold.studies.trainings.arm_training import ArmTraining, identifiers_of
from twofold.studies.trainings.seed_outputs import SeedOutputs
from twofold.tasks.folds import FoldChoice, Folds
from twofold.tasks.prepared import PreparedDataset
from twofold.training.start import CACHE_KEYS


@dataclass(frozen=True, eq=False)
class StudyContext:
    """The data of a study that every unit needs; it is sent to every worker.

    Attributes:
        dataset: the dataset with its own split.
        conditions: the conditions to train.
        folder: the folder of the study.
        device: as in `twofold.train`.
        plan: the plan of the study.
    """

    dataset: PreparedDataset
    conditions: Mapping[Text, Condition]
    folder: StudyFolder
    device: str
    plan: StudyPlan

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle without the dataset's cached values, which are large and can be computed again."""
        return StudyContext, (
            replace(self.dataset),
            self.conditions,
            self.folder,
            self.device,
            self.plan,
        )

    @property
    def folds(self) -> Folds:
        """The folds of the dataset."""
        return self._training_folds.folds

    @cached_property
    def _training_folds(self) -> "_TrainingFolds":
        return _TrainingFolds(self.dataset, self.plan.folds)

    def fold(self, text: Text, seed: int) -> PreparedDataset:
        """The fold of a seed, for the models of a condition."""
        return self._training_folds.of(text, seed)

    def outputs(self, text: Text, seed: int) -> SeedOutputs:
        """The outputs of a condition's arms with one seed."""
        condition = self.conditions[text]
        return SeedOutputs(condition.arms, condition.folder, seed, condition.transfer)

    def training(self, text: Text, seed: int = 0) -> ArmTraining:
        """How the arms of a condition are trained, with the identifiers of a seed's fold."""
        dataset, config = self.folds.of(seed), self.conditions[text].training
        encoders = self.folder.encoders_of(seed if self.folds.any else 0)
        identifiers = identifiers_of(dataset, config, encoders)
        return ArmTraining(config, self.device, self.plan.threads, identifiers)

    def baselines(self, seed: int) -> Iterable[Baseline]:
        """The baselines of a seed's fold, before they are fitted; slow baselines are only in the
        first fold."""
        config, dataset = next(iter(self.conditions.values())).training, self.folds.of(seed)
        if self.plan.baselines:
            every = every_baseline(
                dataset,
                self.folder.baseline_models,
                config,
                self.device,
                self.plan.threads,
                tune=self.plan.tune,
            )
        else:
            every = quick_baselines(dataset, config)
        if dataset is self.dataset:
            return every
        return (baseline for baseline in every if not baseline.slow)


class _TrainingFolds:
    """The folds of a study in one process, which keeps the encoders of one condition and fold.

    When the models of another condition or fold are trained, the encoders that the models before
    them have cached are removed, so that a process never holds the encoders of both at once. Where
    all seeds learn from the same data, they start from the same, and nothing is removed.
    """

    def __init__(self, dataset: PreparedDataset, which: FoldChoice) -> None:
        self.folds = Folds(dataset, which)
        self._dataset = dataset
        self._last: tuple[Text, int] | None = None

    def of(self, text: Text, seed: int) -> PreparedDataset:
        """The fold of a seed, for the models of a condition."""
        dataset = self.folds.of(seed)
        if self.folds.any and self._last != (text, seed):
            self._last = text, seed
            for cached in (self._dataset, dataset):
                cached.clear_cached(*CACHE_KEYS)
        return dataset
