"""Beam search against scoring every item."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.identifiers.test_trie import identifiers
from twofold.identifiers.identifiers import Identifiers
from twofold.identifiers.trie import build_trie
from twofold.records import Ints
from twofold.retrieval.beam_search import Diversity, Expand, Scores, TopItems, beam_search


class Language:
    """Log-probabilities that depend on the request and on the whole prefix, by their hash.

    Args:
        coarse: whether values are few, so that many hypotheses tie.
    """

    def __init__(self, made: Identifiers, requests: int, seed: int, coarse: bool) -> None:
        self._sizes, self._seed, self._coarse = made.codebook_sizes, seed, coarse
        self._requests = requests

    def log_p(self, request: int, prefix: tuple[int, ...]) -> Scores:
        """Log-probabilities of the codes after a prefix, (V,)."""
        rng = np.random.default_rng([self._seed, request, *prefix])
        logits = rng.normal(size=self._sizes[len(prefix)]).astype(np.float32)
        if self._coarse:
            logits = np.round(logits)
        shifted = logits - logits.max()
        log_p: Scores = (shifted - np.log(np.exp(shifted).sum())).astype(np.float32)
        return log_p

    def expand(self) -> Expand:
        """A model that remembers the prefix of each hypothesis."""
        prefixes: list[list[tuple[int, ...]]] = []

        def step(level: int, codes: Ints, parents: Ints) -> Scores:
            nonlocal prefixes
            if level == 0:
                prefixes = [[()] for _ in range(self._requests)]
            else:
                prefixes = [
                    [(*before[p], int(c)) for c, p in zip(row, places, strict=True)]
                    for before, row, places in zip(prefixes, codes, parents, strict=True)
                ]
            return np.stack(
                [
                    np.stack([self.log_p(request, prefix) for prefix in row])
                    for request, row in enumerate(prefixes)
                ]
            )

        return step

    def score(self, request: int, codes: list[int]) -> np.float32:
        """Log-probability of a whole identifier, summed as the search does."""
        total = np.float32(0)
        for level, code in enumerate(codes):
            total += self.log_p(request, tuple(codes[:level]))[code]
        return total


def _search(
    made: Identifiers,
    language: Language,
    excluded: list[Ints],
    beams: int,
    k: int,
    allowed: np.ndarray[tuple[int], np.dtype[np.bool_]] | None = None,
    diversity: Diversity | None = None,
) -> TopItems:
    trie = build_trie(made)
    counts = trie.counts(allowed)
    left = [items if allowed is None else items[allowed[items]] for items in excluded]
    ranks = np.arange(len(made))
    return beam_search(
        language.expand(),
        trie,
        counts,
        left,
        beams=beams,
        k=k,
        tie_rank=ranks,
        diversity=diversity,
        normalised=True,
    )


def _items(top: TopItems, row: int) -> list[int]:
    items: list[int] = top.items[row][top.scores[row] > -np.inf].tolist()
    return items


@settings(max_examples=150)
@given(identifiers(), st.integers(0, 1000), st.booleans(), st.integers(1, 45))
def test_with_enough_beams_it_is_exact(made: Identifiers, seed: int, coarse: bool, k: int) -> None:
    rng = np.random.default_rng(seed)
    language = Language(made, 3, seed, coarse)
    excluded = [np.flatnonzero(rng.random(len(made)) < share) for share in (0.0, 0.3, 1.0)]
    allowed = rng.random(len(made)) < 0.8
    top = _search(made, language, excluded, max(len(made), k), k, allowed)
    for row, items in enumerate(excluded):
        every = [n for n in np.flatnonzero(allowed) if n not in set(items.tolist())]
        scores = {n: language.score(row, made.codes[n].tolist()) for n in every}
        wanted = sorted(every, key=lambda n: (-scores[n], n))[:k]
        assert _items(top, row) == wanted
        assert top.scores[row][: len(wanted)].tolist() == [scores[n] for n in wanted]


@settings(max_examples=100)
@given(identifiers(), st.integers(0, 1000))
def test_a_filter_does_not_reorder_what_passes_it(made: Identifiers, seed: int) -> None:
    allowed = np.random.default_rng(seed).random(len(made)) < 0.5
    language, nothing = Language(made, 1, seed, False), [np.zeros(0, np.int64)]
    everything = len(made)
    whole = _items(_search(made, language, nothing, everything, everything), 0)
    passed = _items(_search(made, language, nothing, everything, everything, allowed), 0)
    assert passed == [item for item in whole if allowed[item]]


@settings(max_examples=150)
@given(
    identifiers(),
    st.integers(0, 1000),
    st.integers(1, 8),
    st.integers(0, 4),
    st.sampled_from([None, Diversity(3, 0.25), Diversity(2, 100.0)]),
)
def test_k_items_come_back_whenever_k_are_allowed(
    made: Identifiers, seed: int, k: int, more: int, diversity: Diversity | None
) -> None:
    rng = np.random.default_rng(seed)
    language = Language(made, 2, seed, coarse=True)
    excluded = [np.flatnonzero(rng.random(len(made)) < share) for share in (0.2, 0.9)]
    allowed = rng.random(len(made)) < 0.7
    top = _search(made, language, excluded, k + more, k, allowed, diversity)
    for row, items in enumerate(excluded):
        answer = _items(top, row)
        may = set(np.flatnonzero(allowed).tolist()) - set(items.tolist())
        assert len(answer) == len(set(answer)) == min(k, len(may))
        assert set(answer) <= may
        scores = [language.score(row, made.codes[n].tolist()) for n in answer]
        assert top.scores[row][: len(answer)].tolist() == scores
        assert scores == sorted(scores, reverse=True)


@settings(max_examples=100)
@given(identifiers(), st.integers(0, 1000))
def test_scores_are_probabilities_of_what_the_catalog_holds(made: Identifiers, seed: int) -> None:
    """Whatever is filtered, they sum to 1 over the whole catalog."""
    allowed = np.random.default_rng(seed).random(len(made)) < 0.7
    language, everything = Language(made, 1, seed, False), len(made)
    nothing, ranks, trie = [np.zeros(0, np.int64)], np.arange(len(made)), build_trie(made)
    expected = np.zeros(len(made))
    for level in range(made.levels):
        for item, codes in enumerate(made.codes.tolist()):
            alike = made.codes[(made.codes[:, :level] == codes[:level]).all(axis=1), level]
            log_p = language.log_p(0, tuple(codes[:level])).astype(np.float64)
            expected[item] += log_p[codes[level]] - np.log(np.exp(log_p[np.unique(alike)]).sum())
    assert np.exp(expected).sum() == pytest.approx(1)
    for counts, wanted in (
        (trie.counts(), np.ones(everything, bool)),
        (trie.counts(allowed), allowed),
    ):
        top = beam_search(
            language.expand(), trie, counts, nothing, beams=everything, k=everything, tie_rank=ranks
        )
        filled = top.scores[0] > -np.inf
        assert sorted(top.items[0][filled]) == np.flatnonzero(wanted).tolist()
        assert top.scores[0][filled] == pytest.approx(expected[top.items[0][filled]], abs=1e-4)


@pytest.mark.parametrize("sizes", [(8, 16), (8, 4, 8)])
@pytest.mark.parametrize("seed", range(5))
def test_diversity_spreads_items_over_prefixes(sizes: tuple[int, ...], seed: int) -> None:
    """With a high penalty and a group for each item, a prefix comes twice only after all came."""
    codes = np.stack(np.unravel_index(np.arange(np.prod(sizes)), sizes), axis=1)
    made = Identifiers("semantic", codes, sizes)
    language, nothing = Language(made, 1, seed, False), [np.zeros(0, np.int64)]
    plain = _search(made, language, nothing, 8, 8)
    spread = _search(made, language, nothing, 8, 8, diversity=Diversity(8, 50.0))
    assert spread.scores[0].sum() < plain.scores[0].sum()

    def prefixes(top: TopItems) -> int:
        return len({tuple(row) for row in codes[_items(top, 0), :-1].tolist()})

    assert prefixes(plain) < prefixes(spread) == 8


@pytest.mark.parametrize("diversity", [Diversity(1, 9.0), Diversity(4, 0.0)])
def test_one_group_or_no_penalty_is_plain_search(diversity: Diversity) -> None:
    codes = np.stack(np.unravel_index(np.arange(64), (4, 16)), axis=1)
    made = Identifiers("semantic", codes, (4, 16))
    language, nothing = Language(made, 1, 5, True), [np.zeros(0, np.int64)]
    plain = _search(made, language, nothing, 9, 7)
    assert np.array_equal(
        _search(made, language, nothing, 9, 7, diversity=diversity).items, plain.items
    )


@pytest.mark.parametrize(("groups", "penalty"), [(0, 1.0), (2, -1.0), (2, float("nan"))])
def test_a_diversity_that_makes_no_sense_is_refused(groups: int, penalty: float) -> None:
    with pytest.raises(ValueError, match="at least one group"):
        Diversity(groups, penalty)


def test_too_few_beams_are_refused() -> None:
    made = Identifiers("semantic", np.array([[0], [1]]), (2,))
    with pytest.raises(ValueError, match="1 beams cannot retrieve 2 items"):
        _search(made, Language(made, 1, 0, False), [np.zeros(0, np.int64)], 1, 2)
