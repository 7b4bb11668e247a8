"""Examples to the token sequences that an arm trains on."""

from collections.abc import Sequence

import numpy as np

from twofold.model.backbone import Backbone
from twofold.model.vocabulary import EncodedExample, Vocabulary
from twofold.records import Example, Source, Task
from twofold.tasks.prepared import PreparedDataset
from twofold.training.config import TrainingConfig


def encoded_sources(
    dataset: PreparedDataset,
    tasks: Sequence[Task],
    vocabulary: Vocabulary,
    backbone: Backbone,
    config: TrainingConfig,
) -> dict[Task, list[EncodedExample]]:
    """The sequences of every task of the dataset: an arm's `tasks` and the others.

    The others set what is common to all arms: the horizon, and the proposal of the negatives.

    Raises:
        InputError: one of `tasks` has no example.
    """
    found = {}
    for task in dataset.tasks:
        if task not in tasks and not dataset.task(task).examples:
            continue
        source = trainable(dataset, task, config, backbone)
        found[task] = encode(source, vocabulary, backbone)
    return found


def trainable(
    dataset: PreparedDataset, task: Task, config: TrainingConfig, backbone: Backbone
) -> Source:
    """The targets that training reaches: a decoder reads a long history in windows, or its last."""
    source = dataset.task(task).source(config.item_text_queries)
    if backbone.contexts_per_sequence == 1:
        return source
    if config.long_histories == "windows":
        return source.windows(config.max_history)
    return source.cut(config.max_history)


def encode(source: Source, vocabulary: Vocabulary, backbone: Backbone) -> list[EncodedExample]:
    """The sequences of a source that have a target: a long history's first ones may be cut."""
    if backbone.contexts_per_sequence == 1:
        source = _one_context_each(source)
    return [made for example in source.examples for made in vocabulary.encode(example)]


def _one_context_each(source: Source) -> Source:
    """For an encoder-decoder: one example for each state that generates."""
    split = []
    for example in source.examples:
        for visible in np.unique(example.visible):
            chosen = example.visible == visible
            whole = visible == len(example.history)
            split.append(
                Example(
                    example.history[:visible],
                    example.query if whole else None,
                    example.targets[chosen],
                    example.visible[chosen],
                    None if example.weights is None else example.weights[chosen],
                )
            )
    return Source(source.name, split)
