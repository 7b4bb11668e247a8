"""Vectors of a catalog's items, from which semantic IDs are made.

The data from which they are learned decide for which task the identifiers are best (Penha et al.,
RecSys 2025). They are fitted only on training examples and the items' texts.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import numpy as np
import scipy.sparse as sp
from sklearn.preprocessing import normalize

from twofold import artifact
from twofold.encoders.item_vectors import history_factors, leading_factors, ppmi
from twofold.encoders.sentence import SentenceEncoder
from twofold.encoders.tfidf import Words
from twofold.encoders.tuning import KIND, TuningConfig, tune_encoder, tuning_manifest
from twofold.encoders.vectors import Vectors, principal_axes, unit
from twofold.identifiers.identifiers import Strategy
from twofold.records import InputError, Task
from twofold.tasks.prepared import PreparedDataset

_log = logging.getLogger(__name__)

STRATEGIES: tuple[Strategy, ...] = get_args(Strategy)

_QUERY_WEIGHT = 2.0
"""The weight of an item's training queries; its text has weight 1."""

_BOTH: tuple[Task, ...] = ("search", "recommendation")
_NEEDS: dict[Strategy, tuple[Task, ...]] = {
    "text": (),
    "search": ("search",),
    "recommendation": ("recommendation",),
    "multi-task": _BOTH,
    "fused-concatenated": _BOTH,
    "fused-summed": _BOTH,
}
_MISSING: dict[Task, str] = {
    "search": "a training query with a relevant item",
    "recommendation": "a user with two or more training events",
}


def id_embeddings(
    dataset: PreparedDataset,
    strategy: Strategy,
    width: int = 64,
    sentence: str | None = None,
    folder: Path | None = None,
    tuning: TuningConfig | None = None,
    seed: int = 0,
) -> Vectors:
    """Unit vectors of the items, (N, D), in catalog order; zero for an item without data.

    - `text`: the vectors of a sentence encoder; without one, an SVD of the texts' TF-IDF weights.
    - `search`: the vectors of an encoder tuned on training queries and their answers; without one,
      an SVD of TF-IDF weights of an item's text plus twice those of all its training queries, each
      of unit length (doc2query, Nogueira et al., 2019, with real queries).
    - `recommendation`: factors of items near each other in training histories.
    - `multi-task`: the vectors of one encoder tuned on both tasks; without one, an SVD of two
      concatenated tables, items by words as in `search` and items by near items, scaled to equal
      norms.
    - `fused-concatenated`: the vectors of `search` and of `recommendation`, concatenated.
    - `fused-summed`: the sum of both, each rotated to its `width` principal axes.

    Args:
        dataset: the training split and the items to learn from.
        strategy: one of `STRATEGIES`.
        width: the width of vectors by SVD; those of a sentence encoder keep their own, and
            concatenated ones have the sum of both.
        sentence: the name or folder of a sentence-transformers model; None for TF-IDF.
        folder: the folder of fine-tuned encoders; existing ones are read.
        tuning: the settings of fine-tuning; the defaults of its fields if None.
        seed: the random seed.

    Raises:
        InputError: the dataset lacks data that the strategy needs, or there is no such model.
    """
    if strategy not in STRATEGIES:
        raise InputError(
            f"embeddings '{strategy}': no such strategy; choose one of {', '.join(STRATEGIES)}"
        )
    _require(dataset, strategy)
    maker = _Maker(dataset, width, sentence, folder, tuning or TuningConfig(), seed)
    make: dict[Strategy, Callable[[], Vectors]] = {
        "text": maker.text,
        "search": maker.search,
        "recommendation": maker.recommendation,
        "multi-task": maker.multi_task,
        "fused-concatenated": maker.concatenated,
        "fused-summed": maker.summed,
    }
    return make[strategy]()


def possible_strategies(dataset: PreparedDataset) -> tuple[Strategy, ...]:
    """The strategies for which there are enough data."""
    have = {task for task in _BOTH if dataset.task(task).examples}
    possible = [strategy for strategy in STRATEGIES if have.issuperset(_NEEDS[strategy])]
    return tuple(s for s in possible if s != "text" or any(dataset.catalog.texts))


