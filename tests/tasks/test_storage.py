"""A prepared folder gives back what was prepared, and the data report counts right."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import WriteFolder
from twofold.records import InputError
from twofold.tasks.examples import training_source
from twofold.tasks.prepared import PreparedDataset
from twofold.tasks.report import (
    data_report,
    jensen_shannon,
    kullback_leibler,
    popularity_law,
    report_text,
    training_popularity,
)
from twofold.tasks.storage import load_dataset, save_dataset


def test_a_prepared_folder_is_the_same_dataset(catalog: PreparedDataset, tmp_path: Path) -> None:
    save_dataset(catalog, tmp_path / "out")
    loaded = load_dataset(tmp_path / "out")
    assert loaded.digest == catalog.digest
    assert loaded.protocol == catalog.protocol
    assert loaded.notes == catalog.notes
    report = json.loads((tmp_path / "out" / "data_report.json").read_text())
    assert report["sizes"]["items"] == 60


def test_the_digest_tells_data_and_protocol_apart(write_folder: WriteFolder) -> None:
    dataset = load_dataset(write_folder())
    other = load_dataset(write_folder("other", interactions="user_id,item_id\nu,a\nu,b\nu,c\n"))
    assert dataset.digest != other.digest
    kept = dataclasses.replace(dataset, protocol=dataclasses.replace(dataset.protocol, seen="keep"))
    assert kept.digest != dataset.digest


def test_a_changed_file_is_refused(catalog: PreparedDataset, tmp_path: Path) -> None:
    save_dataset(catalog, tmp_path / "out")
    with (tmp_path / "out" / "qrels.parquet").open("ab") as file:
        file.write(b"x")
    with pytest.raises(InputError, match=r"qrels.parquet: changed since it was written"):
        load_dataset(tmp_path / "out")


def test_the_report_counts(write_folder: WriteFolder) -> None:
    queries = "query_id,text,split\n" + "".join(
        f"q{n},{text},{split}\n"
        for n, (text, split) in enumerate(
            [
                ("one two three four five", "train"),
                ("five four three two ONE", "test"),
                ("alpha", "train"),
                ("nothing alike", "test"),
            ]
        )
    )
    qrels = "query_id,item_id\nq0,a\nq0,e\nq1,b\nq2,a\nq3,c\n"
    dataset = load_dataset(write_folder(queries=queries, qrels=qrels))
    report = data_report(dataset)
    assert report["sizes"] == {
        "items": 5,
        "items_with_text": 5,
        "users": 4,
        "users_that_only_train": 1,
        "interactions": 14,
        "queries": 4,
        "qrels": 5,
    }
    # Trained on: a and e in search; a, b, c, d, e in recommendation.
    assert report["overlap"]["items_in_both"] == 2
    assert report["overlap"]["items_in_recommendation_only"] == 3
    assert report["overlap"]["recommended_also_searched"] == pytest.approx(0.4)
    assert report["queries"]["near_duplicates_of_training"] == 1
    assert report["queries"]["equal_to_a_title"] == 1
    assert "1 test queries share at least 80% of their words" in report_text(report)


def test_popularity_counts_training_events(write_folder: WriteFolder) -> None:
    dataset = load_dataset(write_folder())
    assert training_popularity(dataset, "search").tolist() == [1, 0, 0, 0, 0]
    assert training_popularity(dataset, "recommendation").tolist() == [2, 3, 1, 1, 1]


def test_divergences_agree_with_scipy() -> None:
    from scipy.spatial.distance import jensenshannon
    from scipy.stats import entropy

    rng = np.random.default_rng(0)
    p, q = (popularity_law(rng.integers(0, 50, 30)) for _ in range(2))
    assert kullback_leibler(p, q) == pytest.approx(entropy(p, q))
    assert jensen_shannon(p, q) == pytest.approx(jensenshannon(p, q) ** 2)


def test_one_side_alone_reports_too(write_folder: WriteFolder) -> None:
    dataset = load_dataset(write_folder(queries=None, qrels=None))
    report = data_report(dataset)
    assert report["tasks"] == ["recommendation"]
    assert report["divergence"] is None
    assert "Interactions: 14" in report_text(report)


def test_one_example_a_user_with_a_target_at_every_event(write_folder: WriteFolder) -> None:
    dataset = load_dataset(write_folder())
    source = training_source(dataset, "recommendation")
    assert source.targets == 4
    example = source.examples[0]
    assert (example.history.tolist(), example.targets.tolist(), example.visible.tolist()) == (
        [0],
        [1],
        [1],
    )
