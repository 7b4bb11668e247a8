"""The slices of a study: tests corrected over the table, and differences that are pooled."""

from itertools import groupby

import pytest

from twofold.studies.result import StudyResult


def test_pooled_differences_lie_between_their_own_and_those_of_their_kind(
    result: StudyResult,
) -> None:
    pooled = 0
    for parts in result.of("slices").values():
        for _, kind in groupby(parts, lambda part: part.slicing):
            own = list(kind)
            differences = [part.minus_plain.difference for part in own]
            for part in own:
                drawn = part.pooled_minus_plain.difference
                if len(own) < 3:
                    assert drawn == part.minus_plain.difference
                    continue
                pooled += drawn != part.minus_plain.difference
                assert min(differences) - 1e-9 <= drawn <= max(differences) + 1e-9
                assert part.minus_plain.p_adjusted >= part.minus_plain.p
    assert pooled


def test_slices_of_one_kind_share_the_requests(result: StudyResult) -> None:
    parts = result.of("slices")["recommendation"]
    by_kind: dict[str, int] = {}
    for part in parts:
        by_kind[part.slicing] = by_kind.get(part.slicing, 0) + part.requests
    assert len(by_kind) >= 2
    assert "pair seen in" in by_kind
    assert max(by_kind.values()) == pytest.approx(by_kind["popularity"], rel=0.2)
