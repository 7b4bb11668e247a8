"""Fills in the defaults of a study's config."""

from collections.abc import Sequence
from dataclasses import asdict

from twofold.evaluation.significance import MIN_SEEDS
from twofold.studies.planning.config import ResolvedStudyConfig, StudyConfig
from twofold.studies.statistics.looks import looks_end
from twofold.training.tuning.recipes import recipes_to_try


def resolve(
    config: StudyConfig, previous: ResolvedStudyConfig | None = None, looks: Sequence[int] = ()
) -> ResolvedStudyConfig:
    """The config with all defaults filled in; a resumed study keeps its folds and recipes.

    Args:
        config: as it was given.
        previous: the config of the study that is resumed; None without one.
        looks: the number of seeds at each interim look of that study, ascending.

    Raises:
        InputError: there are more seeds than in the plan of the looks, or more recipes than exist.
    """
    seeds = MIN_SEEDS if config.max_seeds else config.seeds
    end = (previous.looks_end or previous.max_seeds) if previous else None
    chosen = {
        "seeds": max(seeds, previous.seeds) if config.max_seeds and previous else seeds,
        "looks_end": looks_end(seeds, config.max_seeds, looks, end),
        "folds": config.folds or (previous.folds if previous else "auto"),
        "margin": config.sesoi_share if config.margin is None else config.margin,
        # With more seeds, a resumed study keeps its number of recipes.
        "tune": previous.tune
        if config.tune is None and previous
        else recipes_to_try(config.tune, config.budget, seeds),
    }
    return ResolvedStudyConfig(**(asdict(config) | chosen))
