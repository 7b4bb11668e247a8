"""InterventionSet do what they say, and nothing else."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from twofold.records import TASKS, Ints, Task
from twofold.studies.analyses.representation import matched_pairs
from twofold.studies.folder import StudyFolder
from twofold.studies.interventions import (
    CAPS,
    TaskIntervention,
    absent,
    caps,
    effective_targets,
    flattened,
    popularity_matched_permutation,
    renamed,
    target_counts,
    with_random_weights,
)
from twofold.studies.planning.questions import SUFFIXES, settings_of
from twofold.studies.statistics.pairs import training_pairs
from twofold.studies.trainings.arm_training import ArmTraining
from twofold.studies.trainings.seed_outputs import SeedOutputs
from twofold.studies.trainings.seed_trainings import SeedTrainings
from twofold.tasks.prepared import PreparedDataset
from twofold.tasks.storage import load_dataset
from twofold.training.arm import NAMED_ARMS
from twofold.training.config import TrainingConfig
from twofold.training_examples import Example, Source

counts_of_items = st.lists(st.integers(0, 3000), min_size=3, max_size=300)


def _source(counts: Ints, rng: np.random.Generator) -> Source:
    """Users who saw items as often as `counts` says, in random order."""
    events = rng.permutation(np.repeat(np.arange(len(counts)), counts))
    examples = [
        Example(history=part, query=None, targets=part, visible=np.arange(len(part)))
        for part in np.array_split(events, max(1, len(events) // 7))
        if len(part)
    ]
    return Source("recommendation", examples)


@settings(max_examples=100)
@given(counts_of_items, st.integers(0, 3))
def test_shuffling_is_a_permutation_that_keeps_popularity(counts: list[int], seed: int) -> None:
    before = np.array(counts)
    to = popularity_matched_permutation(before, seed)
    assert sorted(to.tolist()) == list(range(len(counts)))
    # What an item has after, its namesake had before: alike, and none exactly where none was.
    after = np.empty_like(before)
    after[to] = before
    assert (np.minimum(before, after) + 1 >= 0.8 * (np.maximum(before, after) + 1)).all()
    assert ((before == 0) == (after == 0)).all()


@pytest.mark.parametrize("task", TASKS)
def test_shuffling_moves_popularity_by_less_than_a_hundredth_nat(
    catalog: PreparedDataset, task: Task
) -> None:
    found = TaskIntervention("shuffled", task).describe(
        catalog.task(task).source(), len(catalog.catalog), 0
    )
    assert found["kl_before_after"] < 0.01
    assert found["targets_renamed"] > 0.8


@pytest.mark.parametrize("exponent", [0.5, 1.1, 2.0])
def test_shuffling_keeps_even_a_steep_popularity(exponent: float) -> None:
    weights = np.arange(1, 3417, dtype=np.float64) ** -exponent
    counts = np.random.default_rng(0).multinomial(200_000, weights / weights.sum())
    source = _source(counts, np.random.default_rng(1))
    assert (
        TaskIntervention("shuffled", "recommendation").describe(source, len(counts), 0)[
            "kl_before_after"
        ]
        < 0.01
    )


def test_shuffling_destroys_co_relevance() -> None:
    """Pairs that answer one query occur in one history more often than equally popular pairs do,
    until search is shuffled."""
    films = load_dataset("simulate:catalog")
    source = films.task("search").source()
    counts = target_counts(source, len(films.catalog))
    to, pairs = popularity_matched_permutation(counts, 0), training_pairs(films)
    relevant = np.stack(pairs.relevant.nonzero(), axis=1).astype(np.int64)

    def together(of: Ints) -> float:
        return float(np.mean(pairs.together[of[:, 0], of[:, 1]] > 0))

    at_random = together(matched_pairs(relevant, counts))
    assert together(relevant) > at_random + 0.1
    assert abs(together(to[relevant]) - at_random) < 0.03


def test_renaming_reaches_history_and_targets_alike() -> None:
    source = _source(np.array([3, 3, 3, 3]), np.random.default_rng(0))
    to = np.array([1, 2, 3, 0])
    for old, new in zip(source.examples, renamed(source, to).examples, strict=True):
        assert new.history.tolist() == to[old.history].tolist()
        assert new.targets.tolist() == to[old.targets].tolist()
        assert new.visible is old.visible


@settings(max_examples=50)
@given(counts_of_items.filter(any))
def test_flattening_weighs_every_item_the_same_and_leaves_the_rest(counts: list[int]) -> None:
    source = _source(np.array(counts), np.random.default_rng(0))
    changed = flattened(source, len(counts))
    weight = np.zeros(len(counts))
    for old, new in zip(source.examples, changed.examples, strict=True):
        assert new.history is old.history
        assert new.targets is old.targets
        assert new.visible is old.visible
        assert new.query == old.query
        assert new.weights is not None
        np.add.at(weight, new.targets, new.weights)
    support = weight[np.array(counts) > 0]
    assert support == pytest.approx(support[0])
    assert weight.sum() == pytest.approx(sum(counts))


@settings(max_examples=50)
@given(counts_of_items.filter(any), st.integers(0, 3))
def test_absent_keeps_popularity_and_contexts_exactly(counts: list[int], seed: int) -> None:
    source = _source(np.array(counts), np.random.default_rng(0))
    changed = absent(source, seed)
    assert target_counts(changed, len(counts)).tolist() == counts
    for old, new in zip(source.examples, changed.examples, strict=True):
        assert new.history is old.history
        assert new.visible is old.visible
        assert len(new.targets) == len(old.targets)


def test_absent_leaves_no_pair_to_learn() -> None:
    """Item 2n+1 always follows 2n; dealt anew, it does so by chance alone, one time in 50."""
    starts = np.random.default_rng(0).integers(0, 50, 2000) * 2
    examples = [
        Example(history=np.array([n]), query=None, targets=np.array([n + 1]), visible=np.array([1]))
        for n in starts
    ]
    dealt = absent(Source("recommendation", examples), 0)
    follows = [e.targets[0] == e.history[0] + 1 for e in dealt.examples]
    assert 0.005 < np.mean(follows) < 0.04


def test_random_weights_are_those_of_flattened_and_leave_popularity() -> None:
    counts = np.array([500] * 4 + [2] * 100)
    source = _source(counts, np.random.default_rng(0))
    flat, dealt = flattened(source, len(counts)), with_random_weights(source, len(counts), 0)
    columns = []
    for changed in (flat, dealt):
        weights = [e.weights for e in changed.examples if e.weights is not None]
        columns.append(np.concatenate(weights))
    assert np.sort(columns[0]).tolist() == np.sort(columns[1]).tolist()
    targets = np.concatenate([e.targets for e in source.examples])
    popular = columns[1][targets < 4].sum() / columns[1].sum()
    assert popular == pytest.approx(2000 / 2200, abs=0.03)
    assert effective_targets(source) == 1.0
    assert effective_targets(flat) == pytest.approx(effective_targets(dealt))
    assert effective_targets(flat) < 0.15


@settings(max_examples=50)
@given(counts_of_items.filter(any), st.sampled_from(CAPS), st.integers(0, 3))
def test_a_cap_and_its_control_keep_as_many_targets(counts: list[int], cap: int, seed: int) -> None:
    source = _source(np.array(counts), np.random.default_rng(0))
    under = TaskIntervention("capped", "recommendation", cap).training(source, len(counts), seed)
    matched = TaskIntervention("size-matched", "recommendation", cap).training(
        source, len(counts), seed
    )
    kept = target_counts(under, len(counts))
    assert kept.tolist() == np.minimum(counts, cap).tolist()
    assert matched.targets == under.targets
    inputs = {example.history.tobytes() for example in source.examples}
    assert {example.history.tobytes() for example in under.examples} <= inputs


@settings(max_examples=50)
@given(counts_of_items.filter(any), st.integers(1, 10))
def test_interventions_meet_the_targets_that_training_reaches(counts: list[int], most: int) -> None:
    """A decoder reads the last items of a history: what lies before is no target of anything."""
    source = _source(np.array(counts), np.random.default_rng(0))
    reached = source.truncate(most)
    assume(reached.examples)
    left = [example for example in source.examples if len(example.truncate(most).targets)]
    for old, new in zip(left, reached.examples, strict=True):
        kept = len(new.targets)
        assert len(new.history) <= most
        assert new.targets.tolist() == old.targets[len(old.targets) - kept :].tolist()
        assert (new.visible >= 1).all() or len(old.history) <= most
    flat = flattened(reached, len(counts))
    weight = np.zeros(len(counts))
    for example in flat.truncate(most).examples:
        assert example.weights is not None
        np.add.at(weight, example.targets, example.weights)
    support = weight[target_counts(reached, len(counts)) > 0]
    assert support == pytest.approx(support.mean())


def test_a_cap_that_takes_nothing_away_has_no_arm(catalog: PreparedDataset) -> None:
    source = catalog.task("search").source()
    most = target_counts(source, len(catalog.catalog)).max()
    controls = caps(source, "search", len(catalog.catalog))
    assert {control.cap for control in controls} == {cap for cap in CAPS if cap < most}


def test_validation_follows_the_new_names(catalog: PreparedDataset) -> None:
    source = catalog.task("recommendation").source()
    judged = catalog.task("recommendation").requests("validation")
    control = TaskIntervention("shuffled", "recommendation")
    changed = control.validation(judged, source, catalog.catalog, 0)
    to = popularity_matched_permutation(target_counts(source, len(catalog.catalog)), 0)
    at, item_ids = catalog.catalog.positions, catalog.catalog.item_ids
    for old, new in zip(judged.requests, changed.requests, strict=True):
        assert list(new.history) == [item_ids[to[at[item]]] for item in old.history]
        (right,) = judged.qrels[old.request_id]
        assert list(changed.qrels[old.request_id]) == [item_ids[to[at[right]]]]
    same = TaskIntervention("flattened", "recommendation").validation(
        judged, source, catalog.catalog, 0
    )
    assert same is judged


def test_shuffled_latent_worlds_keep_their_popularity() -> None:
    dataset = load_dataset("simulate:latent-search-helps:groups=20")
    found = TaskIntervention("noise", "search").describe(
        dataset.task("search").source(), len(dataset.catalog), 0
    )
    assert found["kl_before_after"] == pytest.approx(0.0, abs=1e-12)
    assert found["targets_renamed"] == 1.0


def test_an_intervention_that_changes_nothing_gives_what_joint_gives(
    catalog: PreparedDataset, quick_config: TrainingConfig, tmp_path: Path
) -> None:
    """To the last digit, in both questions of a study: all cells are trained and chosen alike."""
    # No item has so many targets.
    identity = [TaskIntervention("capped", task, 1_000_000).arm for task in TASKS]
    settings = settings_of("with", catalog, quick_config.model_copy(update={"hybrid": "auto"}))
    training = ArmTraining(quick_config.model_copy(update={**settings, "max_steps": 30}), "cpu")
    deployed = StudyFolder(tmp_path)
    transfer = replace(deployed, evaluated_as=SUFFIXES["with"])
    outputs = SeedOutputs([*NAMED_ARMS.values(), *identity], deployed, 0, transfer)
    SeedTrainings(catalog, training, outputs).run_all()
    for place in (deployed, transfer):
        joint = pl.read_parquet(place.evaluation("joint", 0) / "per_request.parquet")
        for arm in identity:
            (judged,) = arm.judged
            same = pl.read_parquet(place.evaluation(arm.name, 0) / "per_request.parquet")
            assert same.equals(joint.filter(pl.col("task") == judged))
            assert same["value"].sum() > 0
