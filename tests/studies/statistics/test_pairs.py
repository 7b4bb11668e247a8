"""Pairs of items, against loops over the same data."""

from itertools import combinations

import scipy.sparse as sp

from tests.conftest import WriteFolder
from twofold.studies.statistics.pairs import CLASSES, PairClass, training_pairs
from twofold.tasks.prepared import PreparedDataset
from twofold.tasks.storage import load_dataset


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
        joined = {(a, b) for a, b in zip(*sp.triu(matrix).nonzero(), strict=True)}
        assert joined == expected
    counts = pairs.counts()
    assert counts.both == len(together & relevant)
    assert counts.relevant_only == len(relevant - together)
    assert counts.relevant_given_together == len(together & relevant) / len(together)
    n = len(catalog.catalog)
    assert sum(counts.of(name) for name in CLASSES) == n * (n - 1) // 2
    members: dict[PairClass, set[tuple[int, int]]] = {
        "both": together & relevant,
        "together only": together - relevant,
        "relevant only": relevant - together,
    }
    for name, members_of_class in members.items():
        drawn = {(int(a), int(b)) for a, b in pairs.sample(name, 20)}
        assert drawn <= members_of_class
        assert len(drawn) == min(20, len(members_of_class))
    neither = {(int(a), int(b)) for a, b in pairs.sample("neither", 20)}
    assert not neither & (together | relevant)


def test_one_task_may_join_no_pair_at_all(write_folder: WriteFolder) -> None:
    pairs = training_pairs(load_dataset(write_folder()))
    assert pairs.counts().together_given_relevant is None
    assert len(pairs.sample("relevant only", 10)) == 0


def test_pairs_known_only_to_one_task(catalog: PreparedDataset) -> None:
    pairs = training_pairs(catalog)
    together, relevant = _pairs(catalog)
    for task, expected in (
        ("search", relevant - together),
        ("recommendation", together - relevant),
    ):
        matrix = pairs.known_only_to[task]  # type: ignore[index]
        assert {(a, b) for a, b in zip(*sp.triu(matrix).nonzero(), strict=True)} == expected
