"""The training loop: steps, validations, the best checkpoint, and resuming.

Invariant: a step is a function of (weights, optimizer state, seed, step number, world size). So a
training that was killed and resumed ends with the same bits as one that was not interrupted. With
another world size, every step has the same examples and the same loss, except for rounding and
dropout.
"""

import contextlib
import ctypes
import logging
import math
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from twofold.model.backbone import Backbone, autocast
from twofold.model.checkpoint import NotFiniteError
from twofold.model.encoded import EncodedSource
from twofold.model.vocabulary import Vocabulary
from twofold.records import InputError
from twofold.training.config import TrainingConfig, require_threads
from twofold.training.loss import CodeLoss, Targets
from twofold.training.mixture import Mixture
from twofold.training.optimizer import (
    AdamW,
    Average,
    clip_gradients,
    optimizer_of,
    row_wise_tables,
)
from twofold.training.progress import show_progress
from twofold.training.schedule import CANDIDATES, Schedule
from twofold.training.state import (
    ALONE,
    DivergedError,
    Processes,
    Progress,
    Trained,
    checksum,
    copy_weights,
    load_state,
    save_state,
)

if TYPE_CHECKING:
    from twofold.training.validation import Validation

SAVED_EVERY = 20.0
"""The smallest number of seconds between two states that are saved at validations."""
LONGEST_UNSAVED = 300.0
"""The number of seconds after which a state is saved without a validation."""
SAVING = 0.05
"""The largest share of the time that is spent on saving."""
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
"""The numbers of two parameters of `mallopt`, from glibc's malloc.h."""
_MICRO_BATCH_SEED = 2_654_435_761
"""The difference between the seeds of two micro-batches; on a CPU, only the low 32 bits of a
seed are used."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Job:
    """One training: its examples, loss and schedule, and how checkpoints are compared.

    Attributes:
        label: the name of the training in the progress bar and in messages.
        mixture: the order of the batches.
        sources: the encoded examples of each source of the mixture.
        loss: the loss over the codes.
        config: the configuration, its precision resolved.
        schedule: the schedule of the arm.
        seed: the random seed of dropout and negatives.
        validation: evaluates the current weights; None without validation requests, and then the
            last weights are used.
        identity: everything that the trained weights depend on; a state with another identity is
            rejected.
        each_task: whether the best checkpoints of each task are candidates as well.
        processes: the processes that train together.
    """

    label: str
    mixture: Mixture
    sources: Sequence[EncodedSource]
    loss: CodeLoss
    config: TrainingConfig
    schedule: Schedule
    seed: int
    validation: "Validation | None"
    identity: dict[str, Any]
    each_task: bool = False
    processes: Processes = ALONE

    @property
    def criteria(self) -> tuple[str, ...]:
        """The keys of the validation values by which checkpoints are compared: `value`, which
        covers all tasks, and each task of `judged` if the arm has several tasks.
        """
        several = len(self.mixture.names) > 1
        return ("value", *(self.judged if several else ()))

    @property
    def judged(self) -> tuple[str, ...]:
        """The tasks whose best checkpoint on all requests is in the stamp."""
        names = tuple(self.mixture.names)
        return names if self.each_task or len(names) == 1 else ()

    def stamped(self, progress: Progress) -> dict[str, Any]:
        """The entries of the model's stamp about the training."""
        mixture = self.mixture
        return {
            "loss": self.loss.describe(),
            "source_weights": dict(zip(mixture.names, mixture.weights, strict=True)),
            "targets": dict(zip(mixture.names, mixture.targets, strict=True)),
            "max_steps": self.schedule.cap,
            "validation_share": self.schedule.spent_share(progress),
            "epochs": progress.step / mixture.batches_per_epoch,
            **progress.stamped(),
            "seed": self.seed,
            "threads": torch.get_num_threads(),
            "precision": self.config.precision,
            "request_time": self.config.request_time,
        }


