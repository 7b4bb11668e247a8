"""Shopping logs: Amazon Reviews 2023 with ESCI's queries, and JDsearch."""

from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from twofold.data.dataset import READ_AS_JSON, Note
from twofold.data.formats import Table, read_lines, read_table
from twofold.data.layouts.layout import Layout, Tables
from twofold.records import InputError

_ESCI = "shopping_queries_dataset_examples.parquet"
_GRADES = {"E": 2, "S": 1, "C": 0, "I": 0}
"""ESCI's exact and substitute products are relevant; complements and irrelevant ones are not."""

_ACTIONS = {"CLICK": 1, "CART": 2, "FLW": 2, "ORD": 3}
_TERMS = "\x18"
"""The separator of the term ids of a text in JDsearch."""


def amazon(folder: Path) -> Tables:
    """The products and reviews of a category, and ESCI's queries with relevant products in it.

    Raises:
        InputError: there are no reviews, several categories, or a column is missing.
    """
    meta = [path for path in sorted(folder.glob("meta_*")) if path.is_file()]
    if len(meta) > 1:
        names = " and ".join(path.name for path in meta)
        raise InputError(f"{folder}: {names} are several categories; keep one in the folder")
    products = read_table(meta[0])
    products.require_columns("parent_asin", "title")
    reviews = read_table(_reviews(folder, meta[0]))
    reviews.require_columns("user_id", "parent_asin", "timestamp")
    events = reviews.rows.select("user_id", "timestamp", item_id="parent_asin")
    present = {
        "items": [_selected(products, _products(products.rows))],
        "interactions": [_selected(reviews, events)],
    }
    if (folder / _ESCI).is_file():
        present.update(_esci(folder / _ESCI, products.rows["parent_asin"], reviews.rows))
    return present


def _reviews(folder: Path, meta: Path) -> Path:
    category = meta.name.removeprefix("meta_").partition(".")[0]
    names = [f"{category}{suffix}" for suffix in (".jsonl", ".jsonl.gz", ".csv", ".csv.gz")]
    path = next((folder / name for name in names if (folder / name).is_file()), None)
    if path is None:
        raise InputError(f"{folder}: no {names[0]}, the reviews that belong to {meta.name}; add it")
    return path


def _products(rows: pl.DataFrame) -> pl.DataFrame:
    wanted = {"features": "text", "main_category": "category", "store": "store"}
    others = {name: given for given, name in wanted.items() if given in rows.columns}
    if "text" in others:
        return rows.select(
            "title",
            item_id="parent_asin",
            text=pl.col("features").str.replace_all("|", " ", literal=True),
            **{name: given for name, given in others.items() if name != "text"},
        )
    return rows.select("title", item_id="parent_asin", **others)


def _selected(table: Table, rows: pl.DataFrame) -> Table:
    """The table with some of its columns, without the notes on the objects of the others."""
    notes = tuple(note for note in table.notes if note.effect != READ_AS_JSON)
    return Table(table.path, rows, notes=notes, lines=table.lines)


def _esci(path: Path, products: pl.Series, reviews: pl.DataFrame) -> Tables:
    """ESCI's queries on amazon.com, with the ASINs of the relevant products."""
    examples = read_table(path)
    examples.require_columns("query_id", "query", "product_id", "product_locale", "esci_label")
    parents = pl.DataFrame({"product_id": products, "item_id": products})
    if "asin" in reviews.columns:
        variants = reviews.select(product_id="asin", item_id="parent_asin").unique()
        parents = pl.concat([parents, variants]).unique("product_id", keep="first")
    parents = parents.filter(pl.col("item_id").is_in(products.implode()))
    grade = pl.col("esci_label").replace_strict(_GRADES, default=0, return_dtype=pl.Int64)
    relevant = examples.rows.filter((pl.col("product_locale") == "us") & (grade > 0))
    known = relevant.join(parents, on="product_id", maintain_order="left")
    qrels = known.group_by("query_id", "item_id", maintain_order=True).agg(
        relevance=grade.max().cast(pl.String)
    )
    queries = known.select("query_id", text="query").unique("query_id", maintain_order=True)
    if not queries.height:
        return {}
    problem = "a judgment has another locale, is not relevant, or has a product of another category"
    left = examples.rows.height - known.height
    notes = (Note(left, str(path), problem, "nothing to do", "judgment"),) if left else ()
    return {
        "queries": [Table(path, queries, derived=True, notes=notes)],
        "qrels": [Table(path, qrels, derived=True)],
    }


@dataclass(slots=True)
class _Shoppers:
    """The contents of JDsearch, which has one row for each user."""

    events: list[tuple[str, str]] = field(default_factory=list)
    queries: dict[str, tuple[str, str, str]] = field(default_factory=dict)
    qrels: dict[tuple[str, str], int] = field(default_factory=dict)
    unknown: int = 0


