"""BEIR's folders: `corpus.jsonl`, `queries.jsonl`, `qrels/train.tsv`, `dev.tsv`, `test.tsv`.

A file's name is the split of its queries. Copies may have one file `qrels.tsv`, without splits, or
`train.tsv`, `dev.tsv` and `test.tsv` next to the corpus. The folder may have `items` instead of
`corpus`, and `interactions` in addition.
"""

from dataclasses import replace
from pathlib import Path

import polars as pl

from twofold.data.dataset import SPLIT_NAMES, Note
from twofold.data.formats import Table, find_table, read_table
from twofold.data.layouts.four_tables import read_present, require_enough
from twofold.data.layouts.layout import Layout, Tables
from twofold.records import SPLITS, InputError

_SPLITS = {name: name for name in SPLITS} | SPLIT_NAMES
_COLUMNS = {"query-id": "query_id", "corpus-id": "item_id", "score": "relevance"}


def tables(folder: Path) -> Tables:
    """The tables of a folder with BEIR's judgments.

    Raises:
        InputError: a table is missing or invalid.
    """
    present = read_present(folder)
    qrels = [_judgments(table) for table in _files_of_judgments(folder, present)]
    if "queries" not in present:
        raise InputError(
            f"{folder}: queries is in no supported format; write it as queries.jsonl with _id "
            f"and text"
        )
    if "items" not in present:
        present["items"] = [_corpus(folder)]
    queries = _with_split(present["queries"][0], qrels)
    return require_enough(folder, {**present, "queries": [queries], "qrels": qrels})


def _files_of_judgments(folder: Path, present: Tables) -> list[Table]:
    """The files of `qrels`, the table qrels, or files next to the corpus with the name of a split.

    Raises:
        InputError: more than one of them exist.
    """
    beside = [folder / f"{name}.tsv" for name in _SPLITS]
    inside = sorted((folder / "qrels").glob("*.tsv"))
    ways = [
        inside,
        [table.path for table in present.get("qrels", ())],
        [path for path in beside if path.is_file()] if not inside else [],
    ]
    present_ways = [paths for paths in ways if paths]
    if len(present_ways) > 1:
        first, second = (str(paths[0].relative_to(folder)) for paths in present_ways[:2])
        raise InputError(f"{folder}: {first} and {second} both hold judgments; keep one of them")
    return [read_table(path) for path in present_ways[0]]


def _corpus(folder: Path) -> Table:
    """The items of `corpus.jsonl`, without its metadata."""
    path = find_table(folder, "corpus")
    if path is None:
        raise InputError(
            f"{folder}: no corpus.jsonl, which a BEIR folder has next to queries.jsonl and "
            f"qrels; add it, or a table items"
        )
    read = read_table(path)
    table = read.with_rows(read.rows.rename({"_id": "item_id"}, strict=False))
    table.require_columns("item_id")
    if "title" not in table.rows.columns:
        table = table.with_rows(table.rows.with_columns(title=pl.lit(None, pl.String)))
    return _without_metadata(table)


def _without_metadata(table: Table) -> Table:
    """The table without BEIR's metadata column, with a note unless it is empty."""
    if "metadata" not in table.rows.columns:
        return table
    notes = [note for note in table.notes if "'metadata'" not in note.problem]
    filled = int((table.rows["metadata"].fill_null("{}") != "{}").sum())
    if filled:
        problem = f"column 'metadata' has values in {filled} rows"
        remedy = "write the fields that you need to separate columns"
        notes.append(Note(1, str(table.path), problem, remedy, unit="column"))
    return replace(table, rows=table.rows.drop("metadata"), notes=tuple(notes))


def _judgments(read: Table) -> Table:
    table = read.with_rows(read.rows.rename(_COLUMNS, strict=False))
    table.require_columns("query_id", "item_id")
    return table


def _with_split(given: Table, qrels: list[Table]) -> Table:
    """The queries with the split of the first file that has judgments of them, unless they have a
    split.
    """
    named = given.with_rows(given.rows.rename({"_id": "query_id"}, strict=False))
    named.require_columns("query_id")
    queries = _without_metadata(named)
    if "split" in queries.rows.columns:
        return queries
    judged = pl.concat(_split_of_queries(table) for table in qrels)
    split = judged.unique("query_id", keep="first", maintain_order=True)
    rows = queries.rows.join(split.drop("file"), on="query_id", how="left", maintain_order="left")
    return replace(queries, rows=rows, notes=(*queries.notes, *_judged_twice(queries, judged)))


def _split_of_queries(table: Table) -> pl.DataFrame:
    split = pl.lit(_SPLITS.get(table.path.stem), pl.String)
    names = table.rows.select("query_id", split=split, file=pl.lit(table.path.name))
    return names.unique("query_id", maintain_order=True)


def _judged_twice(queries: Table, judged: pl.DataFrame) -> list[Note]:
    """A note on queries with judgments in several files; they are in the split of the first."""
    files = judged.group_by("query_id", maintain_order=True).agg("file", pl.col("split").first())
    several = files.filter(pl.col("file").list.len() > 1)
    if not several.height:
        return []
    query, names, split = several.row(0)
    problem = f"query '{query}' has judgments in {' and '.join(names)}: all of them are used"
    remedy = "keep the judgments of a query in one file"
    effect = (
        f"put into {split}"
        if several["split"].n_unique() == 1
        else "put into the split of the first"
    )
    return [Note(several.height, str(queries.path), problem, remedy, "query", effect)]


LAYOUT = Layout(
    name="BEIR",
    needs=("corpus.jsonl*|corpus.parquet|items.*", "queries.*", "qrels/*.tsv"),
    gives="items, queries and qrels with their splits: search",
    tables=tables,
    marks=("queries.*", "qrels/*.tsv"),
    unless="qrels.*",
)
_BESIDE = "|".join(f"{name}.tsv" for name in _SPLITS)
LAYOUT_ONE_FOLDER = replace(
    LAYOUT,
    name="BEIR with its judgments next to the corpus",
    needs=("corpus.jsonl*|corpus.parquet", "queries.*", f"qrels.*|{_BESIDE}"),
    marks=(),
    unless="items.*",
)
