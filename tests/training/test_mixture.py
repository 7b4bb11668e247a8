"""The order of examples, and what each target weighs."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.training.examples import encoded_examples
from twofold.records import InputError, Task
from twofold.training.mixture import Mixture, SourceWeights

lengths = st.lists(st.integers(1, 60), min_size=1, max_size=50)


@settings(max_examples=60)
@given(lengths, lengths, st.integers(1, 200), st.integers(0, 5))
def test_every_epoch_holds_every_row_once_within_the_budget(
    first: list[int], second: list[int], budget: int, seed: int
) -> None:
    sources = [encoded_examples(first), encoded_examples(second)]
    mixture = Mixture(["search", "recommendation"], sources, budget, "proportional", seed)
    for epoch in range(3):
        start = epoch * mixture.batches_per_epoch
        batches = [mixture.batch(start + n) for n in range(mixture.batches_per_epoch)]
        for source in (0, 1):
            rows = np.concatenate([b.rows for b in batches if b.source == source])
            assert sorted(rows.tolist()) == list(range(len(sources[source])))
        for batch in batches:
            longest = sources[batch.source].token_counts[batch.rows].max()
            assert len(batch.rows) == 1 or len(batch.rows) * longest <= budget


def test_a_batch_is_a_function_of_seed_and_step() -> None:
    sources = [encoded_examples([3] * 40), encoded_examples([5] * 30)]
    one = Mixture(["search", "recommendation"], sources, 20, "proportional", 1)
    two = Mixture(["search", "recommendation"], sources, 20, "proportional", 1)
    backwards = {step: two.batch(step).rows.tolist() for step in reversed(range(50))}
    assert all(one.batch(step).rows.tolist() == backwards[step] for step in range(50))
    other = Mixture(["search", "recommendation"], sources, 20, "proportional", 2)
    assert any(one.batch(n).rows.tolist() != other.batch(n).rows.tolist() for n in range(5))


def test_a_source_has_the_same_order_in_every_arm() -> None:
    search, recommendation = encoded_examples([3] * 40), encoded_examples([5] * 30)
    alone = Mixture(["search"], [search], 20, "proportional", 7)
    joint = Mixture(["search", "recommendation"], [search, recommendation], 20, "proportional", 7)
    theirs = [joint.batch(n) for n in range(joint.batches_per_epoch)]
    assert [b.rows.tolist() for b in theirs if b.source == 0] == [
        alone.batch(n).rows.tolist() for n in range(alone.batches_per_epoch)
    ]


def test_sources_alternate_evenly() -> None:
    sources = [encoded_examples([9] * 30), encoded_examples([9] * 10)]
    mixture = Mixture(["search", "recommendation"], sources, 9, "proportional", 0)
    order = [mixture.batch(n).source for n in range(40)]
    assert all(sum(order[n : n + 4]) == 1 for n in range(0, 40, 4))


def test_a_source_that_outweighs_its_targets_is_read_more_often() -> None:
    sources = [encoded_examples([9] * 30), encoded_examples([9] * 10)]
    mixture = Mixture(["search", "recommendation"], sources, 9, "balanced", 0)
    assert mixture.batches_by_source == [30, 30]
    batches = [mixture.batch(n) for n in range(120)]
    assert sum(b.source for b in batches[:60]) == 30
    read = np.concatenate([b.rows for b in batches if b.source == 1])
    assert np.bincount(read).tolist() == [6] * 10
    alone = Mixture(["recommendation"], [sources[1]], 9, "proportional", 0)
    theirs = [alone.batch(n).rows.tolist() for n in range(60)]
    assert [b.rows.tolist() for b in batches if b.source == 1] == theirs


def test_a_batch_is_no_larger_than_the_setting_allows() -> None:
    mixture = Mixture(
        ["search"], [encoded_examples([3] * 40)], 60, "proportional", 0, max_batch_size=7
    )
    assert max(len(mixture.batch(n).rows) for n in range(mixture.batches_per_epoch)) <= 7


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        ("proportional", [0.25, 0.75]),
        ("balanced", [0.5, 0.5]),
        ({"search": 3.0, "recommendation": 1.0}, [0.75, 0.25]),
    ],
)
def test_an_epoch_weighs_sources_as_the_setting_says(
    weights: SourceWeights, expected: list[float]
) -> None:
    # 10 targets and 30 targets: rows of length 2 have one target each.
    sources = [encoded_examples([2] * 10), encoded_examples([2] * 30)]
    mixture = Mixture(["search", "recommendation"], sources, 6, weights, 0)
    total = [0.0, 0.0]
    for n in range(mixture.batches_per_epoch):
        batch = mixture.batch(n)
        total[batch.source] += batch.weight * len(batch.rows)
    share = [part / mixture.batches_per_epoch for part in total]
    assert share == pytest.approx(expected)
    if weights == "proportional":
        assert mixture.batch(0).weight == pytest.approx(mixture.batch(1).weight)


@pytest.mark.parametrize(
    "weights",
    [
        {"search": 1.0},
        {"search": -1.0, "recommendation": 2.0},
        {"search": 0.0, "recommendation": 0.0},
    ],
)
def test_bad_weights_are_refused(weights: dict[Task, float]) -> None:
    with pytest.raises(InputError, match="source_weights"):
        Mixture(
            ["search", "recommendation"],
            [encoded_examples([2]), encoded_examples([2])],
            6,
            weights,
            0,
        )
