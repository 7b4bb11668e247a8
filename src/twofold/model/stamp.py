"""The stamp of a model: what its numbers depend on. It is made once, when training ends."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any


@dataclass(frozen=True, slots=True)
class Stamp:
    """What the numbers of a model depend on; the defaults are those of an untrained model.

    Attributes:
        arm: the name of the arm.
        data: SHA-256 of the dataset, in hex.
        split: how interactions were split.
        cutoff: the time of a temporal split.
        seen: whether a user's earlier items may come back in recommendation (`keep`, `exclude`).
        ties: how equal scores are ordered.
        candidates: the items that are ranked for a request.
        catalog: the number of items.
        identifiers: how the identifiers were made and how their codes are used.
        loss: the loss and its negatives.
        source_weights: the weight of each source in the loss.
        targets: the number of targets in each source.
        text_encoder: what initialised queries and items.
        item_init: what item embeddings started from.
        item_text_queries: the number of search examples made from each item's text.
        request_time: whether recommendation was told the time of the event that is asked for.
        long_histories: how histories beyond the maximum were trained on.
        hybrid: the weight, the parts, what documents hold and how their words are weighted; None
            where hybrid retrieval was not tried.
        intervention: what was done to one source; None for nothing.
        max_steps: the most steps that the arm was allowed; None where validation decided.
        steps: the steps that it took.
        epochs: the same in epochs over its sources.
        steps_by_world_size: the same by the number of processes that took them together.
        ended_by: what ended its training: patience, the setting of a cap, or `steps`, those of
            another arm; empty in models of earlier versions.
        validation_share: the share of the operations that were spent on validation.
        targets_seen: the targets that it learned from, by source.
        best_step: the step with the best validation, whose weights are kept.
        best_value: the value of that validation.
        curve: one entry for each validation: step, loss, the measure of each task on a sample of
            the requests, value; `on_all`, the value on all of them, of the last candidates, and
            `TASK_on_all`, the same of the candidates for a task's best checkpoint, where that was
            looked for.
        seed: the random seed.
        threads: the number of CPU threads.
        precision: the number format of matrix products.
        tuning: the trials that the configuration was chosen from; None for a fixed one.
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
        """The step at which a task was best: on all requests, among the task's own candidates,
        where those were compared on them; the kept one where no validation measured the task."""
        for name in (f"{task}_on_all", task):
            if measured := [point for point in self.curve if name in point]:
                return int(max(measured, key=lambda point: point[name])["step"])
        return self.best_step

    def as_dict(self) -> dict[str, Any]:
        """The stamp as a manifest holds it."""
        return asdict(self)

    @classmethod
    def read(cls, kept: Mapping[str, Any]) -> "Stamp":
        """The stamp of a manifest, in which keys may have their former names."""
        current = _with_current_keys(kept, _FORMER_KEYS)
        curve = [_with_current_keys(point, _FORMER_KEYS) for point in current.get("curve", ())]
        current["curve"] = tuple(curve)
        known = {entry.name for entry in fields(cls)}
        return cls(**{key: value for key, value in current.items() if key in known})


# Manifests and plans until 29 November 2026 (commit 9d0cef3) had other names for settings and keys.
FORMER_SETTINGS = {
    "encoder": "text_encoder",
    "rows": "item_init",
    "windows": "long_histories",
    "item_text": "item_text_queries",
    "updates": "max_steps",
    "batch_requests": "max_batch_size",
    "warmup": "warmup_ratio",
    "clip": "max_grad_norm",
    "negatives": "num_negatives",
    "validations": "min_validations",
    "validation_requests": "max_validation_requests",
    "beams": "num_beams",
    "max_query": "max_query_tokens",
    "text_tokens": "text_vocab_size",
    "embeddings": "id_embeddings",
    "full_softmax_codes": "full_softmax_max_codes",
}
_FORMER_KEYS = {
    "encoder": "text_encoder",
    "windows": "long_histories",
    "item_text": "item_text_queries",
    "budget": "max_steps",
    "passes": "epochs",
    "update": "step",
    "updates": "steps",
    "best_update": "best_step",
}
_FORMER_VALUES = {
    "long_histories": {"last": "truncate", "all": "windows"},
    "item_init": {"histories": "factors"},
}


_ADDED_SETTINGS = {"request_time": False}
"""Settings that earlier commits lacked, with the value by which a training is as it was."""


def full_settings(kept: Mapping[str, Any]) -> dict[str, Any]:
    """All training settings of a manifest or plan, under the names and values of today."""
    return {**_ADDED_SETTINGS, **current_settings(kept)}


def current_settings(kept: Mapping[str, Any]) -> dict[str, Any]:
    """The training settings of a manifest or plan under the names and values of today."""
    return _with_current_keys(kept, FORMER_SETTINGS)


def _with_current_keys(kept: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    current = {names.get(key, key): value for key, value in kept.items()}
    for key, values in _FORMER_VALUES.items():
        if key in current:
            current[key] = values.get(current[key], current[key])
    return current
