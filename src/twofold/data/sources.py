"""A SOURCE, as users name it, to a validated dataset.

A source is a folder of tables, a raw MovieLens folder, the name of a known dataset
(`ml-latest-small`, ...), or `simulate:NAME`.
"""

from pathlib import Path

import polars as pl

from twofold.data.dataset import Dataset, validate
from twofold.data.download import fetch
from twofold.data.formats import SUFFIXES, Table, find_table, read_table
from twofold.data.layouts import movielens
from twofold.data.simulators import simulate
from twofold.records import InputError

TABLES = ("items", "interactions", "queries", "qrels")
_BEIR_SPLITS = {"train": "train", "dev": "validation", "validation": "validation", "test": "test"}


def read_source(source: str | Path) -> Dataset:
    """Read and validate whatever `source` names.

    Raises:
        InputError: it names nothing that can be read, or a row is wrong.
    """
    name = str(source)
    if name.startswith("simulate:"):
        return validate(simulate.tables(name.removeprefix("simulate:")))
    folder = Path(source)
    if not folder.exists() and name in movielens.ARCHIVES:
        folder = fetch(movielens.ARCHIVES[name])
    if not folder.is_dir():
        known = ", ".join([*movielens.ARCHIVES, *(f"simulate:{n}" for n in simulate.SIMULATORS)])
        raise InputError(f"{name}: no such folder, and none of the known sources {known}")
    if movielens.is_raw_folder(folder):
        return validate(movielens.tables(folder))
    return validate(_folder_tables(folder))


def _folder_tables(folder: Path) -> dict[str, list[Table]]:
    paths = {name: find_table(folder, name) for name in TABLES}
    tables = {name: [read_table(path)] for name, path in paths.items() if path}
    if not tables and not (folder / "qrels").is_dir():
        raise InputError(
            f"{folder}: is no dataset; it needs items and interactions or queries with qrels, "
            f"each as {', '.join(SUFFIXES)}"
        )
    if "qrels" not in tables and "queries" in tables:
        tables = _with_beir_qrels(folder, tables)
    for first, second in (("queries", "qrels"), ("qrels", "queries")):
        if first in tables and second not in tables:
            raise InputError(
                f"{folder}: has {first} but no table {second}; add {second}.csv, "
                f"or remove {first} to study recommendation alone"
            )
    if "items" not in tables:
        raise InputError(
            f"{folder}: no table items; add items.csv with the columns item_id and title"
        )
    if len(tables) == 1:
        raise InputError(
            f"{folder}: has items only; add interactions.csv, or queries.csv with qrels.csv"
        )
    return tables


def _with_beir_qrels(folder: Path, tables: dict[str, list[Table]]) -> dict[str, list[Table]]:
    """BEIR keeps qrels/train.tsv, dev.tsv and test.tsv: the file's name is the query's split."""
    paths = sorted((folder / "qrels").glob("*.tsv"))
    if not paths:
        return tables
    names = {"query-id": "query_id", "corpus-id": "item_id", "score": "relevance"}
    read = [read_table(path) for path in paths]
    qrels = [Table(table.path, table.rows.rename(names, strict=False)) for table in read]
    for table in qrels:
        table.require_columns("query_id", "item_id")
    given = tables["queries"][0]
    queries = Table(given.path, given.rows.rename({"_id": "query_id"}, strict=False))
    queries.require_columns("query_id")
    if "split" not in queries.rows.columns:
        of_query = pl.concat(
            table.rows.select(
                "query_id", split=pl.lit(_BEIR_SPLITS.get(table.path.stem), pl.String)
            )
            for table in qrels
        ).unique("query_id", keep="first", maintain_order=True)
        joined = queries.rows.join(of_query, on="query_id", how="left", maintain_order="left")
        queries = Table(queries.path, joined)
    return {**tables, "queries": [queries], "qrels": qrels}
