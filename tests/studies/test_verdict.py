"""The verdict on simulated scores with known effects."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest

from twofold.records import Floats, Task
from twofold.studies.statistics.power import Needed
from twofold.studies.statistics.task_scores import TaskScores
from twofold.studies.verdict import TaskVerdict, decide

R = 4000


def _arm(mean: float, seeds: int = 5, spread: float = 0.002, number: int = 0) -> Floats:
    """Scores of one arm; all arms share the requests' difficulty."""
    difficulty = np.random.default_rng(0).random(R) < 0.5
    rng = np.random.default_rng(number + 1)
    noise = rng.normal(0, 0.1, (seeds, R)) + rng.normal(0, spread, (seeds, 1))
    return np.asarray(mean * 2 * difficulty + noise, dtype=np.float64)


def _decide(
    joint: float,
    plain: float,
    control: float,
    seeds: int = 5,
    requests: int = R,
    spread: float = 0.002,
    rises: Mapping[str, float] | None = None,
) -> TaskVerdict:
    arms = [
        _arm(mean, seeds, spread, number)[:, :requests]
        for number, mean in enumerate((joint, plain, control))
    ]
    scores = TaskScores(arms[0], arms[1], arms[2], np.arange(requests), rises or {})
    return decide({"search": scores})["search"]


@pytest.mark.parametrize(
    ("joint", "plain", "control", "expected"),
    [
        (0.35, 0.30, 0.30, "helps"),
        (0.25, 0.30, 0.30, "hurts"),
        (0.30, 0.30, 0.30, "no material difference"),
        (0.35, 0.30, 0.35, "not enough data"),
        (0.32, 0.30, 0.34, "not enough data"),
    ],
)
def test_known_truths(joint: float, plain: float, control: float, expected: str) -> None:
    found = _decide(joint, plain, control)
    assert found.verdict == expected
    assert not found.provisional
    assert found.reason
    assert found.sesoi == pytest.approx(0.05 * 0.3, rel=0.1)


def test_longer_training_alone_is_no_help() -> None:
    """Joint beats the plain arm, and the control with as many steps does too."""
    found = _decide(0.35, 0.30, 0.35)
    assert found.verdict == "not enough data"
    assert found.reason == "the 95 % interval of joint − step-matched includes 0"
    assert found.obstacle == "uncertain"


def test_between_plain_and_control_no_amount_of_data_would_decide() -> None:
    found = _decide(0.32, 0.30, 0.34)
    assert "between the plain arm and the step-matched control" in found.reason
    assert found.obstacle == "between the arms"
    assert found.needed == Needed(requests=None, seeds=None)


def test_what_would_decide_is_more_than_there_is() -> None:
    for plain in np.linspace(0.29, 0.31, 9):
        found = _decide(0.30, float(plain), 0.30, requests=300)
        if found.needed is not None:
            assert found.needed.requests is None or found.needed.requests > 300
            assert found.needed.seeds is None or found.needed.seeds > 5


def test_zero_everywhere_is_no_evidence() -> None:
    zero = np.zeros((3, 10))
    found = decide({"search": TaskScores(zero, zero, zero, np.arange(10))})["search"]
    assert found.verdict == "not enough data"
    assert found.reason == "no arm retrieves any relevant item"
    assert found.obstacle == "degenerate data"


def _degenerate(scores: TaskScores) -> TaskVerdict:
    found = decide({"search": scores})["search"]
    assert found.verdict == "not enough data"
    assert found.needed is None
    return found


def test_an_answer_that_holds_most_of_the_catalog_decides_nothing() -> None:
    """With 12 items every answer of 30 holds all of them: Recall@30 is 1 for any model."""
    one = np.ones((3, 100))
    found = _degenerate(TaskScores(one, one, one, np.arange(100), catalog=12))
    assert "the first 30 ranks are more than half of the catalog of 12 items" in found.reason
    better = TaskScores(_arm(0.35), _arm(0.3, number=1), _arm(0.3, number=2), np.arange(R))
    assert decide({"search": replace(better, catalog=60)})["search"].verdict == "helps"
    assert "catalog of 59 items" in _degenerate(replace(better, catalog=59)).reason


@pytest.mark.parametrize("units", [2, 19])
def test_few_users_decide_nothing_however_many_their_requests(units: int) -> None:
    arms = [_arm(mean, number=n) for n, mean in enumerate((0.35, 0.3, 0.3))]
    found = _degenerate(TaskScores(arms[0], arms[1], arms[2], np.arange(R) % units, catalog=5000))
    assert f"too few test users or queries: {units}; a verdict needs at least 20" in found.reason


def test_a_measure_without_variance_decides_nothing() -> None:
    same = _arm(0.3)[:1].clip(0, 1)
    found = _degenerate(TaskScores(same, same, same, np.arange(R), catalog=5000))
    assert "every arm has the same score on every request" in found.reason


