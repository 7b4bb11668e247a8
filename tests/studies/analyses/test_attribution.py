"""The parts of popularity and content in a gain."""

import numpy as np
import pytest

from twofold.evaluation.significance import MIN_SEEDS
from twofold.records import Floats
from twofold.studies.analyses.attribution import (
    CELLS,
    CellName,
    Finding,
    Shuffling,
    TaskAttribution,
    attribute,
)
from twofold.studies.values import Difference


def _cells(real: float, shuffled: float, flat: float, noise: float) -> dict[CellName, Floats]:
    rng = np.random.default_rng(0)
    difficulty = rng.random(2000)
    return {
        name: value + 0.1 * difficulty + rng.normal(0, 0.05, (4, 2000))
        for name, value in zip(CELLS, (real, shuffled, flat, noise), strict=True)
    }


@pytest.mark.parametrize(
    ("cells", "finding", "popularity", "content"),
    [
        ((0.3, 0.3, 0.2, 0.2), "popularity", 0.1, 0.0),
        ((0.3, 0.2, 0.3, 0.2), "content", 0.0, 0.1),
        ((0.3, 0.25, 0.25, 0.2), "both", 0.05, 0.05),
        ((0.2, 0.2, 0.2, 0.2), "no gain", 0.0, 0.0),
    ],
)
def test_attribution_finds_what_was_put_in(
    cells: tuple[float, float, float, float], finding: str, popularity: float, content: float
) -> None:
    parts = attribute(_cells(*cells), _cells(*cells)["noise"], np.arange(2000))
    assert parts.finding == finding
    assert parts.popularity.difference == pytest.approx(popularity, abs=0.005)
    assert parts.content.difference == pytest.approx(content, abs=0.005)
    both = parts.popularity.difference + parts.content.difference
    assert both == pytest.approx(parts.gain.difference)
    assert (parts.shares is None) == (finding == "no gain")


def test_parts_that_are_too_noisy_stay_open() -> None:
    """A gain of .4 stands out from seeds that vary by .22; two parts of .2 hardly do."""
    rng = np.random.default_rng(0)
    means: dict[CellName, float] = {"real": 0.5, "shuffled": 0.3, "flattened": 0.3, "noise": 0.1}
    cells = {
        name: value + rng.normal(0, 0.22, (3, 1)) + np.zeros((3, 500))
        for name, value in means.items()
    }
    parts = attribute(cells, cells["noise"], np.arange(500))
    assert parts.finding == "cannot be told apart"
    assert parts.shares is not None
    assert parts.shares.popularity + parts.shares.content == pytest.approx(1)


@pytest.mark.parametrize(
    ("finding", "gain", "seeds", "improving", "words"),
    [
        ("popularity", 0.1, 3, [], "mostly popularity (H1): it accounts for more of the gain"),
        ("content", -0.1, 3, [], "mostly content (H2): it accounts for more of the loss"),
        ("both", 0.1, 1, [], "for these trained models: popularity and content both contribute"),
        ("content", 0.1, 3, ["real"], "while arms are still improving: mostly content"),
        ("no gain", 0.0, 3, [], "nothing to attribute"),
    ],
)
def test_findings_in_words(
    finding: Finding, gain: float, seeds: int, improving: list[CellName], words: str
) -> None:
    nothing = Difference(difference=0.0, interval=(0.0, 0.0))
    attribution = TaskAttribution(
        means=dict.fromkeys(CELLS, 0.0),
        gain=Difference(difference=gain, interval=(0.0, 0.0)),
        popularity=nothing,
        content=nothing,
        popularity_minus_content=nothing,
        interaction=nothing,
        noise_minus_plain=nothing,
        shares=None,
        finding=finding,
        added="search",
        still_improving=improving,
        shuffling=Shuffling(kl_before_after=0.0, targets_renamed=1.0),
    )
    assert words in attribution.sentence("recommendation", by_models=seeds < MIN_SEEDS)
