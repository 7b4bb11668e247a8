"""Goodbooks-10k and HetRec Last.fm: books and artists of users, and tags, which become queries."""

from pathlib import Path

import polars as pl

from twofold.data.checks import first_true
from twofold.data.dataset import Note
from twofold.data.formats import Table, read_lines, read_table
from twofold.data.layouts.layout import Layout, Tables
from twofold.data.layouts.movielens import tag_queries
from twofold.records import InputError

_MIN_USERS = 2
_MAX_SHARE = 0.05
"""A tag on a larger share of the books is a shelf, such as to-read, and not a query."""

_MIN_SHELF = 20
"""A tag on at most this many books is not a shelf, however few books there are."""


def goodbooks(folder: Path) -> Tables:
    """The books, ratings and tags of Goodbooks-10k, whose ratings are in the order of time.

    Raises:
        InputError: a column is missing.
    """
    books = read_table(folder / "books.csv")
    if "goodreads_book_id" not in books.rows.columns:  # the first edition
        named = {"book_id": "goodreads_book_id", "id": "book_id"}
        books = books.with_rows(books.rows.rename(named, strict=False))
    books.require_columns("book_id", "goodreads_book_id", "title", "authors")
    ratings = read_table(folder / "ratings.csv")
    ratings.require_columns("user_id", "book_id")
    queries, qrels, notes = _shelves(folder, books.rows)
    path = folder / "book_tags.csv"
    present = {
        "items": [books.with_rows(_books(books.rows))],
        "interactions": [ratings.with_rows(ratings.rows.select("user_id", item_id="book_id"))],
    }
    if queries.height:
        present["queries"] = [Table(path, queries, derived=True, notes=notes)]
        present["qrels"] = [Table(path, qrels, derived=True)]
    return present


def _books(books: pl.DataFrame) -> pl.DataFrame:
    others = {"original_publication_year": "year", "language_code": "language"}
    return books.select(
        pl.col("title"),
        item_id="book_id",
        authors=pl.col("authors").str.replace_all(", ", "|", literal=True),
        **{name: given for given, name in others.items() if given in books.columns},
    )


def _shelves(
    folder: Path, books: pl.DataFrame
) -> tuple[pl.DataFrame, pl.DataFrame, tuple[Note, ...]]:
    """The queries and qrels of tags that at least two users gave to a book, without shelves."""
    tags, given = read_table(folder / "tags.csv"), read_table(folder / "book_tags.csv")
    tags.require_columns("tag_id", "tag_name")
    given.require_columns("goodreads_book_id", "tag_id", "count")
    count = pl.col("count").cast(pl.Int64, strict=False)
    text = pl.col("tag_name").str.replace_all(r"[-_\s]+", " ").str.strip_chars().str.to_lowercase()
    pairs = (
        given.rows.filter(count >= _MIN_USERS)
        .join(tags.rows.select("tag_id", "tag_name"), on="tag_id", maintain_order="left")
        .join(books.select("goodreads_book_id", item_id="book_id"), on="goodreads_book_id")
        .select("item_id", text=text)
        .filter(pl.col("text") != "")
        .unique(maintain_order=True)
    )
    most = max(_MIN_SHELF, int(_MAX_SHARE * books.height))
    size = pairs.group_by("text").len()
    shelves = size.filter(pl.col("len") > most)["text"].sort()
    kept = pairs.filter(~pl.col("text").is_in(shelves.implode())).sort("text", maintain_order=True)
    query_id = pl.concat_str(pl.lit("tag:"), pl.col("text").str.replace_all(" ", "-", literal=True))
    queries = kept.select(query_id=query_id, text="text", kind=pl.lit("tag"))
    qrels = kept.select("item_id", query_id=query_id)
    notes = []
    if len(shelves):
        problem = f"tag '{shelves[0]}' is on more than {most} books, so it is a shelf, not a query"
        notes.append(
            Note(len(shelves), str(tags.path), problem, "nothing to do", "tag", "left out")
        )
    return queries.unique(maintain_order=True), qrels, tuple(notes)


def lastfm(folder: Path) -> Tables:
    """The artists, plays and tags of HetRec's Last.fm; plays have no time.

    Raises:
        InputError: a file has another header.
    """
    artists = _headed(folder / "artists.dat", ["id", "name", "url"], more=1)
    plays = _headed(folder / "user_artists.dat", ["userID", "artistID", "weight"])
    problem = "plays have no time, so the file order is used"
    note = Note(plays.rows.height, str(plays.path), problem, "nothing to do", effect="kept")
    heard = Table(
        plays.path,
        plays.rows.select(user_id="userID", item_id="artistID"),
        notes=(note,),
        lines=plays.lines,
    )
    present = {
        "items": [artists.with_rows(artists.rows.select(item_id="id", title="name"))],
        "interactions": [heard],
    }
    queries, qrels, notes = _artist_tags(folder, artists.rows["id"])
    path = folder / "user_taggedartists.dat"
    if queries.height:
        present["queries"] = [Table(path, queries, derived=True, notes=notes)]
        present["qrels"] = [Table(path, qrels, derived=True)]
    return present


def _artist_tags(
    folder: Path, artists: pl.Series
) -> tuple[pl.DataFrame, pl.DataFrame, tuple[Note, ...]]:
    tags = _headed(folder / "tags.dat", ["tagID", "tagValue"])
    path = folder / "user_taggedartists.dat"
    given = _headed(path, ["userID", "artistID", "tagID"], more=3)
    known = given.rows["artistID"].is_in(artists.implode())
    notes = []
    if (row := first_true(~known)) is not None:
        problem = f"artist '{given.rows['artistID'][row]}' is not in artists.dat"
        notes.append(Note(int((~known).sum()), given.place(row), problem, "nothing to do"))
    named = given.rows.filter(known).join(tags.rows, on="tagID", maintain_order="left")
    queries, qrels = tag_queries(named.select(user_id="userID", item_id="artistID", tag="tagValue"))
    return queries, qrels, tuple(notes)


def _headed(path: Path, columns: list[str], more: int = 0) -> Table:
    """A file with a header, in UTF-8 or Latin-1."""
    table = read_lines(path, "\t", columns, more=more)
    header = [str(name) for name in table.rows.row(0)]
    if header != columns:
        raise InputError(
            f"{path} line 1: the header is {', '.join(header)} where {', '.join(columns)} is "
            f"expected; unpack the archive again"
        )
    return table.filter(pl.int_range(table.rows.height, eager=True) > 0)


GOODBOOKS = Layout(
    name="Goodbooks-10k",
    needs=("books.csv", "ratings.csv", "book_tags.csv", "tags.csv"),
    gives="books, ratings, and tags of two users or more as queries: both tasks",
    tables=goodbooks,
)
LASTFM = Layout(
    name="HetRec Last.fm",
    needs=("artists.dat", "user_artists.dat", "tags.dat", "user_taggedartists.dat"),
    gives="artists, plays without times, and tags as queries: both tasks",
    tables=lastfm,
)
