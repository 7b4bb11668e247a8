"""Simulated scores of studies with known effects, on which verdicts are calibrated.

Each request has a latent score in each arm and seed, the sum of

- the level of the arm, chosen so that the mean of the measure has the requested value;
- the difficulty of the request, and the interaction of request and arm, with heavy tails (t with 3
  degrees of freedom) or normal;
- the interaction of user and arm, where users have several requests;
- the effect of the seed on the arm, with a chosen correlation between the arms, and the effect of
  another draw of the training data on all arms alike;
- a residual of arm and seed.

With folds each seed has other requests, either of other queries or of the same users. A part of the
effect of the training data on an arm is the same in all folds; no study can see that part.

The relevant item is retrieved if the sum is above 0, so the primary measure is 0 or 1. It is
retrieved at a first rank if the sum is above a higher threshold: nDCG@10 is then 1, and between the
two thresholds .4.

Nothing here is taken from `twofold.evaluation`, and no noise is normal on the scale of the measure.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np

from twofold.records import Floats, Ints
from twofold.studies.statistics.task_scores import TaskScores

_REFERENCE = 2_000_000
"""Draws of the noise from which levels are computed: the mean of a measure is exact to .0003."""


@dataclass(frozen=True)
class World:
    """The distribution of the scores of one task; standard deviations are on the latent scale.

    Attributes:
        requests: test requests.
        hits: the mean of the plain arm in the primary measure.
        tails: `heavy` or `normal`: of the difficulty and of the interaction of request and arm.
        difficulty, own, left: standard deviations of the difficulty, of the interaction of request
            and arm, and of the residual.
        seed: standard deviation of an arm's level over the seeds.
        joint_times: factor of `seed` in the joint arm.
        correlation: of the seeds' effects on the arms; if negative, it is that of joint and plain,
            and the control is independent.
        data: standard deviation of the effect of the training data on all arms alike.
        users: requests per user: one, ten, or a Zipf distribution.
        user: standard deviation of the interaction of user and arm.
        folds: empty where all seeds have the same requests; else each seed has `requests` of other
            `queries`, or of the same `users`, who account for half of the difficulty.
        data_of_arm: standard deviation of the effect of the training data on one arm.
        shared: the share of this variance that is the same in all seeds.
    """

    requests: int = 600
    hits: float = 0.2
    tails: Literal["heavy", "normal"] = "heavy"
    difficulty: float = 1.5
    own: float = 0.4
    left: float = 0.5
    seed: float = 0.045
    joint_times: float = 1.0
    correlation: float = 0.0
    data: float = 0.0
    users: Literal["single", "ten each", "Zipf"] = "single"
    user: float = 0.0
    folds: Literal["", "queries", "users"] = ""
    data_of_arm: float = 0.0
    shared: float = 0.0

    def clusters(self, seeds: int = 1) -> Ints:
        """(R,), the number of each request's user; with folds of all seeds, side by side."""
        if self.folds == "queries":
            return np.arange(self.requests * seeds)
        if self.folds == "users":
            return np.tile(np.arange(self.requests), seeds)
        if self.users == "single":
            return np.arange(self.requests)
        if self.users == "ten each":
            return np.asarray(np.arange(self.requests) // 10)
        groups = max(20, self.requests // 10)
        sizes = 1 / np.arange(1, groups + 1)
        sizes = np.maximum(1, np.round(self.requests * sizes / sizes.sum())).astype(int)
        return np.repeat(np.arange(groups), sizes)


def _noise(world: World, joint: bool) -> Floats:
    """Sorted draws of the noise of one latent score."""
    seed = world.seed * (world.joint_times if joint else 1.0)
    own = seed**2 + world.data_of_arm**2
    normal = math.sqrt(world.left**2 + own + world.data**2 + world.user**2)
    return _sorted_noise(normal, world.difficulty, world.own, world.tails)


@lru_cache(maxsize=64)
def _sorted_noise(normal: float, difficulty: float, own: float, tails: str) -> Floats:
    rng = np.random.default_rng(0)
    total: Floats = normal * rng.standard_normal(_REFERENCE)
    for deviation in (difficulty, own):
        total += deviation * _tailed(rng, tails, (_REFERENCE,))
    return np.sort(total)


def _tailed(rng: np.random.Generator, tails: str, shape: tuple[int, ...]) -> Floats:
    """Draws of variance 1."""
    normal: Floats = rng.standard_normal(shape, dtype=np.float32).astype(np.float64)
    if tails == "normal":
        return normal
    # t with 3 degrees of freedom has the variance 3.
    squares = sum(rng.standard_normal(shape, dtype=np.float32) ** 2 for _ in range(3))
    return np.asarray(normal / np.sqrt(np.maximum(squares, 1e-6)))


def _level(world: World, mean: float, joint: bool) -> float:
    """The level at which a share `mean` of the latent scores is above 0."""
    noise = _noise(world, joint)
    return -float(noise[min(len(noise) - 1, round((1 - mean) * len(noise)))])


def _seed_effects(world: World, rng: np.random.Generator, seeds: int) -> Floats:
    """What each seed does to each arm, (3, S, 1)."""
    matrix = np.full((3, 3), max(world.correlation, 0.0))
    matrix[0, 1] = matrix[1, 0] = world.correlation
    np.fill_diagonal(matrix, 1.0)
    spread = world.seed * np.array([world.joint_times, 1.0, 1.0])
    effects = np.linalg.cholesky(matrix) @ rng.standard_normal((3, seeds)) * spread[:, None]
    return np.asarray(effects[..., None])


def _data_effects(world: World, rng: np.random.Generator, seeds: int) -> Floats:
    """What the training data do to each arm: in all seeds, and in each, (3, S, 1)."""
    if not world.data_of_arm:
        return np.zeros((3, seeds, 1))
    shared = math.sqrt(world.shared) * rng.standard_normal((3, 1, 1))
    own = math.sqrt(1 - world.shared) * rng.standard_normal((3, seeds, 1))
    return np.asarray(world.data_of_arm * (shared + own))


def _difficulty(world: World, rng: np.random.Generator, clusters: Ints) -> Floats:
    """What makes each request hard in all arms, (R,)."""
    if world.folds != "users":
        return world.difficulty * _tailed(rng, world.tails, (len(clusters),))
    of_user = _tailed(rng, "normal", (clusters.max() + 1,))[clusters]
    of_event = _tailed(rng, "normal", (len(clusters),))
    return np.asarray(world.difficulty * (of_user + of_event) / math.sqrt(2))


def _of_folds(world: World, scores: Floats, seeds: int) -> Floats:
    """Scores (S, R); with folds made of those of each request in its own seed, (1, R)."""
    if not world.folds or seeds == 1:
        return scores
    asked = np.repeat(np.eye(seeds, dtype=bool), world.requests, axis=1)
    return np.where(asked, scores, np.nan)


EARLY = 0.5
"""The share of relevant items that the plain arm finds early."""
LATE_VALUE = 0.4
"""What nDCG@10 is where a relevant item is found late."""


def draw_scores(
    world: World,
    rng: np.random.Generator,
    seeds: int,
    effects: tuple[float, float, float] = (0.0, 0.0, 0.0),
    *,
    top: Sequence[float] | None = None,
) -> TaskScores:
    """One study of one task.

    Args:
        seeds: trained models of each arm.
        effects: how far the mean of joint, plain and control is above `hits`, as a share of it.
        top: how far the share of early answers is above that of the plain arm, as a share of it;
            None leaves nDCG@10 out.
    """
    clusters = world.clusters(seeds)
    size = len(clusters)
    difficulty = _difficulty(world, rng, clusters)
    of_seeds = _seed_effects(world, rng, seeds) + _data_effects(world, rng, seeds)
    data = world.data * rng.standard_normal((seeds, 1))
    # With folds, a request has the effects of its own seed alone: (1, R) in place of (S, R).
    rows = np.repeat(np.arange(seeds), world.requests)[None] if world.folds else None
    arms, tops = [], []
    for arm, effect in enumerate(effects):
        of_arm = of_seeds[arm] + data
        latent = difficulty + world.own * _tailed(rng, world.tails, (size,))
        latent = latent + (of_arm if rows is None else of_arm[rows, 0])
        if world.user:
            latent = latent + (world.user * rng.standard_normal(clusters.max() + 1))[clusters]
        latent = latent + world.left * rng.standard_normal(latent.shape, dtype=np.float32)
        mean = world.hits * (1 + effect)
        found = latent > -_level(world, mean, arm == 0)
        arms.append(_of_folds(world, found.astype(np.float64), seeds))
        if top is not None:
            early = latent > -_level(world, world.hits * EARLY * (1 + top[arm]), arm == 0)
            tops.append(_of_folds(world, np.where(early, 1.0, LATE_VALUE * found), seeds))
    return TaskScores(
        arms[0], arms[1], arms[2], clusters, top=(tops[0], tops[1], tops[2]) if tops else None
    )