def run(
    backbone: Backbone,
    vocabulary: Vocabulary,
    job: Job,
    state_folder: Path,
    until: int | None = None,
) -> Progress:
    """Train `backbone` in place, and load its best checkpoint at the end.

    If `state_folder` has a state, the training resumes from it.

    Args:
        backbone: the backbone with its initial weights.
        vocabulary: its vocabulary.
        job: the training.
        state_folder: the folder of the training state.
        until: pause at the first validation at or after this step. A later call with the same
            folder continues as if the training had never paused. None trains to the end.

    Raises:
        InputError: the state belongs to another training, or the loss is not finite.
    """
    device, processes = next(backbone.parameters()).device, job.processes
    _require_enough(job)
    processes.broadcast(weight.data for weight in backbone.parameters())
    tables = row_wise_tables(backbone, job.config) if job.loss.is_sparse else []
    average = Average(backbone, job.config.averaging, tables)
    trained = Trained(backbone, optimizer_of(backbone, job.config, tables), average)
    progress = load_state(state_folder, job.identity, trained, processes) or Progress()
    # A finished training continues if its schedule now allows more steps.
    progress.ended_by = _end(progress, trained, job) if _is_validated(progress) else ""
    if job.validation is None:
        _log.warning("%s: no validation request, so the last weights are kept", job.label)
    keep_freed_memory()
    return_memory()
    clock, saving = _Clock(progress, job), _Saving(state_folder, job, trained, progress)
    with show_progress(job.label, job.schedule, progress) as advance, _deterministic(device):
        while not (progress.ended_by or _is_reached(progress, until)):
            loss, examples = _step(backbone, vocabulary, job, trained.optimizer, progress)
            progress.loss += loss
            average.update(progress)
            clock.read(progress)
            if job.schedule.is_validated(progress) or job.schedule.is_late(progress):
                _validate(progress, trained, job)
                progress.ended_by = _end(progress, trained, job)
                clock.read(progress)
            if saving.is_due(progress, bool(progress.ended_by) or _is_reached(progress, until)):
                saving.save(progress)
                return_memory()
            advance(progress, loss, examples)
        if progress.ended_by:
            _choose_checkpoint(progress, trained, job)
            clock.read(progress)
    backbone.load_state_dict(trained.candidates[progress.best_step], strict=False)
    backbone.eval()
    return_memory()
    return progress


def _require_enough(job: Job) -> None:
    """Raise InputError if no batch has a sequence for each micro-batch."""
    largest, processes = job.mixture.largest_batch, job.processes
    if processes.micro_batches > max(1, largest):
        raise InputError(
            f"{job.label}: {processes.world_size} processes with "
            f"{len(processes.own_micro_batches)} micro-batches each, but the largest batch has "
            f"{largest} sequences; use fewer, or raise batch_tokens or max_batch_size"
        )


class _Clock:
    """The seconds of a training, including those before it was resumed.

    If the time can end the training, all processes use the clock of the first one.
    """

    def __init__(self, progress: Progress, job: Job) -> None:
        self._start = time.perf_counter() - progress.seconds
        self._decides = job.schedule.max_seconds is not None
        self._processes = job.processes

    def read(self, progress: Progress) -> None:
        """Write the seconds so far into the progress."""
        seconds = torch.tensor(time.perf_counter() - self._start, dtype=torch.float64)
        if self._decides:
            self._processes.broadcast([seconds])
        progress.seconds = float(seconds)


class _Saving:
    """Saves the state at validations, and also between them if they are far apart."""

    def __init__(self, folder: Path, job: Job, trained: Trained, progress: Progress) -> None:
        self._folder, self._job, self._trained = folder, job, trained
        self._last = progress.seconds - SAVED_EVERY  # the first validation saves a state
        self._took = 0.0

    def is_due(self, progress: Progress, is_last: bool) -> bool:
        """Whether the state of the present step is to be saved; always if it `is_last`."""
        pause = SAVED_EVERY if _is_validated(progress) else LONGEST_UNSAVED
        waited = progress.seconds - self._last
        return is_last or waited > max(pause, self._took / SAVING)

    def save(self, progress: Progress) -> None:
        """Save the state, in the first process."""
        start, self._last = time.perf_counter(), progress.seconds
        if not self._job.processes.rank:
            save_state(self._folder, self._job.identity, progress, self._trained)
        self._took = time.perf_counter() - start


