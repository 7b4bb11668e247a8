"""The sources of a training: their encoded examples, and their order and weights in the loss.

Invariant: the batch of a step is a function of (seed, step) alone, and every epoch has the same
number of batches; a resumed training needs no other state.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, NamedTuple

import numpy as np

from twofold.model.backbone import Backbone
from twofold.model.encoded import EncodedSource
from twofold.model.vocabulary import Vocabulary
from twofold.records import InputError, Ints, Task
from twofold.tasks.prepared import PreparedDataset
from twofold.training.config import TrainingConfig
from twofold.training_examples import Source

_BUCKET_GROWTH = 1.25
"""The longest examples of a bucket may have this many times the tokens of its shortest ones, which
are padded."""

SourceWeights = Literal["proportional", "balanced"] | Mapping[Task, float]


def readable_sources(
    dataset: PreparedDataset, tasks: Sequence[Task], config: TrainingConfig, backbone: Backbone
) -> dict[Task, Source]:
    """The training examples of every task, with histories in the form that the backbone reads.

    They include the tasks that the arm does not train on: the steps of a cosine schedule and the
    distribution of the negatives depend on all tasks, and are the same for all arms.

    Args:
        dataset: the dataset to train on.
        tasks: the tasks of the arm.
        config: the resolved configuration.
        backbone: an encoder-decoder reads whole histories, a decoder reads windows or the last
            items.

    Raises:
        InputError: one of `tasks` has no example, or `request_time` is set and the data have no
            times.
    """
    if config.request_time and "recommendation" in tasks:
        # Imported here, since only a training with `request_time` needs it.
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
    return source.truncate(config.max_history)


def encode(source: Source, vocabulary: Vocabulary, backbone: Backbone) -> EncodedSource:
    """The examples of a source as tokens; an example is converted to tokens when it is read."""
    if backbone.contexts_per_sequence == 1:
        source = source.by_context()
    return vocabulary.encode_all(source.columns)


@dataclass(frozen=True, slots=True, eq=False)
class PlannedBatch:
    """One batch: rows of one source, and a factor for the weights of their targets."""

    source: int
    rows: Ints
    weight: float

    def micro_batch(self, number: int, count: int) -> Ints:
        """The rows of one of `count` micro-batches, which are disjoint and of nearly equal
        size; some may be empty.

        The weight is that of the whole batch, so the losses of the micro-batches sum to the
        batch's loss.
        """
        return np.array_split(self.rows, count)[number]


class Mixture:
    """Batches of about `batch_tokens` tokens, each from one source; the sources alternate evenly.

    The examples of a batch have similar lengths. If the weight of a source exceeds its share of the
    targets, the source is read more often: in an epoch, the source with the smallest weight per
    target is read once, and another one as many times as its weight per target is larger, rounded.
    The loss of an epoch is the sum over sources of weight x weighted mean loss of its targets: a
    target of weight v in source s has the weight v x w_s / (sum of v x repeats of s), times the
    number of batches, so that the loss of a step is of order one.

    Args:
        names: the names of the sources.
        sources: the encoded examples of each source.
        batch_tokens: the number of tokens in a batch, padding included.
        weights: `proportional` to the number of targets (every target counts the same: the
            concatenation of the datasets), `balanced` (every source counts the same), or by name.
        seed: the random seed of the order.
        max_batch_size: the largest number of examples in a batch; with 0, the tokens are the only
            limit.
    """

    def __init__(
        self,
        names: Sequence[Task],
        sources: Sequence[EncodedSource],
        batch_tokens: int,
        weights: SourceWeights,
        seed: int,
        max_batch_size: int = 0,
    ) -> None:
        self.names = tuple(names)
        self.targets = [source.target_items for source in sources]
        self.weights = _resolve(weights, self.names, self.targets)
        self._mass = [source.weight for source in sources]
        self.repeats = _repeats(self.weights, self.targets)
        lengths = [source.token_counts for source in sources]
        self._buckets = [_buckets(each, batch_tokens, max_batch_size) for each in lengths]
        self._seed = seed
        self._epoch = lru_cache(maxsize=1)(self._plan)
        self.batches_by_source = [
            repeats * sum(bucket.batches for bucket in buckets)
            for repeats, buckets in zip(self.repeats, self._buckets, strict=True)
        ]

    @property
    def batches_per_epoch(self) -> int:
        """The number of batches in an epoch, over all sources."""
        return sum(self.batches_by_source)

    @property
    def largest_batch(self) -> int:
        """The largest number of examples in a batch."""
        every = [bucket for of_source in self._buckets for bucket in of_source]
        return max(-(-len(bucket.rows) // bucket.batches) for bucket in every)

    def batch(self, step: int) -> PlannedBatch:
        """The batch of a step, counted from 0."""
        epoch, number = divmod(step, self.batches_per_epoch)
        return self._epoch(epoch)[number]

    def _plan(self, epoch: int) -> list[PlannedBatch]:
        """All batches of one epoch in order."""
        placed: list[tuple[float, int, Ints]] = []
        for source, repeats in enumerate(self.repeats):
            numbers = range(epoch * repeats, (epoch + 1) * repeats)
            batches = [batch for number in numbers for batch in self._read(source, number)]
            placed += [
                ((place + 0.5) / len(batches), source, rows) for place, rows in enumerate(batches)
            ]
        placed.sort(key=lambda entry: entry[:2])
        scales = [
            weight * len(placed) / (mass * repeats)
            for weight, mass, repeats in zip(self.weights, self._mass, self.repeats, strict=True)
        ]
        return [PlannedBatch(source, rows, scales[source]) for _, source, rows in placed]

    def _read(self, source: int, number: int) -> list[Ints]:
        """The batches of one reading of a source, shuffled."""
        # The seed has the source's name, not its number, so the order is the same in every arm.
        name = int.from_bytes(self.names[source].encode()[:8], "big")
        rng = np.random.default_rng([self._seed, number, name])
        batches = [batch for bucket in self._buckets[source] for batch in bucket.shuffled(rng)]
        return [batches[n] for n in rng.permutation(len(batches))]


def mixture_of(
    encoded: Mapping[Task, EncodedSource],
    tasks: Sequence[Task],
    config: TrainingConfig,
    seed: int,
) -> Mixture:
    """The mixture of some tasks, with the settings of a configuration."""
    return Mixture(
        names=tasks,
        sources=[encoded[task] for task in tasks],
        batch_tokens=config.batch_tokens,
        weights=config.source_weights,
        seed=seed,
        max_batch_size=config.max_batch_size,
    )


def _repeats(weights: Sequence[float], targets: Sequence[int]) -> list[int]:
    """The number of times that each source is read in an epoch; 1 for the smallest weight per
    target.
    """
    each = [weight / count for weight, count in zip(weights, targets, strict=True)]
    least = min(value for value in each if value > 0)
    return [max(1, round(value / least)) for value in each]


class _Bucket(NamedTuple):
    """Examples of similar length, which share batches.

    Attributes:
        rows: their rows.
        size: the number of rows that fills a batch.
    """

    rows: Ints
    size: int

    @property
    def batches(self) -> int:
        """The number of batches."""
        return -(-len(self.rows) // self.size)

    def shuffled(self, rng: np.random.Generator) -> list[Ints]:
        """Shuffled rows in batches of nearly equal size, at most `size`."""
        return np.array_split(rng.permutation(self.rows), self.batches)


def _buckets(lengths: Ints, batch_tokens: int, max_batch_size: int) -> list[_Bucket]:
    """The buckets of examples with these numbers of tokens."""
    longest = lengths.max()
    bounds = [int(lengths.min())]
    while bounds[-1] < longest:
        bounds.append(min(int(longest), max(bounds[-1] + 1, int(bounds[-1] * _BUCKET_GROWTH))))
    of_row = np.searchsorted(bounds, lengths)
    buckets = []
    for number, bound in enumerate(bounds):
        rows = np.flatnonzero(of_row == number)
        if len(rows):
            size = max(1, min(batch_tokens // bound, max_batch_size or len(rows)))
            buckets.append(_Bucket(rows, size))
    return buckets


def _resolve(weights: SourceWeights, names: Sequence[Task], targets: Sequence[int]) -> list[float]:
    """The weights of the sources, which sum to one."""
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
