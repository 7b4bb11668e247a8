"""How often are intervals and verdicts right? Simulated scores with known effects.

    python benchmarks/calibration.py --out DIR [--draws 2000] [--only coverage,errors]

Every share has an exact binomial interval of 95 %, and most have a target. Nothing is trained: the
scores come from `simulated_scores.py`, which shares no code with the intervals that it tests. About
twelve minutes on one core. `calibration_models.py` does the same with trained models.
"""

import argparse
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

import numpy as np
from pages import Column, Table, render_table
from publish import add_publish_option, describe_run, publish_run
from scipy import stats
from simulated_scores import World, draw_scores

from twofold import artifact
from twofold.evaluation.sequential import LOOKS
from twofold.records import Floats, Task
from twofold.studies.statistics.power import power_table
from twofold.studies.statistics.rule import Question
from twofold.studies.statistics.task_scores import TaskScores
from twofold.studies.verdict import SESOI_SHARE, TaskVerdict, decide

DEFINITE = ("helps", "hurts", "only deeper", "only at the top")
EQUAL = (0.0, 0.0, 0.0)
BORDER = SESOI_SHARE


@dataclass(frozen=True)
class Row:
    """One share, and what it should be.

    Attributes:
        check: what is counted.
        setting: in which world.
        count, of: so many times, of so many.
        low, high: the target; None where there is none.
    """

    check: str
    setting: str
    count: int
    of: int
    low: float | None = None
    high: float | None = None

    @property
    def share(self) -> list[float]:
        """The share with its interval (Clopper and Pearson)."""
        interval = stats.binomtest(self.count, max(self.of, 1)).proportion_ci(0.95, method="exact")
        return [self.count / max(self.of, 1), float(interval.low), float(interval.high)]

    @property
    def met(self) -> str:
        """Whether the target is met: `yes` by the share itself, `no` where the interval excludes
        it, `near` in between."""
        if self.low is None and self.high is None:
            return ""
        low, high = self.low or 0.0, 1.0 if self.high is None else self.high
        value, least, most = self.share
        if low <= value <= high:
            return "yes"
        return "no" if most < low or least > high else "near"

    @property
    def target(self) -> str:
        """The target in words."""
        if self.low is not None and self.high is not None:
            return f"{self.low:.2f} to {self.high:.2f}".replace("0.", ".")
        if self.low is not None:
            return f"at least {self.low:.2f}".replace("0.", ".")
        return "" if self.high is None else f"at most {self.high:.3f}".replace("0.", ".")


Checks = Iterator[Row]


def verdicts_of(
    tasks: Sequence[TaskScores],
    *,
    question: Question = "transfer",
    looks: Sequence[int] | None = None,
) -> list[TaskVerdict]:
    """The verdicts of a study of one task or two."""
    names: tuple[Task, ...] = ("search", "recommendation")
    scores = dict(zip(names, tasks, strict=False))
    return list(decide(scores, question=question, looks=looks, plan=False).values())


# Do the intervals cover?

WORLDS: dict[str, World] = {
    "usual": World(),
    "normal tails": World(tails="normal"),
    "no variance of seeds": World(seed=0.0),
    "seeds vary by 8 %": World(seed=0.09),
    "joint varies twice as much": World(joint_times=2.0),
    "seeds correlated by .8": World(seed=0.09, correlation=0.8),
    "joint against plain, -.5": World(seed=0.09, correlation=-0.5),
    "data redrawn for each seed": World(seed=0.045, data=0.15),
    "rare hits": World(hits=0.03),
    "near the ceiling": World(hits=0.9),
    "ten requests a user": World(users="ten each", user=0.4),
    "users of Zipf sizes": World(users="Zipf", user=0.4),
    "users of Zipf sizes, alike": World(users="Zipf", user=1.0),
}
SHAPES = ((30, 3), (100, 3), (600, 3), (2000, 3), (600, 5), (600, 12), (2000, 12))


def coverage(draws: int) -> Checks:
    """How often the interval of joint - plain holds the true difference."""
    shapes = [("usual", shape) for shape in SHAPES]
    shapes += [(name, (600, seeds)) for name in WORLDS if name != "usual" for seeds in (3, 5)]
    for place, (name, (requests, seeds)) in enumerate(shapes):
        world = replace(WORLDS[name], requests=requests)
        yield from _coverage(name, world, seeds, draws, np.random.default_rng([1, place]))


