"""The analyses of a study, one file each, in the order of the report.

To add an analysis, write a file like these and name its `ANALYSIS` in `ANALYSES`.
"""

from typing import Any

from twofold.studies.analyses import (
    attribution,
    caps,
    data,
    effects,
    popularity,
    power,
    representation,
    semantic_ids,
    slices,
    training,
    tuning,
    wins,
)
from twofold.studies.analyses.analysis import Analysis

ANALYSES: tuple[Analysis[Any], ...] = (
    effects.ANALYSIS,
    power.ANALYSIS,
    attribution.ANALYSIS,
    caps.ANALYSIS,
    semantic_ids.ANALYSIS,
    slices.ANALYSIS,
    popularity.ANALYSIS,
    representation.ANALYSIS,
    wins.ANALYSIS,
    tuning.ANALYSIS,
    training.ANALYSIS,
    data.ANALYSIS,
)
