"""The plan of a study: its config, its data, and its training settings."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from twofold.studies.planning.config import ResolvedStudyConfig
from twofold.studies.planning.plan_file import SavedPlan
from twofold.tasks.prepared import PreparedDataset
from twofold.training.config import TrainingConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyPlan(ResolvedStudyConfig, SavedPlan):
    """The content of plan.json.

    Attributes:
        data: SHA-256 of the dataset.
        device: `cpu` or `cuda`.
        threads: the number of CPU threads of each worker.
        training: the training settings as JSON, since other versions may have other settings.
    """

    data: str
    device: str
    threads: int
    training: Mapping[str, Any]

    @classmethod
    def of(
        cls,
        config: ResolvedStudyConfig,
        dataset: PreparedDataset,
        training: TrainingConfig,
        device: str,
        threads: int,
    ) -> "StudyPlan":
        """The plan of a study of this dataset.

        Args:
            config: the resolved config of the study.
            dataset: the dataset.
            training: the training settings.
            device, threads: see the attributes.
        """
        return cls(
            **asdict(config),
            data=dataset.digest,
            device=device,
            threads=threads,
            training=training.model_dump(),
        )
