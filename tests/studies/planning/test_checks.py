"""What is refused before a study begins."""

from dataclasses import replace
from typing import Any

import pytest

from twofold.records import InputError
from twofold.studies.planning.checks import require_answerable
from twofold.studies.planning.config import StudyConfig
from twofold.tasks.prepared import PreparedDataset


def test_interventions_explain_what_transfer_asks(catalog: PreparedDataset) -> None:
    """What would be deployed has one checkpoint for both tasks, and in an intervention the other
    task's validation is near chance: its noise would be told as popularity or content."""
    changed = StudyConfig(interventions=["2x2"])
    require_answerable(catalog, changed)
    require_answerable(catalog, replace(changed, question="transfer"))
    with pytest.raises(InputError, match=r"--interventions: .*; leave them out, or give") as error:
        require_answerable(catalog, replace(changed, question="replace"))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("changes", "workers", "says"),
    [
        ({"seeds": 0}, None, "--seeds 0: at least 1"),
        ({"max_seeds": 2}, None, "--max-seeds 2: at least 3"),
        ({}, 0, "--workers 0: at least 1"),
    ],
)
def test_numbers_have_a_least(
    catalog: PreparedDataset, changes: dict[str, Any], workers: int | None, says: str
) -> None:
    with pytest.raises(InputError, match=says):
        require_answerable(catalog, StudyConfig(**changes), workers)