_training = threading.RLock()
"""Held by the thread that trains."""


@contextlib.contextmanager
def one_at_a_time() -> Iterator[None]:
    """Train in one thread of this process at a time; another thread waits.

    Random numbers and the number of threads belong to the process: of two trainings at once, each
    would draw numbers of the other's, and none would have the weights that it has alone.
    """
    if not _training.acquire(blocking=False):
        _log.info("waiting until the training in another thread of this process ends")
        _training.acquire()
    try:
        yield
    finally:
        _training.release()


def set_threads(threads: int | None) -> None:
    """Set the number of CPU threads; None leaves it unchanged.

    Raises:
        InputError: it is not a whole number, or too small or too large.
    """
    require_threads(threads)
    if threads is not None:
        torch.set_num_threads(threads)


def keep_freed_memory() -> None:
    """Let malloc keep what a step frees for the next step, until `return_memory`.

    In a virtual machine it takes 3 us to get a page from the system again, and in a step of
    `decoder:medium` these were 4,900 pages. glibc raises both thresholds to these values by itself,
    but only when blocks of these sizes are freed, and a small catalog has none.
    """
    with contextlib.suppress(OSError, AttributeError):  # not glibc
        for parameter, size in ((_M_MMAP_THRESHOLD, 32 << 20), (_M_TRIM_THRESHOLD, 64 << 20)):
            ctypes.CDLL(None).mallopt(parameter, size)


def return_memory() -> None:
    """Return freed memory to the system.

    Batches have many sizes, so the heap of glibc becomes fragmented. Over the arms of a study, the
    unused parts grew to a third of the memory.
    """
    with contextlib.suppress(OSError, AttributeError):  # not glibc
        ctypes.CDLL(None).malloc_trim(0)


def _step(
    backbone: Backbone,
    vocabulary: Vocabulary,
    job: Job,
    optimizer: AdamW,
    progress: Progress,
) -> tuple[float, int]:
    """One training step; returns the loss and the number of examples."""
    if not backbone.training:  # `train` visits every module
        backbone.train()
    planned, processes = job.mixture.batch(progress.step), job.processes
    parameters = list(backbone.parameters())
    optimizer.learning_rate = job.config.learning_rate * job.schedule.factor(progress.step)
    optimizer.zero_grad()
    sums = torch.zeros(2, device=parameters[0].device)  # of losses and of targets
    for micro_batch in processes.own_micro_batches:
        sums += _learn(backbone, vocabulary, job, progress.step, micro_batch)
    loss, targets = processes.all_reduce_gradients(parameters, sums).tolist()
    if not math.isfinite(loss):
        raise _diverged(job, progress.step, f"the loss is {loss}")
    clip_gradients(parameters, job.config.max_grad_norm)
    optimizer.step()
    name = job.mixture.names[planned.source]
    progress.targets_seen[name] = progress.targets_seen.get(name, 0) + int(targets)
    size = str(processes.world_size)
    progress.steps_by_world_size[size] = progress.steps_by_world_size.get(size, 0) + 1
    progress.step += 1
    return loss, len(planned.rows)


