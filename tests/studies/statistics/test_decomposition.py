"""The parts of a gain: training, popularity, pairs, content."""

import numpy as np
import pytest

from twofold.records import Floats
from twofold.studies.statistics.decomposition import (
    ALL_CELLS,
    CellName,
    decompose,
)


def _cells(
    real: float,
    shuffled: float,
    flat: float,
    noise: float,
    plain: float | None = None,
    absent: float | None = None,
    sd: float = 0.0,
) -> dict[CellName, Floats]:
    """Scores (4, 2000) of each cell; plain, control and absent are those of noise by default."""
    rng = np.random.default_rng(0)
    difficulty = rng.random(2000)
    alone = noise if plain is None else plain
    means: dict[CellName, float] = {
        "real": real,
        "shuffled": shuffled,
        "flattened": flat,
        "noise": noise,
        "absent": alone if absent is None else absent,
        "random-weights": real,
        "plain": alone,
        "control": alone,
    }
    return {
        name: value + 0.1 * difficulty + rng.normal(0, sd, (4, 1)) + rng.normal(0, 0.05, (4, 2000))
        for name, value in means.items()
    }


@pytest.mark.parametrize(
    ("cells", "finding", "popularity", "content"),
    [
        ((0.3, 0.3, 0.2, 0.2), "popularity", 0.1, 0.0),
        ((0.3, 0.2, 0.3, 0.2), "content", 0.0, 0.1),
        ((0.3, 0.25, 0.25, 0.2), "both", 0.05, 0.05),
        ((0.3, 0.2, 0.2, 0.2), "only together", 0.05, 0.05),
        ((0.2, 0.2, 0.2, 0.2), "no gain", 0.0, 0.0),
        # Noise does harm, and joint is no better than the plain arm: nothing to attribute.
        ((0.3, 0.2, 0.3, 0.2, 0.3), "no gain", 0.0, 0.1),
        ((0.3, 0.2, 0.3, 0.2, 0.4), "not what noise lacks", 0.0, 0.1),
    ],
)
def test_attribution_finds_what_was_put_in(
    cells: tuple[float, ...], finding: str, popularity: float, content: float
) -> None:
    parts = decompose(_cells(*cells), np.arange(2000))
    assert parts.finding == finding
    assert parts.popularity.difference == pytest.approx(popularity, abs=0.005)
    assert parts.content.difference == pytest.approx(content, abs=0.005)
    both = parts.popularity.difference + parts.content.difference
    assert both == pytest.approx(parts.gain.difference)
    assert (parts.shares is None) == (not parts.gain.excludes_zero)


def test_the_gain_over_plain_is_training_popularity_and_pairs() -> None:
    """Popularity .04 and pairs .06; shuffled is .03 below absent, as wrong pairs do harm."""
    parts = decompose(_cells(0.30, 0.21, 0.27, 0.20, 0.20, absent=0.24), np.arange(2000))
    found = parts.quantities
    assert found["joint − plain"].difference == pytest.approx(0.10, abs=0.005)
    assert found["longer training: control − plain"].difference == pytest.approx(0, abs=0.005)
    assert found["popularity alone: absent − control"].difference == pytest.approx(0.04, abs=0.005)
    assert found["pairs: joint − absent"].difference == pytest.approx(0.06, abs=0.005)
    assert found["wrong pairs: shuffled − absent"].difference == pytest.approx(-0.03, abs=0.005)
    steps = list(found.values())[1:4]
    assert sum(step.difference for step in steps) == pytest.approx(
        found["joint − plain"].difference
    )


def test_shares_have_intervals_that_hold_the_truth_and_what_is_vague_has_none() -> None:
    shares = decompose(_cells(0.3, 0.27, 0.23, 0.2), np.arange(2000)).shares
    assert shares is not None
    assert shares.popularity_interval is not None
    assert shares.content_interval is not None
    low, high = shares.popularity_interval
    assert low < 0.7 < high < 0.8
    assert low <= shares.popularity <= high
    low, high = shares.content_interval
    assert 0.2 < low < 0.3 < high
    vague = decompose(_cells(0.3, 0.27, 0.23, 0.2, sd=0.05), np.arange(2000))
    assert vague.shares is None


def test_intervals_of_shares_cover_at_their_level() -> None:
    """95 %, with 4 seeds whose means vary by .01."""
    covered, drawn = 0, 200
    for draw in range(drawn):
        rng = np.random.default_rng([7, draw])
        means = dict(zip(ALL_CELLS, (0.5, 0.44, 0.36, 0.3, 0.3, 0.5, 0.3, 0.3), strict=True))
        cells = {
            name: value + rng.normal(0, 0.01, (4, 1)) + rng.normal(0, 0.3, (4, 150))
            for name, value in means.items()
        }
        shares = decompose(cells, np.arange(150)).shares
        assert shares is not None
        assert shares.popularity_interval is not None
        low, high = shares.popularity_interval
        covered += low <= 0.7 <= high
    assert 0.91 <= covered / drawn <= 0.995


def test_parts_that_are_too_noisy_stay_open() -> None:
    """A gain of .4 stands out from seeds that vary by .22; two parts of .2 hardly do."""
    parts = decompose(_cells(0.5, 0.32, 0.28, 0.1, sd=0.13), np.arange(2000))
    assert parts.finding == "cannot be told apart"
