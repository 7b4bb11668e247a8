"""Real files, as published: `TWOFOLD_TEST_DATA` names the folder that holds them.

They are not part of the project, so these tests are skipped where the variable is not set. Its
folder has `ml-latest-small` as GroupLens publishes it, and `ml-small-joint`, the same films with
queries as four tables (docs/results/data.md).
"""

import csv
import os
from collections import Counter
from pathlib import Path

import polars as pl
import pytest

from tests.contracts.test_layouts import json_lines
from twofold.data.dataset import Dataset
from twofold.data.sources import read_source
from twofold.data.words import query_key
from twofold.tasks.storage import load_dataset
from twofold.testing import SourceContract

GIVEN = os.environ.get("TWOFOLD_TEST_DATA", "")


def _folder(name: str) -> Path:
    """A folder of real data, or a skip that says how to give it."""
    if not GIVEN:
        pytest.skip("real data are not here: TWOFOLD_TEST_DATA names no folder")
    if not (folder := Path(GIVEN) / name).is_dir():
        pytest.skip(f"real data are not here: {folder} is not there")
    return folder


class TestMovieLensLatestSmall(SourceContract):
    def source(self, _folder_to_write: Path) -> Path:
        return _folder("ml-latest-small")


class TestFourTables(SourceContract):
    def source(self, _folder_to_write: Path) -> Path:
        return _folder("ml-small-joint")


def test_every_rating_and_tag_of_movielens_is_read() -> None:
    folder = _folder("ml-latest-small")
    with (folder / "ratings.csv").open(encoding="utf-8", newline="") as file:
        ratings = [(r["userId"], r["movieId"], float(r["timestamp"])) for r in csv.DictReader(file)]
    with (folder / "movies.csv").open(encoding="utf-8", newline="") as file:
        movies = {row["movieId"]: row["title"] for row in csv.DictReader(file)}
    with (folder / "tags.csv").open(encoding="utf-8", newline="") as file:
        tags = {(row["userId"], query_key(row["tag"])) for row in csv.DictReader(file)}
    dataset = read_source(folder)
    assert dataset.interactions.rows() == ratings
    titles = dict(dataset.catalog.items.select("item_id", "title").iter_rows())
    assert titles == movies
    users = Counter(key for _, key in tags)
    assert sorted(map(query_key, dataset.queries["text"])) == sorted(
        key for key, count in users.items() if count > 1
    )


def test_the_same_data_are_the_same_in_every_layout(tmp_path: Path) -> None:
    folder = _folder("ml-small-joint")
    plain = read_source(folder)
    assert _same(read_source(_as_recbole(plain, tmp_path / "recbole")), plain, "interactions")
    beir = read_source(_as_beir(plain, tmp_path / "beir"))
    assert _same(beir, plain, "queries")
    assert beir.qrels.sort("query_id", "item_id").equals(plain.qrels.sort("query_id", "item_id"))
    frames = {
        name: pl.read_csv(folder / f"{name}.csv", infer_schema=False)
        for name in ("items", "interactions", "queries", "qrels")
    }
    assert load_dataset(frames).digest == load_dataset(folder).digest


def _same(dataset: Dataset, other: Dataset, name: str) -> bool:
    columns = ["query_id", "text", "split"] if name == "queries" else ["user_id", "item_id"]
    mine, theirs = (getattr(each, name).select(columns) for each in (dataset, other))
    return bool(mine.equals(theirs))


def _as_recbole(dataset: Dataset, folder: Path) -> Path:
    """The events and titles in RecBole's files."""
    folder.mkdir()
    header = "user_id:token\titem_id:token\ttimestamp:float\n"
    rows = "".join(f"{u}\t{i}\t{t:.0f}\n" for u, i, t in dataset.interactions.iter_rows())
    (folder / "films.inter").write_text(header + rows)
    items = dataset.catalog.items.select("item_id", "title").iter_rows()
    titles = "".join(f"{item_id}\t{title}\n" for item_id, title in items)
    (folder / "films.item").write_text("item_id:token\tmovie_title:token_seq\n" + titles)
    return folder


def _as_beir(dataset: Dataset, folder: Path) -> Path:
    """The items, queries and judgments in BEIR's files."""
    (folder / "qrels").mkdir(parents=True)
    items = dataset.catalog.items.select("item_id", "title").iter_rows()
    corpus = [{"_id": item_id, "title": title, "text": ""} for item_id, title in items]
    (folder / "corpus.jsonl").write_text(json_lines(*corpus), encoding="utf-8")
    rows = dataset.queries.select("query_id", "text").iter_rows()
    queries = [{"_id": query_id, "text": text} for query_id, text in rows]
    (folder / "queries.jsonl").write_text(json_lines(*queries), encoding="utf-8")
    judged = dataset.qrels.join(dataset.queries.select("query_id", "split"), on="query_id")
    for (split,), part in judged.group_by("split"):
        name = {"validation": "dev"}.get(str(split), str(split))
        lines = "".join(f"{q}\t{i}\t{r}\n" for q, i, r, _ in part.iter_rows())
        (folder / "qrels" / f"{name}.tsv").write_text("query-id\tcorpus-id\tscore\n" + lines)
    return folder
