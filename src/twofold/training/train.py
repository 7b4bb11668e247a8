"""Training of an arm: from a dataset, an arm and a configuration to a model folder."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from threadpoolctl import threadpool_limits

from twofold import artifact
from twofold.evaluation.measures import TIE_RULE
from twofold.identifiers.identifiers import ItemIdentifiers
from twofold.model.backbone import resolve_device, resolve_precision
from twofold.model.checkpoint import GenerativeModel, save_model, tries_of
from twofold.model.stamp import Stamp
from twofold.retrieval.generative import GenerativeRetriever, load_model
from twofold.tasks.prepared import PreparedDataset, require_dataset
from twofold.training import loop
from twofold.training.arm import Arm, named_arm
from twofold.training.config import TrainingConfig, as_config, require_seed
from twofold.training.loss import loss_of
from twofold.training.mixture import encode, mixture_of
from twofold.training.schedule import costs_of, schedule_of
from twofold.training.start import Start, assign_identifiers, hybrid_of, start
from twofold.training.state import ALONE, Processes, Progress, require_made_by, working_folders
from twofold.training.validation import validation_of, validation_requests, with_hybrid_parts


@loop.one_at_a_time()
def train(
    dataset: PreparedDataset,
    arm: str | Arm = "joint",
    *,
    out: str | Path,
    config: TrainingConfig | None = None,
    seed: int = 0,
    device: str = "auto",
    threads: int | None = None,
    resume: bool = False,
    histories: bool = True,
    reference: Mapping[str, float] | None = None,
    identifiers: ItemIdentifiers | None = None,
    tuning: Mapping[str, Any] | None = None,
    steps: int | None = None,
    keep_state: bool = False,
    processes: Processes = ALONE,
) -> GenerativeRetriever:
    """Train one arm, write the model into the folder `out`, and return its retriever.

    Args:
        dataset: the dataset; the model learns from its training split only.
        arm: `joint`, `search` or `recommendation`, or an `Arm`.
        out: the model folder; it must not exist, unless `resume` finds a finished model there.
        config: the configuration; by default the `standard` preset.
        seed: the random seed of initial weights, order, dropout and negatives.
        device: `cpu`, `cuda`, or `auto`.
        threads: the number of CPU threads, by default torch's; the same number gives the same bits.
        resume: resume an interrupted training.
        histories: whether the folder stores the users' histories, for `recommend --user`.
        reference: by task, the plain arm's best validation, as the unit of joint's; 1 by default.
        identifiers: the items' identifiers; by default they follow from the configuration.
        tuning: how the configuration was chosen, for the stamp: `Tuned.record`.
        steps: the number of steps; by default, and in a control if earlier, early stopping decides.
        keep_state: keep the state and each task's best weights next to `out`, to train further.
        processes: the processes that train together; see `twofold.cluster.processes`.

    Raises:
        InputError: the dataset lacks a task of the arm, or `out` exists and `resume` is False.
    """
    require_dataset(dataset)
    require_seed(seed)
    loop.set_threads(threads)
    run = Training(
        dataset=dataset,
        arm=named_arm(arm),
        config=as_config(config),
        seed=seed,
        device=processes.on_every_rank(lambda: resolve_device(device)),
        histories=histories,
        reference=reference or {},
        identifiers=identifiers,
        tuning=tuning,
        steps=steps,
        each_task=keep_state,
        processes=processes,
    ).resolved()
    with processes.entered(artifact.claim(out)) as folder:
        return _train_into(folder, run, resume, keep_state)


@dataclass(frozen=True, slots=True)
class Training:
    """The arguments of one training, as in `train`."""

    dataset: PreparedDataset
    arm: Arm
    config: TrainingConfig
    seed: int
    device: torch.device
    reference: Mapping[str, float] = field(default_factory=dict)
    identifiers: ItemIdentifiers | None = None
    histories: bool = False
    tuning: Mapping[str, Any] | None = None
    steps: int | None = None
    each_task: bool = False
    processes: Processes = ALONE

    def resolved(self) -> "Training":
        """This training with the arm's settings, and with a precision that the device supports."""
        config = self.config.model_copy(update=dict(self.arm.settings))
        precision = resolve_precision(config.precision, self.device)
        return replace(self, config=config.model_copy(update={"precision": precision}))

    def finished(self, folder: Path) -> GenerativeRetriever:
        """The finished model in a folder; raises InputError if another training made it."""
        require_made_by(folder, self.identity, self.histories)
        return load_model(folder, self.device.type, self.arm.name)

    @property
    def identity(self) -> dict[str, Any]:
        """Everything that the trained weights depend on, except versions and rounding."""
        return {
            "identifiers": self.identifiers.spaces.digest if self.identifiers else None,
            "steps": self.steps,
            "arm": self.arm.name,
            "data": self.dataset.digest,
            "seed": self.seed,
            "threads": torch.get_num_threads(),
            "device": self.device.type,
            "reference": dict(self.reference),
            "training": self.config.model_dump(),
        }


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """A training before its first step: the model with its initial weights, and the loop's job."""

    identifiers: ItemIdentifiers
    initial: Start
    model: GenerativeModel
    job: loop.Job

    def advance(self, states: Path, until: int | None = None) -> Progress:
        """Train the model in place; see `twofold.training.loop.run`."""
        return loop.run(self.model.backbone, self.model.vocabulary, self.job, states, until)


