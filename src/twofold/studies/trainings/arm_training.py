"""How the arms of a study are trained: settings, recipes, device, identifiers."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from twofold import artifact
from twofold.identifiers.identifiers import ItemIdentifiers
from twofold.studies.arms import tuned_arm
from twofold.tasks.prepared import PreparedDataset
from twofold.training.arm import Arm, SettingOverrides
from twofold.training.config import TrainingConfig
from twofold.training.start import assign_identifiers
from twofold.training.tuning.trials import Tuned

IdentifiersOf = Callable[[SettingOverrides], ItemIdentifiers | None]
"""The settings of an arm -> its identifiers; None if training assigns them itself."""


@dataclass(frozen=True, slots=True)
class ArmTraining:
    """How the arms of a study are trained, the same for every seed.

    Attributes:
        config: the resolved training settings.
        device, threads: as in `twofold.train`.
        identifiers: the function that assigns the identifiers of arms with their own settings.
        tuned: the tuned recipes, by the name of the arm; other arms use `config`.
    """

    config: TrainingConfig
    device: str = "auto"
    threads: int | None = None
    identifiers: IdentifiersOf = lambda _: None
    tuned: Mapping[str, Tuned] = field(default_factory=dict)

    def of(self, arm: Arm) -> tuple[TrainingConfig, Mapping[str, Any] | None]:
        """The configuration of an arm, and how it was chosen."""
        chosen = self.tuned.get(tuned_arm(arm))
        return (chosen.config, chosen.record) if chosen else (self.config, None)

    def with_scaled_batches(self, arm: Arm) -> Arm:
        """The arm with its own batch size multiplied by the factor of its recipe."""
        factor = self.of(arm)[0].batch_tokens / self.config.batch_tokens
        settings = dict(arm.settings)
        if "batch_tokens" in settings:
            settings["batch_tokens"] = round(factor * settings["batch_tokens"])
        return replace(arm, settings=tuple(settings.items()))


def identifiers_of(
    dataset: PreparedDataset, config: TrainingConfig, encoders: Path
) -> IdentifiersOf:
    """The function that assigns the identifiers of arms with given settings.

    Args:
        dataset: the dataset, which caches the identifiers.
        config: the settings of all arms.
        encoders: the folder of the sentence encoders that are tuned for the identifiers.
    """

    def assigned(settings: SettingOverrides) -> ItemIdentifiers | None:
        arm_config = config.model_copy(update=dict(settings))
        if arm_config.identifiers == "atomic":
            return None
        key = "identifiers", encoders, arm_config.model_dump_json()
        with artifact.waiting_for(encoders):  # another process may tune the same encoder
            return dataset.cached(key, lambda: assign_identifiers(dataset, arm_config, encoders))

    return assigned
