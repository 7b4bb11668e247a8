"""What a study does where its config leaves something open."""

from collections.abc import Sequence
from dataclasses import asdict

from twofold.evaluation.significance import MIN_SEEDS
from twofold.studies.planning.config import ResolvedStudyConfig, StudyConfig
from twofold.studies.statistics.looks import looks_end
from twofold.training.tuning import recipes_to_try


def resolve(
    config: StudyConfig, previous: ResolvedStudyConfig | None = None, looks: Sequence[int] = ()
) -> ResolvedStudyConfig:
    """The config with nothing left open: as in the study that is resumed, or the default.

    Args:
        config: what is asked for.
        previous: that of the study that is resumed; None without one.
        looks: the seeds after which that study had its interim looks, ascending.

    Raises:
        InputError: more seeds than the plan of the looks has, or more recipes than there are.
    """
    seeds = MIN_SEEDS if config.max_seeds else config.seeds
    end = (previous.looks_end or previous.max_seeds) if previous else None
    resolved = {
        **asdict(config),
        "seeds": max(seeds, previous.seeds) if config.max_seeds and previous else seeds,
        "looks_end": looks_end(seeds, config.max_seeds, looks, end),
        "folds": config.folds or (previous.folds if previous else "auto"),
        "margin": config.sesoi_share if config.margin is None else config.margin,
        # With more seeds, a study that is resumed still has its number of recipes.
        "tune": previous.tune
        if config.tune is None and previous
        else recipes_to_try(config.tune, config.budget, seeds),
    }
    return ResolvedStudyConfig(**resolved)
