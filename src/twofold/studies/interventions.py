"""Interventions: changes to the added task's training data that show what causes its effect.

A 2 x 2 design tests the two hypotheses of Penha et al. (RecSys 2024). *Shuffled* permutes items of
equal popularity: it keeps popularity and removes content. *Flattened* weights targets so that every
item counts the same: it removes popularity and keeps pairs. *Noise* does both.

Two placebos measure the side effects of the interventions. A shuffled task teaches *wrong* pairs;
*absent* assigns the same targets to random contexts, so popularity is exact and there is no pair to
learn. Weights of any kind reduce the effective sample size; *random-weights* assigns the weights of
*flattened* to random targets, so popularity is unchanged.

The paper's *capped* arms keep few targets of each item, which also removes data. Each cap therefore
has a *size-matched* control that loses the same number of targets at random.
"""

from dataclasses import dataclass, replace
from typing import Any, Literal, TypeVar

import numpy as np
import numpy.typing as npt

from twofold.data.dataset import Catalog
from twofold.records import TASKS, Ints, Task
from twofold.tasks.popularity import kullback_leibler, popularity_distribution
from twofold.tasks.requests import JudgedRequests
from twofold.training.arm import Arm
from twofold.training_examples import Source

T = TypeVar("T", bound=np.generic)
Mask = npt.NDArray[np.bool_]

CAPS = (5, 10, 50, 500)
BLOCK_SHARE = 0.01
"""The largest number of items of a block, as a share of the catalog."""
_BLOCK_RATIO = 0.8
"""The least popular item of a block has at least this share of the most popular one's targets
(both plus one), so that even a steep head keeps its popularity."""

InterventionKind = Literal[
    "shuffled", "flattened", "noise", "absent", "random-weights", "capped", "size-matched"
]
TWO_BY_TWO: tuple[Literal["shuffled", "flattened", "noise"], ...] = (
    "shuffled",
    "flattened",
    "noise",
)
PLACEBOS: tuple[Literal["absent", "random-weights"], ...] = ("absent", "random-weights")


@dataclass(frozen=True, slots=True)
class TaskIntervention:
    """An intervention on one task; it implements `twofold.training.arm.Intervention`.

    Attributes:
        kind: the kind of intervention.
        task: the task whose data are changed: the added one.
        cap: the largest number of targets of an item, for `capped` and its `size-matched` control.
    """

    kind: InterventionKind
    task: Task
    cap: int | None = None

    @property
    def arm(self) -> Arm:
        """The joint arm that is trained with this change."""
        name = "-".join(["joint", self.kind, *([str(self.cap)] if self.cap else []), self.task])
        return Arm(name, TASKS, step_matched=True, intervention=self)

    @property
    def _renames(self) -> bool:
        """Whether items are replaced by others."""
        return self.kind in ("shuffled", "noise")

    def training(self, source: Source, items: int, seed: int) -> Source:
        """The changed examples."""
        counts = target_counts(source, items)
        if self._renames:
            source = renamed(source, popularity_matched_permutation(counts, seed))
        if self.kind in ("flattened", "noise"):
            source = flattened(source, items)
        elif self.kind == "absent":
            source = absent(source, seed)
        elif self.kind == "random-weights":
            source = with_random_weights(source, items, seed)
        if self.cap:
            kept = _under_cap(source, self.cap, seed)
            if self.kind == "size-matched":
                kept = _at_random(len(kept), int(kept.sum()), seed)
            source = _masked(source, kept)
        return source

    def describe(self, source: Source, items: int, seed: int) -> dict[str, Any]:
        """KL(before || after) of the popularity distributions around renaming, the share of targets
        renamed, and the effective sample size: (sum of weights)^2 / sum of squared weights, as a
        share of the targets."""
        before = target_counts(source, items)
        to = popularity_matched_permutation(before, seed) if self._renames else np.arange(items)
        after = np.zeros_like(before)
        after[to] = before
        moved = before[to != np.arange(items)].sum() / max(1, before.sum())
        return {
            "kl_before_after": kullback_leibler(
                popularity_distribution(before), popularity_distribution(after)
            ),
            "targets_renamed": float(moved),
            "effective_targets": effective_targets(self.training(source, items, seed)),
        }

    def validation(
        self, judged: JudgedRequests, source: Source, catalog: Catalog, seed: int
    ) -> JudgedRequests:
        """The requests with the same renaming of items, if the intervention renames items."""
        if not self._renames:
            return judged
        to = popularity_matched_permutation(target_counts(source, len(catalog)), seed)
        item_ids = catalog.item_ids
        return judged.renamed({item_ids[a]: item_ids[b] for a, b in enumerate(to)})


