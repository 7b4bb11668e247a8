"""Encoded examples of given lengths, for tests of order and schedule."""

import numpy as np

from twofold.model.encoded import EncodedExample


def encoded_examples(lengths: list[int]) -> list[EncodedExample]:
    """Examples with a target at every position but the first; one target at length 1."""

    def one(length: int) -> EncodedExample:
        ends = np.arange(1, length) if length > 1 else np.zeros(1, dtype=np.int64)
        return EncodedExample(
            tokens=np.zeros(length, dtype=np.int64),
            length=length,
            contexts=ends,
            codebooks=ends * 0,
            context_items=ends * 0,
            time_buckets=ends * 0,
            target_contexts=np.arange(len(ends)),
            targets=ends * 0,
            weights=np.ones(len(ends)),
            items=len(ends),
        )

    return [one(length) for length in lengths]
