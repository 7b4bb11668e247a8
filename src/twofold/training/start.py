"""Where a training starts: vocabulary, weights, and the rows of the items."""

from collections.abc import Sequence

import numpy as np
import scipy.sparse as sp

from twofold.encoders.encoders import Vectors, resolve_encoder
from twofold.encoders.factorisation import item_factors
from twofold.identifiers.identifiers import IdSpaces
from twofold.model.backbone import (
    Backbone,
    fresh_backbone,
    is_fresh,
    pretrained_backbone,
    silence_blocks,
    start_from_histories,
    start_from_text,
)
from twofold.model.vocabulary import Vocabulary, fresh_vocabulary, train_tokenizer
from twofold.records import Example, InputError
from twofold.tasks.examples import training_examples
from twofold.tasks.prepared import PreparedDataset
from twofold.training.config import TrainingConfig

_QUERIES = 0.6
"""Length of what an item's training queries point to, beside its text's 1, where its row starts."""


def start(
    dataset: PreparedDataset, spaces: IdSpaces, config: TrainingConfig, seed: int
) -> tuple[Vocabulary, Backbone, Vectors | None]:
    """Vocabulary, weights, and where the items' texts stand, (items, E); the same in every arm of
    one seed.

    Raises:
        InputError: a backbone or encoder that is not there, or `rows` that need one.
    """
    texts, examples = dataset.catalog.texts, training_examples(dataset, "search")
    asked = [example.query or "" for example in examples]
    encoder = resolve_encoder(config.encoder, texts, asked)
    if is_fresh(config.backbone):
        tokenizer = train_tokenizer([*texts, *asked], config.text_tokens)
        # From fresh weights words beside the vector only lead astray (measured in docs/log.md).
        words = 0 if encoder else config.max_query
        vocabulary = fresh_vocabulary(tokenizer, spaces, config.max_history, words, encoder)
        backbone = fresh_backbone(config.backbone, vocabulary, config.dropout, seed)
        if encoder or config.rows == "histories":
            silence_blocks(backbone)
    else:
        limits = config.max_history, config.max_query
        backbone, vocabulary = pretrained_backbone(config.backbone, spaces, *limits, seed, encoder)
    vectors = encoder.encode(texts) if encoder else None
    if encoder and vectors is not None:
        queries = encoder.encode(asked)
        near = with_queries(vectors, queries, examples) if config.rows == "queries" else vectors
        start_from_text(backbone, spaces, near, queries)
    elif config.rows == "queries":
        raise InputError("rows=queries: needs an encoder of texts; set encoder, or leave rows out")
    if config.rows == "histories":
        width = backbone.model.get_output_embeddings().weight.shape[1]
        start_from_histories(backbone, spaces, item_factors(dataset, width))
    return vocabulary, backbone, vectors


def with_queries(items: Vectors, queries: Vectors, examples: Sequence[Example]) -> Vectors:
    """Vectors of items moved toward the training queries that want them, (items, E).

    Each becomes the direction of its own and, shorter, of its queries together, as relevance
    feedback moves a query toward its answers (Rocchio 1971).

    Args:
        items: of their texts, (items, E), of unit length or 0.
        queries: of the examples' queries, (examples, E).
        examples: of search.
    """
    wants = np.concatenate([example.targets for example in examples])
    asking = np.repeat(np.arange(len(examples)), [len(example.targets) for example in examples])
    wanted = sp.csr_array(
        (np.ones(len(wants), np.float32), (wants, asking)), shape=(len(items), len(queries))
    )
    moved = items + _QUERIES * _directions(wanted @ queries)
    return _directions(moved)


def _directions(vectors: Vectors) -> Vectors:
    """At unit length; zeros stay."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.where(lengths > 0, lengths, 1), dtype=np.float32)
