"""Where a training starts: identifiers, vocabulary, and initial weights."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from twofold.encoders.text_encoder import TextEncoder, resolve_encoder
from twofold.encoders.vectors import Vectors
from twofold.identifiers.identifiers import IdSpaces, ItemIdentifiers, atomic_identifiers
from twofold.model.backbone import Backbone
from twofold.model.fresh import (
    fresh_backbone,
    is_fresh,
    start_from_histories,
    start_from_text,
    zero_init_residuals,
)
from twofold.model.vocabulary import Vocabulary, fresh_vocabulary, train_tokenizer
from twofold.tasks.prepared import PreparedDataset
from twofold.training.config import TrainingConfig, scheme_of, sentence_part

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class Start:
    """Where a training starts; the same in every arm of one seed.

    Attributes:
        vocabulary: the vocabulary, with identifiers and text encoder.
        backbone: the initial weights.
        item_vectors: the text encoder's embeddings of the item texts, (N, E); None without one.
    """

    vocabulary: Vocabulary
    backbone: Backbone
    item_vectors: Vectors | None


def assign_identifiers(
    dataset: PreparedDataset, config: TrainingConfig, folder: Path
) -> ItemIdentifiers:
    """The identifiers that a configuration asks for; the same in every arm and seed.

    Args:
        dataset: the dataset; its training split and item texts are learned from.
        config: the resolved configuration.
        folder: where sentence encoders that are tuned for the identifiers are kept.
    """
    if config.identifiers == "atomic":
        return atomic_identifiers(len(dataset.catalog))
    # Imported here and below: most trainings have atomic identifiers and fresh weights.
    from twofold.identifiers.assign import semantic_identifiers
    from twofold.identifiers.embeddings import item_embeddings

    sentence = sentence_part(config)
    vectors_of = partial(item_embeddings, dataset, sentence=sentence, folder=folder)
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


def start(dataset: PreparedDataset, spaces: IdSpaces, config: TrainingConfig, seed: int) -> Start:
    """The vocabulary and the initial weights of a training.

    Raises:
        InputError: there is no such backbone or text encoder.
    """
    texts = dataset.catalog.texts
    queries = [example.query or "" for example in dataset.task("search").examples]
    encoder = resolve_encoder(config.text_encoder, texts, queries)
    if is_fresh(config.backbone):
        vocabulary, backbone = _fresh(spaces, config, seed, [*texts, *queries], encoder)
    else:
        from twofold.model.pretrained import pretrained_backbone, require_steps

        limits = config.max_history, config.max_query_tokens
        backbone, vocabulary = pretrained_backbone(config.backbone, spaces, *limits, seed, encoder)
        if not spaces.are_atomic:
            require_steps(config.backbone, backbone, vocabulary)
    vectors = encoder.encode(texts) if encoder else None
    if encoder and vectors is not None:
        start_from_text(backbone, spaces, vectors, encoder.encode(queries))
    if config.item_init == "histories":
        from twofold.encoders.factorisation import item_factors

        width = backbone.model.get_output_embeddings().weight.shape[1]
        start_from_histories(backbone, spaces, item_factors(dataset, width))
    return Start(vocabulary=vocabulary, backbone=backbone, item_vectors=vectors)


def _fresh(
    spaces: IdSpaces,
    config: TrainingConfig,
    seed: int,
    texts: Sequence[str],
    encoder: TextEncoder | None,
) -> tuple[Vocabulary, Backbone]:
    """A vocabulary of the words of `texts`, and fresh weights."""
    tokenizer = train_tokenizer(texts, config.text_vocab_size)
    # Words next to the encoder's embedding make a fresh model worse (see docs/project/log).
    query_tokens = 0 if encoder else config.max_query_tokens
    vocabulary = fresh_vocabulary(tokenizer, spaces, config.max_history, query_tokens, encoder)
    backbone = fresh_backbone(config.backbone, vocabulary, config.dropout, seed)
    if encoder or config.item_init == "histories":
        zero_init_residuals(backbone)
    return vocabulary, backbone
