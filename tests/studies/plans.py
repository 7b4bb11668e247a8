"""Plans of studies that nobody runs."""

from typing import Any

from twofold.studies.planning.plan import StudyPlan

PLAN: dict[str, Any] = {
    "seeds": 2,
    "max_seeds": None,
    "looks_end": None,
    "folds": "auto",
    "budget": "quick",
    "sesoi_share": 0.05,
    "question": "both",
    "text": "both",
    "margin": 0.05,
    "measure": None,
    "interventions": ["2x2"],
    "semantic_ids": False,
    "baselines": False,
    "tune": 2,
    "data": "0" * 64,
    "device": "cpu",
    "threads": 1,
    "training": {"dropout": 0.1, "num_beams": 50, "request_time": False},
}
"""The content of a plan.json."""


def study_plan(**changes: Any) -> StudyPlan:
    """A plan with a few other values."""
    return StudyPlan(**{**PLAN, **changes})
