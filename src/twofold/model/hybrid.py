"""Hybrid retrieval: matches with every item, which are added to the scores of the deep model.

A generative model with a small hidden size memorises neither all names, which a lexical match
retrieves, nor all pairs of items, which can be counted. The hybrid parts are linear, as in wide and
deep learning (Cheng et al., 2016). The part of search is an index over the catalog: postings of
words, and the items' sentence vectors. The part of recommendation is one or two tables of items
that follow one another, that have the same users, or whose texts are similar; where items repeat,
how often the history has the item itself; and how popular each item is.

Shapes: B requests, N items, M new items, K neighbours of a new item, W words,
E width of a sentence's vector.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
import scipy.sparse as sp
from safetensors.numpy import load_file, save_file

from twofold import artifact
from twofold.data.words import RULE
from twofold.encoders.item_vectors import SimilarityKind, event_counts, query_factors, rocchio
from twofold.encoders.lexical import LexicalIndex, TrainingQueries, chosen_index
from twofold.encoders.text_encoder import sentence_encoder_of
from twofold.encoders.tfidf import Words
from twofold.encoders.vectors import TextEncoder, Vectors, unit
from twofold.records import Ints
from twofold.tasks.prepared import PreparedDataset

if TYPE_CHECKING:
    from twofold.model.encoded import EncodedExample

_NAMES, _TABLES = "hybrid.json", "hybrid.safetensors"
_HISTORY_NAMES, _HISTORY_TABLE = "history_match.json", "history_match.safetensors"
_PREFIXES = "", "second-"
"""How the names of the arrays of each similarity begin."""
_NEIGHBOUR_SHIFT = 2.0
"""Each item's vector was moved toward its training queries. A new item is moved by this many times
the mean shift of its neighbours, since a mean is shorter than each of its vectors; with a larger
factor new items displace relevant ones (docs/project/log).
"""

_INITIAL_WEIGHT = 20.0
"""The weight of the hybrid part during training; validation chooses another one afterwards."""
_MAX_RELEVANT = 1_000_000
"""At most this many relevant items of training queries go into the documents; more are sampled."""

_RECENT = 50
"""The number of items of a history, from the last one on, that are matched."""
_COUNTED: Sequence[tuple[SimilarityKind, float]] = (
    ("following", 0.3),
    ("following", 0.5),
    ("following", 0.7),
    ("following", 0.9),
    ("shared users", 1.0),
)
"""The first similarities, and their decays, that validation chooses among."""
_SECOND_SHARES = 0.5, 1.0
"""The shares of a second similarity that validation chooses among."""
_REPEATS = 0.5, 1.0, 2.0
"""The shares of the item's own events in the history that validation chooses among."""
_POPULARITY = 0.5, 1.0, 2.0
"""The shares of the most popular item that validation chooses among."""


class HybridPart(Protocol):
    """What is added to a task's scores: `Hybrid` in search, `HistoryMatch` in recommendation."""

    def matches(self, requests: "Sequence[EncodedExample]") -> Vectors:
        """Scores to add to those of the items for requests of the task, (B, N), float32."""


class Neighbours(NamedTuple):
    """The catalog items nearest to new items.

    Attributes:
        items: catalog positions, (M, K).
        shares: the weight of each neighbour, (M, K); a row sums to 1.
        texts: vectors of the neighbours' texts by the sentence encoder, (M, K, E); None without
            such an encoder.
    """

    items: Ints
    shares: Vectors
    texts: Vectors | None = None


