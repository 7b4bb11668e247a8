"""The start of a training: identifiers, vocabulary, initial weights, and the hybrid part."""

import logging
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import scipy.sparse as sp
from threadpoolctl import threadpool_limits

from twofold.encoders.item_vectors import (
    MOST_TARGETS,
    ItemStart,
    SimilarityKind,
    item_start,
    similarities,
)
from twofold.encoders.text_encoder import resolve_encoder
from twofold.encoders.vectors import TextEncoder, Vectors
from twofold.identifiers.identifiers import IdSpaces, ItemIdentifiers, atomic_identifiers
from twofold.model.backbone import Backbone
from twofold.model.fresh import (
    fresh_backbone,
    is_fresh,
    start_from_vectors,
    zero_init_residuals,
)
from twofold.model.hybrid import Hybrid, build_hybrid
from twofold.model.vocabulary import Vocabulary, fresh_vocabulary, train_tokenizer
from twofold.records import Task
from twofold.tasks.prepared import PreparedDataset
from twofold.training.arm import Arm
from twofold.training.config import TrainingConfig, item_parts, scheme_of, sentence_part
from twofold.training.mixture import readable_sources
from twofold.training_examples import Examples, Source

_log = logging.getLogger(__name__)

CACHE_KEYS = _ENCODER, _ITEM_START, _HYBRID, _SIMILAR = (
    "encoder",
    "item start",
    "hybrid part",
    "similarities of items",
)
"""The names under which a dataset caches the results that its trainings share."""

MOST_ATOMIC = 1_000_000
"""For larger catalogs semantic IDs are recommended: at a width of 128 the embeddings of a million
items take 0.5 GB, and a training needs about seven times that (weights, average, checkpoints)."""


@dataclass(frozen=True, slots=True, eq=False)
class Start:
    """The start of an arm; its initial weights come from the training data of its own tasks.

    Attributes:
        vocabulary: the vocabulary, with identifiers and text encoder.
        backbone: the backbone with its initial weights.
        item_vectors: the text encoder's embeddings of the item texts, (N, E); None without texts or
            encoder.
        sources: the unchanged training examples of every task of the dataset.
        learned: the examples of the arm's tasks, with its intervention.
    """

    vocabulary: Vocabulary
    backbone: Backbone
    item_vectors: Vectors | None
    sources: Mapping[Task, Source]
    learned: Mapping[Task, Source]


def assign_identifiers(
    dataset: PreparedDataset, config: TrainingConfig, folder: Path
) -> ItemIdentifiers:
    """The identifiers of the items; they are the same in every arm and seed.

    Args:
        dataset: the dataset, whose training split and item texts are used.
        config: the resolved configuration.
        folder: the folder of the sentence encoders that are trained for the identifiers.
    """
    items = len(dataset.catalog)
    if config.identifiers == "atomic":
        if items > MOST_ATOMIC:
            _log.info(
                "%d items with an embedding each: above %d semantic IDs are recommended, whose "
                "embeddings take a few MB (--identifiers semantic)",
                items,
                MOST_ATOMIC,
            )
        return atomic_identifiers(items)
    # Imported here and below: most trainings have atomic identifiers and fresh weights.
    from twofold.identifiers.assign import semantic_identifiers
    from twofold.identifiers.embeddings import id_embeddings

    sentence = sentence_part(config)
    vectors_of = partial(id_embeddings, dataset, sentence=sentence, folder=folder)
    identifiers = semantic_identifiers(dataset, scheme_of(config), vectors_of)
    for name, report in identifiers.description.items():
        if isinstance(report, dict) and report.get("added_level"):
            _log.info(
                "semantic IDs, %s: %d items share their codes with another, %d at most; one more "
                "level resolves these collisions",
                name,
                report["collisions"],
                report["largest_group"],
            )
    return identifiers


def start(
    dataset: PreparedDataset, arm: Arm, spaces: IdSpaces, config: TrainingConfig, seed: int
) -> Start:
    """The vocabulary, the initial weights and the training examples of an arm.

    Raises:
        InputError: there is no such backbone or text encoder, or a task has no example.
    """
    read = dataset.catalog.texts if config.item_texts == "auto" else []
    texts = read or [""] * len(dataset.catalog)
    # An arm that is not trained on search must not read its queries.
    searches = dataset.task("search").examples if "search" in arm.tasks else Examples.of(())
    queries = _sampled("search", searches).texts()
    encoder = dataset.cached(
        (_ENCODER, config.text_encoder, config.item_texts, bool(searches)),
        lambda: resolve_encoder(config.text_encoder, read, queries) if read or searches else None,
    )
    if is_fresh(config.backbone):
        vocabulary, backbone = _fresh(spaces, config, seed, [*read, *queries], encoder)
    else:
        from twofold.model.pretrained import pretrained_backbone, require_decoding_steps

        limits = config.max_history, config.max_query_tokens
        backbone, vocabulary = pretrained_backbone(
            config.backbone, spaces, *limits, seed, encoder, config.request_time
        )
        if not spaces.are_atomic:
            require_decoding_steps(config.backbone, backbone, vocabulary)
    sources = readable_sources(dataset, arm.tasks, config, backbone)
    learned = arm.learned(sources, len(texts), seed)
    width = backbone.model.get_output_embeddings().weight.shape[1]
    initial = dataset.cached(
        (_ITEM_START, *_item_start_key(arm, config, seed)),
        lambda: _item_start(learned, texts, encoder, config, width),
    )
    if initial is not None:
        start_from_vectors(backbone, spaces, initial.items, initial.query_map)
        if is_fresh(config.backbone):
            zero_init_residuals(backbone)
    vectors = encoder.encode(texts) if encoder and read else None
    return Start(vocabulary, backbone, vectors, sources, learned)


