"""The one recipe: a dataset, an arm and a configuration in, a model folder out."""

import logging
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from twofold import artifact
from twofold.data.dataset import Catalog
from twofold.evaluation.measures import Measure
from twofold.identifiers.assign import ItemIdentifiers, atomic_identifiers, semantic_identifiers
from twofold.identifiers.embeddings import item_embeddings
from twofold.identifiers.trie import Trie
from twofold.model.checkpoint import KIND, GenerativeModel, save_model, tries_of
from twofold.model.device import resolve_device, resolve_precision
from twofold.model.hybrid import Hybrid
from twofold.model.vocabulary import EncodedExample, Vocabulary
from twofold.records import TASKS, InputError, Source, Task
from twofold.retrieval.generative import GenerativeRetriever, load_model
from twofold.retrieval.top_k import TIE_RULE
from twofold.tasks.examples import JudgedRequests
from twofold.tasks.prepared import PreparedDataset
from twofold.training import loop
from twofold.training.config import TrainingConfig, resolve_config, scheme_of, sentence_part
from twofold.training.encoding import encode, encoded_sources, trainable
from twofold.training.fit_hybrid import hybrid_part, with_best_weight
from twofold.training.loss import CodeLoss, continuations
from twofold.training.mixture import Mixture
from twofold.training.start import start
from twofold.training.state import Progress, require_same

_log = logging.getLogger(__name__)

SELECTION = Measure("nDCG", 10)
_MOST_VALIDATIONS = 70
"""Of the joint arm: where one task has little data, more of them would take most of the time."""


class Change(Protocol):
    """A change to what an arm learns of one task. The name of the arm tells all about it."""

    @property
    def task(self) -> Task: ...

    def training(self, source: Source, items: int, seed: int) -> Source:
        """The changed examples; `source` holds the real ones, over `items` items."""
        ...

    def describe(self, source: Source, items: int, seed: int) -> dict[str, Any]:
        """What `training` does to `source`, for the stamp."""
        ...

    def validation(
        self, judged: JudgedRequests, source: Source, catalog: Catalog, seed: int
    ) -> JudgedRequests:
        """Validation requests that fit what `training` made of `source`."""
        ...


Settings = tuple[tuple[str, Any], ...]
"""Names and values of a configuration."""


@dataclass(frozen=True, slots=True)
class Arm:
    """What a model is trained on, and for how long.

    Attributes:
        name: in folders and reports.
        tasks: its sources.
        step_matched: takes as many updates as `joint`, instead of as many passes over its data.
        intervention: what is done to one of its sources.
        settings: of its own, in place of the configuration's.
    """

    name: str
    tasks: tuple[Task, ...]
    step_matched: bool = False
    intervention: Change | None = None
    settings: Settings = ()

    @property
    def judged(self) -> tuple[Task, ...]:
        """The tasks that it is scored on: those whose data are real."""
        changed = self.intervention.task if self.intervention else None
        return tuple(task for task in self.tasks if task != changed)


