"""The stamp of a model: everything that its numbers depend on. It is made when training ends."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any

KIND = "model"
"""The kind of artifact that a model folder is."""
HISTORIES = "histories.parquet"
"""The file of the users' histories in a model folder, if it has them."""


@dataclass(frozen=True, slots=True)
class Stamp:
    """Everything that a model's numbers depend on; the defaults are for an untrained model.

    Attributes:
        arm: the name of the arm.
        data: SHA-256 of the dataset, in hex.
        split: how interactions were split.
        cutoff: the time of a temporal split.
        seen: whether recommendation may return items of the history (`keep`, `exclude`).
        ties: how equal scores are ordered.
        candidates: the items that are ranked for a request.
        catalog: the number of items.
        identifiers: how the identifiers were made, and how evenly their codes are used.
        loss: the loss and its negatives.
        source_weights: the weight of each source in the loss.
        targets: the number of targets in each source.
        text_encoder: the text encoder that initialised queries and items.
        item_init: the initialisation of the item embeddings.
        item_text_queries: the number of search examples made from each item's text.
        request_time: whether recommendation read the time of the target event.
        long_histories: how histories that are longer than the maximum were used in training.
        hybrid: the weight, the parts, the content of documents, their terms and the weighting of
            these; None if hybrid retrieval was not tried.
        history_match: the weight of the hybrid part of recommendation, the kind, the decay and the
            share of each similarity of items (`by`), and the shares of `repeats` and `popularity`;
            None if it was not tried.
        intervention: the change of one source; None without an intervention.
        max_steps: the cap on the number of steps; None if only early stopping ended the training.
        steps: the number of steps.
        epochs: the same in epochs over its sources.
        steps_by_world_size: the same by the number of processes that took them together.
        ended_by: why training ended: `patience`, the name of a cap, or `steps`, the number of steps
            of another arm; empty in an untrained model.
        validation_share: the share of the operations that were spent on validation.
        targets_seen: the number of training targets so far, by source.
        best_step: the step with the best validation, whose weights are kept.
        best_value: the value of that validation.
        curve: one entry for each validation: step, loss, the measure of each task on a sample of
            the requests, value. The best checkpoints also have `on_all`, the value on all requests,
            and those of a task `TASK_on_all`, if a checkpoint was chosen for each task.
        seed: the random seed.
        threads: the number of CPU threads.
        precision: the number format of matrix products.
        tuning: the trials of the tuning; None for a fixed recipe.
    """

    arm: str = "untrained"
    data: str = ""
    split: str = ""
    cutoff: float | None = None
    seen: str = ""
    ties: str = ""
    candidates: str = ""
    catalog: int = 0
    identifiers: Mapping[str, Any] = field(default_factory=dict)
    loss: str = ""
    source_weights: Mapping[str, float] = field(default_factory=dict)
    targets: Mapping[str, int] = field(default_factory=dict)
    text_encoder: str = "none"
    item_init: str = ""
    item_text_queries: int = 0
    request_time: bool = False
    long_histories: str = ""
    hybrid: Mapping[str, Any] | None = None
    history_match: Mapping[str, Any] | None = None
    intervention: Mapping[str, Any] | None = None
    max_steps: int | None = 0
    steps: int = 0
    epochs: float = 0.0
    steps_by_world_size: Mapping[str, int] = field(default_factory=dict)
    ended_by: str = ""
    validation_share: float = 0.0
    targets_seen: Mapping[str, int] = field(default_factory=dict)
    best_step: int = 0
    best_value: float = -1.0
    curve: Sequence[Mapping[str, float]] = ()
    seed: int = 0
    threads: int = 0
    precision: str = ""
    tuning: Mapping[str, Any] | None = None

    def best_step_of(self, task: str) -> int:
        """The step at which a task was best: on all requests, if the task's best checkpoints were
        compared on them; the step that was kept, if no validation measured the task.
        """
        for name in (f"{task}_on_all", task):
            if measured := [point for point in self.curve if name in point]:
                return int(max(measured, key=lambda point: point[name])["step"])
        return self.best_step

    def as_dict(self) -> dict[str, Any]:
        """The stamp as a manifest holds it."""
        return asdict(self)

    @classmethod
    def read(cls, kept: Mapping[str, Any]) -> "Stamp":
        """Read the stamp of a manifest; keys that this version does not know are left out."""
        names = {entry.name for entry in fields(cls)}
        known = {key: value for key, value in kept.items() if key in names}
        return cls(**{**known, "curve": tuple(kept.get("curve", ()))})
