"""`simulate:latent-*`: which data tell that the halves of a group belong together."""

import itertools
from collections import Counter

import numpy as np
import polars as pl
import pytest
import scipy.sparse as sp

from twofold.tasks.prepared import PreparedDataset
from twofold.tasks.storage import load_dataset


def _targets(dataset: PreparedDataset, task: str) -> Counter[int]:
    source = dataset.task(task).source()  # type: ignore[arg-type]
    return Counter(int(t) for example in source.examples for t in example.targets)


def _shown(dataset: PreparedDataset) -> set[tuple[int, int]]:
    """Ordered pairs of neighbours in training histories."""
    return {
        (a, b)
        for items in dataset.training_histories.values()
        for a, b in zip(items[:-1].tolist(), items[1:].tolist(), strict=True)
    }


def _answers_by_word(dataset: PreparedDataset, split: str) -> dict[str, set[int]]:
    """The relevant items of each word, in one split."""
    rows = dataset.queries.filter(pl.col("split") == split).join(dataset.qrels, on="query_id")
    answers: dict[str, set[int]] = {}
    for text, item in rows.select("text", "item_id").iter_rows():
        answers.setdefault(text.split()[0], set()).add(dataset.catalog.positions[item])
    return answers


def _components(pairs: set[tuple[int, int]]) -> list[set[int]]:
    """Connected components of the pairs."""
    first, second = np.array(sorted(pairs)).T
    size = max(first.max(), second.max()) + 1
    graph = sp.csr_array((np.ones(len(first)), (first, second)), shape=(size, size))
    _, label = sp.csgraph.connected_components(graph, directed=False)
    joined = np.union1d(first, second)
    return [set(joined[label[joined] == n].tolist()) for n in np.unique(label[joined])]


@pytest.mark.parametrize("rho", [0.0, 1.0])
def test_search_tells_the_group_with_probability_rho(rho: float) -> None:
    dataset = load_dataset(f"simulate:latent-search-helps:rho={rho},groups=20")
    assert set(_targets(dataset, "search").values()) == {4}
    assert set(_targets(dataset, "recommendation").values()) == {4}
    shown = _shown(dataset)
    halves = _components(shown)
    assert {len(half) for half in halves} == {5}
    half_of = {item: number for number, half in enumerate(halves) for item in half}
    judged = dataset.task("recommendation").requests("test")
    within = []
    for request in judged.requests:
        last = dataset.catalog.positions[request.history[-1]]
        target = dataset.catalog.positions[next(iter(judged.qrels[request.request_id]))]
        assert (last, target) not in shown
        within.append(half_of[last] == half_of[target])
    assert np.mean(within) == 0.5
    topics = {
        w: items for w, items in _answers_by_word(dataset, "train").items() if w.startswith("topic")
    }
    told = [len(items) == 10 and len({half_of[i] for i in items}) == 2 for items in topics.values()]
    assert np.mean(told) == rho


@pytest.mark.parametrize("rho", [0.0, 1.0])
def test_histories_tell_the_group_with_probability_rho(rho: float) -> None:
    dataset = load_dataset(f"simulate:latent-recommendation-helps:rho={rho},groups=20")
    trained, asked = _answers_by_word(dataset, "train"), _answers_by_word(dataset, "test")
    assert all(len(items) == 3 for items in trained.values())
    assert all(not items & trained[word] for word, items in asked.items())
    half_of = {
        item: number
        for number, half in enumerate(
            _components({(a, b) for items in trained.values() for a in items for b in items})
        )
        for item in half
    }
    within = [
        half_of[item] == half_of[next(iter(trained[word]))]
        for word, items in asked.items()
        for item in items
    ]
    assert np.mean(within) == 0.5
    # Companions are asked for by nobody; between searched items only histories cross the halves.
    crossing = {(a, b) for a, b in _shown(dataset) if a in half_of and b in half_of}
    assert all(half_of[a] != half_of[b] for a, b in crossing)
    assert bool(crossing) == (rho == 1.0)


def test_words_do_not_tell_the_group_by_their_digits() -> None:
    dataset = load_dataset("simulate:latent-search-helps:rho=0,groups=20")
    names = {
        w: items for w, items in _answers_by_word(dataset, "train").items() if w.startswith("name")
    }
    half_of = {i: n for n, half in enumerate(_components(_shown(dataset))) for i in half}
    ordered = [half_of[next(iter(names[f"name{n}"]))] for n in range(200)]
    same = np.mean([a == b for a, b in itertools.pairwise(ordered)])
    assert same < 0.1
