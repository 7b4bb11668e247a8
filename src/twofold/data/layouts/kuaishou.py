"""Kuaishou's logs: KuaiSAR (videos) and KuaiSearch (shop).

KuaiSAR: clicked recommendations are the interactions. A search session is a query of its user,
whose words are ids, and the items that were clicked in it are relevant.

KuaiSearch: products that a user clicked or bought after a query are relevant, and are interactions.
Its times are relative to an unpublished origin.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import polars as pl

from twofold.data.checks import first_true
from twofold.data.dataset import READ_AS_JSON, Note
from twofold.data.formats import Table, read_table
from twofold.data.layouts.layout import Layout, Tables, noted, with_validation
from twofold.records import InputError

_LEVELS = ("first", "second", "third", "fourth")
_NO_BRAND = "无品牌"

_EDITIONS = {"KuaiSearch": "", "KuaiSearch-Lite": "_lite"}
"""The suffix of the file names of each edition; Lite is a part of the other one."""

_PRODUCTS = ("items", "corpus")
_SEARCHES = ("recall",)
_NAMES = {
    "title": ("item_title", "title"),
    "brand": ("brand_name", "brand"),
    "seller": ("seller_name", "seller"),
    **{
        f"{level}_category": (f"category_level{n}_name", f"category_level{n}")
        for n, level in enumerate(_LEVELS[:3], start=1)
    },
}
"""The columns of a product, with the names that they have in the files and in the paper."""

_CHOICES = (("clicked_item_ids", 1), ("purchased_item_ids", 3))
"""The actions of a user on a product in the results, with their relevance."""


def kuaisar(folder: Path) -> Tables:
    """The videos, clicked recommendations, searches and clicks in them.

    Raises:
        InputError: a column is missing.
    """
    features = read_table(folder / "item_features.csv")
    features.require_columns("item_id", "caption")
    seen = read_table(folder / "rec_inter.csv")
    seen.require_columns("user_id", "item_id", "timestamp", "click")
    searches = read_table(folder / "src_inter.csv")
    searches.require_columns(
        *("user_id", "search_session_id", "search_session_timestamp"),
        *("keyword", "item_id", "click_cnt"),
    )
    known = features.rows["item_id"].implode()
    watched = _clicked(seen, "click", known)
    clicked = _clicked(searches, "click_cnt", known)
    query_id = pl.concat_str("user_id", "search_session_id", separator=":")
    queries = searches.rows.select(
        "user_id",
        query_id=query_id,
        text=_words("keyword"),
        timestamp="search_session_timestamp",
    ).unique("query_id", keep="first", maintain_order=True)
    qrels = clicked.rows.select("item_id", query_id=query_id).unique(maintain_order=True)
    return {
        "items": [features.with_rows(_items(features.rows))],
        "interactions": [watched.with_rows(watched.rows.select("user_id", "item_id", "timestamp"))],
        "queries": [Table(searches.path, queries, derived=True)],
        "qrels": [Table(searches.path, qrels, derived=True, notes=clicked.notes)],
    }


def _clicked(table: Table, column: str, known: pl.Series) -> Table:
    """The rows with a click on an item that has features, with notes on the other rows."""
    clicked = table.rows.select(
        (pl.col(column).cast(pl.Float64, strict=False) > 0).fill_null(False)
    ).to_series()
    described = table.rows["item_id"].is_in(known).fill_null(False)
    notes = []
    for left_out, problem in (
        (~clicked, "an item was shown and not clicked"),
        (clicked & ~described, "an item is not in item_features.csv"),
    ):
        if (row := first_true(left_out)) is not None:
            notes.append(Note(int(left_out.sum()), table.place(row), problem, "nothing to do"))
    return table.filter(clicked & described, *notes)


def _words(column: str) -> pl.Expr:
    """A list such as [20, 34, 3] as the text `20 34 3`."""
    spaced = pl.col(column).str.replace_all(r"[\[\],\s]+", " ").str.strip_chars()
    return spaced.replace("", None)


def _items(features: pl.DataFrame) -> pl.DataFrame:
    levels = {}
    for level in _LEVELS:
        name = f"{level}_level_category_name"
        given = next((c for c in (f"{name}_en", name) if c in features.columns), None)
        if given is not None:
            levels[f"{level}_category"] = pl.col(given).replace(["empty", "空", ""], None)
    return features.select("item_id", title=_words("caption"), **levels)


def kuaisearch(folder: Path) -> Tables:
    """The products, searches and choices of KuaiSearch, or of its part Lite.

    Raises:
        InputError: a file or a column is missing.
    """
    (products, searches), notes = _edition(folder)
    products.require_columns("item_id")
    searches.require_columns("user_id", "session_id", "query", "clicked_item_ids")
    rows = _searches(searches.rows)
    queries = rows.unique("query_id", keep="first", maintain_order=True)
    chosen = _chosen(rows)
    known = chosen["item_id"].is_in(products.rows["item_id"].implode())
    problem = "a product that was clicked or bought is not in the file of products"
    notes += noted(~known, searches.path, problem, "choice")
    chosen = chosen.filter(known)
    time = [] if rows["timestamp"].null_count() else ["timestamp"]
    queries = with_validation(queries.select("query_id", "text", "split", "user_id", *time))
    named = {
        "interactions": chosen.select("user_id", "item_id", *time),
        "queries": queries,
        "qrels": chosen.select("query_id", "item_id", pl.col("relevance").cast(pl.String)),
    }
    present = {name: [Table(searches.path, part, derived=True)] for name, part in named.items()}
    present["queries"] = [replace(present["queries"][0], notes=(*searches.notes, *notes))]
    return {"items": [products.with_rows(_products(products.rows))], **present}


def _edition(folder: Path) -> tuple[list[Table], list[Note]]:
    """The products and searches of an edition, the larger one if there are both."""
    files = {
        edition: [_files(folder, names, end) for names in (_PRODUCTS, _SEARCHES)]
        for edition, end in _EDITIONS.items()
    }
    whole = [edition for edition, parts in files.items() if all(parts)]
    if not whole:
        raise InputError(
            f"{folder}: products and searches are of different editions of KuaiSearch; add items "
            f"to recall, or items_lite to recall_lite"
        )
    notes = []
    if len(whole) > 1:
        problem = f"{whole[1]} is a part of {whole[0]}, which is here as well"
        remedy = "to read the part, give a folder with only its files"
        notes.append(Note(1, str(folder), problem, remedy, "edition", "not read"))
    return [_joined(paths) for paths in files[whole[0]]], notes


def _files(folder: Path, names: Sequence[str], end: str) -> list[Path]:
    """The files of the first of these names that exists, as a file or a folder."""
    for name in names:
        for pattern in (f"{name}{end}.jsonl*", f"{name}{end}/*.jsonl*"):
            if paths := sorted(folder.glob(pattern)):
                return paths
    return []


def _joined(paths: Sequence[Path]) -> Table:
    """The rows of all files, without the notes on columns that are not used."""
    parts = [read_table(path) for path in paths]
    notes = tuple(
        note
        for part in parts
        for note in part.notes
        if note.unit != "column" and note.effect != READ_AS_JSON
    )
    if len(parts) == 1:
        return replace(parts[0], notes=notes)
    rows = pl.concat([part.rows for part in parts], how="diagonal")
    return Table(paths[0], rows, derived=True, notes=notes)


def _products(rows: pl.DataFrame) -> pl.DataFrame:
    """The products with a title; one without a brand has none."""
    given = {
        name: next((column for column in columns if column in rows.columns), None)
        for name, columns in _NAMES.items()
    }
    columns = {
        name: pl.col(column).replace(_NO_BRAND, None) for name, column in given.items() if column
    }
    return rows.select("item_id", **{"title": pl.lit(None, pl.String), **columns})


def _searches(rows: pl.DataFrame) -> pl.DataFrame:
    """The searches with a query id: user and session, and a number from the session's second search
    on.
    """
    optional = {"split": "split", "timestamp": "time_index", "purchased_item_ids": None}
    rows = rows.with_columns(
        pl.col(given or name).alias(name)
        if (given or name) in rows.columns
        else pl.lit(None, pl.String).alias(name)
        for name, given in optional.items()
    ).rename({"query": "text"})
    keys = ["user_id", "session_id", "text", "timestamp"]
    number = pl.int_range(pl.len()).over("user_id", "session_id") + 1
    suffix = pl.when(number > 1).then(pl.concat_str(pl.lit(":"), number)).otherwise(pl.lit(""))
    query_id = pl.concat_str("user_id", pl.lit(":"), "session_id", suffix)
    ids = rows.select(keys).unique(maintain_order=True).with_columns(query_id=query_id)
    return rows.join(ids, on=keys, how="left", nulls_equal=True, maintain_order="left")


def _chosen(rows: pl.DataFrame) -> pl.DataFrame:
    """The products that were chosen after each query, without repeats, in the order of the
    searches.
    """
    searches = rows.with_row_index("row")
    every = [
        searches.select(
            *("row", "query_id", "user_id", "timestamp"),
            item_id=pl.col(column).str.split("|"),
            relevance=pl.lit(grade),
        ).explode("item_id")
        for column, grade in _CHOICES
    ]
    named = pl.concat(every).filter(pl.col("item_id").fill_null("") != "")
    pairs = named.sort("row", maintain_order=True).group_by(
        "query_id", "item_id", "user_id", "timestamp", maintain_order=True
    )
    return pairs.agg(pl.col("relevance").max())


KUAISAR = Layout(
    name="KuaiSAR",
    needs=("rec_inter.csv", "src_inter.csv", "item_features.csv"),
    gives="videos, clicked recommendations, and searches with clicks: both tasks",
    tables=kuaisar,
)
KUAISEARCH = Layout(
    name="KuaiSearch",
    needs=("recall*/*.jsonl*|recall*.jsonl*", "items*/*.jsonl*|items*.jsonl*|corpus.jsonl*"),
    gives="products, searches, and what users clicked and bought after them: both tasks",
    tables=kuaisearch,
)
