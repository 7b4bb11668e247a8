"""What a study was asked for: what is refused, and what a resumed study keeps."""

import json
from pathlib import Path
from typing import Any

import pytest

from twofold import artifact
from twofold.records import InputError
from twofold.studies.folder import StudyFolder
from twofold.studies.workers.plan import require_answerable, settled
from twofold.tasks.prepared import PreparedDataset

ASKED: dict[str, Any] = {
    "seeds": 3,
    "max_seeds": None,
    "folds": None,
    "budget": "quick",
    "sesoi_share": 0.04,
    "question": "both",
    "margin": None,
    "measure": None,
    "interventions": [],
    "tune": None,
}


def test_interventions_explain_what_transfer_asks(catalog: PreparedDataset) -> None:
    """What would be deployed has one checkpoint for both tasks, and in an intervention the other
    task's validation is near chance: its noise would be told as popularity or content."""
    changed = {**ASKED, "interventions": ["2x2"]}
    for question in ("both", "transfer"):
        require_answerable(catalog, {**changed, "question": question}, None)
    with pytest.raises(InputError, match=r"--interventions: .*; leave them out, or give") as error:
        require_answerable(catalog, {**changed, "question": "replace"}, None)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("asked", "workers", "says"),
    [
        ({"seeds": 0}, None, "--seeds 0: at least 1"),
        ({"max_seeds": 2}, None, "--max-seeds 2: at least 3"),
        ({}, 0, "--workers 0: at least 1"),
    ],
)
def test_numbers_have_a_least(
    catalog: PreparedDataset, asked: dict[str, Any], workers: int | None, says: str
) -> None:
    with pytest.raises(InputError, match=says):
        require_answerable(catalog, {**ASKED, **asked}, workers)


def test_what_is_left_open_is_as_it_was_begun(tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path)
    plan = settled(ASKED, folder, {})
    assert (plan["folds"], plan["margin"], plan["tune"]) == ("auto", 0.04, 6)
    begun = {"folds": "none", "tune": 9, "seeds": 3}
    kept = settled({**ASKED, "seeds": 5}, folder, begun)
    assert (kept["folds"], kept["tune"], kept["seeds"]) == ("none", 9, 5)
    given = settled({**ASKED, "folds": "all", "tune": 2, "margin": 0.1}, folder, begun)
    assert (given["folds"], given["tune"], given["margin"]) == ("all", 2, 0.1)


@pytest.mark.parametrize("began", [{"looks_end": 5}, {"max_seeds": 5}])
def test_seeds_that_follow_are_looks_of_the_plan(tmp_path: Path, began: dict[str, int]) -> None:
    """Also where the study was begun by a release that knew the most seeds alone."""
    folder = StudyFolder(tmp_path)
    begun = {"seeds": 3, "tune": 4, **began}
    assert settled({**ASKED, "seeds": 8}, folder, begun)["looks_end"] is None, "no look was taken"
    folder.save_looks([3])
    assert settled({**ASKED, "seeds": 5}, folder, begun)["looks_end"] == 5
    shorter = settled({**ASKED, "max_seeds": 4}, folder, begun)
    assert (shorter["looks_end"], shorter["max_seeds"]) == (5, 4)
    for more in ({"seeds": 8}, {"max_seeds": 20}):
        with pytest.raises(InputError, match="for 5 seeds at most"):
            settled({**ASKED, **more}, folder, begun)


def test_the_plan_of_the_looks_may_change_in_the_folder(tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path)
    plan: dict[str, Any] = {"seeds": 3, "max_seeds": None, "looks_end": None, "training": {}}
    artifact.replace_file(folder.plan, json.dumps(plan).encode())
    folder.begin({**plan, "seeds": 5, "looks_end": 12}, resume=True)
    assert folder.begun_with()["looks_end"] == 12
