"""H1 and H2 on any data: counted again by hand."""

from itertools import combinations

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conftest import WriteFolder
from twofold.data.dataset import Catalog
from twofold.evaluation.runs import rank
from twofold.records import Run
from twofold.studies.analyses.pairs import CLASSES, Pairs, training_pairs
from twofold.studies.analyses.popularity import (
    BANDS,
    gini,
    popularity_bands,
    retrieved_counts,
    retrieved_divergence,
)
from twofold.studies.analyses.representation import first_attribute, matched_pairs, pair_cosines
from twofold.studies.analyses.slices import slicings
from twofold.studies.analyses.wins import weighted_least_squares
from twofold.tasks.prepared import PreparedDataset
from twofold.tasks.storage import load_dataset

small_counts = st.lists(st.integers(0, 50), min_size=2, max_size=60)


def test_what_is_popular_is_near_the_test_law() -> None:
    test = np.array([50, 30, 10, 0, 0])
    positions = {str(n): n for n in range(5)}
    likely = Run("a", {"q": rank([("0", 2.0), ("1", 1.0)])})
    unlikely = Run("b", {"q": rank([("3", 2.0), ("4", 1.0)])})
    near, far = (
        retrieved_divergence(retrieved_counts(r, positions), test) for r in (likely, unlikely)
    )
    assert near < far


@settings(max_examples=50, deadline=None)
@given(small_counts)
def test_gini_is_the_mean_difference_over_twice_the_mean(counts: list[int]) -> None:
    values = np.array(counts)
    apart = np.abs(values[:, None] - values[None, :]).mean()
    expected = apart / (2 * values.mean()) if values.sum() else 0.0
    assert gini(values) == pytest.approx(expected)


@settings(max_examples=50, deadline=None)
@given(small_counts)
def test_bands_are_in_the_order_of_popularity(counts: list[int]) -> None:
    values = np.array(counts)
    bands = popularity_bands(values)
    for better, worse in combinations(range(len(BANDS)), 2):
        if (bands == better).any() and (bands == worse).any():
            assert values[bands == better].min() >= values[bands == worse].max()
    for count in set(counts):
        assert len(set(bands[values == count])) == 1


def test_without_ties_the_head_is_a_tenth_and_the_tail_a_half() -> None:
    bands = popularity_bands(np.arange(40))
    assert (bands == 0).sum() == 4
    assert (bands == 2).sum() == 20
    assert set(popularity_bands(np.full(40, 3))) == {2}


def _pairs(dataset: PreparedDataset) -> tuple[set[tuple[int, int]], set[tuple[int, int]]]:
    """Pairs in one training history, and in the answers to one training query."""
    at = dataset.catalog.positions
    together = {
        pair
        for items in dataset.training_histories.values()
        for pair in combinations(sorted(set(items.tolist())), 2)
    }
    answers: dict[str, set[int]] = {}
    key = {q: (k, s) for q, k, s in dataset.queries.select("query_id", "key", "split").iter_rows()}
    for query_id, item_id, _ in dataset.qrels.iter_rows():
        if key[query_id][1] == "train":
            answers.setdefault(key[query_id][0], set()).add(at[item_id])
    relevant = {pair for items in answers.values() for pair in combinations(sorted(items), 2)}
    return together, relevant


def test_pairs_are_those_that_loops_find(catalog: PreparedDataset) -> None:
    pairs = training_pairs(catalog)
    together, relevant = _pairs(catalog)
    for matrix, expected in ((pairs.together, together), (pairs.relevant, relevant)):
        found = {(a, b) for a, b in zip(*sp.triu(matrix).nonzero(), strict=True)}
        assert found == expected
    counts = pairs.counts()
    assert counts["both"] == len(together & relevant)
    assert counts["relevant only"] == len(relevant - together)
    assert counts["relevant_given_together"] == len(together & relevant) / len(together)
    n = len(catalog.catalog)
    assert sum(counts[name] for name in CLASSES) == n * (n - 1) // 2
    members = {
        "both": together & relevant,
        "together only": together - relevant,
        "relevant only": relevant - together,
    }
    for name, expected in members.items():
        drawn = {(int(a), int(b)) for a, b in pairs.sample(name, 20)}
        assert drawn <= expected
        assert len(drawn) == min(20, len(expected))
    neither = {(int(a), int(b)) for a, b in pairs.sample("neither", 20)}
    assert not neither & (together | relevant)


def test_one_task_may_join_no_pair_at_all(write_folder: WriteFolder) -> None:
    pairs = training_pairs(load_dataset(write_folder()))
    assert pairs.counts()["together_given_relevant"] is None
    assert len(pairs.sample("relevant only", 10)) == 0