def _coverage(name: str, world: World, seeds: int, draws: int, rng: np.random.Generator) -> Checks:
    wide = narrow = freak = held = 0
    truth = BORDER * world.hits
    for _ in range(draws):
        contrast = draw_scores(world, rng, seeds, (BORDER, 0.0, 0.0)).moments.contrast((1, -1, 0))
        low, high = contrast.interval()
        wide += low <= truth <= high
        low, high = contrast.interval(0.9)
        narrow += low <= truth <= high
        small = (
            contrast.request_variance + (contrast.seed_variance or 0.0) < contrast.floor_variance
        )
        low, high = contrast.interval()
        freak += small
        held += small and low <= truth <= high
    setting = f"{name}; {world.requests} requests, {seeds} seeds"
    least = 0.94 if "Zipf" in name else 0.93
    yield Row("covered by 95 %", setting, wide, draws, least, 0.97)
    yield Row("covered by 90 %", setting, narrow, draws)
    if freak >= draws / 50:
        what = "covered by 95 %, given seed means that agree by chance"
        yield Row(what, setting, held, freak, 0.94)


# Coverage if each seed has another fold

FOLDS: dict[str, World] = {
    "other queries": World(folds="queries"),
    "other queries, no variance of seeds": World(folds="queries", seed=0.0),
    "other queries, seeds vary by 8 %": World(folds="queries", seed=0.09),
    "other queries, joint varies twice as much": World(folds="queries", joint_times=2.0),
    "other queries, data move all arms alike": World(folds="queries", data=0.15),
    "other queries, data redrawn, worth 4 % to each arm": World(folds="queries", data_of_arm=0.045),
    "other events of the same users": World(folds="users", tails="normal"),
    "other events, users worth as much as events": World(folds="users", tails="normal", user=0.4),
}
KEPT: dict[str, World] = {
    "half of it the same in all seeds": World(folds="queries", data_of_arm=0.045, shared=0.5),
    "seven eighths of it the same": World(folds="queries", data_of_arm=0.045, shared=0.875),
    "all of it the same, no folds": World(data_of_arm=0.045, shared=1.0),
}


def folds(draws: int) -> Checks:
    """Coverage and false verdicts where each seed has other requests and other training data."""
    cases = [(name, world, seeds) for name, world in FOLDS.items() for seeds in (3, 5)]
    cases += [("other queries", FOLDS["other queries"], 12)]
    for place, (name, world, seeds) in enumerate(cases):
        yield from _coverage(name, world, seeds, draws, np.random.default_rng([10, place]))
    for place, (name, world) in enumerate(FOLDS.items()):
        rng = np.random.default_rng([11, place])
        count = 0
        for _ in range(draws):
            tasks = [draw_scores(world, rng, 3, EQUAL, top=EQUAL) for _ in range(2)]
            count += any(each.verdict in DEFINITE for each in verdicts_of(tasks))
        what = "no effect: any of helps, hurts, only ..."
        yield Row(what, f"{name}; 600 requests, 3 seeds", count, draws, high=0.05)
    for place, (name, world) in enumerate(KEPT.items()):
        rows = _coverage("", world, 5, draws, np.random.default_rng([12, place]))
        for row in rows:
            if row.check == "covered by 95 %":
                what = "training data worth 4 % to each arm: covered by 95 %"
                yield Row(what, f"{name}; 600 requests, 5 seeds", row.count, row.of)


def gained(draws: int) -> Checks:
    """How often an effect of 2 SESOI is found with folds, and without."""
    worlds = {"the same requests": World(), "other queries": FOLDS["other queries"]}
    worlds["other events of the same users"] = FOLDS["other events of the same users"]
    for place, (seeds, (name, world)) in enumerate(product((3, 5, 8), worlds.items())):
        rng = np.random.default_rng([13, place])
        verdicts = [
            verdicts_of([draw_scores(world, rng, seeds, (2 * BORDER, 0.0, 0.0))])[0].verdict
            for _ in range(draws)
        ]
        setting = f"{name}; 600 a seed, {seeds} seeds"
        yield Row("effect of 2 SESOI: helps", setting, verdicts.count("helps"), draws)
        equal = [
            verdicts_of([draw_scores(world, rng, seeds, EQUAL)])[0].verdict for _ in range(draws)
        ]
        count = equal.count("no material difference")
        yield Row("no effect: no material difference", setting, count, draws)


