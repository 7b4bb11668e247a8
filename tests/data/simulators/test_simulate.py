"""`simulate:NAME:key=value,...`: parameters, seeds and mistakes."""

import subprocess
import sys
from pathlib import Path

import pytest

from twofold.data.simulators.simulate import tables
from twofold.data.sources import read_source
from twofold.records import InputError
from twofold.tasks.storage import load_dataset


def test_worlds_are_functions_of_their_seed() -> None:
    one = load_dataset("simulate:latent-search-helps:seed=1,groups=5").digest
    assert load_dataset("simulate:latent-search-helps:seed=1,groups=5").digest == one
    assert load_dataset("simulate:latent-search-helps:seed=2,groups=5").digest != one


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("simulate:popularity:colour=1", "no parameter 'colour'; choose one of kl, helped"),
        ("simulate:popularity:kl=big", "kl='big' is not a number"),
        ("simulate:popularity:helped=both", "helped='both': is recommendation or search"),
        ("simulate:latent-search-helps:rho=2", "rho=2.0: must lie between 0 and 1"),
        ("simulate:taste:strength=2", "strength=2.0: must lie between 0 and 1"),
        ("simulate:catalog:users=-5", "users=-5: must be at least 1"),
        ("simulate:catalog:queries=0", "queries=0: must be at least 1"),
        ("simulate:mixed:seed=-1", "seed=-1: must be at least 0"),
        ("simulate:popularity:items=2", "items=2: must be at least 3"),
        ("simulate:mixed:groups=1", "groups=1: each must be at least 2"),
        ("simulate:catalog:films=29", "films=29: must be at least 30"),
        ("simulate:latent-recommendation-helps:rho=-1", "rho=-1.0: must lie between 0 and 1"),
    ],
)
def test_mistakes_are_named(source: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_source(source)


def test_the_smallest_catalog_has_a_film_for_each_event_of_a_user() -> None:
    assert len(load_dataset("simulate:catalog:films=30,users=40,queries=20").catalog) == 30


def test_tables_name_their_world() -> None:
    made = tables("latent-search-helps:groups=2")
    assert made["items"][0].path == Path("simulate:latent-search-helps:groups=2") / "items.csv"


@pytest.mark.parametrize(
    ("source", "digest"),
    [
        ("catalog:films=60,users=80,queries=120,seed=3", "57dd1b03ce2b4b21"),
        ("popularity:tests=500", "3983026031be793a"),
        ("latent-search-helps:rho=0.5,groups=10,seed=1", "12574012103cddf0"),
        ("latent-recommendation-helps:groups=10", "9e5ff7e38c374aab"),
        ("taste:strength=.5,users=50,seed=2", "1ca09a9458a502dd"),
    ],
)
def test_a_world_stays_the_same_bit_for_bit(source: str, digest: str) -> None:
    """Published figures rest on these worlds; a change of one is a change of its name."""
    assert load_dataset(f"simulate:{source}").digest.startswith(digest)


def test_work_on_a_prepared_folder_loads_no_layout_and_no_simulator() -> None:
    code = "import sys, twofold.tasks.storage\n"
    code += "sys.exit(any('.layouts' in m or '.simulators' in m for m in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
