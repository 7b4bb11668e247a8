"""The sources of a training: their encoded examples, and their order and weights in the loss.

Invariant: the batch of a step is a function of (seed, step) alone, and every epoch has the same
number of batches; a resumed training needs no other state.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np

from twofold.model.backbone import Backbone
from twofold.model.encoded import Encoded, EncodedSource, totals_of
from twofold.model.vocabulary import Vocabulary
from twofold.records import InputError, Ints, Task
from twofold.tasks.prepared import PreparedDataset
from twofold.training.config import TrainingConfig
from twofold.training_examples import Source

_BUCKET_GROWTH = 1.25

SourceWeights = Literal["proportional", "balanced"] | dict[str, float]


def readable_sources(
    dataset: PreparedDataset, tasks: Sequence[Task], config: TrainingConfig, backbone: Backbone
) -> dict[Task, Source]:
    """The training examples of every task of the dataset, as far as the backbone reads them.

    The tasks that an arm does not train on set what all arms have in common: the number of steps,
    and the distribution that negatives are drawn from.

    Args:
        dataset: the dataset to learn from.
        tasks: the tasks of the arm.
        config: the resolved configuration.
        backbone: an encoder-decoder reads whole histories, a decoder windows or the last items.

    Raises:
        InputError: one of `tasks` has no example, or there are no times and they are to be read.
    """
    if config.request_time and "recommendation" in tasks:
        # Imported here, as only such a training asks whether the timestamps are times.
        from twofold.tasks.cutoff import require_times

        require_times(dataset.columns.trained_times, dataset.source)
    of_texts = config.item_text_queries if config.item_texts == "auto" else 0
    return {
        task: _readable(
            dataset.task(task).source(of_texts, timed=config.request_time), config, backbone
        )
        for task in dataset.tasks
        if task in tasks or dataset.task(task).examples
    }


def _readable(source: Source, config: TrainingConfig, backbone: Backbone) -> Source:
    if backbone.contexts_per_sequence == 1:
        return source
    if config.long_histories == "windows":
        return source.windows(config.max_history)
    return source.cut(config.max_history)


def encode(source: Source, vocabulary: Vocabulary, backbone: Backbone) -> EncodedSource:
    """The examples of a source as tokens, which are written when they are taken."""
    if backbone.contexts_per_sequence == 1:
        source = source.by_context()
    return vocabulary.encode_all(source.columns)


@dataclass(frozen=True, slots=True, eq=False)
class Planned:
    """One batch: rows of one source, and a factor for the weights of their targets."""

    source: int
    rows: Ints
    weight: float

    def part(self, number: int, parts: int) -> Ints:
        """The rows of one of `parts` parts, disjoint and of nearly equal size; it may have none.

        The weight is that of the whole batch: the losses of the parts sum to its loss.
        """
        return np.array_split(self.rows, parts)[number]


class Mixture:
    """Batches of about `batch_tokens`, each from one source, the sources alternating evenly.

    Examples of similar length share a batch. A source whose weight exceeds its share of the
    targets is read more often: in an epoch the source with the smallest weight for each target is
    read once, another as many times as its targets weigh more. The loss of an epoch is the sum
    over sources of weight x weighted mean loss of its targets: a target of weight v in source s
    weighs v x w_s / (sum of v x readings of s), times the number of batches, so that the loss of a
    step is of order one.

    Args:
        names: the names of the sources.
        sources: the encoded examples of each source.
        batch_tokens: the number of tokens in a batch, padding included.
        weights: `proportional` to the number of targets (every target counts the same: the
            concatenation of the datasets), `balanced` (every source counts the same), or by name.
        seed: the random seed of the order.
        max_batch_size: the largest number of examples in a batch; 0 leaves the tokens as the only
            limit.
    """

    def __init__(
        self,
        names: Sequence[str],
        sources: Sequence[Encoded],
        batch_tokens: int,
        weights: SourceWeights,
        seed: int,
        max_batch_size: int = 0,
    ) -> None:
        self.names = tuple(names)
        known = [totals_of(source) for source in sources]
        self.targets = [source.target_items for source in known]
        self.weights = _resolve(weights, self.names, self.targets)
        self._mass = [source.weight for source in known]
        self.readings = _readings(self.weights, self.targets)
        lengths = [source.token_counts for source in known]
        self._buckets = [_buckets(each, batch_tokens, max_batch_size) for each in lengths]
        self._seed = seed
        self._epoch = lru_cache(maxsize=1)(self._plan)
        self.batches_by_source = [
            readings * sum(-(-len(rows) // size) for rows, size in buckets)
            for readings, buckets in zip(self.readings, self._buckets, strict=True)
        ]

    @property
    def batches_per_epoch(self) -> int:
        """The number of batches of all sources together."""
        return sum(self.batches_by_source)

    @property
    def largest_batch(self) -> int:
        """The most examples that a batch has."""
        every = [bucket for own in self._buckets for bucket in own]
        return max(-(-len(rows) // -(-len(rows) // size)) for rows, size in every)

    def batch(self, step: int) -> Planned:
        """The batch of a step, counted from 0."""
        epoch, place = divmod(step, self.batches_per_epoch)
        return self._epoch(epoch)[place]

    def _plan(self, epoch: int) -> list[Planned]:
        """All batches of one epoch in order."""
        placed: list[tuple[float, int, Ints]] = []
        for source, readings in enumerate(self.readings):
            numbers = range(epoch * readings, (epoch + 1) * readings)
            batches = [batch for number in numbers for batch in self._read(source, number)]
            placed += [
                ((place + 0.5) / len(batches), source, rows) for place, rows in enumerate(batches)
            ]
        placed.sort(key=lambda entry: entry[:2])
        scales = [
            weight * len(placed) / (mass * readings)
            for weight, mass, readings in zip(self.weights, self._mass, self.readings, strict=True)
        ]
        return [Planned(source, rows, scales[source]) for _, source, rows in placed]

    def _read(self, source: int, number: int) -> list[Ints]:
        """The batches of one reading of a source, shuffled."""
        # Seeded by the name of the source, not by its place: the order is the same in every arm.
        name = int.from_bytes(self.names[source].encode()[:8], "big")
        rng = np.random.default_rng([self._seed, number, name])
        batches = [batch for rows, size in self._buckets[source] for batch in _cut(rng, rows, size)]
        return [batches[n] for n in rng.permutation(len(batches))]


def mixture_of(
    encoded: Mapping[Task, Encoded],
    tasks: Sequence[Task],
    config: TrainingConfig,
    seed: int,
) -> Mixture:
    """The mixture of some tasks as a configuration asks for it."""
    return Mixture(
        names=tasks,
        sources=[encoded[task] for task in tasks],
        batch_tokens=config.batch_tokens,
        weights=config.source_weights,
        seed=seed,
        max_batch_size=config.max_batch_size,
    )


def _readings(weights: Sequence[float], targets: Sequence[int]) -> list[int]:
    """How often each source is read in an epoch: once where a target weighs least."""
    each = [weight / count for weight, count in zip(weights, targets, strict=True)]
    least = min(value for value in each if value > 0)
    return [max(1, round(value / least)) for value in each]


def _buckets(lengths: Ints, batch_tokens: int, max_batch_size: int) -> list[tuple[Ints, int]]:
    """Rows by length class, with the number of them that fills a batch."""
    longest = lengths.max()
    bounds = [int(lengths.min())]
    while bounds[-1] < longest:
        bounds.append(min(int(longest), max(bounds[-1] + 1, int(bounds[-1] * _BUCKET_GROWTH))))
    of_row = np.searchsorted(bounds, lengths)
    buckets = []
    for number, bound in enumerate(bounds):
        rows = np.flatnonzero(of_row == number)
        if len(rows):
            buckets.append((rows, max(1, min(batch_tokens // bound, max_batch_size or len(rows)))))
    return buckets


def _cut(rng: np.random.Generator, rows: Ints, size: int) -> list[Ints]:
    """Shuffled rows in batches of nearly equal size, `size` at most."""
    return np.array_split(rng.permutation(rows), -(-len(rows) // size))


def _resolve(weights: SourceWeights, names: Sequence[str], targets: Sequence[int]) -> list[float]:
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