def _learn(
    backbone: Backbone, vocabulary: Vocabulary, job: Job, step: int, micro_batch: int
) -> torch.Tensor:
    """Add the gradients of a micro-batch; return its loss and its number of targets, (2,)."""
    device = next(backbone.parameters()).device
    planned = job.mixture.batch(step)
    rows = planned.micro_batch(micro_batch, job.processes.micro_batches)
    if not len(rows):
        return torch.zeros(2, device=device)
    examples = job.sources[planned.source].take(rows)
    seed = job.seed * 1_000_003 + step
    _seed(device, seed + micro_batch * _MICRO_BATCH_SEED)
    batch = vocabulary.collate(examples).to(device)
    with autocast(device, job.config.precision):
        states, embeddings = backbone(batch)
    targets = Targets(
        contexts=batch.target_contexts,
        codes=batch.targets,
        weights=batch.weights * planned.weight,
        codebooks=batch.context_codebooks,
        items=batch.context_items,
    )
    if job.processes.micro_batches > 1:
        _seed(device, seed)  # all micro-batches of a batch share its negatives
    loss: torch.Tensor = job.loss(states, embeddings, targets)
    loss.backward()  # type: ignore[no-untyped-call]
    return torch.stack([loss.detach(), loss.new_tensor(int(examples.items.sum()))])


def _seed(device: torch.device, seed: int) -> None:
    """Seed the random numbers of a step.

    `torch.manual_seed` seeds all kinds of devices, and takes .4 ms for those that are not there.
    """
    if device.type == "cpu":
        torch.default_generator.manual_seed(seed)
    else:
        torch.manual_seed(seed)


def _validate(progress: Progress, trained: Trained, job: Job) -> None:
    """Validate the averaged weights on the sample, and keep them if they are a candidate."""
    start = time.perf_counter()
    trained.model.eval()
    if not all(bool(weight.isfinite().all()) for weight in trained.model.parameters()):
        raise _diverged(job, progress.step, "weights are not finite")
    job.processes.require_alike(
        lambda: {f"weights of step {progress.step}": checksum(trained.model)}
    )
    trained.average.update(progress, now=True)
    before = progress.curve[-1]["step"] if progress.curve else 0
    point = {"step": progress.step, "loss": progress.loss / (progress.step - before)}
    progress.loss = 0.0
    progress.curve.append(point)
    with trained.average.average_parameters():
        if job.validation is None:
            progress.best_step = progress.step
            trained.candidates.clear()
        else:
            try:
                point |= job.validation.on_sample()
            except NotFiniteError as error:
                what = "scores in validation are not finite"
                raise _diverged(job, progress.step, what) from error
            if point["value"] > progress.best_value:
                progress.best_value, progress.best_step = point["value"], progress.step
        trained.candidates[progress.step] = copy_weights(trained.model)
    kept = {step for each in job.criteria for step in _best(progress, trained, each)[:CANDIDATES]}
    kept |= {progress.step}
    for key in ("on_all", *(f"{name}_on_all" for name in job.judged)):
        kept |= {*_best_on_all(progress, trained, key)}
    for step in trained.candidates.keys() - kept:
        del trained.candidates[step]
    progress.validation_seconds += time.perf_counter() - start


def _best(progress: Progress, trained: Trained, criterion: str) -> list[int]:
    """The steps of the candidates, best first; of equal ones, the earlier first."""
    value = {point["step"]: point.get(criterion, 0.0) for point in progress.curve}
    return sorted(trained.candidates, key=lambda step: (-value[step], step))


def _end(progress: Progress, trained: Trained, job: Job) -> str:
    """What ends the training at this validation; empty if it continues.

    Chance decides which checkpoint is best on the sample. So before patience ends a training, the
    best checkpoints and the last one are compared on all requests, if that is not too expensive.
    Where a late one is best, the training continues.
    """
    ended_by = job.schedule.end(progress)
    if ended_by != "patience":
        return ended_by
    _measure_candidates(progress, trained, job, {progress.step} & trained.candidates.keys())
    return job.schedule.end(progress)


