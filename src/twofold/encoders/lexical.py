"""A lexical index: how well the words of a query match the document of each item.

A document is an item's text, or its text and the training queries that it answers; its terms are
words, or words and their character n-grams, weighed by TF-IDF or by BM25. Which ranks best depends
on the data and its language, so cross-validation chooses it (`chosen_index`). The training queries
themselves are known too.

Shapes: B queries, Q training queries, N items, M new items, W terms.
"""

import hashlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from math import ceil
from typing import TYPE_CHECKING, Literal, NamedTuple, get_args

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from twofold.data.words import query_key, words
from twofold.encoders.tfidf import Words
from twofold.encoders.vectors import Vectors
from twofold.evaluation.measures import Measure, tie_order
from twofold.records import Floats, InputError, Ints
from twofold.tasks.training_data import item_documents, queries_by_item
from twofold.training_examples import Examples

if TYPE_CHECKING:
    from twofold.tasks.prepared import PreparedDataset

_log = logging.getLogger(__name__)

Field = Literal["text and queries", "text"]
Weighting = Literal["tfidf", "bm25"]
Terms = Literal["words", "words and n-grams"]
Candidate = tuple[Field, Weighting, Terms]
CANDIDATES: Sequence[Candidate] = tuple(
    product(get_args(Field), get_args(Weighting), get_args(Terms)[:1])
)
"""The first is kept where nothing can be compared. The best is compared with itself with n-grams.
"""

_QUERY_NORM_POWER = 0.5
"""A query's TF-IDF weights are divided by this power of their norm. It lies between a cosine (1),
which ignores a second matching word, and a dot product (0), which favours long queries; both have
a lower nDCG (docs/project/log)."""

_K1, _B = 0.9, 0.4
"""Saturation of a word's count, and normalisation by length: the defaults of Anserini. With the
documents that were chosen on three datasets, five others gain .003 of nDCG@10 at most
(docs/project/log/2026-11-quality.md)."""

_MEASURE = Measure("nDCG", 10)
_FOLDS = 5
_JUDGED = 1000
"""The candidates are compared on about so many training queries, and on at most so many validation
requests. A fold of 5,000 training queries or more has enough, so that no other is needed."""
_AT_ONCE = 64
"""Queries that are scored at once."""
_MOST_CHARACTERS_WITH_NGRAMS = 20_000_000
"""With longer item texts in all, n-grams are not tried: an index with them would have up to 20
million entries of 8 bytes, about seven times as many as with words."""

_BOOST, _NEIGHBOUR_BOOST = 0.08, 0.2
"""A new item's boost for a training query, in units of the cosine, and a further one if a neighbour
of the item is relevant to the query
(docs/project/decisions/0019-cold-start-boost-for-new-items.md).
"""

Keys = npt.NDArray[np.uint64]


