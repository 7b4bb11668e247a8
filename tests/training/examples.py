"""Encoded examples of given lengths, for tests of order and schedule."""

import numpy as np
from tokenizers import Tokenizer
from tokenizers.models import BPE

from twofold.identifiers.identifiers import atomic, shared
from twofold.model.encoded import EncodedSource
from twofold.model.vocabulary import fresh_vocabulary
from twofold.training_examples import Example, Examples


def encoded_examples(lengths: list[int]) -> EncodedSource:
    """Examples with a target at every position but the first; one target at length 1."""
    spaces = shared(atomic(max(lengths)))
    vocabulary = fresh_vocabulary(Tokenizer(BPE()), spaces, max(lengths), max_query_tokens=4)

    def one(length: int) -> Example:
        # The first token begins the history.
        history = np.arange(length - 1)
        visible = np.arange(1, length) if length > 1 else np.zeros(1, dtype=np.int64)
        return Example(history=history, query=None, targets=visible * 0, visible=visible)

    return vocabulary.encode_all(Examples.of([one(length) for length in lengths]))
