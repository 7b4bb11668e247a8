"""MovieLens folders as GroupLens publishes them: ratings are interactions, tags are queries.

A tag is a query if at least two users gave it, after normalisation; the movies with this tag are
its relevant items. The 100k and 1M sets have no tags, so they are recommendation datasets.
"""

from pathlib import Path

import polars as pl

from twofold.data.download import Archive
from twofold.data.formats import COMPRESSED, Table, read_lines, read_table
from twofold.data.layouts.layout import Layout, Tables
from twofold.data.words import query_key
from twofold.records import InputError

_HOST = "https://files.grouplens.org/datasets/movielens"
_ARCHIVES = (
    Archive("ml-latest-small", f"{_HOST}/ml-latest-small.zip", None),
    Archive("ml-1m", f"{_HOST}/ml-1m.zip", "c4d9eecfca2ab87c1945afe126590906"),
    Archive("ml-20m", f"{_HOST}/ml-20m.zip", "cd245b17a1ae2cc31bb14903e1204af3"),
    Archive("ml-25m", f"{_HOST}/ml-25m.zip", "6b51fb2759a8657d3bfcbfc42b592ada"),
)
_MIN_USERS = 2
_GENRES = (
    *("unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime"),
    *("Documentary", "Drama", "Fantasy", "Film-Noir", "Horror", "Musical", "Mystery"),
    *("Romance", "Sci-Fi", "Thriller", "War", "Western"),
)
"""The genres of the 100k set, in the order of its columns."""


def tables(folder: Path) -> Tables:
    """The four tables of a raw folder.

    Raises:
        InputError: a file of the layout is missing or invalid.
    """
    is_older = _path(folder, "movies.dat").is_file()
    read, suffix = (_read_dat, "dat") if is_older else (_read_csv, "csv")
    movies = read(folder, "movies", ["movieId", "title", "genres"])
    ratings = read(folder, "ratings", ["userId", "movieId", "rating", "timestamp"])
    present = {
        "items": [movies.with_rows(_items(movies.rows))],
        "interactions": [_interactions(ratings)],
    }
    if _path(folder, f"tags.{suffix}").is_file():
        tags = read(folder, "tags", ["userId", "movieId", "tag", "timestamp"])
        named = tags.rows.select("tag", user_id="userId", item_id="movieId")
        queries, qrels = tag_queries(named)
        if queries.height:
            notes = tags.notes
            present["queries"] = [Table(tags.path, queries, derived=True, notes=notes)]
            present["qrels"] = [Table(tags.path, qrels, derived=True)]
    return present


def tables_100k(folder: Path) -> Tables:
    """The items and interactions of the 100k set: `u.item` and `u.data`.

    Raises:
        InputError: a line has another number of fields.
    """
    columns = ["movieId", "title", "release", "video", "url", *_GENRES]
    movies = read_lines(folder / "u.item", "|", columns)
    ratings = read_lines(folder / "u.data", "\t", ["userId", "movieId", "rating", "timestamp"])
    genres = [pl.when(pl.col(genre) == "1").then(pl.lit(genre)) for genre in _GENRES]
    joined = pl.concat_str(*genres, separator="|", ignore_nulls=True).replace("", None)
    return {
        "items": [movies.with_rows(_items(movies.rows.with_columns(genres=joined)))],
        "interactions": [_interactions(ratings)],
    }


def _interactions(ratings: Table) -> Table:
    return ratings.with_rows(
        ratings.rows.select(user_id="userId", item_id="movieId", timestamp="timestamp")
    )


def _items(movies: pl.DataFrame) -> pl.DataFrame:
    year = pl.col("title").str.extract(r"\((\d{4})\)\s*$")
    genres = pl.col("genres").replace("(no genres listed)", None)
    return movies.select(item_id="movieId", title="title", year=year, genres=genres)


def tag_queries(tags: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The queries and qrels of tags that two users or more gave.

    Args:
        tags: columns user_id, item_id and tag, one row for each tag that a user gave an item.
    """
    key = pl.col("tag").fill_null("").map_elements(query_key, return_dtype=pl.String)
    given = tags.with_columns(key=key).filter(pl.col("key") != "")
    # The text of a query is the most frequent spelling of the tag.
    typed = pl.col("tag").str.to_lowercase().str.strip_chars().mode().sort().first()
    used = given.group_by("key").agg(users=pl.col("user_id").n_unique(), text=typed)
    kept = used.filter(pl.col("users") >= _MIN_USERS).sort("key")
    query_id = pl.concat_str(pl.lit("tag:"), pl.col("key").str.replace_all(" ", "-"))
    queries = kept.select(query_id=query_id, text="text", kind=pl.lit("tag"))
    qrels = given.join(kept, on="key", how="semi").select(query_id.alias("query_id"), "item_id")
    qrels = qrels.unique(maintain_order=True).sort("query_id", maintain_order=True)
    return queries, qrels


def _read_csv(folder: Path, name: str, columns: list[str]) -> Table:
    table = read_table(_file(folder, f"{name}.csv"))
    missing = [column for column in columns if column not in table.rows.columns]
    if missing and missing != ["timestamp"]:
        raise InputError(f"{table.path}: no column '{missing[0]}'; unpack the archive again")
    return table


def _read_dat(folder: Path, name: str, columns: list[str]) -> Table:
    """The older layout: `::` between fields, no header; a title or a tag may contain `::`."""
    free = next((n for n, column in enumerate(columns) if column in ("title", "tag")), None)
    return read_lines(_file(folder, f"{name}.dat"), "::", columns, free)


def _path(folder: Path, name: str) -> Path:
    """The place of a file, which may be compressed."""
    packed = folder / f"{name}{COMPRESSED}"
    return packed if packed.is_file() else folder / name


def _file(folder: Path, name: str) -> Path:
    path = _path(folder, name)
    if not path.is_file():
        raise InputError(f"{folder}: no {name}, which a MovieLens folder has; unpack it again")
    return path


_MOVIES = "movies.csv|movies.csv.gz|movies.dat|movies.dat.gz"
LAYOUT = Layout(
    name="MovieLens",
    needs=(_MOVIES, "ratings.csv|ratings.csv.gz|ratings.dat|ratings.dat.gz"),
    gives="movies, ratings, and tags as queries: both tasks",
    tables=tables,
    marks=(_MOVIES,),
    archives=_ARCHIVES,
)
LAYOUT_100K = Layout(
    name="MovieLens 100k",
    needs=("u.data", "u.item"),
    gives="movies and ratings: recommendation",
    tables=tables_100k,
)
