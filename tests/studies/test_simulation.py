"""Sweeps over simulated worlds, small ones."""

import json
from pathlib import Path

import numpy as np
import pytest

from twofold import artifact
from twofold.records import InputError
from twofold.studies.simulation import WORLDS, World, simulate_study, slope
from twofold.training.config import TrainingConfig

SMALL = {
    "popularity": "simulate:popularity:items=100,targets=60,tests=200",
    "latent-search-helps": "simulate:latent-search-helps:groups=4",
    "latent-recommendation-helps": "simulate:latent-recommendation-helps:groups=4",
}


@pytest.mark.parametrize("name", SMALL)
def test_a_sweep_writes_its_numbers_and_its_page(
    name: str, quick_config: TrainingConfig, tmp_path: Path
) -> None:
    world = WORLDS[name]
    small = World(SMALL[name], world.parameter, (0.0, 1.0), world.helped, world.mechanism)
    config = quick_config.model_copy(update={"max_steps": 10, "text_vocab_size": 300})
    found = simulate_study(small, out=tmp_path / "out", seeds=1, config=config, threads=1)
    written = json.loads((tmp_path / "out" / "simulation.json").read_text())
    assert written == json.loads(json.dumps(found))
    assert [point["level"] for point in found["points"]] == list(small.levels)
    for point in found["points"]:
        assert len(point["mechanism"]["joint"]) == 1
        assert np.isfinite(point["mechanism"]["joint"]).all()
    page = (tmp_path / "out" / "report.html").read_text()
    assert f"help {world.helped} in a simulated world?" in page
    assert artifact.load(tmp_path / "out", "simulation")["config"]["seeds"] == 1
    with pytest.raises(InputError, match="holds a study already; add --resume"):
        simulate_study(small, out=tmp_path / "out", seeds=1, config=config)
    again = simulate_study(
        small, out=tmp_path / "out", seeds=1, config=config, threads=1, resume=True
    )
    assert again["points"] == found["points"]


def test_an_unknown_world_names_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"simulate-study 'chess': no such world; choose one of popularity"
    ):
        simulate_study("chess", out=tmp_path / "out")


def test_levels_are_written_into_the_source() -> None:
    assert WORLDS["popularity"].at(0.5, 1) == "simulate:popularity:kl=0.5,seed=1"
    assert WORLDS["popularity-search"].at(2.0, 0) == "simulate:popularity:helped=search,kl=2,seed=0"


def test_the_slope_is_that_of_a_line() -> None:
    levels = [0.0, 1.0, 3.0]
    gains = np.array([[2.0, 1.0, -1.0], [2.1, 1.1, -0.9], [2.0, 0.9, -1.3]])
    found = slope(levels, gains)
    assert found["slope"] == pytest.approx(np.mean([-1.0, -1.0, -1.1]))
    assert found["interval"][0] < found["slope"] < found["interval"][1] < 0
    assert slope(levels, gains[:1])["interval"] is None
