"""Small datasets that the tests share. Nothing here loads torch: tests/README.md says why."""

import os
from collections.abc import Callable
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"  # before transformers reads it: no test asks the network
os.environ["OMP_NUM_THREADS"] = "1"  # before torch reads it: processes must not share a core

import hypothesis
import pytest

from twofold.data.formats import Table
from twofold.data.simulators.catalog import catalog as simulated_catalog
from twofold.data.validation import validate
from twofold.tasks.prepared import PreparedDataset
from twofold.tasks.split import split_dataset
from twofold.tasks.storage import save_dataset

# A test says what is right, not how fast it is on a machine that others use.
hypothesis.settings.register_profile(
    "untimed",
    hypothesis.settings(),  # in CI, those of CI
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("untimed")

pytest_plugins = ["tests.fixtures.models", "tests.fixtures.encoders"]

WriteFolder = Callable[..., Path]

ITEMS = "item_id,title,genre\na,Alpha,x\nb,Beta,y\nc,,x\nd,Delta,\ne,Epsilon,y\n"
INTERACTIONS = "user_id,item_id,timestamp\n" + "".join(
    f"{user},{item},{time}\n"
    for user, items in (("u1", "abcd"), ("u2", "bcde"), ("u3", "edcb"), ("u4", "ab"))
    for time, item in enumerate(items, start=100)
)
QUERIES = "query_id,text,split\nq1,first letter,train\nq2,last letters,validation\nq3,vowel,test\n"
QRELS = "query_id,item_id,relevance\nq1,a,1\nq2,e,2\nq3,a,1\nq3,e,1\n"


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Cached embeddings and downloads are not those of the user, nor of an earlier test run."""
    os.environ["TWOFOLD_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture
def write_folder(tmp_path: Path) -> WriteFolder:
    """Write a dataset folder of CSV files; a table given as None is left out."""

    def write(name: str = "data", **changes: str | None) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        whole = {
            "items": ITEMS,
            "interactions": INTERACTIONS,
            "queries": QUERIES,
            "qrels": QRELS,
        }
        for table, text in {**whole, **changes}.items():
            if text is not None:
                (folder / f"{table}.csv").write_text(text, encoding="utf-8")
        return folder

    return write


@pytest.fixture(scope="session")
def catalog() -> PreparedDataset:
    """A small film catalog with both tasks."""
    frames = simulated_catalog(films=60, users=80, queries=120)
    tables = {name: [Table(Path(f"{name}.csv"), rows)] for name, rows in frames.items()}
    return split_dataset(validate(tables), "simulate:catalog")


@pytest.fixture(scope="session")
def prepared(catalog: PreparedDataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the small film catalog, which no test changes."""
    folder = tmp_path_factory.mktemp("prepared") / "dataset"
    save_dataset(catalog, folder)
    return folder
