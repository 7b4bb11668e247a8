"""The mixed world does what its parameters say."""

from itertools import combinations

import numpy as np
import pytest

from twofold.records import InputError
from twofold.studies.statistics.pairs import training_pairs
from twofold.tasks.popularity import jensen_shannon, popularity_distribution
from twofold.tasks.prepared import PreparedDataset
from twofold.tasks.storage import load_dataset

_SIZES = "items=200,groups=10,users=400,events=8,queries=1500,tests=40,zipf=0.5"


def _world(**values: float) -> PreparedDataset:
    given = ",".join(f"{key}={value}" for key, value in values.items())
    return load_dataset(f"simulate:mixed:{_SIZES},{given}")


def _divergence(dataset: PreparedDataset) -> float:
    one, other = (
        popularity_distribution(dataset.task(task).popularity)
        for task in ("search", "recommendation")
    )
    return jensen_shannon(one, other)


def test_overlap_is_the_share_of_items_that_both_tasks_train_on() -> None:
    for overlap in (1.0, 0.5, 0.0):
        dataset = _world(overlap=overlap)
        both = [dataset.task(task).popularity > 0 for task in ("search", "recommendation")]
        shared = (both[0] & both[1]).sum() / (both[0] | both[1]).sum()
        assert shared == pytest.approx(overlap, abs=0.08)


def test_tilt_moves_the_popularities_apart() -> None:
    near, half, far = (_divergence(_world(tilt=tilt, zipf=1.0)) for tilt in (0.0, 0.5, 1.0))
    assert near + 0.03 < half < far - 0.03


def test_agreement_says_how_often_items_of_one_topic_are_in_one_history() -> None:
    lifts = []
    for agreement in (0.0, 0.5, 1.0):
        dataset = _world(agreement=agreement, signal=1.0, names=0.0)
        together = training_pairs(dataset).together.toarray()
        topics: dict[str, set[int]] = {}
        for example in dataset.task("search").examples:
            word = (example.query or "").split("word")[0]
            topics.setdefault(word, set()).update(example.targets.tolist())
        pairs = [pair for items in topics.values() for pair in combinations(sorted(items), 2)]
        lifts.append(np.mean([together[pair] for pair in pairs]) / together.mean())
    assert lifts[0] == pytest.approx(1, abs=0.15)
    assert lifts[0] + 0.2 < lifts[1] < lifts[2] - 0.2


def test_text_is_the_share_of_items_with_a_title_that_tells_the_topic() -> None:
    assert not any(_world(text=0.0).catalog.texts)
    texts = _world(text=0.6).catalog.texts
    assert np.mean([bool(text) for text in texts]) == pytest.approx(0.6, abs=0.1)
    assert all("topic" in text for text in texts if text)


def test_users_never_have_an_item_twice_and_leave_two_events() -> None:
    dataset = _world(seed=3)
    histories = dataset.training_histories.values()
    assert {len(history) for history in histories} == {8}
    assert all(len(set(history.tolist())) == 8 for history in histories)
    assert len(dataset.task("recommendation").requests("test").requests) == 400


def test_a_share_beyond_one_is_refused() -> None:
    with pytest.raises(InputError, match=r"overlap=1\.5: must lie between 0 and 1"):
        _world(overlap=1.5)
