"""Folds hold out other parts of the data, and never what recipes are chosen by."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import polars as pl
import pytest

from tests.conftest import WriteFolder
from twofold.data.formats import Table
from twofold.data.simulators.catalog import catalog as simulated_catalog
from twofold.data.validation import validate
from twofold.records import InputError
from twofold.tasks.folds import MOST_CUT, Folds
from twofold.tasks.prepared import PreparedDataset
from twofold.tasks.split import split_dataset
from twofold.tasks.storage import load_dataset

ALL = range(12)


def _data(named: bool) -> PreparedDataset:
    """Histories of 3 to 28 events, and queries with or without a split of their own."""
    frames = simulated_catalog(films=80, users=60, queries=300)
    if not named:
        frames["queries"] = frames["queries"].drop("split")
    tables = {name: [Table(Path(f"{name}.csv"), rows)] for name, rows in frames.items()}
    return split_dataset(validate(tables), "made")


@pytest.fixture(scope="module")
def ours() -> PreparedDataset:
    return _data(named=False)


@pytest.fixture(scope="module")
def named() -> PreparedDataset:
    return _data(named=True)


def _events(dataset: PreparedDataset, split: str) -> set[tuple[str, int]]:
    """Users with the number of their event that is in a split."""
    numbered = dataset.interactions.with_columns(number=pl.int_range(pl.len()).over("user_id"))
    return set(numbered.filter(pl.col("split") == split).select("user_id", "number").iter_rows())


def _queries(dataset: PreparedDataset, split: str) -> set[str]:
    return set(dataset.queries.filter(pl.col("split") == split)["query_id"])


def test_fold_zero_is_the_dataset_itself(ours: PreparedDataset) -> None:
    folds = Folds(ours)
    assert folds.any
    assert folds.why_fixed == {"search": None, "recommendation": None}
    assert folds.of(0) is ours
    assert len({folds.of(number).digest for number in ALL}) == len(ALL)
    assert folds.of(3).digest == Folds(ours).of(3).digest


def test_nine_folds_test_every_query_but_those_of_validation_once(ours: PreparedDataset) -> None:
    folds = [Folds(ours).of(number) for number in ALL]
    tested = [_queries(each, "test") for each in folds[:9]]
    assert all(not one & other for n, one in enumerate(tested) for other in tested[:n])
    validation = _queries(ours, "validation")
    assert set.union(*tested) == set(ours.queries["query_id"]) - validation
    assert all(_queries(each, "validation") == validation for each in folds)
    assert all(len(_queries(each, "train")) > 0.7 * ours.queries.height for each in folds)
    assert _queries(folds[9], "test") not in tested, "then they are drawn anew"


def test_no_fold_tests_what_recipes_are_chosen_by(ours: PreparedDataset) -> None:
    seen = _events(ours, "validation")
    tested = [_events(Folds(ours).of(number), "test") for number in ALL]
    assert not any(own & seen for own in tested)
    assert all(len(own) == len(tested[0]) for own in tested), "every user is judged in every fold"
    changed = [len(one - other) / len(one) for one, other in pairwise(tested)]
    assert min(changed) > 0.3, "many users are asked for another item"


def test_a_history_ends_a_quarter_earlier_at_most(ours: PreparedDataset) -> None:
    before, cut = ours.training_histories, set()
    for number in ALL[1:]:
        after = Folds(ours).of(number).training_histories
        for user, history in before.items():
            lost = len(history) - len(after[user])
            assert 0 <= lost <= MOST_CUT * len(history)
            assert after[user].tolist() == history[: len(after[user])].tolist()
            cut.add(lost)
    assert cut >= {0, 2, 3}
    assert 1 not in cut


def test_queries_that_name_their_split_have_folds_only_if_asked_for(named: PreparedDataset) -> None:
    folds = Folds(named)
    assert folds.why_fixed == {"search": "the queries name their splits", "recommendation": None}
    assert folds.of(1).queries.equals(named.queries)
    assert not folds.of(1).interactions.equals(named.interactions)
    every = Folds(named, "all")
    assert every.why_fixed["search"] is None
    assert every.of(0) is named
    validation = _queries(named, "validation")
    tested = [_queries(every.of(number), "test") for number in ALL[1:]]
    assert not any(own & validation for own in tested)
    assert all(_queries(every.of(number), "validation") == validation for number in ALL)
    assert 0.05 * named.queries.height < min(map(len, tested)) < 0.2 * named.queries.height


def test_a_text_of_validation_is_trained_on_in_no_fold(named: PreparedDataset) -> None:
    first = named.queries.filter(pl.col("split") == "validation")["key"][0]
    copied = named.queries.head(1).with_columns(key=pl.lit(first), split=pl.lit(None, pl.String))
    data = named.with_tables(queries=pl.concat([named.queries, copied]))
    for number in ALL[1:]:
        rows = Folds(data, "all").of(number).queries.filter(pl.col("key") == first)
        assert set(rows["split"]) == {"validation", None}


def test_the_share_of_users_whose_test_event_differs_is_counted(ours: PreparedDataset) -> None:
    folds = Folds(ours)
    tested = [dict(_events(folds.of(number), "test")) for number in ALL]
    differ = [user for user in tested[0] if len({fold[user] for fold in tested}) > 1]
    assert 0 < folds.folded_users == pytest.approx(len(differ) / len(tested[0]))
    assert Folds(ours, "none").folded_users == 0


def test_what_stays_fixed_says_why(ours: PreparedDataset, write_folder: WriteFolder) -> None:
    few = Folds(load_dataset(write_folder()), "all")
    assert not few.any
    assert few.of(2) is few.of(0)
    assert few.why_fixed["search"] == "there are too few queries for folds"
    assert few.why_fixed["recommendation"] == "no history is long enough to end earlier"
    fixed = Folds(ours, "none")
    assert set(fixed.why_fixed.values()) == {"a fixed split was asked for"}
    assert fixed.of(4) is ours
    protocol = replace(ours.protocol, split="temporal", cutoff=3.0)
    by_time = Folds(replace(ours, protocol=protocol), "all")
    assert set(by_time.why_fixed.values()) == {"the data are split by time"}
    with pytest.raises(InputError, match="choose one of auto, all, none"):
        Folds(ours, "some")  # type: ignore[arg-type]