def _measure_candidates(
    progress: Progress, trained: Trained, job: Job, further: Iterable[int] = ()
) -> None:
    """Validate the best checkpoints, and those of further steps, on all requests."""
    most = job.schedule.candidates(progress)
    if job.validation is None or not job.validation.has_more or not most:
        return
    start, current = time.perf_counter(), copy_weights(trained.model)
    points = {point["step"]: point for point in progress.curve}
    best = {each: _best(progress, trained, each)[:most] for each in job.criteria}
    best["value"] += further
    # If an arm has one task, its value is that task's measure.
    best |= {name: best.get(name, best["value"]) for name in job.judged}
    for step in dict.fromkeys(step for steps in best.values() for step in steps):
        # Other tasks' candidates do not count, so that each task has as many as in any other arm.
        judged = [name for name in job.judged if name in points[step] and step in best[name]]
        keys = {f"{name}_on_all": name for name in judged}
        keys |= {"on_all": "value"} if step in best["value"] else {}
        if points[step].keys() >= keys.keys():
            continue  # measured when patience ended before
        trained.model.load_state_dict(trained.candidates[step], strict=False)
        trained.model.eval()
        measured = job.validation.on_all()
        points[step] |= {key: measured[name] for key, name in keys.items()}
    trained.model.load_state_dict(current, strict=False)
    progress.validation_seconds += time.perf_counter() - start


def _best_on_all(progress: Progress, trained: Trained, key: str) -> list[int]:
    """The step of the candidate with the best value on all requests; empty if none has one."""
    value = {point["step"]: point[key] for point in progress.curve if key in point}
    steps = sorted(trained.candidates.keys() & value.keys())
    return [max(steps, key=value.__getitem__)] if steps else []


def _choose_checkpoint(progress: Progress, trained: Trained, job: Job) -> None:
    """Choose the best checkpoint, on all requests where that is not too expensive."""
    _measure_candidates(progress, trained, job)
    for step in _best_on_all(progress, trained, "on_all"):
        (point,) = (point for point in progress.curve if point["step"] == step)
        progress.best_step, progress.best_value = step, point["on_all"]


_USUAL_RATE = 1e-3
"""A usual learning rate for newly initialised models."""


def _diverged(job: Job, step: int, what: str) -> DivergedError:
    """The error for a loss or weights that are not finite, with the setting to change."""
    rate, precision = job.config.learning_rate, job.config.precision
    if step == 0 and precision != "float32":
        remedy = "before any learning; compute in another precision: --set precision=float32"
    else:
        lower = rate / 10 if rate <= 10 * _USUAL_RATE else _USUAL_RATE
        remedy = (
            f"training diverged with learning_rate={rate:g}; lower it: "
            f"--set learning_rate={lower:g}"
        )
    return DivergedError(f"{job.label}: {what} at step {step}: {remedy}")


def _is_validated(progress: Progress) -> bool:
    """Whether the last step was validated."""
    return bool(progress.curve) and progress.curve[-1]["step"] == progress.step


def _is_reached(progress: Progress, until: int | None) -> bool:
    """Whether the training has validated at or after the step at which it is to pause."""
    return until is not None and bool(progress.curve) and progress.curve[-1]["step"] >= until


@contextlib.contextmanager
def _deterministic(device: torch.device) -> Iterator[None]:
    """Use only deterministic algorithms on a CPU; restore the caller's random state at the end.

    Some operations have no deterministic algorithm on a GPU, so its bits are not guaranteed.
    """
    # `use_deterministic_algorithms` also imports torch's compiler, which takes seconds.
    before = torch.get_deterministic_debug_mode()
    memory: Any = torch.utils.deterministic
    filled = memory.fill_uninitialized_memory
    with torch.random.fork_rng(devices=[]):
        if device.type == "cpu":
            torch.set_deterministic_debug_mode("error")
        # Filling new tensors guards against kernels that do not write all of their output. It took
        # 14 % of a step, and every kernel used here writes all of it.
        memory.fill_uninitialized_memory = False
        try:
            yield
        finally:
            memory.fill_uninitialized_memory = filled
            torch.set_deterministic_debug_mode(before)
