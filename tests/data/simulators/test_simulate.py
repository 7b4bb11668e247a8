"""Simulated worlds have the laws that they state."""

import itertools
from collections import Counter
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import scipy.sparse as sp

from twofold.data.simulators import simulate
from twofold.data.sources import read_source
from twofold.records import Floats, InputError
from twofold.tasks.examples import judged_requests, training_source
from twofold.tasks.prepared import PreparedDataset
from twofold.tasks.storage import load_dataset


def _kl(p: Floats, q: Floats) -> float:
    return float(np.sum(p * np.log(p / q)))


@pytest.mark.parametrize("kl", [0.0, 0.1, 1.0, 3.5])
def test_the_law_lies_where_it_was_asked_to(kl: float) -> None:
    law = simulate.zipf_law(1000)
    other = simulate.law_at_divergence(law, kl)
    assert other.sum() == pytest.approx(1.0)
    assert _kl(law, other) == pytest.approx(kl, abs=1e-6)


def test_beyond_the_reversed_law_there_is_nothing() -> None:
    with pytest.raises(InputError, match=r"kl=9.0: must lie between 0 and 4\.\d+"):
        read_source("simulate:popularity:kl=9")


def test_the_ceiling_is_what_the_known_law_reaches() -> None:
    """Against 40,000 draws: rank by the law, the first draw filtered where seen items are."""
    law = simulate.zipf_law(200)
    rng = np.random.default_rng(0)
    pairs = np.array([rng.choice(200, 2, replace=False, p=law) for _ in range(40_000)])
    first, second = pairs.T
    # The law is in order of rank: after the first is filtered, later items move up by one.
    rank = second - (second > first)
    reached = (rank < 30).mean()
    assert simulate.bayes_ceiling(law, 30, seen_filtered=True) == pytest.approx(reached, abs=0.01)
    assert simulate.bayes_ceiling(law, 30, seen_filtered=False) == pytest.approx(law[:30].sum())


def _targets(dataset: PreparedDataset, task: str) -> Counter[int]:
    source = training_source(dataset, task)  # type: ignore[arg-type]
    return Counter(int(t) for example in source.examples for t in example.targets)


@pytest.mark.parametrize("helped", ["recommendation", "search"])
def test_popularity_has_few_targets_and_many_tests(helped: str) -> None:
    dataset = load_dataset(f"simulate:popularity:kl=2,helped={helped},tests=3000")
    for task in dataset.tasks:
        assert sum(_targets(dataset, task).values()) == (300 if task == helped else 1000)
    assert len(judged_requests(dataset, helped, "test").requests) == 3000  # type: ignore[arg-type]
    assert dataset.protocol.seen == "exclude"
    events = dataset.interactions
    assert events.select("user_id", "item_id").is_unique().all()


def test_at_kl_zero_the_tasks_share_their_popular_items() -> None:
    def share(kl: float) -> float:
        dataset = load_dataset(f"simulate:popularity:kl={kl},tests=500,targets=3000")
        top = [i for i, _ in _targets(dataset, "recommendation").most_common(20)]
        searched = _targets(dataset, "search")
        return sum(searched[i] for i in top) / sum(searched.values())

    assert share(0.0) > 0.4
    assert share(4.0) < 0.1


def _shown(dataset: PreparedDataset) -> set[tuple[int, int]]:
    """Ordered pairs of neighbours in training histories."""
    return {
        (a, b)
        for items in dataset.training_histories.values()
        for a, b in zip(items[:-1].tolist(), items[1:].tolist(), strict=True)
    }


def _found(dataset: PreparedDataset, split: str) -> dict[str, set[int]]:
    """The right answers of each word, in one split."""
    rows = dataset.queries.filter(pl.col("split") == split).join(dataset.qrels, on="query_id")
    found: dict[str, set[int]] = {}
    for text, item in rows.select("text", "item_id").iter_rows():
        found.setdefault(text.split()[0], set()).add(dataset.catalog.positions[item])
    return found


def _components(pairs: set[tuple[int, int]]) -> list[set[int]]:
    """Items that a chain of pairs joins."""
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
    judged = judged_requests(dataset, "recommendation", "test")
    within = []
    for request in judged.requests:
        last = dataset.catalog.positions[request.history[-1]]
        target = dataset.catalog.positions[next(iter(judged.qrels[request.request_id]))]
        assert (last, target) not in shown
        within.append(half_of[last] == half_of[target])
    assert np.mean(within) == 0.5
    topics = {w: items for w, items in _found(dataset, "train").items() if w.startswith("topic")}
    told = [len(items) == 10 and len({half_of[i] for i in items}) == 2 for items in topics.values()]
    assert np.mean(told) == rho


@pytest.mark.parametrize("rho", [0.0, 1.0])
def test_histories_tell_the_group_with_probability_rho(rho: float) -> None:
    dataset = load_dataset(f"simulate:latent-recommendation-helps:rho={rho},groups=20")
    trained, asked = _found(dataset, "train"), _found(dataset, "test")
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
    names = {w: items for w, items in _found(dataset, "train").items() if w.startswith("name")}
    half_of = {i: n for n, half in enumerate(_components(_shown(dataset))) for i in half}
    ordered = [half_of[next(iter(names[f"name{n}"]))] for n in range(200)]
    same = np.mean([a == b for a, b in itertools.pairwise(ordered)])
    assert same < 0.1


def test_a_query_wants_what_its_user_likes() -> None:
    dataset = load_dataset("simulate:taste:users=80,topics=4,items=6")
    judged = judged_requests(dataset, "search", "test")
    titles, words = dataset.catalog.title, {r.request_id: r.query or "" for r in judged.requests}
    # Items of one taste are those that histories show together.
    together: dict[str, set[str]] = {}
    for request in judged.requests:
        assert len(request.history) >= 8
        (wanted,) = judged.qrels[request.request_id]
        assert titles(wanted) == words[request.request_id].split()[0]
        together.setdefault(wanted, set()).update(request.history)
    for request in judged.requests:
        (wanted,) = judged.qrels[request.request_id]
        alike = [i for i in together if together[i] & set(request.history)]
        assert len({i for i in alike if titles(i) == titles(wanted)}) <= 6


def test_worlds_are_functions_of_their_seed() -> None:
    one = load_dataset("simulate:latent-search-helps:seed=1,groups=5").digest
    assert load_dataset("simulate:latent-search-helps:seed=1,groups=5").digest == one
    assert load_dataset("simulate:latent-search-helps:seed=2,groups=5").digest != one


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("simulate:popularity:colour=1", "no parameter 'colour'; there is kl, helped"),
        ("simulate:popularity:kl=big", "kl='big' is no number"),
        ("simulate:popularity:helped=both", "helped='both': is recommendation or search"),
        ("simulate:latent-search-helps:rho=2", "rho=2.0: must lie between 0 and 1"),
        ("simulate:taste:strength=2", "strength=2.0: must lie between 0 and 1"),
        ("simulate:latent-recommendation-helps:rho=-1", "rho=-1.0: must lie between 0 and 1"),
    ],
)
def test_mistakes_are_named(source: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_source(source)


def test_tables_name_their_world() -> None:
    made = simulate.tables("latent-search-helps:groups=2")
    assert made["items"][0].path == Path("simulate:latent-search-helps:groups=2") / "items.csv"