def _item_start(
    learned: Mapping[Task, Source],
    texts: Sequence[str],
    encoder: TextEncoder | None,
    config: TrainingConfig,
    width: int,
) -> ItemStart | None:
    """The initial vectors of the items; None if they are random, and then no example is read."""
    parts = item_parts(config)
    return item_start(_sampled_sources(learned), texts, encoder, parts, width) if parts else None


def _sampled(task: Task, examples: Examples) -> Examples:
    """The examples that are read before training: all, or a sample with about `MOST_TARGETS`
    targets.
    """
    some = examples.sample(MOST_TARGETS[task])
    if len(some) < len(examples):
        what = "queries" if task == "search" else "histories"
        _log.info(
            "initial item embeddings: computed from a sample of %d of %d %s",
            len(some),
            len(examples),
            what,
        )
    return some


def _sampled_sources(learned: Mapping[Task, Source]) -> dict[Task, Source]:
    """The examples from which item embeddings are initialised."""
    return {
        task: replace(source, examples=_sampled(task, source.columns))
        for task, source in learned.items()
    }


def _item_start_key(arm: Arm, config: TrainingConfig, seed: int) -> tuple[Hashable, ...]:
    """Everything but the dataset that the initial item embeddings depend on."""
    settings = config.backbone, config.text_encoder, config.item_init, config.item_texts
    sources = config.item_text_queries, config.max_history, config.long_histories
    changed = (arm.name, seed) if arm.intervention else ()
    return (arm.tasks, changed, *settings, *sources)


def _fresh(
    spaces: IdSpaces,
    config: TrainingConfig,
    seed: int,
    texts: Sequence[str],
    encoder: TextEncoder | None,
) -> tuple[Vocabulary, Backbone]:
    """A vocabulary with the words of `texts`, and a newly initialised backbone."""
    # A fresh model with an encoder reads only the encoder's embedding: further word tokens make the
    # model worse (see docs/project/log).
    tokenizer = train_tokenizer([] if encoder else texts, config.text_vocab_size)
    query_tokens = 0 if encoder else config.max_query_tokens
    vocabulary = fresh_vocabulary(
        tokenizer, spaces, config.max_history, query_tokens, encoder, config.request_time
    )
    return vocabulary, fresh_backbone(config.backbone, vocabulary, config.dropout, seed)


def hybrid_of(
    dataset: PreparedDataset, arm: Arm, vocabulary: Vocabulary, config: TrainingConfig
) -> Hybrid | None:
    """The hybrid part of an arm, with its initial weight; None if the arm cannot have one.

    It needs an arm that is evaluated on search, item texts, and validation requests, on which its
    weight is chosen.
    """
    wanted = config.hybrid != "none" and "search" in arm.judged
    if not wanted or config.item_texts == "none":
        return None
    if not dataset.task("search").requests("validation").requests:
        return None
    encoder = vocabulary.encoder
    return dataset.cached((_HYBRID, config.text_encoder), lambda: build_hybrid(dataset, encoder))


def similarities_of(
    dataset: PreparedDataset, arm: Arm, text_vectors: Vectors | None, config: TrainingConfig
) -> dict[SimilarityKind, sp.csr_array]:
    """The similarities of items of an arm's history match; empty if the arm cannot have one.

    It needs an arm that is evaluated on recommendation, training histories, and validation
    requests. With the vectors of the items' texts, (N, E), texts are compared too.
    """
    if config.hybrid == "none" or "recommendation" not in arm.judged:
        return {}
    task = dataset.task("recommendation")
    if not len(task.examples) or not task.requests("validation").requests:
        return {}
    # The text encoder of an arm that is trained on search is fitted on queries too. The histories
    # are those of the dataset in every such arm.
    encoder = None if text_vectors is None else (config.text_encoder, "search" in arm.tasks)
    # Vectors are compared by a product, whose digits depend on the number of threads.
    with threadpool_limits(1, "blas"):
        tables: dict[SimilarityKind, sp.csr_array] = dataset.cached(
            (_SIMILAR, encoder),
            lambda: similarities(
                task.examples.sample(MOST_TARGETS["recommendation"]),
                len(dataset.catalog),
                text_vectors,
            ),
        )
    return tables
