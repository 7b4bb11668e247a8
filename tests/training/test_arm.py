"""Arms: their names, their tasks, and what they need."""

from pathlib import Path

import pytest

from twofold.records import InputError
from twofold.tasks.prepared import PreparedDataset
from twofold.training.arm import NAMED_ARMS, named_arm
from twofold.training.train import train


def test_arms_need_their_tasks(catalog: PreparedDataset, tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match="--arm 'both': no such arm; choose one of search, recommendation, joint"
    ):
        train(catalog, "both", out=tmp_path / "m")
    with pytest.raises(InputError, match="--device 'tpu': not usable here"):
        train(catalog, "joint", out=tmp_path / "m", device="tpu")
    one_side = catalog.with_tables(queries=catalog.queries.clear())
    with pytest.raises(InputError, match="or use --arm recommendation"):
        train(one_side, "search", out=tmp_path / "m")


def test_an_arm_is_judged_on_the_tasks_whose_data_are_real() -> None:
    from twofold.studies.interventions import two_by_two

    assert NAMED_ARMS["joint"].judged == NAMED_ARMS["joint"].tasks
    for control in two_by_two("search"):
        assert control.arm.judged == ("recommendation",)


def test_a_plain_arm_goes_by_its_name() -> None:
    for name, arm in NAMED_ARMS.items():
        assert named_arm(name) is named_arm(arm) is arm