PLAIN_ARMS = {
    "search": Arm("search", ("search",)),
    "recommendation": Arm("recommendation", ("recommendation",)),
    "joint": Arm("joint", TASKS),
}


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
) -> GenerativeRetriever:
    """Train one arm into the folder `out` and return it ready to answer.

    Args:
        dataset: what to learn from; only its training split is.
        arm: `joint`, `search` or `recommendation`, or an arm of one's own.
        out: the model folder; it must not exist, but for a finished model under `resume`.
        config: the resolved configuration; by default the `standard` preset.
        seed: of weights, order, dropout and negatives.
        device: `cpu`, `cuda`, or `auto`.
        threads: of the processor; bits repeat for one number of threads. By default torch's.
        resume: go on with what a stopped run left.
        histories: carry the users' histories in the folder, for `recommend --user`.
        reference: nDCG@10 by task that a joint arm's is divided by when its best checkpoint is
            chosen: the plain arms' best. 1 by default.
        identifiers: of the catalog; by default made as the configuration says.

    Raises:
        InputError: the data lack what the arm needs, or `out` holds something else.
    """
    arm, place, out = _arm(arm), resolve_device(device), Path(out)
    config = (config or resolve_config()).model_copy(update=dict(arm.settings))
    if threads:
        torch.set_num_threads(threads)
    precision = resolve_precision(config.precision, place)
    config = config.model_copy(update={"precision": precision})
    identity = _identity(dataset, arm, config, seed, place, reference or {})
    if identifiers:
        identity["identifiers"] = identifiers.spaces.digest
    if resume and artifact.is_complete(out):
        require_same(artifact.load(out, KIND)["config"]["identity"], identity, out)
        return load_model(out, device, arm.name)
    artifact.require_absent(out)
    _require_tasks(dataset, arm)
    state_folder, encoders = (
        out.parent / f".{out.name}.{kind}" for kind in ("training", "encoders")
    )
    if not resume:
        shutil.rmtree(state_folder, ignore_errors=True)
        shutil.rmtree(encoders, ignore_errors=True)

    # Where training starts rests on singular values, whose bits vary with the threads of BLAS.
    with threadpool_limits(1, "blas"):
        named = identifiers or assign_identifiers(dataset, config, encoders)
        vocabulary, backbone, item_vectors = start(dataset, named.spaces, config, seed)
    model = GenerativeModel(
        catalog=dataset.catalog,
        vocabulary=vocabulary,
        backbone=backbone.to(place),
        tasks=arm.tasks,
        seen=dataset.protocol.seen,
        precision=precision,
        tries=tries_of(vocabulary.spaces),
        histories=dataset.histories if histories else {},
        item_vectors=item_vectors,
        hybrid=_hybrid(dataset, arm, vocabulary, config),
    )
    job = _job(dataset, arm, model, config, seed, identity, reference or {})
    progress = loop.run(backbone, vocabulary, job, state_folder)
    model.stamp.update(_stamp(dataset, job, progress, vocabulary.encoder is not None))
    model.stamp["identifiers"] = dict(named.description)
    model = _weighed(dataset, model, config)
    save_model(model, out, {"training": config.model_dump(), "identity": identity})
    shutil.rmtree(state_folder, ignore_errors=True)
    shutil.rmtree(encoders, ignore_errors=True)
    return GenerativeRetriever(model, arm.name)


def _job(
    dataset: PreparedDataset,
    arm: Arm,
    model: GenerativeModel,
    config: TrainingConfig,
    seed: int,
    identity: dict[str, Any],
    reference: Mapping[str, float],
) -> loop.Job:
    """What the loop needs; an intervention changes what is learned, and says so in the stamp."""
    vocabulary, backbone = model.vocabulary, model.backbone
    sources = encoded_sources(dataset, arm.tasks, vocabulary, backbone, config)
    learned = dict(sources)
    if arm.intervention:
        real = trainable(dataset, arm.intervention.task, config, backbone)
        changed = arm.intervention.training(real, len(dataset.catalog), seed)
        learned[arm.intervention.task] = encode(changed, vocabulary, backbone)
        model.stamp["intervention"] = arm.intervention.describe(real, len(dataset.catalog), seed)
    mixture = _mixture(learned, arm.tasks, config, seed)
    return loop.Job(
        label=arm.name,
        mixture=mixture,
        sequences=[learned[task] for task in arm.tasks],
        loss=_loss(sources, vocabulary, model.tries, config).to(model.device),
        config=config,
        schedule=_schedule(sources, arm, config, seed),
        seed=seed,
        validate=_validation(dataset, arm, model, config, seed, reference),
        identity=identity,
    )


def _identity(
    dataset: PreparedDataset,
    arm: Arm,
    config: TrainingConfig,
    seed: int,
    place: torch.device,
    reference: Mapping[str, float],
) -> dict[str, Any]:
    """All that the bits of a training rest on, besides the versions."""
    return {
        "arm": arm.name,
        "data": dataset.digest,
        "seed": seed,
        "threads": torch.get_num_threads(),
        "device": place.type,
        "reference": dict(reference),
        "training": config.model_dump(),
    }