# Is a verdict false?


def errors(draws: int) -> Checks:
    """How often a verdict is given that is not true."""
    nulls = {
        "30 requests, 3 seeds": (World(requests=30), 3),
        "600 requests, 3 seeds": (World(), 3),
        "2,000 requests, 3 seeds": (World(requests=2000), 3),
        "2,000 requests, 5 seeds": (World(requests=2000), 5),
        "2,000 requests, 12 seeds": (World(requests=2000), 12),
        "2,000 requests, 3 seeds that vary by 8 %": (World(requests=2000, seed=0.09), 3),
        "2,000 requests, 2 seeds that vary by 4 %": (World(requests=2000), 2),
        "2,000 requests, 2 seeds that vary by 8 %": (World(requests=2000, seed=0.09), 2),
        "2,000 requests, 2 seeds that vary by 15 %": (World(requests=2000, seed=0.18), 2),
        "users of Zipf sizes, 600 requests, 3 seeds": (WORLDS["users of Zipf sizes"], 3),
        "data redrawn, 600 requests, 3 seeds": (WORLDS["data redrawn for each seed"], 3),
    }
    for place, (name, (world, seeds)) in enumerate(nulls.items()):
        rng = np.random.default_rng([2, place])
        count = 0
        for _ in range(draws):
            tasks = [draw_scores(world, rng, seeds, EQUAL, top=EQUAL) for _ in range(2)]
            count += any(each.verdict in DEFINITE for each in verdicts_of(tasks))
        yield Row("no effect: any of helps, hurts, only ...", name, count, draws, high=0.05)


def borders(draws: int) -> Checks:
    """One side at the worst border, and verdicts of equality at their margins."""
    precise = World(requests=2000, difficulty=1.5, own=0.15, left=0.2, seed=0.02)
    worst = {
        "600 requests, 3 seeds": (World(), 3),
        "2,000 requests, 5 seeds": (World(requests=2000), 5),
        "precise: 2,000 requests, 3 seeds that vary by 2 %": (precise, 3),
    }
    for place, (name, (world, seeds)) in enumerate(worst.items()):
        rng = np.random.default_rng([3, place])
        effects = (0.0, 0.0, -8 * BORDER)
        both = alone = 0
        for _ in range(draws):
            tasks = [draw_scores(world, rng, seeds, own, top=EQUAL) for own in (effects, EQUAL)]
            both += verdicts_of(tasks)[0].verdict == "helps"
            alone += verdicts_of([replace(tasks[0], top=None)])[0].verdict == "helps"
        what = "joint equals plain, control far below: helps"
        yield Row(what, f"{name}; a study of two tasks", both, draws, high=0.025)
        yield Row(what, f"{name}; one task and one measure", alone, draws, high=0.025)
    tight = {seeds: replace(precise, requests=2000) for seeds in (3, 5, 12)}
    cases = {
        "both differences +1 SESOI": (BORDER, 0.0, 0.0),
        "both -1 SESOI": (-BORDER, 0.0, 0.0),
        "one +1 SESOI, the other 0": (BORDER, 0.0, BORDER),
        "one -1 SESOI, the other 0": (-BORDER, 0.0, -BORDER),
    }
    for place, (seeds, world) in enumerate(tight.items()):
        rng = np.random.default_rng([4, place])
        for case, effects in cases.items():
            given = [
                verdicts_of([draw_scores(world, rng, seeds, effects)])[0] for _ in range(draws)
            ]
            setting = f"precise; {case}; {seeds} seeds"
            same = sum(each.verdict == "no material difference" for each in given)
            yield Row("at the margin: no material difference", setting, same, draws, high=0.05)
        for case, effects in list(cases.items())[1::2]:
            given = [
                verdicts_of([draw_scores(world, rng, seeds, effects)], question="replace")[0]
                for _ in range(draws)
            ]
            kept = sum(each.verdict == "not worse" for each in given)
            setting = f"precise; {case}; {seeds} seeds"
            yield Row("at the margin: not worse", setting, kept, draws, high=0.05)


