"""From training examples to the token sequences that a backbone trains on."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from twofold.model.backbone import Backbone
from twofold.model.vocabulary import EncodedExample, Vocabulary
from twofold.records import Source, Task
from twofold.tasks.prepared import PreparedDataset
from twofold.training.config import TrainingConfig


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
        InputError: one of `tasks` has no example.
    """
    return {
        task: _readable(dataset.task(task).source(config.item_text_queries), config, backbone)
        for task in dataset.tasks
        if task in tasks or dataset.task(task).examples
    }


def _readable(source: Source, config: TrainingConfig, backbone: Backbone) -> Source:
    if backbone.contexts_per_sequence == 1:
        return source
    if config.long_histories == "windows":
        return source.windows(config.max_history)
    return source.cut(config.max_history)


def encode(source: Source, vocabulary: Vocabulary, backbone: Backbone) -> list[EncodedExample]:
    """The encoded examples of a source."""
    if backbone.contexts_per_sequence == 1:
        source = _one_context_each(source)
    return [encoded for example in source.examples for encoded in vocabulary.encode(example)]


def _one_context_each(source: Source) -> Source:
    """For an encoder-decoder: one example for each state that generates."""
    examples = []
    for example in source.examples:
        for visible in np.unique(example.visible):
            chosen = example.visible == visible
            sees_all = visible == len(example.history)
            examples.append(
                replace(
                    example,
                    history=example.history[:visible],
                    query=example.query if sees_all else None,
                    targets=example.targets[chosen],
                    visible=example.visible[chosen],
                    weights=None if example.weights is None else example.weights[chosen],
                )
            )
    return Source(source.name, examples)
