"""Every source keeps the contract of `twofold.testing`."""

from pathlib import Path

import pytest

from tests.conftest import INTERACTIONS, ITEMS, QRELS, QUERIES
from twofold.data.simulators.simulate import SIMULATORS
from twofold.tasks.storage import load_dataset, save_dataset
from twofold.testing import SourceContract


def _write_tables(folder: Path) -> None:
    (folder / "items.csv").write_text(ITEMS)
    (folder / "interactions.csv").write_text(INTERACTIONS)
    (folder / "queries.csv").write_text(QUERIES)


class TestFourTables(SourceContract):
    def source(self, folder: Path) -> Path:
        _write_tables(folder)
        (folder / "qrels.csv").write_text(QRELS)
        return folder


class TestInteractionsAlone(SourceContract):
    tasks = ("recommendation",)

    def source(self, folder: Path) -> Path:
        (folder / "items.csv").write_text(ITEMS)
        (folder / "interactions.csv").write_text(INTERACTIONS)
        return folder


class TestBeir(SourceContract):
    def source(self, folder: Path) -> Path:
        _write_tables(folder)
        (folder / "queries.csv").write_text("_id,text\nq1,first\nq2,last\nq3,vowel\n")
        (folder / "qrels").mkdir()
        for name, query in (("train", "q1"), ("dev", "q2"), ("test", "q3")):
            text = f"query-id\tcorpus-id\tscore\n{query}\ta\t1\n"
            (folder / "qrels" / f"{name}.tsv").write_text(text)
        return folder


class TestMovieLens(SourceContract):
    def source(self, folder: Path) -> Path:
        (folder / "movies.csv").write_text("movieId,title,genres\n1,Up,x\n2,Alien,y\n3,Heat,z\n")
        rows = "".join(f"{u},{m},4,{10 * u + m}\n" for u in (1, 2, 3) for m in (1, 2, 3))
        (folder / "ratings.csv").write_text(f"userId,movieId,rating,timestamp\n{rows}")
        words = ("space", "house", "car", "love", "war", "heist", "dog", "sea", "ice", "gold")
        tags = "".join(f"{u},{1 + n % 3},{w},5\n" for n, w in enumerate(words) for u in (1, 2))
        (folder / "tags.csv").write_text(f"userId,movieId,tag,timestamp\n{tags}")
        return folder


class TestPreparedFolder(SourceContract):
    def source(self, folder: Path) -> Path:
        save_dataset(load_dataset("simulate:taste:users=40"), folder / "prepared")
        return folder / "prepared"


SMALL = {
    "catalog": "catalog:films=60,users=80,queries=120",
    "popularity": "popularity:tests=500",
    "latent-search-helps": "latent-search-helps:groups=5",
    "latent-recommendation-helps": "latent-recommendation-helps:groups=5",
    "mixed": "mixed:items=60,users=80,queries=80,tests=80",
    "taste": "taste:users=40",
}


class TestSimulators(SourceContract):
    @pytest.fixture(params=SIMULATORS, autouse=True)
    def world(self, request: pytest.FixtureRequest) -> None:
        self.name = request.param

    def source(self, folder: Path) -> str:
        del folder
        return f"simulate:{SMALL[self.name]}"
