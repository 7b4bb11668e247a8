"""The selection measure of each request, from the rankings that a retriever returns."""

import numpy as np

from twofold.records import Floats
from twofold.retrieval.generative import GenerativeRetriever
from twofold.tasks.requests import JudgedRequests
from twofold.training.config import SELECTION


def values_of(retriever: GenerativeRetriever, judged: JudgedRequests) -> Floats:
    """The measure of each request, (B,); validation computes it without a ranking."""
    run = retriever.retrieve(judged.requests, SELECTION.k)
    ids = [request.request_id for request in judged.requests]
    return np.array([SELECTION.of(run[each].item_ids, judged.qrels[each]) for each in ids])