def test_at_the_ceiling_equal_arms_are_no_evidence() -> None:
    arms = []
    for number in range(3):
        arm = np.ones((3, R))
        arm[:, number] = 0.0
        arms.append(arm)
    found = _degenerate(TaskScores(arms[0], arms[1], arms[2], np.arange(R), catalog=5000))
    assert "has 0.9998 of at most 1, so no gain" in found.reason
    assert found.obstacle == "degenerate data"


@pytest.mark.parametrize(("joint", "spread"), [(0.985, 0.002), (0.975, 0.002), (0.975, 0.04)])
def test_at_the_ceiling_neither_seeds_nor_steps_are_asked_for(joint: float, spread: float) -> None:
    """A gain, no difference and an open difference: nothing there can be decided."""
    found = _decide(joint, 0.975, 0.975, spread=spread, rises={"joint": 0.2, "control": 0.2})
    assert (found.verdict, found.obstacle) == ("not enough data", "degenerate data")
    assert "of at most 1, so no gain" in found.reason
    assert found.needed is None


def test_at_the_ceiling_a_loss_is_shown() -> None:
    assert _decide(0.8, 0.975, 0.975).verdict == "hurts"
    open_loss = _decide(0.85, 0.975, 0.975, spread=0.1)
    assert open_loss.obstacle == "uncertain", "more seeds may show it"
    assert open_loss.needed is not None


def test_at_the_floor_equal_arms_are_no_evidence() -> None:
    arm = np.zeros((3, R))
    arm[:, :4] = 1.0
    found = _degenerate(TaskScores(arm, arm, arm, np.arange(R), catalog=5000))
    assert "relevant items for only 4 of 4000 test users or queries" in found.reason


def test_few_requests_decide_nothing_and_say_how_many_would() -> None:
    found = _decide(0.315, 0.30, 0.30, seeds=8, requests=40)
    assert found.verdict == "not enough data"
    assert found.needed is not None
    assert (found.needed.requests or found.needed.together_requests or 0) > 40
    assert _decide(0.315, 0.30, 0.30, requests=R, spread=1e-6).verdict == "helps"


def test_seeds_that_differ_ask_for_more_seeds() -> None:
    found = _decide(0.315, 0.30, 0.30, spread=0.02)
    assert found.verdict == "not enough data"
    assert found.needed is not None
    assert found.needed.requests is None
    assert (found.needed.seeds or 0) > 5


def test_two_seeds_borrow_the_variance_of_the_other_arms() -> None:
    found = _decide(0.40, 0.30, 0.30, seeds=2)
    assert (found.verdict, found.provisional) == ("helps", True)
    assert found.contrasts["plain"].seed_variance is not None
    assert _decide(0.31, 0.30, 0.30, seeds=2, spread=0.02).verdict == "not enough data"


def test_one_seed_decides_nothing_and_says_why() -> None:
    found = _decide(0.50, 0.30, 0.30, seeds=1)
    assert (found.verdict, found.provisional) == ("not enough data", True)
    assert found.reason.startswith("one seed: the variance over seeds is unknown")
    assert found.obstacle == "few seeds"
    assert found.contrasts["plain"].seed_variance is None
    assert found.needed is not None
    assert found.needed.seeds == 3


def test_an_arm_of_one_seed_borrows_from_arms_of_more() -> None:
    arms = [_arm(mean, n, number=k) for k, (mean, n) in enumerate(((0.4, 1), (0.3, 5), (0.3, 5)))]
    found = decide({"search": TaskScores(arms[0], arms[1], arms[2], np.arange(R))})["search"]
    assert found.verdict == "helps"
    assert found.contrasts["plain"].seed_variance is not None


def test_a_task_that_is_not_a_number_leaves_the_other_alone() -> None:
    arms = [_arm(mean, number=n) for n, mean in enumerate((0.35, 0.3, 0.3))]
    good = TaskScores(arms[0], arms[1], arms[2], np.arange(R))
    broken = replace(good, joint=np.full((5, R), np.nan))
    single = replace(good, clusters=np.zeros(R, dtype=np.int64))
    alone = decide({"search": good})["search"]
    for other in (broken, single):
        both = decide({"search": good, "recommendation": other})
        assert both["search"] == alone
        assert both["recommendation"].verdict == "not enough data"
        assert np.isfinite(both["recommendation"].contrasts["plain"].interval).all()
    assert "not numbers" in decide({"search": broken})["search"].reason


@pytest.mark.parametrize(
    ("joint", "arm", "rise", "verdict"),
    [
        (0.35, "control", 0.03, "not enough data"),
        (0.35, "control", 0.02, "helps"),
        (0.35, "joint", 0.5, "helps"),
        (0.25, "joint", 0.03, "not enough data"),
        (0.25, "control", 0.5, "hurts"),
    ],
)
def test_an_undertrained_arm_withholds_what_it_could_overturn(
    joint: float, arm: str, rise: float, verdict: str
) -> None:
    """A rise of 2.5 % is half of the smallest effect of interest."""
    found = _decide(joint, 0.30, 0.30, rises={arm: rise})
    assert found.verdict == verdict
    if verdict == "not enough data":
        assert found.obstacle == "undertrained"
        assert found.reason.startswith("undertrained: a cap ended ")
        assert found.reason.endswith(" while validation still rose")
        assert found.needed is None