@dataclass(frozen=True, eq=False)
class Hybrid:
    """Lexical and dense matches of a query with every item, times a weight.

    Attributes:
        weight: the factor of the sum of both matches in the score of an item's code.
        lexical: the index of the words in the items' documents.
        known: the queries of training.
        sentence: the model's sentence encoder; None without one.
        vectors: the items' unit vectors by the sentence encoder, (N, E).
        num_trained_items: the number of items, from the first on, that were in the training; None
            for all.
    """

    weight: float
    lexical: LexicalIndex
    known: TrainingQueries
    sentence: TextEncoder | None = None
    vectors: Vectors | None = None
    num_trained_items: int | None = None

    @property
    def description(self) -> dict[str, Any]:
        """The weight, the parts, and how validation chose the index, for the stamp."""
        return {
            "weight": self.weight,
            "parts": ["words"] if self.sentence is None else ["words", "sentence"],
            "documents": self.lexical.field,
            "weighting": self.lexical.weighting,
            "terms": self.lexical.terms,
        }

    def matches(self, requests: "Sequence[EncodedExample]") -> Vectors:
        """See `HybridPart`."""
        return self.scores([request.query for request in requests])

    def scores(self, queries: Sequence[str]) -> Vectors:
        """Scores to add to those of the items, (B, N), float32."""
        scores = self.lexical.scores(queries)
        if self.sentence is not None and self.vectors is not None:
            scores += self.sentence.encode(queries) @ self.vectors.T
        trained = self.num_trained_items
        if trained is not None:
            # Only documents with training queries say how well the items that users chose match.
            is_limited = self.lexical.field == "text and queries"
            self.known.boost(scores, queries, trained, is_limited=is_limited)
        scores *= self.weight
        return scores

    def with_items(self, texts: Sequence[str], near: Neighbours) -> "Hybrid":
        """The hybrid part of the catalog with new items.

        Args:
            texts: the texts of the new items, (M,).
            near: their neighbours in the catalog before them.
        """
        items = self.lexical.postings.shape[1]
        shares = _columns(near, items)
        vectors = self.vectors
        if self.sentence is not None and vectors is not None:
            assert near.texts is not None
            shifts = vectors[near.items] - near.texts
            mean = np.einsum("mk,mke->me", near.shares, shifts)
            placed = unit(self.sentence.encode(texts) + _NEIGHBOUR_SHIFT * mean)
            vectors = np.vstack([vectors, placed])
        return replace(
            self,
            lexical=self.lexical.with_items(texts, shares),
            vectors=vectors,
            known=self.known.with_items(shares),
            num_trained_items=self.num_trained_items or items,
        )

    def save(self, folder: Path) -> None:
        """Write what `load_hybrid` reads; the folder names the sentence encoder already."""
        lexical = self.lexical
        names = {
            "weight": self.weight,
            "items": lexical.postings.shape[1],
            "trained": self.num_trained_items,
            "rule": RULE,
            "words": lexical.words.words,
            "documents": lexical.field,
            "weighting": lexical.weighting,
            "with_ngrams": lexical.words.with_ngrams,
            "with_compounds": lexical.words.with_compounds,
            "mean_length": lexical.mean_length,
        }
        artifact.write_json(folder / _NAMES, names)
        tables = {
            "rarity": lexical.words.idf,
            "data": lexical.postings.data,
            "items": lexical.postings.indices,
            "starts": lexical.postings.indptr,
            "known": self.known.keys,
            "answers": self.known.relevant.indices,
            "answers-starts": self.known.relevant.indptr,
        }
        if self.vectors is not None:
            # Half precision moves a cosine by less than 1e-3, and halves the file.
            tables["vectors"] = self.vectors.astype(np.float16)
        save_file(tables, folder / _TABLES)


def build_hybrid(dataset: PreparedDataset, encoder: TextEncoder | None) -> Hybrid | None:
    """The hybrid part of a dataset: an index of its documents; None if they contain no word.

    If the lexical index is better with item texts alone, the sentence vectors use only these too.

    Args:
        dataset: the dataset whose item texts and training queries are the documents.
        encoder: the model's text encoder; a sentence encoder in it embeds documents too.
    """
    texts, examples = dataset.catalog.texts, dataset.task("search").examples.sample(_MAX_RELEVANT)
    queries = examples.texts()
    index = chosen_index(dataset, examples)
    if index is None:
        return None
    known = TrainingQueries.of(queries, [example.targets for example in examples], len(texts))
    lexical = Hybrid(_INITIAL_WEIGHT, index, known)
    sentence = sentence_encoder_of(encoder)
    if sentence is None:
        return lexical
    vectors = sentence.encode(texts)
    if index.field == "text and queries":
        wanted = query_factors(examples, len(texts), sentence.encode(queries))
        vectors = rocchio(vectors, wanted)
    # Rounded as in the model folder, so that a loaded model returns the same items.
    vectors = vectors.astype(np.float16).astype(np.float32)
    return replace(lexical, sentence=sentence, vectors=vectors)


