"""A model's hybrid part: what documents it is made of, and how much it weighs."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import scipy.sparse as sp

from twofold.encoders.text_encoder import TextEncoder, sentence_encoder_of
from twofold.encoders.tfidf import Words
from twofold.encoders.vectors import Vectors, unit
from twofold.model.checkpoint import GenerativeModel
from twofold.model.cold_start import TrainingQueries
from twofold.model.hybrid import Hybrid, postings_of
from twofold.records import Example, InputError
from twofold.tasks.prepared import PreparedDataset
from twofold.tasks.task_data import item_documents

_WEIGHTS = (5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 60.0, 80.0)
_QUERIES = 0.6
"""Length of what an item's training queries point to, beside its text's 1."""
_WHILE_TRAINING = 20.0
"""The weight by which checkpoints are compared: a model is chosen as it will be used."""

_log = logging.getLogger(__name__)


def hybrid_part(dataset: PreparedDataset, encoder: TextEncoder | None) -> Hybrid | None:
    """What queries are matched with: items' texts and training queries; None for want of words.

    Args:
        dataset: of which only the training queries are read.
        encoder: the model's own; of it the sentence encoder, if any.
    """
    texts, examples = dataset.catalog.texts, dataset.task("search").examples
    asked = [example.query or "" for example in examples]
    documents = item_documents(dataset)
    try:
        words = Words.fit([*documents, *asked])
    except InputError as error:
        _log.info("no hybrid part: %s", error)
        return None
    answers = TrainingQueries.of(asked, [example.targets for example in examples], len(texts))
    plain = Hybrid(_WHILE_TRAINING, words, postings_of(words, documents), known=answers)
    sentence = sentence_encoder_of(encoder)
    if sentence is None:
        return plain
    vectors = near_queries(sentence.encode(texts), sentence.encode(asked), examples)
    # As the model folder holds them, so that the trained model answers as the loaded one.
    vectors = vectors.astype(np.float16).astype(np.float32)
    return replace(plain, sentence=sentence, vectors=vectors)


def with_best_weight(
    model: GenerativeModel, judge: Callable[[GenerativeModel], float]
) -> GenerativeModel:
    """The model with the weight of its hybrid part that `judge` likes best, which may be none.

    Documents hold training queries, so a training query finds its answers there, and training
    would lean on that. The weight is chosen afterwards, on queries that no document holds.

    Args:
        model: trained, with a hybrid part.
        judge: the value of a model on validation.
    """
    assert model.hybrid is not None
    tried = [None, *(replace(model.hybrid, weight=weight) for weight in _WEIGHTS)]
    values = [judge(replace(model, hybrid=hybrid)) for hybrid in tried]
    best = tried[int(np.argmax(values))]
    told = {"weight": best.weight, "parts": best.parts} if best else {"weight": 0.0}
    return replace(model, hybrid=best, stamp={**model.stamp, "hybrid": told})


def near_queries(items: Vectors, queries: Vectors, examples: Sequence[Example]) -> Vectors:
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
    return unit(items + _QUERIES * unit(wanted @ queries))
