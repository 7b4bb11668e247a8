"""What is refused before a study begins."""

from collections import namedtuple
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import WriteFolder
from twofold import artifact
from twofold.records import InputError
from twofold.studies.arms import semantic_arms, study_arms
from twofold.studies.folder import StudyFolder
from twofold.studies.planning.checks import require_answerable, require_space
from twofold.studies.planning.conditions import Condition
from twofold.studies.planning.config import StudyConfig
from twofold.studies.study import study
from twofold.tasks.prepared import PreparedDataset
from twofold.tasks.storage import load_dataset
from twofold.training.config import resolve_config


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
        ({"sesoi_share": 5.0}, None, "--sesoi 5.0: must be a share .* 5 % as 0.05"),
        ({"sesoi_share": float("nan")}, None, "--sesoi nan: must be a share"),
        ({"margin": float("inf")}, None, "--margin inf: must be a share"),
        ({"seeds": "x"}, None, "--seeds 'x': must be a whole number"),
        ({"max_seeds": 3.5}, None, "--max-seeds 3.5: must be a whole number"),
        ({"tune": True}, None, "--tune True: must be a whole number"),
        ({"margin": "0.1"}, None, "--margin '0.1': must be a share"),
        ({}, "2", "--workers '2': must be a whole number"),
    ],
)
def test_numbers_have_a_least_and_shares_a_largest(
    catalog: PreparedDataset, changes: dict[str, Any], workers: Any, says: str
) -> None:
    with pytest.raises(InputError, match=says):
        require_answerable(catalog, StudyConfig(**changes), workers)


def test_a_catalog_of_one_item_is_refused(write_folder: WriteFolder) -> None:
    """Every ranking of it is correct, so that no study can distinguish models."""
    events = "".join(f"u{user},a,{time}\n" for user in range(3) for time in range(4))
    folder = write_folder(
        items="item_id,title\na,Alpha\n",
        interactions=f"user_id,item_id,timestamp\n{events}",
        queries="query_id,text\n" + "".join(f"q{n},alpha {n}\n" for n in range(60)),
        qrels="query_id,item_id\n" + "".join(f"q{n},a\n" for n in range(60)),
    )
    with pytest.raises(InputError, match=r"the catalog has one item, .*; add the other items"):
        require_answerable(load_dataset(folder), StudyConfig())


def test_a_disk_too_small_for_the_models_is_refused(
    catalog: PreparedDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a study trains for hours until the disk is full. Finished models take no more space."""
    usage = namedtuple("usage", "total used free")
    items, free = 2_000_000, 10 * 2_000_000 * 128 * 4 - 1
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage(free, 0, free))
    training, folder = resolve_config("quick"), StudyFolder(tmp_path)
    arms = study_arms(catalog)
    assert len(arms) == 5
    require_space(folder, [Condition(arms, folder, None, training)], 1, items)
    twice = [Condition(arms, folder, None, training), Condition(arms, folder, folder, training)]
    with pytest.raises(
        InputError, match="has 9,766 MiB left, and 10 models take at least 9,766 MiB"
    ):
        require_space(folder, twice, 1, items)
    with pytest.raises(InputError, match="15 models take at least 14,648 MiB"):
        require_space(folder, twice[:1], 3, items)
    semantic = Condition(semantic_arms(catalog, training), folder, None, training)
    require_space(folder, [semantic], 100, items)  # a few codes take the place of embeddings
    with artifact.write(folder.model(arms[0].name, 0), "model", {}):
        pass
    require_space(folder, twice, 1, items)


def test_a_study_that_the_disk_refuses_leaves_nothing_behind(
    catalog: PreparedDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that the command can be given again with fewer models."""
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage(1, 0, 1))
    with pytest.raises(InputError, match="its disk has 0 MiB left"):
        study(catalog, out=tmp_path / "study")
    assert not (tmp_path / "study").exists()


def test_a_disk_that_does_not_say_its_size_is_not_refused(
    catalog: PreparedDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage(0, 0, 0))
    folder = StudyFolder(tmp_path)
    condition = Condition(study_arms(catalog), folder, None, resolve_config("quick"))
    require_space(folder, [condition], 3, 10**6)