def jdsearch(folder: Path) -> Tables:
    """The products, histories and queries of JDsearch; times are since a user's last action.

    Raises:
        InputError: a line has another number of fields, or lists have different lengths.
    """
    levels = [f"cate_{kind}_{n}" for n in range(1, 5) for kind in ("id", "name")]
    columns = ["item_id", "title", "brand_id", "brand", *levels, "shop"]
    products = read_lines(folder / "product_data.txt", "\t", columns)
    texts = ["title", "brand", *levels[1::2]]
    rows = products.rows.select(
        "item_id", *(pl.col(name).str.replace_all(_TERMS, " ", literal=True) for name in texts)
    )
    path = folder / "release_data.txt"
    lists = ["history_queries", "history", "history_types", "times"]
    table = read_lines(path, "\t", ["query", "shown", "labels", *lists])
    read = _Shoppers()
    known = set(rows["item_id"])
    for number in range(table.rows.height):
        _shopper(table, number, known, read)
    return {"items": [products.with_rows(rows)], **_shopped(path, read)}


def _shopper(table: Table, number: int, known: set[str], read: _Shoppers) -> None:
    """Read a row: a user's history with its queries, and the test query."""
    row = table.rows.row(number, named=True)
    parts = {name: (row[name] or "").split("_") if row[name] else [] for name in row}
    histories = [parts[name] for name in ("history_queries", "history", "history_types")]
    if len({len(part) for part in histories}) > 1 or len(parts["shown"]) != len(parts["labels"]):
        raise InputError(
            f"{table.place(number)}: lists of one row have different lengths; unpack it again"
        )
    user = f"u{number + 1}"
    last = next((text for text in reversed(histories[0]) if text != "-1"), None)
    for text, item, action in zip(*histories, strict=True):
        if item not in known:
            read.unknown += 1
            continue
        read.events.append((user, item))
        if text != "-1":
            split = "validation" if text == last else "train"
            _judge(read, user, text, split, item, _ACTIONS.get(action, 1))
    for item, label in zip(parts["shown"], map(_label, parts["labels"]), strict=True):
        if label is None:
            raise InputError(
                f"{table.place(number)}: candidate_label_list '{row['labels']}' has a value that "
                f"is not a number; unpack it again"
            )
        if not label:
            continue
        if item in known:
            _judge(read, user, row["query"] or "", "test", item, label)
        else:
            read.unknown += 1


def _label(text: str) -> int | None:
    """The relevance of a candidate, such as 3 for 3.0; None if it is not a number."""
    return int(text.partition(".")[0]) if text.replace(".", "", 1).isdecimal() else None


def _judge(read: _Shoppers, user: str, text: str, split: str, item: str, grade: int) -> None:
    words = text.replace(_TERMS, " ")
    query_id = f"{user}:{split}:{words}"
    read.queries[query_id] = (words, split, user)
    read.qrels[query_id, item] = max(grade, read.qrels.get((query_id, item), 0))


def _shopped(path: Path, read: _Shoppers) -> Tables:
    """The tables of the actions and queries that were read, without the items."""
    notes: tuple[Note, ...] = ()
    if read.unknown:
        problem = "an action is of a product that is not in product_data.txt"
        notes = (Note(read.unknown, str(path), problem, "nothing to do", "action"),)
    events = pl.DataFrame(
        read.events, schema=dict.fromkeys(("user_id", "item_id"), pl.String), orient="row"
    )
    queries = pl.DataFrame(
        [(query_id, *given) for query_id, given in read.queries.items()],
        schema=dict.fromkeys(("query_id", "text", "split", "user_id"), pl.String),
        orient="row",
    )
    qrels = pl.DataFrame(
        [(*pair, str(grade)) for pair, grade in read.qrels.items()],
        schema=dict.fromkeys(("query_id", "item_id", "relevance"), pl.String),
        orient="row",
    )
    named = {"interactions": events, "queries": queries, "qrels": qrels}
    present = {name: [Table(path, rows, derived=True)] for name, rows in named.items()}
    present["interactions"] = [Table(path, events, derived=True, notes=notes)]
    return present


AMAZON = Layout(
    name="Amazon Reviews 2023",
    needs=("meta_*.jsonl|meta_*.jsonl.gz",),
    gives=f"products, reviews, and ESCI's queries where {_ESCI} is there: both tasks",
    tables=amazon,
)
JDSEARCH = Layout(
    name="JDsearch",
    needs=("release_data.txt", "product_data.txt"),
    gives="products, histories in order, and queries with the chosen products: both tasks",
    tables=jdsearch,
)