def _require(dataset: PreparedDataset, strategy: Strategy) -> None:
    possible = possible_strategies(dataset)
    if strategy in possible:
        return
    lacking = [_MISSING[task] for task in _NEEDS[strategy] if not dataset.task(task).examples]
    need = " and ".join(lacking) or "a title or text of the items"
    remedy = f"use {' or '.join(possible)}" if possible else "use atomic identifiers"
    raise InputError(
        f"{dataset.source}: embeddings '{strategy}' need {need}, and there is none; {remedy}"
    )


@dataclass(frozen=True)
class _Maker:
    """A method for each strategy; see `id_embeddings`."""

    dataset: PreparedDataset
    width: int
    sentence: str | None
    folder: Path | None
    tuning: TuningConfig
    seed: int

    def text(self) -> Vectors:
        texts = self.dataset.catalog.texts
        if self.sentence:
            return SentenceEncoder.load(self.sentence).encode(texts)
        (words,) = self._words(texts)
        return leading_factors(words, self.width, self.seed)

    def search(self) -> Vectors:
        if self.sentence:
            return self._tuned(("search",))
        return leading_factors(self._words_and_queries(), self.width, self.seed)

    def recommendation(self) -> Vectors:
        histories = self.dataset.task("recommendation").examples
        return history_factors(histories, len(self.dataset.catalog), self.width, self.seed)

    def multi_task(self) -> Vectors:
        if self.sentence:
            return self._tuned(_BOTH)
        histories = self.dataset.task("recommendation").examples
        near = ppmi(histories, len(self.dataset.catalog))
        words = self._words_and_queries()
        near = near * (np.linalg.norm(words.data) / (np.linalg.norm(near.data) or 1.0))
        both = sp.hstack([near, words], format="csr")
        return leading_factors(both, self.width, self.seed)

    def concatenated(self) -> Vectors:
        return unit(np.hstack([self.search(), self.recommendation()]))

    def summed(self) -> Vectors:
        search = _rotated(self.search(), self.width)
        return unit(search + _rotated(self.recommendation(), self.width))

    def _words_and_queries(self) -> sp.csr_array:
        """TF-IDF weights of each item's text and training queries, (N, W), rows of unit length."""
        queries = [
            " ".join(dict.fromkeys(queries))
            for queries in self.dataset.task("search").queries_by_item
        ]
        texts, wanting = self._words(self.dataset.catalog.texts, queries)
        return sp.csr_array(normalize(texts + _QUERY_WEIGHT * wanting))

    def _words(self, *columns: list[str]) -> list[sp.csr_array]:
        try:
            words = Words.fit([text for column in columns for text in column], most=0)
        except InputError as error:
            raise InputError(
                f"{self.dataset.source}: no word occurs in two texts, so item vectors cannot be "
                f"made of words; add a title or text to the items, or use embeddings "
                f"'recommendation' or atomic identifiers"
            ) from error
        return [words.weigh(column, sentences=True) for column in columns]

    def _tuned(self, tasks: tuple[Task, ...]) -> Vectors:
        """Item vectors by the encoder fine-tuned on the tasks; an existing one is read."""
        assert self.sentence is not None
        if self.folder is None:
            raise InputError(
                f"embeddings tuned from '{self.sentence}': need a folder to keep the encoder in; "
                f"give folder=..."
            )
        start = SentenceEncoder.load(self.sentence)
        out = self.folder / "-and-".join(tasks)
        if artifact.is_complete(out):
            wanted = tuning_manifest(self.dataset, start, self.tuning, self.seed, tasks)
            if artifact.load(out, KIND)["config"] != wanted:
                raise InputError(
                    f"{out}: an encoder tuned on other data or with other settings; give another "
                    f"folder"
                )
            tuned = SentenceEncoder.load(str(out))
        else:
            _log.info("tuning %s on %s, for identifiers", self.sentence, " and ".join(tasks))
            # Without validation: identifiers are made from training examples alone.
            tuned = tune_encoder(self.dataset, start, out, None, self.tuning, self.seed, tasks)
        return tuned.encode(self.dataset.catalog.texts)


def _rotated(vectors: Vectors, width: int) -> Vectors:
    """Vectors in the coordinates of their `width` principal axes, (N, width)."""
    axes = principal_axes(vectors, width)
    # The sign of an axis is arbitrary; this choice keeps sums the same on every machine.
    axes = axes * np.where(axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])] < 0, -1, 1)
    rotated = np.zeros((len(vectors), width), np.float32)
    rotated[:, : axes.shape[1]] = vectors @ axes
    return rotated