# Is a contradiction between the first ranks and the others found?


def ranks(draws: int) -> Checks:
    """What is said where joint finds more but late, or ranks what it finds lower."""
    world = World(requests=2000, own=0.2, seed=0.02)
    cases = {
        "Recall +15 %, early answers -40 %": ((0.15, 0.0, 0.0), (-0.4, 0.0, 0.0), "only deeper"),
        "Recall equal, early answers -40 %": (EQUAL, (-0.4, 0.0, 0.0), "only at the top"),
        "both +15 %": ((0.15, 0.0, 0.0), (0.15, 0.0, 0.0), "helps"),
    }
    for place, (name, (effects, top, right)) in enumerate(cases.items()):
        rng = np.random.default_rng([5, place])
        given = [
            verdicts_of([draw_scores(world, rng, 5, effects, top=top)])[0].verdict
            for _ in range(draws)
        ]
        count = sum(verdict == right for verdict in given)
        yield Row(f"told: {right}", f"{name}; 2,000 requests, 5 seeds", count, draws)


# Looks at a study that grows


def looks(draws: int) -> Checks:
    """The errors of a study that is looked at after 3, 5, 8 and 12 seeds, and what it costs."""
    world = World(requests=2000)
    precise = replace(world, own=0.15, left=0.2, seed=0.02)
    cases: dict[str, tuple[World, tuple[float, float, float], Sequence[str], float | None]] = {
        "joint equals plain, control far below: helps": (
            world, (0.0, 0.0, -8 * BORDER), ("helps",), 0.025,
        ),
        "no effect: helps or hurts": (world, EQUAL, ("helps", "hurts"), 0.05),
        "precise, one +1 SESOI, the other 0: no material difference": (
            precise, (BORDER, 0.0, BORDER), ("no material difference",), 0.05,
        ),
        "precise, one -1 SESOI, the other 0: not worse": (
            precise, (-BORDER, 0.0, -BORDER), ("not worse",), 0.05,
        ),
        "effect of 2 SESOI: helps": (world, (2 * BORDER, 0.0, 0.0), ("helps",), None),
        "effect of 4 SESOI: helps": (world, (4 * BORDER, 0.0, 0.0), ("helps",), None),
        "precise, no effect: no material difference": (
            precise, EQUAL, ("no material difference",), None,
        ),
    }  # fmt: skip
    for place, (name, (own, effects, counted, high)) in enumerate(cases.items()):
        rng = np.random.default_rng([6, place])
        question: Question = "replace" if "not worse" in counted else "transfer"
        growing = fixed = seeds = 0
        for _ in range(draws):
            whole = draw_scores(own, rng, LOOKS[-1], effects)
            verdict, trained = _grown(whole, question)
            growing += verdict in counted
            seeds += trained
            fixed += verdicts_of([whole], question=question)[0].verdict in counted
        setting = f"looks at 3, 5, 8, 12; {seeds / draws:.1f} seeds in the mean"
        yield Row(name, setting, growing, draws, high=high)
        yield Row(name, "12 seeds at once", fixed, draws, high=high)


def growing(draws: int) -> Checks:
    """The same where each seed asks other queries, 600 of them."""
    world = FOLDS["other queries"]
    cases = {
        "joint equals plain, control far below: helps": (0.0, 0.0, -8 * BORDER),
        "no effect: helps or hurts": EQUAL,
        "effect of 2 SESOI: helps": (2 * BORDER, 0.0, 0.0),
        "effect of 4 SESOI: helps": (4 * BORDER, 0.0, 0.0),
    }
    for place, (name, effects) in enumerate(cases.items()):
        rng = np.random.default_rng([14, place])
        counted = ("helps", "hurts") if effects == EQUAL else ("helps",)
        count = seeds = 0
        for _ in range(draws):
            verdict, trained = _grown(draw_scores(world, rng, LOOKS[-1], effects), "transfer")
            count += verdict in counted
            seeds += trained
        high = {0: 0.025, 1: 0.05}.get(place)
        setting = f"other queries for each seed; {seeds / draws:.1f} seeds in the mean"
        yield Row(name, setting, count, draws, high=high)


