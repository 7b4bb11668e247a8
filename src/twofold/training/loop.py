"""The training loop: updates, validations, the best checkpoint, and going on where it stopped.

Invariant: an update is a function of (weights, optimizer, seed, number of the update); so a run
that was killed and resumed ends with the bits of one that was not.
"""

import contextlib
import logging
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from twofold.model.backbone import Backbone
from twofold.model.device import autocast
from twofold.model.vocabulary import EncodedExample, Vocabulary
from twofold.records import InputError
from twofold.training.config import TrainingConfig
from twofold.training.loss import CodeLoss
from twofold.training.mixture import Mixture
from twofold.training.state import Progress, copy_weights, load_state, save_state

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Schedule:
    """When to stop and when to look.

    Attributes:
        updates: of this arm.
        cadence: updates between validations.
        patience: updates without a better validation after which training stops.
    """

    updates: int
    cadence: int
    patience: int


Validate = Callable[[], Mapping[str, float]]
"""Measures the current weights: by task, and `value`, by which the best checkpoint is chosen."""


@dataclass(frozen=True, slots=True)
class Job:
    """One training: what is learned, how, and by what it is judged.

    Attributes:
        label: for the progress bar.
        mixture: which sequences an update learns from.
        sequences: of each source of the mixture.
        loss: over the codes.
        config: with the precision resolved.
        schedule: of this arm.
        seed: of dropout and negatives.
        validate: judges the current weights; None where there is nothing to judge them on, and
            the last are kept.
        identity: all that the bits of this training rest on; a state of another is refused.
    """

    label: str
    mixture: Mixture
    sequences: Sequence[Sequence[EncodedExample]]
    loss: CodeLoss
    config: TrainingConfig
    schedule: Schedule
    seed: int
    validate: Validate | None
    identity: dict[str, Any]


def learning_rate(update: int, updates: int, warmup: float) -> float:
    """Share of the peak rate: a linear rise, then a cosine down to a tenth."""
    rise = max(1, round(warmup * updates))
    if update < rise:
        return (update + 1) / rise
    done = (update - rise) / max(1, updates - rise)
    return 0.1 + 0.45 * (1 + math.cos(math.pi * done))


def run(backbone: Backbone, vocabulary: Vocabulary, job: Job, state_folder: Path) -> Progress:
    """Train `backbone` in place and leave it at its best checkpoint.

    Goes on from `state_folder` where that holds a state.

    Raises:
        InputError: the state there is of another training.
    """
    device = next(backbone.parameters()).device
    optimizer = _optimizer(backbone, job.config)
    progress, best = Progress(), copy_weights(backbone)
    if restored := load_state(state_folder, job.identity, backbone, optimizer):
        progress, best = restored
    schedule, spent = job.schedule, 0.0
    with _bar(job.label, schedule.updates, progress.update) as advance, _deterministic(device):
        total = 0.0
        while not _is_over(progress, schedule):
            start = time.perf_counter()
            total += _update(backbone, vocabulary, job, optimizer, progress)
            spent += time.perf_counter() - start
            advance(progress)
            if progress.update % schedule.cadence == 0 or progress.update == schedule.updates:
                backbone.eval()
                _record(progress, job.validate, total)
                total = 0.0
                _log.debug("%s: %.1f s of updates, %s", job.label, spent, progress.curve[-1])
                if progress.best_update == progress.update:
                    best = copy_weights(backbone)
                save_state(state_folder, job.identity, progress, backbone, optimizer, best)
    backbone.load_state_dict(best, strict=False)
    backbone.eval()
    return progress


def _update(
    backbone: Backbone,
    vocabulary: Vocabulary,
    job: Job,
    optimizer: torch.optim.Optimizer,
    progress: Progress,
) -> float:
    """One step of the optimizer; returns the loss."""
    backbone.train()
    device = next(backbone.parameters()).device
    planned = job.mixture.batch(progress.update)
    sequences = job.sequences[planned.source]
    batch = vocabulary.collate([sequences[row] for row in planned.rows]).to(device)
    share = learning_rate(progress.update, job.schedule.updates, job.config.warmup_ratio)
    for group in optimizer.param_groups:
        group["lr"] = job.config.learning_rate * share
    torch.manual_seed(job.seed * 1_000_003 + progress.update)
    with autocast(device, job.config.precision):
        states = backbone.states(batch)
    weights = batch.weights * planned.weight
    loss = job.loss(
        states,
        backbone.code_rows(),
        batch.target_contexts,
        batch.targets,
        weights,
        batch.context_codebooks,
        batch.context_items,
    )
    if not torch.isfinite(loss):
        raise InputError(
            f"{job.label}: the loss is {float(loss.detach())} at update {progress.update}; "
            f"training diverged, lower learning_rate={job.config.learning_rate}"
        )
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(backbone.parameters(), job.config.max_grad_norm)
    optimizer.step()
    name = job.mixture.names[planned.source]
    progress.targets_seen[name] = progress.targets_seen.get(name, 0) + sum(
        sequences[row].items for row in planned.rows
    )
    progress.update += 1
    return float(loss.detach())


def _optimizer(backbone: Backbone, config: TrainingConfig) -> torch.optim.Optimizer:
    """AdamW; norms and biases do not decay."""
    parameters = [p for p in backbone.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=config.learning_rate, fused=True)


def _record(progress: Progress, validate: Validate | None, total: float) -> None:
    """Add a point to the curve, and mark it where it is the best so far."""
    since = progress.curve[-1]["update"] if progress.curve else 0
    point = {"update": progress.update, "loss": total / (progress.update - since)}
    if validate is None:
        progress.best_update = progress.update
    else:
        point |= validate()
        if point["value"] > progress.best_value:
            progress.best_value, progress.best_update = point["value"], progress.update
    progress.curve.append(point)


def _is_over(progress: Progress, schedule: Schedule) -> bool:
    """At the end of the budget, or when the last validation brought nothing for too long."""
    looked = progress.curve[-1]["update"] if progress.curve else 0
    waited = looked - progress.best_update
    return progress.update >= schedule.updates or waited >= schedule.patience


@contextlib.contextmanager
def _bar(label: str, updates: int, done: int) -> Iterator[Callable[[Progress], None]]:
    """A progress bar with the time left and the last validation; silent off a terminal."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total}"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[value]}"),
    )
    console = Console(stderr=True)
    with Bar(*columns, console=console, disable=not os.isatty(2), transient=True) as bar:
        task = bar.add_task(label, total=updates, completed=done, value="")

        def advance(progress: Progress) -> None:
            last = progress.curve[-1] if progress.curve else {}
            value = f"validation {last['value']:.4f}" if "value" in last else ""
            bar.update(task, completed=progress.update, value=value)

        yield advance


@contextlib.contextmanager
def _deterministic(device: torch.device) -> Iterator[None]:
    """On a CPU only algorithms whose bits repeat; the caller's random state left as it was.

    A GPU has no such algorithm for some of the steps, so its bits are not promised.
    """
    before = torch.are_deterministic_algorithms_enabled()
    memory: Any = torch.utils.deterministic
    filled = memory.fill_uninitialized_memory
    with torch.random.fork_rng(devices=[]):
        if device.type == "cpu":
            torch.use_deterministic_algorithms(True)
        # Filling fresh memory guards against kernels that leave some unwritten; it took 14 % of
        # an update, and none of ours does.
        memory.fill_uninitialized_memory = False
        try:
            yield
        finally:
            memory.fill_uninitialized_memory = filled
            torch.use_deterministic_algorithms(before)
