"""Which targets the model learns from at which update, and with what weight.

Invariant: the batch of an update is a function of (seed, update) alone, and every epoch has the
same number of batches; nothing needs to be remembered to go on.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np

from twofold.model.vocabulary import EncodedExample
from twofold.records import InputError, Ints

_BUCKET_GROWTH = 1.25

Weights = Literal["proportional", "balanced"] | dict[str, float]


@dataclass(frozen=True, slots=True, eq=False)
class Planned:
    """One batch: rows of one source, and what the weights of its targets are multiplied by."""

    source: int
    rows: Ints
    weight: float


class Mixture:
    """Batches of one source each, about `batch_tokens` long, the sources alternating evenly.

    Sequences of similar length share a batch. A source whose weight exceeds its share of the
    targets is visited that many times more often: in an epoch the source with the least weight a
    target is passed once, another as often as its targets outweigh that one's. The loss of an
    epoch is the sum over sources of weight x weighted mean loss of its targets: a target of weight
    v in source s weighs v x w_s / (sum of v x passes of s), times the number of batches, so that
    the loss of an update is of order one.

    Args:
        names: of the sources.
        sequences: the sequences of each source.
        batch_tokens: tokens in a batch, padding included.
        weights: `proportional` to the number of targets (every target counts the same: the
            concatenation of the datasets), `balanced` (every source the same), or by name.
        seed: of the order.
        batch_requests: sequences in a batch, at most; 0 for no limit but the tokens.
    """

    def __init__(
        self,
        names: Sequence[str],
        sequences: Sequence[Sequence[EncodedExample]],
        batch_tokens: int,
        weights: Weights,
        seed: int,
        batch_requests: int = 0,
    ) -> None:
        self.names = tuple(names)
        self.targets = [sum(s.items for s in source) for source in sequences]
        self.weights = _resolve(weights, self.names, self.targets)
        self._mass = [sum(float(s.weights.sum()) for s in source) for source in sequences]
        self._visits = _visits(self.weights, self.targets)
        self._buckets = [_buckets(source, batch_tokens, batch_requests) for source in sequences]
        self._seed = seed
        self._epoch = lru_cache(maxsize=1)(self._plan)
        self.batches_by_source = [
            visits * sum(-(-len(rows) // size) for rows, size in buckets)
            for visits, buckets in zip(self._visits, self._buckets, strict=True)
        ]

    @property
    def batches_per_epoch(self) -> int:
        """Batches of all sources together."""
        return sum(self.batches_by_source)

    def batch(self, update: int) -> Planned:
        """The batch of an update, counted from 0."""
        epoch, place = divmod(update, self.batches_per_epoch)
        return self._epoch(epoch)[place]

    def _plan(self, epoch: int) -> list[Planned]:
        """All batches of one epoch in order."""
        placed: list[tuple[float, int, Ints]] = []
        for source, visits in enumerate(self._visits):
            passes = range(epoch * visits, (epoch + 1) * visits)
            batches = [batch for number in passes for batch in self._pass(source, number)]
            placed += [
                ((place + 0.5) / len(batches), source, rows) for place, rows in enumerate(batches)
            ]
        placed.sort(key=lambda entry: entry[:2])
        scales = [
            weight * len(placed) / (mass * visits)
            for weight, mass, visits in zip(self.weights, self._mass, self._visits, strict=True)
        ]
        return [Planned(source, rows, scales[source]) for _, source, rows in placed]

    def _pass(self, source: int, number: int) -> list[Ints]:
        """The batches of one pass over a source, shuffled."""
        # The name, not the number, seeds a source: its order is the same in every arm.
        name = int.from_bytes(self.names[source].encode()[:8], "big")
        rng = np.random.default_rng([self._seed, number, name])
        batches = [batch for rows, size in self._buckets[source] for batch in _cut(rng, rows, size)]
        return [batches[n] for n in rng.permutation(len(batches))]


def _visits(weights: Sequence[float], targets: Sequence[int]) -> list[int]:
    """Passes over each source in an epoch: once where a target weighs least."""
    each = [weight / count for weight, count in zip(weights, targets, strict=True)]
    least = min(value for value in each if value > 0)
    return [max(1, round(value / least)) for value in each]


def _buckets(
    sequences: Sequence[EncodedExample], batch_tokens: int, batch_requests: int
) -> list[tuple[Ints, int]]:
    """Rows by length class, with how many of them fill a batch."""
    lengths = np.array([len(s.tokens) for s in sequences])
    longest = lengths.max()
    bounds = [int(lengths.min())]
    while bounds[-1] < longest:
        bounds.append(min(int(longest), max(bounds[-1] + 1, int(bounds[-1] * _BUCKET_GROWTH))))
    of_row = np.searchsorted(bounds, lengths)
    buckets = []
    for number, bound in enumerate(bounds):
        rows = np.flatnonzero(of_row == number)
        if len(rows):
            buckets.append((rows, max(1, min(batch_tokens // bound, batch_requests or len(rows)))))
    return buckets


def _cut(rng: np.random.Generator, rows: Ints, size: int) -> list[Ints]:
    """Shuffled rows in batches of nearly equal size, `size` at most."""
    return np.array_split(rng.permutation(rows), -(-len(rows) // size))


def _resolve(weights: Weights, names: Sequence[str], targets: Sequence[int]) -> list[float]:
    """Weights that sum to one."""
    if weights == "proportional":
        raw = [float(count) for count in targets]
    elif weights == "balanced":
        raw = [1.0] * len(names)
    else:
        assert isinstance(weights, Mapping)
        unknown = sorted(set(names) - set(weights))
        if unknown:
            raise InputError(f"source_weights: no weight for the source '{unknown[0]}'; add it")
        raw = [weights[name] for name in names]
    if min(raw) < 0 or sum(raw) <= 0:
        raise InputError(f"source_weights: {raw} must not be negative, and not all zero")
    return [value / sum(raw) for value in raw]
