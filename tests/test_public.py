"""The package as a whole: its public names, and what its parts may load."""

import importlib
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import twofold


def test_every_module_imports_and_every_public_name_resolves() -> None:
    for module in pkgutil.walk_packages(twofold.__path__, "twofold."):
        importlib.import_module(module.name)
    assert len(twofold.__all__) <= 12
    for name in twofold.__all__:
        assert getattr(twofold, name) is not None
    assert dir(twofold) == sorted(twofold.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = twofold.nothing


@pytest.mark.parametrize(
    "module",
    [
        "twofold",
        "twofold.cli",
        "twofold.data.sources",
        "twofold.tasks.evaluate",
        "twofold.evaluation.runs",
        "twofold.studies.pages.report",
        "twofold.studies.verdict",
    ],
)
def test_light_parts_load_no_torch(module: str) -> None:
    code = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_every_public_name_does_its_job(tmp_path: Path) -> None:
    dataset = twofold.load_dataset("simulate:catalog:films=60,users=80,queries=120")
    config = twofold.resolve_config(
        "quick", backbone="decoder:tiny", max_steps=6, text_vocab_size=300
    )
    model = twofold.train(dataset, arm="joint", out=tmp_path / "model", config=config)
    request = twofold.Request("r", query="dark western film")
    run = model.retrieve([request], 5)
    assert isinstance(run, twofold.Run)
    assert len(run["r"]) == 5
    assert len(twofold.load_model(tmp_path / "model").recommend(["film-1"], k=3)) == 3
    evaluation = twofold.evaluate(model, dataset, measures=[twofold.Measure.parse("Recall@30")])
    assert set(evaluation.means()) == {"search", "recommendation"}
    with pytest.raises(twofold.InputError):
        twofold.load_dataset(tmp_path / "nowhere")
    study = twofold.study(dataset, out=tmp_path / "study", seeds=1, config=config, tune=0)
    assert study.verdicts["search"].provisional
    for shown in (dataset, model, run, evaluation, study):  # as a notebook prints them
        assert len(repr(shown)) < 2000