def _grown(whole: TaskScores, question: Question) -> tuple[str, int]:
    """The verdict of a study that ends as soon as it decides, and its seeds."""
    of_seed = whole.requests if whole.moments.folded else 0
    for seeds in LOOKS:
        asked = slice(seeds * of_seed or None)
        arms = [arm[:seeds, asked] for arm in whole.arms]
        part = TaskScores(arms[0], arms[1], arms[2], whole.clusters[asked])
        verdict = verdicts_of([part], question=question, looks=LOOKS)[0]
        if verdict.verdict != "not enough data":
            return verdict.verdict, seeds
    return "not enough data", LOOKS[-1]


# Is the recommended number of seeds or requests enough?


def plans(draws: int) -> Checks:
    """Studies as large as the power table, and as an undecided study, ask for."""
    for place, world in enumerate((World(requests=3000, own=0.2), World(requests=3000, seed=0.03))):
        rng = np.random.default_rng([7, place])
        for pilot_seeds in (1, 3):
            yield _planted(world, pilot_seeds, draws, rng)
    for place, world in enumerate((World(requests=400), World(requests=2000, seed=0.025))):
        for effect in (0, 2, 4):
            rng = np.random.default_rng([8, place, effect])
            yield _advised(world, effect, draws, rng)


def plans_of_folds(draws: int) -> Checks:
    """Studies as large as an undecided one asks for, where each seed asks other queries."""
    for place, world in enumerate((FOLDS["other queries"], World(folds="queries", seed=0.025))):
        for effect in (0, 2, 4):
            rng = np.random.default_rng([15, place, effect])
            yield _advised(world, effect, draws, rng)