def load_hybrid(folder: Path, sentence: TextEncoder | None) -> Hybrid | None:
    """Read what `Hybrid.save` wrote; None if a model has no hybrid part.

    Args:
        folder: the model folder.
        sentence: the sentence encoder that the folder names.
    """
    if not (folder / _NAMES).is_file():
        return None
    names, tables = artifact.read_json(folder / _NAMES), load_file(folder / _TABLES)
    shape = len(names["words"]), names["items"]
    vectors = tables["vectors"].astype(np.float32) if "vectors" in tables else None
    lexical = LexicalIndex(
        words=Words(
            names["words"],
            tables["rarity"],
            names["rule"],
            with_ngrams=names["with_ngrams"],
            with_compounds=names.get("with_compounds", False),  # earlier models have none
        ),
        postings=sp.csr_array((tables["data"], tables["items"], tables["starts"]), shape),
        field=names["documents"],
        weighting=names["weighting"],
        mean_length=names["mean_length"],
    )
    return Hybrid(
        weight=names["weight"],
        lexical=lexical,
        known=_known(tables, names["items"]),
        sentence=None if vectors is None else sentence,
        vectors=vectors,
        num_trained_items=names["trained"],
    )


def _known(tables: Mapping[str, np.ndarray], items: int) -> TrainingQueries:
    items_of = tables["answers"]
    parts = np.ones(len(items_of), np.float32), items_of, tables["answers-starts"]
    relevant = sp.csr_array(parts, (len(tables["known"]), items))
    return TrainingQueries(tables["known"], relevant)


@dataclass(frozen=True, eq=False)
class SimilarItems:
    """The items that are similar to those of a history, by one kind of similarity.

    Attributes:
        kind: the similarity of two items.
        decay: the weight of an item of the history, as a multiple of that of the next one.
        similarity: the similar items (columns) of each item (row), (N, N).
        share: what the item that matches best adds, as a multiple of the weight of the match.
    """

    kind: SimilarityKind
    decay: float
    similarity: sp.csr_array
    share: float = 1.0

    @property
    def description(self) -> dict[str, Any]:
        """The settings."""
        return {"kind": self.kind, "decay": self.decay, "share": self.share}


@dataclass(frozen=True, eq=False)
class HistoryMatch:
    """The match of a history with every item in recommendation, times a weight.

    Attributes:
        weight: the factor of the sum over the similarities.
        by: a similarity that is counted, with a share of 1; then another one, if validation chose
            it too.
        repeats: what log(1 + n) adds for an item that is in the history n times, as a multiple of
            the weight; 0 where items of the history are excluded.
        popularity: what each item adds for its popularity, as a multiple of the weight, (N,); None
            without.
    """

    weight: float
    by: tuple[SimilarItems, ...]
    repeats: float = 0.0
    popularity: Vectors | None = None

    @property
    def description(self) -> dict[str, Any]:
        """The settings, for the stamp."""
        by = [one.description for one in self.by]
        popularity = 0.0 if self.popularity is None else float(self.popularity.max())
        return {
            "weight": self.weight,
            "by": by,
            "repeats": self.repeats,
            "popularity": popularity,
        }

    def matches(self, requests: "Sequence[EncodedExample]") -> Vectors:
        """See `HybridPart`."""
        return self.scores([request.history for request in requests])

    def scores(self, histories: Sequence[Ints]) -> Vectors:
        """Scores to add to those of the items, (B, N), float32.

        Args:
            histories: catalog positions, oldest first, for each request.
        """
        recent = [history[-_RECENT:] for history in histories]
        counts = [len(history) for history in recent]
        ages = np.concatenate([np.arange(count)[::-1] for count in counts])
        places = np.repeat(np.arange(len(recent)), counts), np.concatenate(recent)
        shape = len(recent), self.by[0].similarity.shape[0]
        scores = np.zeros(shape, np.float32)
        for one in self.by:
            weights = sp.coo_array((one.decay**ages, places), shape=shape).tocsr()
            scores += one.share * _relative(weights @ one.similarity)
        if self.repeats:
            events = event_counts(histories, shape[1]).toarray().astype(np.float32)
            scores += self.repeats * np.log1p(events)
        if self.popularity is not None:
            scores += self.popularity
        scores *= self.weight
        return scores

    def with_items(self, near: Neighbours) -> "HistoryMatch":
        """The history match of the catalog with new items, which have the similarities of their
        neighbours.

        Args:
            near: their neighbours in the catalog before them.
        """
        shares = _columns(near, self.by[0].similarity.shape[0])
        grown = (replace(one, similarity=_extended(one.similarity, shares)) for one in self.by)
        popularity = self.popularity
        if popularity is not None:
            popularity = np.concatenate([popularity, popularity @ shares], dtype=np.float32)
        return replace(self, by=tuple(grown), popularity=popularity)

    def save(self, folder: Path) -> None:
        """Write what `load_history_match` reads."""
        artifact.write_json(folder / _HISTORY_NAMES, self.description)
        arrays: dict[str, np.ndarray] = {}
        for prefix, one in zip(_PREFIXES, self.by, strict=False):
            arrays |= _arrays_of(prefix, one.similarity)
        if self.popularity is not None:
            arrays["popularity"] = self.popularity
        save_file(arrays, folder / _HISTORY_TABLE)