def prepare(run: Training, encoder_folder: Path) -> Prepared:
    """Make the identifiers, the initial weights and the job."""
    # Initial weights come from an SVD, whose bits depend on the number of BLAS threads.
    with threadpool_limits(1, "blas"):
        identifiers = run.identifiers or run.processes.on_rank_zero(
            lambda: assign_identifiers(run.dataset, run.config, encoder_folder)
        )
        initial = run.processes.on_every_rank(
            lambda: start(run.dataset, run.arm, identifiers.spaces, run.config, run.seed)
        )
    model = _untrained(run, initial)
    return Prepared(identifiers, initial, model, _job(run, model, initial))


def _train_into(folder: Path, run: Training, resume: bool, keep_state: bool) -> GenerativeRetriever:
    """Prepare and train the model, choose its hybrid parts, and save it with its stamp."""
    dataset, arm, config, processes = run.dataset, run.arm, run.config, run.processes
    processes.require_alike(lambda: run.identity)
    if resume and processes.on_rank_zero(lambda: artifact.is_complete(folder)):
        return processes.on_every_rank(lambda: run.finished(folder))
    processes.on_rank_zero(lambda: artifact.require_absent(folder))
    arm.require_tasks(dataset)
    with processes.entered(working_folders(folder, resume, keep_state)) as (states, encoders):
        prepared = prepare(run, encoders)
        progress = prepared.advance(states)
        stamp = _stamp(run, prepared, progress)
        model = with_hybrid_parts(prepared.model, dataset, arm, config, stamp)
        manifest = {"training": config.model_dump(), "identity": run.identity}
        processes.on_rank_zero(lambda: save_model(model, folder, manifest))
    return GenerativeRetriever(model, arm.name)


def _untrained(run: Training, initial: Start) -> GenerativeModel:
    """The model with its initial weights."""
    hybrid = None  # it is added after training, unless checkpoints are compared with it
    if run.config.hybrid == "auto":
        hybrid = hybrid_of(run.dataset, run.arm, initial.vocabulary, run.config)
    return GenerativeModel(
        catalog=run.dataset.catalog,
        vocabulary=initial.vocabulary,
        backbone=initial.backbone.to(run.device),
        tasks=run.arm.tasks,
        seen=run.dataset.protocol.seen,
        precision=run.config.precision,
        tries=tries_of(initial.vocabulary.spaces),
        histories=run.dataset.histories if run.histories else {},
        item_vectors=initial.item_vectors,
        hybrid=hybrid,
    )


def _job(run: Training, model: GenerativeModel, initial: Start) -> loop.Job:
    """The job of the loop; its schedule and loss depend on the unchanged data, in every arm."""
    dataset, arm, config, seed = run.dataset, run.arm, run.config, run.seed
    vocabulary, backbone, sources = model.vocabulary, model.backbone, initial.sources
    encoded = {task: encode(source, vocabulary, backbone) for task, source in sources.items()}
    changed = [arm.intervention.task] if arm.intervention else []
    learned = encoded | {t: encode(initial.learned[t], vocabulary, backbone) for t in changed}
    mixture, own = mixture_of(learned, arm.tasks, config, seed), [learned[t] for t in arm.tasks]
    judged = validation_requests(dataset, arm, sources, config, seed)
    validation = validation_of(model, judged, config.num_beams, run.reference, run.processes)
    costs = costs_of(mixture, own, backbone, config, validation)
    return loop.Job(
        label=arm.name,
        mixture=mixture,
        sources=own,
        loss=loss_of(encoded, vocabulary.spaces, model.tries, config).to(model.device),
        config=config,
        schedule=schedule_of(encoded, mixture, arm, config, costs, run.steps),
        seed=seed,
        validation=validation,
        identity=run.identity | {"arm": arm.lineage, "steps": None},
        each_task=run.each_task,
        processes=run.processes,
    )


def _stamp(run: Training, prepared: Prepared, progress: Progress) -> Stamp:
    """The stamp of the trained model."""
    dataset, config, sources = run.dataset, run.config, prepared.initial.sources
    items, change = len(dataset.catalog), run.arm.intervention
    encoded = prepared.model.vocabulary.encoder is not None
    return Stamp(
        arm=run.arm.name,
        data=dataset.digest,
        split=dataset.protocol.split,
        cutoff=dataset.protocol.cutoff,
        seen=dataset.protocol.seen,
        ties=TIE_RULE,
        candidates="full catalog",
        catalog=items,
        identifiers=prepared.identifiers.description,
        text_encoder=config.text_encoder.replace("auto", "tfidf") if encoded else "none",
        item_init=config.item_init,
        item_text_queries=config.item_text_queries,
        long_histories=config.long_histories,
        intervention=change.describe(sources[change.task], items, run.seed) if change else None,
        **prepared.job.stamped(progress),
        tuning=run.tuning,
    )
