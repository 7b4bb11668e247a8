"""Fit the baselines of a study, and score them on the full catalog."""

import logging
from collections.abc import Iterable

from twofold import artifact
from twofold.baselines.selection import Baseline
from twofold.records import InputError
from twofold.studies.folder import StudyFolder
from twofold.tasks.evaluate import evaluate, save_evaluation
from twofold.tasks.prepared import PreparedDataset

_log = logging.getLogger(__name__)


def run_baselines(
    dataset: PreparedDataset, folder: StudyFolder, baselines: Iterable[Baseline], seed: int = 0
) -> None:
    """Evaluate baselines. A baseline that the data do not allow is left out with a log line.

    Args:
        dataset: the fold of a seed.
        folder: the folder of the evaluations; finished ones are not computed again.
        baselines: the baselines.
        seed: the seed.
    """
    for baseline in baselines:
        out = folder.baseline(baseline.task, baseline.name, seed)
        if artifact.is_complete(out):
            continue
        try:
            chosen = baseline.make()
        except InputError as reason:  # such as missing item texts
            _log.info("without %s: %s", baseline.name, reason)
            continue
        stamp = {
            "retriever": chosen.retriever.name,
            "data": dataset.digest,
            "settings": dict(chosen.settings),
            "candidates": chosen.candidates,
        }
        save_evaluation(evaluate(chosen.retriever, dataset, [baseline.task]), out, stamp)