def history_matches(tables: Mapping[SimilarityKind, sp.csr_array]) -> list[HistoryMatch]:
    """The matches by one similarity that validation chooses among, with a weight of 1.

    Args:
        tables: the result of `similarities`.
    """
    return [
        HistoryMatch(1.0, (SimilarItems(kind, decay, tables[kind]),)) for kind, decay in _COUNTED
    ]


def with_second(
    match: HistoryMatch, tables: Mapping[SimilarityKind, sp.csr_array]
) -> list[HistoryMatch]:
    """The matches by a second similarity too that validation chooses among.

    Args:
        match: the match by one similarity.
        tables: the result of `similarities`.
    """
    (first,) = match.by
    return [
        replace(match, by=(first, SimilarItems(kind, decay, table, share)))
        for kind, table in tables.items()
        if kind != first.kind
        for decay in sorted({first.decay, 1.0})
        for share in _SECOND_SHARES
    ]


def with_repeats(match: HistoryMatch) -> list[HistoryMatch]:
    """The matches with the item's own events in the history too that validation chooses among."""
    return [replace(match, repeats=repeats) for repeats in _REPEATS]


def with_popularity(match: HistoryMatch, events: Ints) -> list[HistoryMatch]:
    """The matches with the items' popularity too that validation chooses among.

    The popularity of an item is log(1 + n) for n events, as a share of that of the most popular
    item.

    Args:
        match: the match without it.
        events: the number of training events of each item, (N,), at least one in all.
    """
    popularity = np.log1p(events, dtype=np.float32)
    popularity /= popularity.max()
    return [replace(match, popularity=np.float32(share) * popularity) for share in _POPULARITY]


def _relative(scores: sp.csr_array) -> Vectors:
    """The scores of each request, (B, N), as a share of its best one."""
    dense: Vectors = scores.toarray().astype(np.float32)
    best = dense.max(axis=1, keepdims=True)
    dense /= np.where(best > 0, best, 1)
    return dense


def _extended(table: sp.csr_array, shares: sp.csr_array) -> sp.csr_array:
    """A table of similarities for a catalog with new items, (N + M, N + M).

    Args:
        table: the similarities of the items before, (N, N).
        shares: the result of `_columns`, (N, M).
    """
    wide = sp.hstack([table, table @ shares], format="csr")
    extended: sp.csr_array = sp.vstack([wide, shares.T @ wide], format="csr")
    return extended.astype(np.float32)


def _arrays_of(prefix: str, table: sp.csr_array) -> dict[str, np.ndarray]:
    """The arrays of a sparse table for a file; each name begins with `prefix`."""
    return {
        f"{prefix}data": table.data,
        f"{prefix}items": table.indices.astype(np.int32),
        f"{prefix}starts": table.indptr.astype(np.int32),
    }


def _table_of(prefix: str, arrays: Mapping[str, np.ndarray]) -> sp.csr_array:
    """The sparse table, (N, N), of which `_arrays_of` made arrays."""
    parts = (arrays[f"{prefix}data"], arrays[f"{prefix}items"], arrays[f"{prefix}starts"])
    items = len(parts[2]) - 1
    return sp.csr_array(parts, (items, items))


def load_history_match(folder: Path) -> HistoryMatch | None:
    """Read what `HistoryMatch.save` wrote; None if a model has none.

    Args:
        folder: the model folder.
    """
    if not (folder / _HISTORY_NAMES).is_file():
        return None
    names, arrays = artifact.read_json(folder / _HISTORY_NAMES), load_file(folder / _HISTORY_TABLE)
    by = (
        SimilarItems(one["kind"], one["decay"], _table_of(prefix, arrays), one["share"])
        for prefix, one in zip(_PREFIXES, names["by"], strict=False)
    )
    return HistoryMatch(names["weight"], tuple(by), names["repeats"], arrays.get("popularity"))


def _columns(near: Neighbours, items: int) -> sp.csr_array:
    """The shares of the neighbours as a table, (items, M)."""
    new, count = near.items.shape
    places = near.items.reshape(-1), np.repeat(np.arange(new), count)
    return sp.csr_array((near.shares.reshape(-1), places), (items, new))
