"""The findings of popularity and content, in words."""

import pytest

from twofold.evaluation.significance import MIN_SEEDS
from twofold.studies.analyses.attribution import Shuffling, TaskAttribution
from twofold.studies.statistics.decomposition import CELLS, CellName, Finding
from twofold.studies.values import Difference


@pytest.mark.parametrize(
    ("finding", "gain", "seeds", "improving", "words"),
    [
        ("popularity", 0.1, 3, [], "mostly popularity (H1): it accounts for more of the gain"),
        ("content", -0.1, 3, [], "mostly content (H2): it accounts for more of the loss"),
        ("both", 0.1, 1, [], "for these trained models: popularity and content both contribute"),
        ("content", 0.1, 3, ["real"], "while arms are still improving: mostly content"),
        ("only together", 0.1, 3, [], "only together: neither of them alone explains any of the"),
        ("no gain", 0.0, 3, [], "nothing to attribute"),
        ("not what noise lacks", 0.1, 3, [], "change recommendation in opposite directions"),
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
        gain_over_plain=nothing,
        training=nothing,
        popularity_alone=nothing,
        pairs=nothing,
        shuffled_minus_noise=nothing,
        flattened_minus_noise=nothing,
        wrong_pairs=nothing,
        weights_alone=nothing,
        shares=None,
        finding=finding,
        added="search",
        still_improving=improving,
        shuffling=Shuffling(kl_before_after=0.0, targets_renamed=1.0),
        effective_targets=1.0,
    )
    assert words in attribution.sentence("recommendation", by_models=seeds < MIN_SEEDS)
