"""The atlas of small worlds, in a form of seconds."""

import json
from pathlib import Path

import atlas as script
import numpy as np
import pytest
from atlas import Atlas

from twofold.studies.forecast.features import FEATURES
from twofold.studies.forecast.forecast import Coefficients, chances_of


def _made(worlds: int) -> Atlas:
    """Joint changes by a tenth of the gain of the pairs, and a little luck; the rest is noise."""
    rng = np.random.default_rng(0)
    values = rng.normal(size=(2 * worlds, len(FEATURES)))
    gains = values[:, FEATURES.index("pairs_gain")]
    changes = 0.1 * gains + rng.normal(0, 0.02, 2 * worlds)
    return Atlas(np.repeat(np.arange(worlds), 2), values, changes)


def test_outcomes_are_five_percent_above_between_and_below() -> None:
    changes = np.log([1.06, 1.04, 0.96, 0.94])
    every = Atlas(np.arange(4), np.zeros((4, len(FEATURES))), changes)
    assert every.outcomes.tolist() == [0, 1, 1, 2]


def test_forecasts_of_unseen_worlds_beat_the_base_rate_where_there_is_something_to_learn() -> None:
    every = _made(80)
    chances, base = script.unseen(every, 1.0)
    assert chances.sum(axis=1) == pytest.approx(1)
    assert script.brier(chances, every.outcomes) < 0.7 * script.brier(base, every.outcomes)
    rng = np.random.default_rng(1)
    nothing = Atlas(every.worlds, every.values, rng.permutation(every.changes))
    chances, base = script.unseen(nothing, 0.03)
    assert script.brier(chances, nothing.outcomes) == pytest.approx(
        script.brier(base, nothing.outcomes), abs=0.05
    )


def test_coefficients_say_the_same_after_they_are_written(tmp_path: Path) -> None:
    every = _made(40)
    fitted = script.fitted(every, 1.0, script._NO_WORTH)
    (tmp_path / "c.json").write_text(fitted.model_dump_json())
    again = Coefficients.model_validate_json((tmp_path / "c.json").read_text())
    assert chances_of(again, every.values).tolist() == chances_of(fitted, every.values).tolist()


def test_an_outcome_that_never_came_has_no_chance() -> None:
    every = _made(40)
    never_hurts = Atlas(every.worlds, every.values, np.maximum(every.changes, 0))
    fitted = script.fitted(never_hurts, 1.0, script._NO_WORTH)
    assert chances_of(fitted, every.values)[:, 2].max() < 1e-6


def test_a_world_is_measured_and_not_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(script, "TESTS", 60)
    monkeypatch.setattr(script, "_STEPS", {"search": 6, "recommendation": 6, "joint": 8})
    path = tmp_path / "worlds.jsonl"
    script.collect(path, 1, 3, seed=0)
    (line,) = map(json.loads, path.read_text().splitlines())
    assert line["world"] == 3
    for task in ("search", "recommendation"):
        row = line["tasks"][task]["Recall@10"]
        assert 0 <= row["alone"] <= 1
        assert row["error"] >= 0
    script.collect(path, 1, 3, seed=0)
    assert len(path.read_text().splitlines()) == 1
    alone = script.atlas(path)
    assert alone.values.shape == (2, len(FEATURES))
    script.collect(path, 1, 3, seed=1)
    first, second = map(json.loads, path.read_text().splitlines())
    assert first["tasks"] != second["tasks"]
    path.write_text(json.dumps(second) + "\n")
    other, both = script.atlas(path), tmp_path / "both.jsonl"
    both.write_text("\n".join(map(json.dumps, (first, second))) + "\n")
    every = script.atlas(both)
    assert every.changes == pytest.approx((alone.changes + other.changes) / 2)
    assert every.agreement == np.mean(alone.outcomes == other.outcomes)
    capsys.readouterr()