def _planted(world: World, pilot_seeds: int, draws: int, rng: np.random.Generator) -> Row:
    """Effects of 2 SESOI with the seeds for which the table of a pilot says 80 %."""
    right = asked = 0
    for _ in range(draws // 10):
        pilot = draw_scores(world, rng, pilot_seeds, (2 * BORDER, 0.0, 0.0))
        table = power_table(
            pilot.moments,
            world.requests,
            SESOI_SHARE,
            looks=(3, 4, 5, 6, 8, 10, 12, 16, 20, 24),
            times=(1,),
            effects=(2,),
        )
        enough = [row.seeds for row in table if row.helps >= 0.8]
        if not enough:
            continue
        asked += 1
        study = [
            draw_scores(world, rng, enough[0], effects, top=effects)
            for effects in ((2 * BORDER, 0.0, 0.0), EQUAL)
        ]
        right += verdicts_of(study)[0].verdict == "helps"
    setting = f"seeds vary by {100 * world.seed / 1.12:.0f} %, pilot of {pilot_seeds} seeds"
    return Row("2 SESOI with the seeds of the power table: helps", setting, right, asked, 0.8)


def _advised(world: World, effect: int, draws: int, rng: np.random.Generator) -> Row:
    """Undecided studies of three seeds, then new ones as large as these say is needed."""
    effects = (effect * BORDER, 0.0, 0.0)
    kept = told = 0
    for _ in range(draws // 20):
        first = decide({"search": draw_scores(world, rng, 3, effects)})["search"]
        if first.needed is None:
            continue
        seeds = first.needed.seeds or first.needed.together_seeds or 3
        requests = first.needed.requests or first.needed.together_requests or world.requests
        most = 300_000 if world.folds else 6_000_000
        if (seeds, requests) == (3, world.requests) or seeds * requests > most:
            continue
        told += 1
        tasks = [
            draw_scores(replace(world, requests=requests), rng, seeds, own)
            for own in (effects, EQUAL)
        ]
        kept += verdicts_of(tasks)[0].verdict != "not enough data"
    setting = f"{world.requests} requests, 3 seeds undecided; true effect {effect} SESOI"
    return Row("decided as large as advised", setting, kept, told, 0.8)


# Is a table that cannot decide ever decided?


def degenerate(draws: int) -> Checks:
    """Tables without variance, at the ceiling or the floor, of few users, or not numbers."""
    rng = np.random.default_rng(9)
    kinds: dict[str, Callable[[], TaskScores]] = {
        "all arms the same": lambda: _same(rng),
        "at the ceiling": lambda: _hits(rng, 0.999),
        "at the floor": lambda: _hits(rng, 0.0005),
        "two to nineteen users": lambda: replace(
            _hits(rng, 0.3), clusters=np.arange(400) % int(rng.integers(2, 20))
        ),
        "an answer is over half of the catalog": lambda: replace(
            _hits(rng, rng.random()), catalog=int(rng.integers(2, 60))
        ),
        "not a number": lambda: replace(_hits(rng, 0.3), joint=np.full((3, 400), np.nan)),
        "one seed": lambda: draw_scores(World(), rng, 1, (1.0, 0.0, 0.0)),
    }
    for name, make in kinds.items():
        count = sum(verdicts_of([make()])[0].verdict != "not enough data" for _ in range(draws))
        yield Row("any verdict", name, count, draws, high=0.0)


def _hits(rng: np.random.Generator, share: float) -> TaskScores:
    joint, plain, control = ((rng.random((3, 400)) < share).astype(np.float64) for _ in range(3))
    return TaskScores(joint, plain, control, np.arange(400))


def _same(rng: np.random.Generator) -> TaskScores:
    arm: Floats = np.repeat((rng.random((1, 400)) < 0.3).astype(np.float64), 3, axis=0)
    return TaskScores(arm, arm, arm, np.arange(400))


CHECKS: dict[str, tuple[str, Callable[[int], Checks]]] = {
    "coverage": ("Do the intervals cover?", coverage),
    "folds": ("Coverage if each seed has another fold", folds),
    "gained": ("What do folds gain?", gained),
    "errors": ("How often does a verdict report an effect that does not exist?", errors),
    "borders": ("How often is a verdict false at the boundary of its hypothesis?", borders),
    "ranks": ("Are opposite effects at the first ranks and at later ones reported?", ranks),
    "looks": ("What do interim looks cost?", looks),
    "growing": ("What do interim looks cost if seeds have folds?", growing),
    "plans": ("Is the recommended number of seeds or requests enough?", plans),
    "plans_of_folds": ("Is it enough where seeds have folds?", plans_of_folds),
    "degenerate": ("Do tables that cannot decide ever decide?", degenerate),
}


def table_of(title: str, rows: Sequence[Row]) -> Table:
    """The rows of one check as a table of the page."""
    columns = [
        Column(key="check", title="what"),
        Column(key="setting", title="where"),
        Column(key="share", title="share", format=".3f"),
        Column(key="of", title="of"),
        Column(key="target", title="target"),
        Column(key="met", title="met"),
    ]
    cells = [
        {
            "check": row.check,
            "setting": row.setting,
            "share": row.share if row.of else None,
            "of": row.of,
            "target": row.target,
            "met": row.met if row.of else "",
        }
        for row in rows
    ]
    return Table(title=title, columns=columns, rows=cells)


def main() -> None:
    """Run the checks, print their tables, write calibration.json."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--draws", type=int, default=2000)
    parser.add_argument("--only", default=",".join(CHECKS))
    add_publish_option(parser)
    arguments = parser.parse_args()
    tables, start = [], time.monotonic()
    for name in arguments.only.split(","):
        title, check = CHECKS[name]
        tables.append(table_of(title, list(check(arguments.draws))))
        print("\n".join(render_table(tables[-1])), flush=True)
    arguments.out.mkdir(parents=True, exist_ok=True)
    result = {
        "draws": arguments.draws,
        "tables": [table.model_dump() for table in tables],
        "seconds": time.monotonic() - start,
        "versions": artifact.versions(),
    }
    (arguments.out / "calibration.json").write_text(json.dumps(result, indent=2), encoding="utf-8")
    print(f"{result['seconds']:.0f} s")
    if arguments.publish:
        protocol = (
            "simulated scores (benchmarks/simulated_scores.py), the verdict as a study gives it; "
            "square brackets: Clopper and Pearson, 95 %"
        )
        seeds = f"{arguments.draws:,} studies for each row, or the number in its column"
        title = "Made scores with a known truth"
        run = describe_run(arguments.publish, title, tables, seeds=seeds, protocol=protocol)
        publish_run("calibration", run)


if __name__ == "__main__":
    main()
