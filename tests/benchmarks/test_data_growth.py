"""The simulated log of `benchmarks/data_growth.py` is a dataset of the size that is asked for."""

from pathlib import Path

import data_growth
import pytest

from twofold.tasks.storage import load_dataset


def test_the_log_has_the_size_that_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data_growth, "PIECE", 300)
    data_growth.write_source(tmp_path / "source", 1000)

    dataset = load_dataset(tmp_path / "source")

    assert dataset.interactions.height == 1000
    assert dataset.interactions["user_id"].n_unique() == 20
    assert dataset.queries.height == 100
    assert dataset.qrels.height == 200
    assert len(dataset.catalog) == data_growth.ITEMS
    assert dataset.notes == ()


def test_growth_is_one_where_a_figure_grows_as_the_data() -> None:
    def row(size: int, seconds: float) -> dict[str, object]:
        return {
            "interactions": size,
            "prepare": {"seconds": seconds},
            "train": {"seconds": 5.0},
            "first_step_seconds": 2.0,
            "first_step_processor": seconds,
        }

    _, grown = data_growth.growth([row(10, 3.0), row(40, 12.0)])

    assert grown["prepare"] == {"seconds": 1.0}
    assert grown["train"] == {"seconds": 0.25}
    assert (grown["first_step_seconds"], grown["first_step_processor"]) == (0.25, 1.0)