def test_holm_runs_over_the_tasks() -> None:
    """An effect that is certain alone is not so when another task is tested with it."""
    rng = np.random.default_rng(0)
    noise = np.repeat(rng.normal(0, 0.1, (1, 400)), 3, axis=0)
    noise -= noise.mean()
    error = 0.1 / 20
    shifted = noise + 2.1 * error
    flat = np.zeros((3, 400))
    borderline = TaskScores(shifted + 1, flat + 1, flat + 1, np.arange(400))
    nothing = TaskScores(noise + 1, flat + 1, flat + 1, np.arange(400))
    # A SESOI of nothing leaves only the tests against 0.
    alone = decide({"search": borderline}, 0.0)["search"]
    both = decide({"search": borderline, "recommendation": nothing}, 0.0)
    assert alone.verdict == "helps"
    assert both["search"].verdict == "not enough data"
    assert both["search"].p_adjusted == pytest.approx(2 * alone.p_adjusted)
    assert "Holm" in both["search"].reason


def test_a_wrong_clustering_would_be_seen() -> None:
    """Requests of few users say less than as many requests of many users."""
    arms = [_arm(mean, number=n) for n, mean in enumerate((0.31, 0.30, 0.30))]
    users = np.repeat(np.arange(10), R // 10)
    user_effect = np.random.default_rng(5).normal(0, 0.05, 10)[users]
    few = TaskScores(arms[0] + user_effect, arms[1], arms[2], users)
    many = TaskScores(arms[0] + user_effect, arms[1], arms[2], np.arange(R))
    wide = decide({"search": few})["search"].contrasts["plain"].interval
    narrow = decide({"search": many})["search"].contrasts["plain"].interval
    assert wide[1] - wide[0] > 2 * (narrow[1] - narrow[0])


def test_a_harm_at_the_top_is_told_where_the_primary_measure_shows_none() -> None:
    arms = [_arm(0.3, number=n) for n in range(3)]
    lower, plain, control = (_arm(mean, number=n + 3) for n, mean in enumerate((0.15, 0.2, 0.2)))
    scores = TaskScores(arms[0], arms[1], arms[2], np.arange(R), top=(lower, plain, control))
    assert decide({"search": replace(scores, top=None)})["search"].verdict == (
        "no material difference"
    )
    found = decide({"search": scores})["search"]
    assert (found.verdict, found.effect) == ("only at the top", "hurts")
    assert "significantly worse in nDCG@10" in found.reason
    assert found.top is not None
    assert found.top.contrasts["plain"].interval[1] < 0
    more = replace(scores, joint=_arm(0.35))
    deeper = decide({"search": more})["search"]
    assert (deeper.verdict, deeper.effect) == ("only deeper", "helps")


def test_one_model_may_take_the_place_of_two_where_it_is_not_worse() -> None:
    def replaces(joint: float, margin: float | None = None) -> str:
        arms = [_arm(mean, number=n) for n, mean in enumerate((joint, 0.3, 0.3))]
        scores: dict[Task, TaskScores] = {
            "search": TaskScores(arms[0], arms[1], arms[2], np.arange(R))
        }
        found = decide(scores, question="replace", margin=margin)["search"]
        assert found.p_not_worse is not None
        return found.verdict

    assert replaces(0.35) == "not worse"
    assert replaces(0.3) == "not worse"
    assert replaces(0.27) == "hurts"
    assert replaces(0.27, margin=0.2) == "not worse"


def test_a_look_before_the_last_needs_more_to_decide() -> None:
    """The same scores, as a study of its own and as the first look of one that may grow."""
    rng = np.random.default_rng(1)
    decided = {False: 0, True: 0}
    for _ in range(60):
        arms = [rng.normal(0.3, 0.1, (3, 200)) + rng.normal(0, 0.008, (3, 1)) for _ in range(3)]
        scores = TaskScores(arms[0] + 0.024, arms[1], arms[2], np.arange(200))
        for grows in decided:
            looks = (3, 5, 8, 12) if grows else None
            found = decide({"search": scores}, looks=looks, plan=False)["search"]
            decided[grows] += found.verdict == "helps"
            assert (found.look is None) != grows
    assert decided[True] < decided[False]


def test_the_smallest_effect_is_said_as_a_share_of_the_misses() -> None:
    found = _decide(0.35, 0.30, 0.30)
    assert found.sesoi_of_misses == pytest.approx(found.sesoi / 0.7, rel=0.01)
    assert found.measure == "Recall@30"