def two_by_two(task: Task) -> list[TaskIntervention]:
    """Shuffled, flattened and noise, and the placebos; the fourth cell is `joint` itself."""
    return [TaskIntervention(kind, task) for kind in (*TWO_BY_TWO, *PLACEBOS)]


def caps(source: Source, task: Task, items: int) -> list[TaskIntervention]:
    """Every cap that removes a target, and its size-matched control."""
    most = target_counts(source, items).max()
    kinds: tuple[InterventionKind, ...] = ("capped", "size-matched")
    return [TaskIntervention(kind, task, cap) for cap in CAPS if cap < most for kind in kinds]


def target_counts(source: Source, items: int) -> Ints:
    """The number of targets of each item, (N,)."""
    return np.bincount(_targets(source), minlength=items)


def popularity_matched_permutation(counts: Ints, seed: int) -> Ints:
    """A permutation of items of about the same popularity, (N,): item n becomes to[n].

    Items are sorted by popularity and divided into blocks of at most `BLOCK_SHARE` of the catalog,
    whose counts are within `_BLOCK_RATIO`; within a block every item is replaced by another one.
    """
    rng = np.random.default_rng([seed, 1])
    order = np.lexsort((rng.random(len(counts)), -counts))
    size = max(2, round(BLOCK_SHARE * len(counts)))
    to = np.arange(len(counts))
    start = 0
    while start < len(order):
        least = _BLOCK_RATIO * (counts[order[start]] + 1)
        end = start + 1
        while end < min(start + size, len(order)) and counts[order[end]] + 1 >= least:
            end += 1
        block = order[start:end]
        to[block] = np.roll(block, 1)
        start = end
    return to


def renamed(source: Source, to: Ints) -> Source:
    """The examples with every item replaced by `to[item]`."""
    examples = [replace(e, history=to[e.history], targets=to[e.targets]) for e in source.examples]
    return replace(source, examples=examples)


def flattened(source: Source, items: int) -> Source:
    """Every item that is a target has the same weight in the loss; the mean weight stays 1."""
    counts = target_counts(source, items)
    scale = counts.sum() / (counts > 0).sum()
    examples = [replace(e, weights=scale / counts[e.targets]) for e in source.examples]
    return replace(source, examples=examples)


def absent(source: Source, seed: int) -> Source:
    """The same targets in random contexts; each context keeps its number of targets."""
    dealt = np.random.default_rng([seed, 4]).permutation(_targets(source))
    by_example = zip(source.examples, _by_example(source, dealt), strict=True)
    return replace(source, examples=[replace(e, targets=targets) for e, targets in by_example])


def with_random_weights(source: Source, items: int, seed: int) -> Source:
    """The weights of `flattened`, assigned to random targets."""
    weights = [e.weights for e in flattened(source, items).examples if e.weights is not None]
    dealt = np.random.default_rng([seed, 5]).permutation(np.concatenate(weights))
    by_example = zip(source.examples, _by_example(source, dealt), strict=True)
    return replace(source, examples=[replace(e, weights=drawn) for e, drawn in by_example])


def effective_targets(source: Source) -> float:
    """The effective sample size: (sum of w)^2 / sum of w^2, as a share of the targets."""
    weights = np.concatenate(
        [np.ones(len(e.targets)) if e.weights is None else e.weights for e in source.examples]
    )
    return float(weights.sum() ** 2 / (weights**2).sum() / len(weights))


def _by_example(source: Source, values: npt.NDArray[T]) -> list[npt.NDArray[T]]:
    """Values of all targets, (T,), split into one array for each example."""
    return np.split(values, np.cumsum([len(e.targets) for e in source.examples])[:-1])


def _targets(source: Source) -> Ints:
    return np.concatenate([example.targets for example in source.examples])


def _under_cap(source: Source, cap: int, seed: int) -> Mask:
    """Which targets are kept, (T,): at most `cap` of each item, drawn at random."""
    targets = _targets(source)
    order = np.lexsort((np.random.default_rng([seed, 2]).random(len(targets)), targets))
    ordered = targets[order]
    rank = np.arange(len(ordered)) - np.searchsorted(ordered, ordered)
    kept = np.empty(len(targets), dtype=bool)
    kept[order] = rank < cap
    return kept


def _at_random(size: int, chosen: int, seed: int) -> Mask:
    """Which of `size` targets are kept: `chosen` of them."""
    kept = np.zeros(size, dtype=bool)
    kept[np.random.default_rng([seed, 3]).choice(size, chosen, replace=False)] = True
    return kept


def _masked(source: Source, kept: Mask) -> Source:
    """The examples with only the kept targets; inputs are unchanged."""
    examples, start = [], 0
    for e in source.examples:
        of_example = kept[start : start + len(e.targets)]
        start += len(e.targets)
        if of_example.any():
            examples.append(e.select_targets(of_example))
    return replace(source, examples=examples)
