"""What the joint model reaches when items have other names: semantic IDs, made in every way."""

from collections.abc import Sequence
from typing import Any

from twofold.evaluation.measures import PRIMARY
from twofold.evaluation.significance import difference
from twofold.records import TASKS
from twofold.studies.results import Results, describe_difference
from twofold.training.arm import Arm


def semantic_id_effects(results: Results, arms: Sequence[Arm]) -> dict[str, Any]:
    """By arm: how its identifiers were made, and what it finds more or less than `joint`.

    Their means stand with those of all arms.
    """
    measure = str(PRIMARY)
    found = {}
    for arm in (arm for arm in arms if arm.settings):
        made = results.stamps[arm.name][0].identifiers
        reports = [report for report in made.values() if isinstance(report, dict)]
        found[arm.name] = {
            "embeddings": made["embeddings"],
            "space": made["space"],
            "codebook_sizes": [[level["size"] for level in report["levels"]] for report in reports],
            "collisions": [report["collisions"] for report in reports],
            "minus_joint": {
                task: describe_difference(
                    difference(
                        results.matrix(arm.name, task, measure),
                        results.matrix("joint", task, measure),
                        results.clusters(task),
                    )
                )
                for task in TASKS
            },
        }
    return found
