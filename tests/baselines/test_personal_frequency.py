"""Personal frequency counts a history's items, oldest with the least weight."""

import dataclasses
from collections import Counter
from pathlib import Path

import hypothesis.strategies as st
from hypothesis import given

from twofold.baselines.personal_frequency import PersonalFrequency
from twofold.baselines.popularity import Popularity
from twofold.baselines.selection import every_baseline, quick_baselines
from twofold.records import Request
from twofold.tasks.prepared import PreparedDataset
from twofold.training.config import TrainingConfig


@given(places=st.lists(st.integers(0, 5), max_size=12))
def test_items_are_ranked_by_their_number_and_then_by_popularity(
    catalog: PreparedDataset, places: list[int]
) -> None:
    popular = Popularity(catalog, "recommendation").retrieve([Request("r")], 60)["r"].item_ids
    history = tuple(popular[-place] for place in places)  # among them the most popular one
    ranking = PersonalFrequency(catalog).retrieve([Request("r", history=history)], 60)["r"]
    counts = Counter(history)
    assert ranking.item_ids == tuple(sorted(popular, key=lambda item: -counts[item]))


def test_with_a_decay_the_last_items_come_first(catalog: PreparedDataset) -> None:
    a, b, c, *_ = catalog.catalog.item_ids
    request = Request("r", history=(a, a, a, b, c))
    ranking = PersonalFrequency(catalog, decay=0.5).retrieve([request], 3)["r"]
    assert ranking.item_ids == (c, b, a)


def test_it_is_a_baseline_where_items_repeat(
    catalog: PreparedDataset, quick_config: TrainingConfig, tmp_path: Path
) -> None:
    kept = dataclasses.replace(catalog.protocol, seen="keep")
    repeated = dataclasses.replace(catalog, protocol=kept)
    name = PersonalFrequency.name
    for data, wanted in ((catalog, 0), (repeated, 1)):
        assert [baseline.name for baseline in quick_baselines(data)].count(name) == wanted
        names = [b.name for b in every_baseline(data, tmp_path, quick_config)]
        assert names.count(name) == wanted
    chosen = next(b for b in every_baseline(repeated, tmp_path, quick_config) if b.name == name)
    assert chosen.make().candidates == 4
