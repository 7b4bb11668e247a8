"""The arms of a study."""

from twofold.records import TASKS
from twofold.studies.arms import ARMS, is_plain, semantic_arms, study_arms
from twofold.tasks.prepared import PreparedDataset
from twofold.training.config import resolve_config


def test_a_plain_arm_learns_one_task_and_no_longer_than_a_user_would() -> None:
    assert [arm.name for arm in ARMS if is_plain(arm)] == list(TASKS)


def test_arms_are_judged_on_the_task_that_is_real(catalog: PreparedDataset) -> None:
    arms = {arm.name: arm for arm in study_arms(catalog, ["2x2", "caps"])}
    assert arms["joint-shuffled-search"].judged == ("recommendation",)
    assert arms["joint-capped-5-recommendation"].judged == ("search",)
    assert arms["joint"].judged == TASKS
    assert "joint-noise-search" not in {arm.name for arm in study_arms(catalog)}


def test_there_is_an_arm_for_every_way(catalog: PreparedDataset) -> None:
    made = semantic_arms(catalog, resolve_config("quick"))
    assert [arm.name for arm in made] == [
        f"semantic-{name}"
        for name in (
            "text", "search", "recommendation", "multi-task", "fused-concatenated",
            "fused-summed", "separate", "shared-prefix",
        )
    ]  # fmt: skip
    assert len({arm.settings for arm in made}) == len(made)
    one_level = semantic_arms(catalog, resolve_config("quick", None, ("levels=1",)))
    assert {arm.name for arm in made} - {arm.name for arm in one_level} == {
        "semantic-shared-prefix"
    }
