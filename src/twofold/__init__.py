"""One generative model for search and recommendation, and a study of joint training.

import twofold

dataset = twofold.load_dataset("folder")
model = twofold.train(dataset, arm="joint", out="MODEL")
model.search("slow space opera", k=10)
model.recommend(["1", "260"], k=10)
study = twofold.study(dataset, seeds=3, out="DIR")
study.verdicts["search"]
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from twofold.evaluation.measures import Measure
    from twofold.records import InputError, Ranking, Request, Run
    from twofold.retrieval.generative import GenerativeRetriever, load_model
    from twofold.studies.study import study
    from twofold.tasks.evaluate import evaluate
    from twofold.tasks.storage import load_dataset
    from twofold.training.config import resolve_config
    from twofold.training.train import train

_HOMES = {
    "GenerativeRetriever": "retrieval.generative",
    "InputError": "records",
    "Measure": "evaluation.measures",
    "Ranking": "records",
    "Request": "records",
    "Run": "records",
    "evaluate": "tasks.evaluate",
    "load_dataset": "tasks.storage",
    "load_model": "retrieval.generative",
    "resolve_config": "training.config",
    "study": "studies.study",
    "train": "training.train",
}

__all__ = [
    "GenerativeRetriever",
    "InputError",
    "Measure",
    "Ranking",
    "Request",
    "Run",
    "evaluate",
    "load_dataset",
    "load_model",
    "resolve_config",
    "study",
    "train",
]


def __getattr__(name: str) -> object:
    """Import a public name on first use, so that `import twofold` does not import torch."""
    if name not in _HOMES:
        raise AttributeError(f"module 'twofold' has no attribute '{name}'")
    try:
        return getattr(importlib.import_module(f"twofold.{_HOMES[name]}"), name)
    except ModuleNotFoundError as error:
        from twofold.extras import missing_extra

        raise missing_extra(error, f"twofold.{name}") or error from error


def __dir__() -> list[str]:
    return sorted(__all__)