@settings(max_examples=30, deadline=None)
@given(st.integers(20, 400), st.integers(0, 5))
def test_matched_items_are_others_and_about_as_popular(n: int, seed: int) -> None:
    popularity = np.random.default_rng(seed).permutation(n)
    place = np.empty(n, dtype=np.int64)
    place[np.argsort(-popularity, kind="stable")] = np.arange(n)
    pairs = np.stack([np.arange(n), np.roll(np.arange(n), 1)], axis=1)
    matched = matched_pairs(pairs, popularity, seed)
    steps = np.abs(place[matched] - place[pairs])
    assert steps.min() >= 1
    assert steps.max() <= max(2, round(0.01 * n))
    assert (matched[:, 0] != matched[:, 1]).all()


def test_equally_popular_items_are_matched_at_random() -> None:
    """Neighbours in the catalog may be alike: a group of ten must not match itself."""
    items = np.arange(1000)
    matched = matched_pairs(np.stack([items, items], axis=1), np.full(1000, 7))
    assert np.mean(matched[:, 0] // 10 == items // 10) < 0.05


def test_a_row_is_parallel_to_itself() -> None:
    rows = np.random.default_rng(0).normal(size=(10, 4))
    same, other = np.array([[3, 3], [7, 7]]), np.array([[3, 7]])
    assert pair_cosines(rows, same) == pytest.approx(1.0)
    expected = rows[3] @ rows[7] / np.linalg.norm(rows[3]) / np.linalg.norm(rows[7])
    assert pair_cosines(rows, other) == pytest.approx(expected)


def test_the_attribute_is_one_of_few_values(catalog: PreparedDataset) -> None:
    found = first_attribute(catalog.catalog)
    assert found is not None
    assert found.name == "genre"
    plain = Catalog.of(catalog.catalog.items.select("item_id", "title"))
    assert first_attribute(plain) is None


def test_regression_recovers_what_was_put_in() -> None:
    rng = np.random.default_rng(0)
    design = np.stack([np.ones(4000), rng.normal(size=4000), rng.normal(size=4000)], axis=1)
    weights = rng.integers(1, 9, 4000).astype(float)
    outcome = design @ [0.1, 0.5, 0.0] + rng.normal(size=4000) / np.sqrt(weights)
    values, errors = weighted_least_squares(design, outcome, weights)
    assert values == pytest.approx([0.1, 0.5, 0.0], abs=4 * errors.max())
    # With weights that are the inverse variances, the classical errors are right too.
    classical = np.sqrt(np.diag(np.linalg.inv(design.T @ (design * weights[:, None]))))
    assert errors == pytest.approx(classical, rel=0.1)


def test_every_request_is_in_one_slice_of_each_kind(catalog: PreparedDataset) -> None:
    for task in catalog.tasks:
        found = slicings(catalog, task)
        assert "popularity" in found
        requests = catalog.task(task).requests("test").requests
        for slicing in found.values():
            assert len(slicing.labels) == len(requests)
            assert set(slicing.labels) <= set(slicing.names)


def test_slices_of_histories_that_are_alike(write_folder: WriteFolder) -> None:
    """Most users of small logs have the same few events: no slice twice."""
    rows = [(user, item, n) for user in "abcdefgh" for n, item in enumerate("abc")]
    rows += [("z", item, n) for n, item in enumerate("abcde")]
    lines = "\n".join(f"{user},{item},{n}" for user, item, n in rows)
    folder = write_folder(interactions=f"user_id,item_id,timestamp\n{lines}\n")
    found = slicings(load_dataset(folder), "recommendation")["history length"]
    assert found.names == ["up to 2", "over 2"]
    assert found.labels.tolist() == ["up to 2"] * 8 + ["over 2"]


def test_slices_by_number_of_right_answers(write_folder: WriteFolder) -> None:
    many = "".join(f"q4,{item},1\n" for item in "abcde")
    folder = write_folder(
        queries="query_id,text,split,kind\nq1,first,train,tag\nq2,last,validation,tag\n"
        "q3,vowel,test,tag\nq4,any letter,test,question\nq5,one,test,\n",
        qrels="query_id,item_id\nq1,a\nq2,e\nq3,a\nq3,e\n" + many.replace(",1\n", "\n") + "q5,b\n",
    )
    found = slicings(load_dataset(folder), "search")
    assert found["right answers"].labels.tolist() == ["2 to 5", "2 to 5", "1"]
    assert found["kind"].names == ["question", "tag"]
    assert found["kind"].labels.tolist() == ["tag", "question", ""]
    assert found["known to"].labels.tolist() == ["both tasks", "both tasks", "the other task only"]


def test_pairs_known_only_to_one_task(catalog: PreparedDataset) -> None:
    pairs: Pairs = training_pairs(catalog)
    together, relevant = _pairs(catalog)
    for task, expected in (
        ("search", relevant - together),
        ("recommendation", together - relevant),
    ):
        matrix = pairs.known_only_to[task]  # type: ignore[index]
        assert {(a, b) for a, b in zip(*sp.triu(matrix).nonzero(), strict=True)} == expected