def _arm(arm: str | Arm) -> Arm:
    if isinstance(arm, Arm):
        return arm
    if arm not in PLAIN_ARMS:
        raise InputError(f"--arm '{arm}': there is {', '.join(PLAIN_ARMS)}")
    return PLAIN_ARMS[arm]


def _require_tasks(dataset: PreparedDataset, arm: Arm) -> None:
    for task in arm.tasks:
        if task not in dataset.tasks:
            need = "queries with qrels" if task == "search" else "interactions"
            have = " and ".join(dataset.tasks)
            raise InputError(
                f"{dataset.source}: the arm {arm.name} needs {need}, and this dataset is for "
                f"{have} alone; add the table, or use --arm {dataset.tasks[0]}"
            )


def assign_identifiers(
    dataset: PreparedDataset, config: TrainingConfig, folder: Path
) -> ItemIdentifiers:
    """The identifiers that a configuration asks for; the same in every arm and seed.

    Args:
        dataset: whose training split and item texts are learned from.
        config: resolved.
        folder: where sentence encoders that are tuned for it are kept; made once, then read.
    """
    if config.identifiers == "atomic":
        return atomic_identifiers(dataset)
    sentence = sentence_part(config)
    vectors_of = partial(item_embeddings, dataset, sentence=sentence, folder=folder)
    named = semantic_identifiers(dataset, scheme_of(config), vectors_of)
    for name, report in named.description.items():
        if isinstance(report, dict) and report.get("added_level"):
            _log.info(
                "semantic IDs, %s: %d items share their codes with another, %d at most; one more "
                "level tells them apart",
                name,
                report["collisions"],
                report["largest_group"],
            )
    return named


def _mixture(
    sources: Mapping[Task, Sequence[EncodedExample]],
    tasks: Sequence[Task],
    config: TrainingConfig,
    seed: int,
) -> Mixture:
    sequences = [sources[task] for task in tasks]
    return Mixture(
        tasks,
        sequences,
        config.batch_tokens,
        config.source_weights,
        seed,
        config.max_batch_size,
    )


