"""Every source: ids are text, references hold, both tasks can be split, nothing depends on luck."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import INTERACTIONS, ITEMS, QRELS, QUERIES
from twofold.tasks.storage import load_dataset


def _folder(base: Path) -> str:
    for name, text in (
        ("items", ITEMS),
        ("interactions", INTERACTIONS),
        ("queries", QUERIES),
        ("qrels", QRELS),
    ):
        (base / f"{name}.csv").write_text(text)
    return str(base)


def _movielens(base: Path) -> str:
    (base / "movies.csv").write_text("movieId,title,genres\n1,Up,x\n2,Alien,y\n3,Heat,z\n")
    rows = "".join(f"{u},{m},4,{10 * u + m}\n" for u in (1, 2, 3) for m in (1, 2, 3))
    (base / "ratings.csv").write_text(f"userId,movieId,rating,timestamp\n{rows}")
    words = ("space", "house", "car", "love", "war", "heist", "dog", "sea", "ice", "gold", "cat")
    tags = "".join(f"{u},{1 + n % 3},{w},5\n" for n, w in enumerate(words) for u in (1, 2))
    (base / "tags.csv").write_text(f"userId,movieId,tag,timestamp\n{tags}")
    return str(base)


SOURCES: dict[str, Callable[[Path], str]] = {
    "folder": _folder,
    "raw MovieLens": _movielens,
    "simulate:catalog": lambda _: "simulate:catalog",
    "simulate:popularity": lambda _: "simulate:popularity:tests=500",
    "simulate:latent-search-helps": lambda _: "simulate:latent-search-helps:groups=5",
    "simulate:latent-recommendation-helps": lambda _: (
        "simulate:latent-recommendation-helps:groups=5"
    ),
}


@pytest.mark.parametrize("name", SOURCES)
def test_a_source_gives_a_sound_dataset(name: str, tmp_path: Path) -> None:
    source = SOURCES[name](tmp_path)
    dataset = load_dataset(source)
    known = set(dataset.catalog.item_ids)
    assert set(dataset.interactions["item_id"]) <= known
    assert set(dataset.qrels["item_id"]) <= known
    assert set(dataset.queries["query_id"]) == set(dataset.qrels["query_id"])
    assert dataset.tasks == ("search", "recommendation")
    assert load_dataset(source).digest == dataset.digest
