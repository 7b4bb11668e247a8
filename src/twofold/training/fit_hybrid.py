"""Fits the hybrid retrieval of a model: the documents, and their weight in the score."""

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from twofold.encoders.item_vectors import near_queries, query_factors
from twofold.encoders.text_encoder import sentence_encoder_of
from twofold.encoders.tfidf import Words
from twofold.encoders.vectors import TextEncoder
from twofold.model.checkpoint import GenerativeModel
from twofold.model.hybrid import Hybrid, TrainingQueries, postings_of
from twofold.model.vocabulary import Vocabulary
from twofold.records import InputError
from twofold.retrieval.generative import GenerativeRetriever
from twofold.tasks.examples import JudgedRequests
from twofold.tasks.prepared import PreparedDataset, item_documents
from twofold.training.arm import Arm
from twofold.training.config import TrainingConfig
from twofold.training.validation import SELECTION, mean_value

_WEIGHTS = (5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 60.0, 80.0)
_TRAINING_WEIGHT = 20.0
"""The weight while training, so that checkpoints are compared as the model will be used."""
_MOST_REQUESTS = 1000
"""The most validation requests that the weights are compared on; there are nine weights."""

_MOST_ANSWERS = 1_000_000
"""The right answers of training queries that documents are made of, at most."""

_log = logging.getLogger(__name__)


def hybrid_part(dataset: PreparedDataset, encoder: TextEncoder | None) -> Hybrid | None:
    """The documents that queries are matched with; None where there is no word.

    Args:
        dataset: the dataset whose item texts and training queries are the documents.
        encoder: the model's text encoder; a sentence encoder in it embeds documents too.
    """
    texts, examples = dataset.catalog.texts, dataset.task("search").examples.drawn(_MOST_ANSWERS)
    queries = examples.texts()
    documents = item_documents(dataset, examples)
    try:
        words = Words.fit([*documents, *queries])
    except InputError as error:
        _log.info("no hybrid part: %s", error)
        return None
    answers = TrainingQueries.of(queries, [example.targets for example in examples], len(texts))
    plain = Hybrid(_TRAINING_WEIGHT, words, postings_of(words, documents), known=answers)
    sentence = sentence_encoder_of(encoder)
    if sentence is None:
        return plain
    wanted = query_factors(examples, len(texts), sentence.encode(queries))
    vectors = near_queries(sentence.encode(texts), wanted)
    # Rounded as in the model folder, so that a trained model answers like the loaded one.
    vectors = vectors.astype(np.float16).astype(np.float32)
    return replace(plain, sentence=sentence, vectors=vectors)


def initial_hybrid(
    dataset: PreparedDataset, arm: Arm, vocabulary: Vocabulary, config: TrainingConfig
) -> Hybrid | None:
    """The hybrid retrieval that an arm trains with; None unless validation can weigh it.

    It needs an arm whose search is judged, item texts, and validation requests.
    """
    return _hybrid_of(dataset, arm, vocabulary, config) if config.hybrid == "auto" else None


def _hybrid_of(
    dataset: PreparedDataset, arm: Arm, vocabulary: Vocabulary, config: TrainingConfig
) -> Hybrid | None:
    """The hybrid retrieval of an arm at the weight of training, if it may have any."""
    wanted = config.hybrid != "none" and "search" in arm.judged
    if not wanted or config.item_texts == "none":
        return None
    if not dataset.task("search").requests("validation").requests:
        return None
    encoder = vocabulary.encoder
    return dataset.once(("hybrid part", config.text_encoder), lambda: hybrid_part(dataset, encoder))


def validated_hybrid(
    dataset: PreparedDataset, arm: Arm, model: GenerativeModel, config: TrainingConfig
) -> tuple[Hybrid | None, dict[str, Any] | None]:
    """The hybrid retrieval of a trained model, if any, with the weight that validates best; and
    what the stamp says of it: None where it was not tried."""
    if config.hybrid == "after":
        model = replace(model, hybrid=_hybrid_of(dataset, arm, model.vocabulary, config))
    if model.hybrid is None:
        return None, None
    requests = dataset.task("search").requests("validation")
    judged = requests.sample(min(config.max_validation_requests, _MOST_REQUESTS))
    if model.tries:
        best = best_hybrid(model, _judge_of_candidates(model, judged, config.num_beams))
    else:
        best = best_hybrid(model, lambda tried: mean_value(GenerativeRetriever(tried), judged))
    return best, {"weight": best.weight, "parts": best.parts} if best else {"weight": 0.0}


def _judge_of_candidates(
    model: GenerativeModel, judged: JudgedRequests, beams: int
) -> Callable[[GenerativeModel], float]:
    """The value of a model with semantic IDs, which differs from `model` in the weight alone: the
    candidates are the same whatever it is, so beams are searched once. Without one, the answer is
    the beam's alone."""
    assert model.hybrid is not None
    retriever, weight = GenerativeRetriever(model, beams=beams), model.hybrid.weight
    found = list(retriever.candidates(judged.requests))

    def value(tried: GenerativeModel) -> float:
        if tried.hybrid is None:
            return mean_value(GenerativeRetriever(tried, beams=beams), judged)
        factor = tried.hybrid.weight / weight
        values = [
            SELECTION.of(ranking.item_ids, judged.qrels[request.request_id])
            for requests, candidates in found
            for request, ranking in zip(
                requests, retriever.best(candidates, SELECTION.k, factor), strict=True
            )
        ]
        return float(np.mean(values))

    return value


def best_hybrid(model: GenerativeModel, judge: Callable[[GenerativeModel], float]) -> Hybrid | None:
    """The hybrid retrieval of a trained model with the weight that validates best; None for none.

    Documents hold training queries, so a training query finds its answers there, and a weight that
    was trained would rely on that. It is chosen afterwards, on queries that no document holds.

    Args:
        model: a trained model with a hybrid part.
        judge: the value of a model on validation.
    """
    assert model.hybrid is not None
    # The first of equally good ones is taken: words find titles that no validation query wants.
    candidates = [*(replace(model.hybrid, weight=weight) for weight in _WEIGHTS[::-1]), None]
    values = [judge(replace(model, hybrid=hybrid)) for hybrid in candidates]
    return candidates[int(np.argmax(values))]