def _schedule(
    sources: Mapping[Task, Sequence[EncodedExample]],
    arm: Arm,
    config: TrainingConfig,
    seed: int,
) -> loop.Schedule:
    """As many passes over the arm's own data as joint makes over all, or as many updates.

    The cadence of validations is common to all arms, and such that the shortest has ten; but the
    longest has seventy at most, and an arm that is shorter still looks more often. An arm with
    settings of its own, which no verdict rests on, looks as often as the configuration says.
    """
    everything = _mixture(sources, list(sources), config, seed)
    updates = config.max_steps
    if config.epochs:
        updates = max(1, round(config.epochs * everything.batches_per_epoch))
    share = updates / everything.batches_per_epoch
    plain = {
        task: max(1, round(share * batches))
        for task, batches in zip(sources, everything.batches_by_source, strict=True)
    }
    own = updates if len(arm.tasks) == len(plain) else sum(plain[task] for task in arm.tasks)
    own = updates if arm.step_matched else own
    common = min(updates // config.min_validations, min(plain.values()) // 10)
    common = max(common, updates // _MOST_VALIDATIONS)
    if arm.settings:
        common = updates // config.min_validations
    return loop.Schedule(
        updates=own,
        cadence=max(1, min(common, own // 10)),
        patience=max(1, round(config.patience * updates)),
    )


def _loss(
    sources: Mapping[Task, Sequence[EncodedExample]],
    vocabulary: Vocabulary,
    tries: Mapping[Task, Trie],
    config: TrainingConfig,
) -> CodeLoss:
    slots = vocabulary.spaces.codebooks
    starts = np.array([slot.start for slot in slots])
    counts = torch.zeros(vocabulary.spaces.size, dtype=torch.float64)
    for sequences in sources.values():
        codes = [s.targets + starts[s.codebooks[s.target_contexts]] for s in sequences]
        targets = torch.from_numpy(np.concatenate(codes))
        counts += torch.bincount(targets, minlength=len(counts))
    product = torch.bfloat16 if config.precision == "bfloat16" else torch.float32
    going_on = continuations(vocabulary.spaces, tries)
    return CodeLoss(
        counts, slots, config.full_softmax_max_codes, config.num_negatives, product, going_on
    )


def _validation(
    dataset: PreparedDataset,
    arm: Arm,
    model: GenerativeModel,
    config: TrainingConfig,
    seed: int,
    reference: Mapping[str, float],
) -> loop.Validate | None:
    judged = [
        dataset.task(task).requests("validation").sample(config.max_validation_requests)
        for task in arm.tasks
    ]
    if arm.intervention:
        task = arm.intervention.task
        real = trainable(dataset, task, config, model.backbone)
        place = arm.tasks.index(task)
        judged[place] = arm.intervention.validation(judged[place], real, dataset.catalog, seed)
    judged = [requests for requests in judged if requests.requests]
    if not judged:
        return None
    retriever = GenerativeRetriever(model, beams=config.num_beams)

    def validate() -> dict[str, float]:
        found = {str(j.task): _mean(retriever, j) for j in judged}
        scaled = [value / (reference.get(task) or 1.0) for task, value in found.items()]
        return {**found, "value": sum(scaled) / len(scaled)}

    return validate


def _hybrid(
    dataset: PreparedDataset, arm: Arm, vocabulary: Vocabulary, config: TrainingConfig
) -> Hybrid | None:
    """The hybrid part of an arm whose search is judged, where validation can weigh it."""
    wanted = config.hybrid == "auto" and "search" in arm.judged
    possible = vocabulary.spaces.are_atomic
    if not (wanted and possible and dataset.task("search").requests("validation").requests):
        return None
    return hybrid_part(dataset, vocabulary.encoder)


def _weighed(
    dataset: PreparedDataset, model: GenerativeModel, config: TrainingConfig
) -> GenerativeModel:
    """The trained model with the weight of its hybrid part that validation likes best."""
    if model.hybrid is None:
        return model
    judged = dataset.task("search").requests("validation").sample(config.max_validation_requests)
    return with_best_weight(model, lambda tried: _mean(GenerativeRetriever(tried), judged))


def _mean(retriever: GenerativeRetriever, judged: JudgedRequests) -> float:
    run = retriever.retrieve(judged.requests, SELECTION.k)
    values = [
        SELECTION.of(run[r.request_id].item_ids, judged.qrels[r.request_id])
        for r in judged.requests
    ]
    return float(np.mean(values))


def _stamp(
    dataset: PreparedDataset, job: loop.Job, progress: Progress, encoded: bool
) -> dict[str, Any]:
    """What the numbers of this model rest on."""
    mixture, config = job.mixture, job.config
    codes = len(dataset.catalog)
    return {
        "arm": job.label,
        "data": dataset.digest,
        "split": dataset.protocol.split,
        "cutoff": dataset.protocol.cutoff,
        "seen": dataset.protocol.seen,
        "ties": TIE_RULE,
        "candidates": "full catalog",
        "catalog": codes,
        "loss": job.loss.describe(),
        "source_weights": dict(zip(mixture.names, mixture.weights, strict=True)),
        "targets": dict(zip(mixture.names, mixture.targets, strict=True)),
        "encoder": config.text_encoder.replace("auto", "tfidf") if encoded else "none",
        "item_text": config.item_text_queries,
        "windows": config.long_histories,
        "targets_seen": progress.targets_seen,
        "passes": progress.update / mixture.batches_per_epoch,
        "updates": progress.update,
        "budget": job.schedule.updates,
        "best_update": progress.best_update,
        "best_value": progress.best_value,
        "curve": progress.curve,
        "seed": job.seed,
        "threads": torch.get_num_threads(),
        "precision": config.precision,
    }
