"""The plan of a study: what its numbers rest on."""

import pickle
from dataclasses import fields

from twofold.studies.planning.config import StudyConfig
from twofold.studies.planning.plan import StudyPlan
from twofold.studies.planning.resolve import resolve
from twofold.studies.result import StudyStamp
from twofold.tasks.prepared import PreparedDataset
from twofold.training.config import resolve_config


def test_a_plan_is_a_resolved_config_and_what_its_numbers_rest_on(catalog: PreparedDataset) -> None:
    config = resolve(StudyConfig(budget="quick", interventions=("caps",), tune=3))
    plan = StudyPlan.of(config, catalog, resolve_config("quick"), "cpu", threads=2)
    assert (plan.tune, plan.folds, plan.interventions) == (3, "auto", ("caps",))
    assert (plan.data, plan.device, plan.threads) == (catalog.digest, "cpu", 2)
    assert plan.training == resolve_config("quick").model_dump()
    assert pickle.loads(pickle.dumps(plan)) == plan, "workers get it"


def test_every_field_of_a_plan_is_described_in_study_json() -> None:
    assert {field.name for field in fields(StudyPlan)} <= set(StudyStamp.model_fields)
