"""Relevance judgments as BEIR publishes them: `qrels/train.tsv`, `dev.tsv` and `test.tsv`.

A file's name is the split of its queries. The other tables are those of `four_tables`.
"""

from pathlib import Path

import polars as pl

from twofold.data.formats import Table, find_table, read_table
from twofold.data.layouts.four_tables import read_present, require_enough

_SPLITS = {"train": "train", "dev": "validation", "validation": "validation", "test": "test"}
_COLUMNS = {"query-id": "query_id", "corpus-id": "item_id", "score": "relevance"}


def recognises(folder: Path) -> bool:
    """Whether queries are judged by BEIR's files, and by no table of ours."""
    judged = any((folder / "qrels").glob("*.tsv")) and not find_table(folder, "qrels")
    return judged and find_table(folder, "queries") is not None


def tables(folder: Path) -> dict[str, list[Table]]:
    """The tables of a folder with BEIR's judgments.

    Raises:
        InputError: a table is missing or not readable.
    """
    qrels = [_judgments(path) for path in sorted((folder / "qrels").glob("*.tsv"))]
    present = read_present(folder)
    queries = _with_split(present["queries"][0], qrels)
    return require_enough(folder, {**present, "queries": [queries], "qrels": qrels})


def _judgments(path: Path) -> Table:
    read = read_table(path)
    table = Table(path, read.rows.rename(_COLUMNS, strict=False))
    table.require_columns("query_id", "item_id")
    return table


def _with_split(given: Table, qrels: list[Table]) -> Table:
    """The queries with the split of the first file that judges them, unless they have a split."""
    queries = Table(given.path, given.rows.rename({"_id": "query_id"}, strict=False))
    queries.require_columns("query_id")
    if "split" in queries.rows.columns:
        return queries
    split = pl.concat(_split_of_queries(table) for table in qrels)
    split = split.unique("query_id", keep="first", maintain_order=True)
    joined = queries.rows.join(split, on="query_id", how="left", maintain_order="left")
    return Table(queries.path, joined)


def _split_of_queries(table: Table) -> pl.DataFrame:
    split = pl.lit(_SPLITS.get(table.path.stem), pl.String)
    return table.rows.select("query_id", split=split)