@dataclass(frozen=True, eq=False)
class LexicalIndex:
    """Weights of the terms in the items' documents, as postings.

    Attributes:
        words: the known terms, and how much each counts.
        postings: weights of the terms in the documents, (W, N), float32.
        field: what a document holds.
        weighting: how terms are weighed. TF-IDF: columns of unit length. BM25: as Lucene and bm25s.
        mean_length: the mean number of terms of a document, for the BM25 of new ones.
    """

    words: Words
    postings: sp.csr_array
    field: Field = "text and queries"
    weighting: Weighting = "tfidf"
    mean_length: float = 0.0

    @classmethod
    def fit(
        cls,
        documents: Sequence[str],
        queries: Sequence[str],
        field: Field = "text and queries",
        weighting: Weighting = "tfidf",
        terms: Terms = "words",
    ) -> "LexicalIndex":
        """An index of documents.

        Args:
            documents: one for each item, (N,).
            queries: the training queries; TF-IDF counts how rare a word is in them as well.
            field, weighting: see the attributes.
            terms: what is matched.

        Raises:
            InputError: there is no word.
        """
        with_ngrams = terms == "words and n-grams"
        texts, mean_length = [*documents, *queries], 0.0
        words = Words.fit(texts, with_ngrams=with_ngrams, with_compounds=True)
        if weighting == "bm25":
            words, mean_length = _bm25_words(words, documents)
        index = cls(words, sp.csr_array((len(words.words), 0)), field, weighting, mean_length)
        return replace(index, postings=index.postings_of(documents))

    @property
    def terms(self) -> Terms:
        """What is matched."""
        return "words and n-grams" if self.words.with_ngrams else "words"

    def postings_of(self, documents: Sequence[str]) -> sp.csr_array:
        """Postings of documents by the words of this index, (W, len(documents)), float32."""
        if self.weighting == "tfidf":
            weights = self.words.weigh(documents, are_documents=True)
        else:
            weights = self._bm25(documents)
        return sp.csr_array(weights.T.astype(np.float32))

    def _bm25(self, documents: Sequence[str]) -> sp.csr_array:
        """The score of each word in each document, (len(documents), W)."""
        counts = self.words.counts(documents, are_documents=True)
        lengths = counts.sum(axis=1)
        saturated = _K1 * (1 - _B + _B * lengths / self.mean_length)
        tf, rows = counts.data, np.repeat(np.arange(len(documents)), np.diff(counts.indptr))
        weights = self.words.idf[counts.indices] * tf / (tf + saturated[rows])
        return sp.csr_array((weights, counts.indices, counts.indptr), counts.shape)

    def scores(self, queries: Sequence[str]) -> Vectors:
        """How well each item's document matches each query, (B, N), float32; 0 without a word.

        The postings of one word after the other are added: scipy's product of two sparse matrices
        walks all items three times for the few that contain a query's word.
        """
        scores = np.zeros((len(queries), self.postings.shape[1]), np.float32)
        typed = self._weigh(queries)
        rows = np.repeat(np.arange(len(queries)), np.diff(typed.indptr))
        for row, word, weight in zip(rows, typed.indices, typed.data, strict=True):
            postings = slice(*self.postings.indptr[word : word + 2])
            scores[row, self.postings.indices[postings]] += weight * self.postings.data[postings]
        return scores

    def _weigh(self, queries: Sequence[str]) -> sp.csr_array:
        """The weights of the queries' terms, (B, W).

        Divided by the largest weight of a term and, for BM25, by the number of terms of a word,
        TF-IDF and BM25 have about one scale.
        """
        largest_idf = self.words.idf.max()
        if self.weighting == "bm25":
            largest = largest_idf * self.words.terms_per_word
            return sp.csr_array(self.words.counts(queries) / largest)
        typed = self.words.weigh(queries, _QUERY_NORM_POWER, sentences=True)
        return sp.csr_array(typed / largest_idf**_QUERY_NORM_POWER)

    def with_items(self, texts: Sequence[str], shares: sp.csr_array) -> "LexicalIndex":
        """The index of the catalog with new items.

        No query has wanted a new item yet. Where documents hold training queries, a new one is the
        item's text and its neighbours' documents, which contain the queries that want them. It is
        as long as its text or, where that is longer, as its neighbours' documents in the mean.
        Words of the new texts that no document had, such as a product number, become known.

        Args:
            texts: the texts of the new items, (M,).
            shares: the share of each item in the new items' neighbourhoods, (N, M).
        """
        wider = replace(self, words=self.words.with_terms_of(texts))
        before, new = _with_rows(self.postings, len(wider.words.words)), wider.postings_of(texts)
        if self.field == "text and queries":
            lengths = np.maximum(_norms(new), shares.T @ _norms(before))
            new = new + before @ shares
            norms = _norms(new)
            new = new @ sp.diags_array(lengths / np.where(norms > 0, norms, 1))
        postings = sp.hstack([before, new.astype(np.float32)], format="csr")
        return replace(wider, postings=sp.csr_array(postings))


def _bm25_words(fitted: Words, documents: Sequence[str]) -> tuple[Words, float]:
    """Terms with Lucene's inverse document frequencies, and the mean length of a document.

    A term of training queries that no document holds is known, and counts as if one did.
    """
    counts = fitted.counts(documents, are_documents=True)
    df = np.maximum(np.bincount(counts.indices, minlength=len(fitted.words)), 1)
    idf = np.log(1 + (len(documents) - df + 0.5) / (df + 0.5)).astype(np.float32)
    weighted = Words(fitted.words, idf, with_ngrams=fitted.with_ngrams, with_compounds=True)
    return weighted, float(counts.sum() / len(documents))


def _with_rows(postings: sp.csr_array, rows: int) -> sp.csr_array:
    """Postings, (W, N), with empty rows after them, (rows, N)."""
    starts = postings.indptr
    ends = np.full(rows + 1 - len(starts), starts[-1], starts.dtype)
    parts = postings.data, postings.indices, np.append(starts, ends)
    return sp.csr_array(parts, (rows, postings.shape[1]))


def _norms(columns: sp.csr_array) -> Floats:
    return np.asarray(np.sqrt(columns.multiply(columns).sum(axis=0)))


