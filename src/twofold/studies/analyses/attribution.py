"""How much of a gain goes with popularity (H1) and how much with content (H2).

The four cells of the 2 x 2 are means of one task under joint training with the other one *real*,
*shuffled* (popularity without content), *flattened* (pairs without popularity) and *noise*
(neither). What the real one gains over noise is shared between the two factors by their Shapley
values: each factor's effect, averaged over the other one being there and not.
"""

from collections.abc import Mapping
from typing import Any, Literal

from twofold.evaluation.measures import PRIMARY
from twofold.evaluation.significance import Estimate, contrast, difference
from twofold.records import TASKS, Floats, Ints, Task, other_task
from twofold.studies.interventions import CAPS, TWO_BY_TWO, Intervention
from twofold.studies.results import Results, describe, describe_difference

CELLS = ("real", "shuffled", "flattened", "noise")

_WEIGHTS: dict[str, tuple[float, float, float, float]] = {
    "gain": (1.0, 0.0, 0.0, -1.0),
    "popularity": (0.5, 0.5, -0.5, -0.5),
    "content": (0.5, -0.5, 0.5, -0.5),
    "popularity_minus_content": (0.0, 1.0, -1.0, 0.0),
    "interaction": (1.0, -1.0, -1.0, 1.0),
}
"""Of the cells, in their order, in each quantity. `popularity` and `content` sum to `gain`."""

Finding = Literal["popularity", "content", "both", "cannot be told apart", "no gain"]


def attribution(results: Results) -> dict[str, Any]:
    """By helped task: the parts of what the added one brings, and what shuffling it did."""
    found: dict[str, Any] = {}
    measure = str(PRIMARY)
    for task in TASKS:
        added = other_task(task)
        names = {"real": "joint"} | {
            kind: Intervention(kind, added).arm.name for kind in TWO_BY_TWO
        }
        cells = {cell: results.matrix(names[cell], task, measure) for cell in CELLS}
        plain = results.matrix(task, task, measure)
        shuffled = results.stamps[names["shuffled"]]
        found[task] = {
            "added": added,
            **attribute(cells, plain, results.clusters(task)),
            "still_improving": [cell for cell in CELLS if results.is_still_improving(names[cell])],
            "shuffling": {
                key: max((stamp.intervention or {})[key] for stamp in shuffled)
                for key in ("kl_before_after", "targets_renamed")
            },
        }
    return found


def cap_effects(results: Results) -> dict[str, Any]:
    """By helped task, one entry a cap: what joint gains under it and under its control.

    A cap that takes no target away has no arms, and stands with null in their place.
    """
    return {
        task: {
            "added": other_task(task),
            "targets": results.stamps["joint"][0].targets[other_task(task)],
            "caps": [_cap(results, task, cap) for cap in CAPS],
        }
        for task in TASKS
    }


def _cap(results: Results, task: Task, cap: int) -> dict[str, Any]:
    added, measure, clusters = other_task(task), str(PRIMARY), results.clusters(task)
    capped, control = (
        Intervention("capped", added, cap).arm,
        Intervention("size-matched", added, cap).arm,
    )
    if capped.name not in results.arm_names:
        return {"cap": cap, "targets": None, "capped": None, "size_matched": None, "effects": None}
    plain, joint = results.matrix(task, task, measure), results.matrix("joint", task, measure)
    under, matched = (results.matrix(arm.name, task, measure) for arm in (capped, control))
    pairs = {
        "capped_minus_plain": (under, plain),
        "size_matched_minus_plain": (matched, plain),
        "capped_minus_joint": (under, joint),
        "capped_minus_size_matched": (under, matched),
    }
    return {
        "cap": cap,
        "targets": results.stamps[capped.name][0].targets[added],
        "capped": describe(under, clusters),
        "size_matched": describe(matched, clusters),
        "effects": {
            name: describe_difference(difference(*pair, clusters)) for name, pair in pairs.items()
        },
    }


def attribute(cells: Mapping[str, Floats], plain: Floats, clusters: Ints) -> dict[str, Any]:
    """The parts of the gain, with 95 % intervals, and what they say.

    Args:
        cells: scores (S, R) of each of `CELLS`.
        plain: (S, R), of the plain arm, for what noise alone does.
        clusters: (R,).

    Returns:
        each quantity of the module's table and `noise_minus_plain`, as difference and interval;
        `shares` of the two parts where the gain's interval excludes 0; the `finding`.
    """
    parts = {
        name: contrast([(w, cells[c]) for w, c in zip(weights, CELLS, strict=True) if w], clusters)
        for name, weights in _WEIGHTS.items()
    }
    noise = contrast([(1.0, cells["noise"]), (-1.0, plain)], clusters)
    shares = None
    if _excludes_zero(parts["gain"]):
        shares = {
            name: parts[name].value / parts["gain"].value for name in ("popularity", "content")
        }
    return {
        "means": {name: float(cells[name].mean()) for name in CELLS},
        **{name: describe_difference(estimate) for name, estimate in parts.items()},
        "noise_minus_plain": describe_difference(noise),
        "shares": shares,
        "finding": _finding(parts),
    }


def _finding(parts: Mapping[str, Estimate]) -> Finding:
    """The larger part, where the two differ; both, where each is there; else it is open."""
    if not _excludes_zero(parts["gain"]):
        return "no gain"
    popularity, content = parts["popularity"], parts["content"]
    if _excludes_zero(parts["popularity_minus_content"]):
        return "popularity" if abs(popularity.value) > abs(content.value) else "content"
    if _excludes_zero(popularity) and _excludes_zero(content):
        return "both"
    return "cannot be told apart"


def _excludes_zero(estimate: Estimate) -> bool:
    low, high = estimate.interval()
    return low > 0 or high < 0
