"""How much of what queries and documents have in common goes into a trained model's scores."""

import logging
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from twofold.encoders.encoders import sentence_part
from twofold.encoders.tfidf import Words
from twofold.model.checkpoint import GenerativeModel
from twofold.model.hybrid import Hybrid, postings_of
from twofold.records import InputError
from twofold.tasks.examples import item_documents, training_examples
from twofold.tasks.prepared import PreparedDataset
from twofold.training.start import with_queries

_WEIGHTS = (5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 60.0, 80.0)

_log = logging.getLogger(__name__)


def fit_hybrid(
    dataset: PreparedDataset, model: GenerativeModel, judge: Callable[[GenerativeModel], float]
) -> Hybrid | None:
    """The hybrid part with the weight that `judge` likes best; None where it likes none.

    Documents hold training queries, so a training query finds its answers there, and training
    would lean on that. The weight is chosen afterwards, on queries that no document holds.

    Args:
        dataset: only its training queries are written into documents.
        model: as trained, without a hybrid part, atomic identifiers.
        judge: the value of a model on validation.
    """
    try:
        plain = _unweighted(dataset, model)
    except InputError as error:  # too few words
        _log.info("no hybrid part: %s", error)
        return None
    best, value = None, judge(model)
    for weight in _WEIGHTS:
        tried = replace(plain, weight=weight)
        found = judge(replace(model, hybrid=tried))
        if found > value:
            best, value = tried, found
    return best


def _unweighted(dataset: PreparedDataset, model: GenerativeModel) -> Hybrid:
    texts, examples = dataset.catalog.texts, training_examples(dataset, "search")
    asked = [example.query or "" for example in examples]
    documents = item_documents(dataset)
    words = Words.fit([*documents, *asked])
    postings = postings_of(words, documents)
    sentence = sentence_part(model.vocabulary.encoder)
    if sentence is None:
        return Hybrid(1.0, words, postings)
    vectors = with_queries(sentence.encode(texts), sentence.encode(asked), examples)
    # As the model folder holds them, so that the trained model answers as the loaded one.
    vectors = vectors.astype(np.float16).astype(np.float32)
    return Hybrid(1.0, words, postings, sentence, vectors)