class TrainingQueries(NamedTuple):
    """The training queries and their relevant items; new items get a boost for them (cold start).

    In training the model has learned which items are not relevant to these queries, and it has
    learned nothing about new items. Without a boost, new items would rank below the trained ones.

    Attributes:
        keys: eight bytes of a hash of each query's normalised text, (Q,), sorted. Queries that the
            split counts as the same have one key.
        relevant: which items are relevant to each query, (Q, N); a new item counts as relevant if
            one of its neighbours is.
    """

    keys: Keys
    relevant: sp.csr_array

    @classmethod
    def of(cls, queries: Sequence[str], relevant: Sequence[Ints], items: int) -> "TrainingQueries":
        """From queries, which may repeat, and the catalog positions of their relevant items."""
        keys, places = np.unique(_keys(queries), return_inverse=True)
        rows = np.repeat(places, [len(positions) for positions in relevant])
        columns = np.concatenate([*relevant, np.zeros(0, np.int64)])
        ones = np.ones(len(rows), np.float32)
        return cls(keys, sp.csr_array((ones, (rows, columns)), (len(keys), items)))

    def with_items(self, neighbours: sp.csr_array) -> "TrainingQueries":
        """The same queries for a catalog with new items.

        Args:
            neighbours: the share of each item in the new items' neighbourhoods, (N, M).
        """
        of_new = (self.relevant @ neighbours > 0).astype(np.float32)
        return self._replace(
            relevant=sp.csr_array(sp.hstack([self.relevant, of_new], format="csr"))
        )

    def boost(
        self, scores: Vectors, queries: Sequence[str], trained: int, *, is_limited: bool
    ) -> None:
        """Add the boosts of the items that were added after the `trained` ones, in place.

        Args:
            scores: how well the items match the queries, (B, N).
            queries: the queries, (B,).
            trained: the number of items, from the first on, that were in the training.
            is_limited: whether a boost leads at most to the best match of an item that training
                paired with the query, so that it does not pass those that users chose. Where these
                match no word of the query, there is no limit.
        """
        keys = _keys(queries)
        places = np.searchsorted(self.keys, keys)
        for row, place in enumerate(places):
            if place < len(self.keys) and self.keys[place] == keys[row]:
                items = self.relevant.indices[slice(*self.relevant.indptr[place : place + 2])]
                new = scores[row, trained:]
                boosted = new + np.float32(_BOOST)
                boosted[items[items >= trained] - trained] += _NEIGHBOUR_BOOST
                best = scores[row, items[items < trained]].max(initial=0)
                if is_limited and best > 0:
                    boosted = np.maximum(new, np.minimum(boosted, best))
                new[:] = boosted


def _keys(queries: Sequence[str]) -> Keys:
    """A hash of each query, (B,)."""
    texts = [query_key(query).encode() for query in queries]
    digests = b"".join(hashlib.blake2b(text, digest_size=8).digest() for text in texts)
    return np.frombuffer(digests, ">u8").astype(np.uint64)


def chosen_index(dataset: "PreparedDataset", examples: Examples) -> LexicalIndex | None:
    """The index of the items' documents that validates best; None where they hold no word.

    Candidates are compared by cross-validation: nDCG@10 of training queries that their documents do
    not hold. Validation requests that repeat a training query count by their share (`_values`).

    Args:
        dataset: the items and the validation requests.
        examples: the training queries, and their relevant items.
    """
    silent = not any(map(words, dataset.catalog.texts))
    candidates = [each for each in CANDIDATES if not (silent and each[0] == "text")]
    try:
        values = _values(dataset, examples, candidates)
        best = max(values, key=values.__getitem__)
        if can_have_ngrams(dataset.catalog.texts):
            words_alone = values[best]
            with_ngrams: Candidate = (*best[:2], "words and n-grams")
            values |= _values(dataset, examples, [with_ngrams])
            # Equal values say that training queries have the documents' words; users type others.
            # Values of 0 say that nothing was compared, or that nothing matches.
            if values[with_ngrams] > 0 and values[with_ngrams] >= words_alone:
                best = with_ngrams
        _log.info("hybrid retrieval: %s", _described(best, values))
        return _index(dataset, examples, *best)
    except InputError as error:
        _log.info("no lexical index: %s", error)
        return None


def can_have_ngrams(texts: Sequence[str]) -> bool:
    """Whether an index of the items' texts with n-grams would be small enough to be tried."""
    return sum(map(len, texts)) <= _MOST_CHARACTERS_WITH_NGRAMS


def _described(best: Candidate, values: Mapping[Candidate, float]) -> str:
    """`documents of text, BM25 of words (nDCG@10 in cross-validation: text, BM25 of words 0.1307;
    ...)`"""
    each = "; ".join(f"{_named(candidate)} {value:.4f}" for candidate, value in values.items())
    return f"documents of {_named(best)} (nDCG@10 in cross-validation: {each})"


def _named(candidate: Candidate) -> str:
    field, weighting, terms = candidate
    return f"{field}, {'TF-IDF' if weighting == 'tfidf' else 'BM25'} of {terms}"


def _index(
    dataset: "PreparedDataset",
    examples: Examples,
    field: Field,
    weighting: Weighting,
    terms: Terms,
) -> LexicalIndex:
    """The index of a candidate. Documents hold the queries of the examples that are given."""
    documents: Sequence[str] = dataset.catalog.texts
    if field == "text and queries":
        documents = item_documents(documents, queries_by_item(examples, len(documents)))
    return LexicalIndex.fit(documents, examples.texts(), field, weighting, terms)


class _Judged(NamedTuple):
    """Queries that candidates are compared on.

    Attributes:
        examples: the training queries that documents may hold.
        queries: the queries that are judged, (B,).
        qrels: the relevant items of each and their grades, by catalog position.
    """

    examples: Examples
    queries: Sequence[str]
    qrels: Sequence[Mapping[int, int]]


def _values(
    dataset: "PreparedDataset", examples: Examples, candidates: Sequence[Candidate]
) -> dict[Candidate, float]:
    """The nDCG@10 that is expected of each candidate, of the index alone, without a model.

    A test query repeats a training query or is new; the validation requests say how many are which.
    Repeated queries are judged on validation requests, new ones on training queries.
    """
    keys = [query_key(text) for text in examples.texts()]
    requests = dataset.task("search").requests("validation").sample(_JUDGED)
    training_keys = set(keys)
    repeated = [each for each in requests.requests if query_key(each.query or "") in training_keys]
    share = len(repeated) / max(1, len(requests.requests))
    positions = dataset.catalog.positions
    qrels = [
        {positions[item]: grade for item, grade in requests.qrels[request.request_id].items()}
        for request in repeated
    ]
    again = _Judged(examples, [request.query or "" for request in repeated], qrels)
    parts = [(share, [again]), (1 - share, [*_folds(examples, keys)] if share < 1 else [])]
    return {
        candidate: sum(
            weight * _value(dataset, judged, candidate) for weight, judged in parts if weight
        )
        for candidate in candidates
    }


def _folds(examples: Examples, keys: Sequence[str]) -> Iterator[_Judged]:
    """Folds for cross-validation: a query is in one of them in whatever form it was typed."""
    rows: dict[str, list[int]] = {}
    for row, key in enumerate(keys):
        rows.setdefault(key, []).append(row)
    fold_of = {key: _hashed(key) % _FOLDS for key in rows}
    folds = min(_FOLDS, ceil(_JUDGED * _FOLDS / max(1, len(rows))))
    for fold in range(folds):
        held = sorted((key for key in rows if fold_of[key] == fold), key=_hashed)
        held = held[: _JUDGED // folds]
        kept = np.flatnonzero([fold_of[key] != fold for key in keys])
        texts = examples.take(np.array([rows[key][0] for key in held], np.int64)).texts()
        qrels = [
            dict.fromkeys(examples.take(np.array(rows[key])).flat_targets().items.tolist(), 1)
            for key in held
        ]
        yield _Judged(examples.take(kept), texts, qrels)


def _hashed(key: str) -> int:
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest(), "big")


def _value(dataset: "PreparedDataset", judged: Sequence[_Judged], candidate: Candidate) -> float:
    """The mean of the measure over the queries; 0 where there are none."""
    values: list[float] = []
    ties = tie_order(dataset.catalog.item_ids)
    for part in (part for part in judged if part.queries):
        try:
            index = _index(dataset, part.examples, *candidate)
        except InputError:  # without the queries that are judged there is no word
            values += [0.0] * len(part.queries)
            continue
        for start in range(0, len(part.queries), _AT_ONCE):
            scores = index.scores(part.queries[start : start + _AT_ONCE])
            scores[scores <= 0] = -np.inf  # no word in common
            qrels = part.qrels[start : start + _AT_ONCE]
            values += [_MEASURE.of_scores(*each, ties) for each in zip(scores, qrels, strict=True)]
    return float(np.mean(values)) if values else 0.0
