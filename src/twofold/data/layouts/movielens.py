"""MovieLens folders as GroupLens publishes them: ratings are interactions, tags are queries.

A tag becomes a query where at least two users gave it, after normalisation; the movies that
carry it are its right answers. The 1M set has no tags, so it is a recommendation dataset.
"""

from pathlib import Path

import polars as pl

from twofold.data.download import Archive
from twofold.data.formats import Table, read_table
from twofold.data.text import normalise_query
from twofold.records import InputError

_HOST = "https://files.grouplens.org/datasets/movielens"
ARCHIVES = {
    "ml-latest-small": Archive("ml-latest-small", f"{_HOST}/ml-latest-small.zip", None),
    "ml-1m": Archive("ml-1m", f"{_HOST}/ml-1m.zip", "c4d9eecfca2ab87c1945afe126590906"),
    "ml-20m": Archive("ml-20m", f"{_HOST}/ml-20m.zip", "cd245b17a1ae2cc31bb14903e1204af3"),
    "ml-25m": Archive("ml-25m", f"{_HOST}/ml-25m.zip", "6b51fb2759a8657d3bfcbfc42b592ada"),
}
_MIN_USERS = 2


def recognises(folder: Path) -> bool:
    """Whether the folder has one of GroupLens' layouts."""
    return any((folder / f"movies.{s}").is_file() for s in ("csv", "dat"))


def tables(folder: Path) -> dict[str, list[Table]]:
    """The four tables of a raw folder.

    Raises:
        InputError: a file of the layout is missing or not readable.
    """
    read = _read_dat if (folder / "movies.dat").is_file() else _read_csv
    movies = read(folder, "movies", ["movieId", "title", "genres"])
    ratings = read(folder, "ratings", ["userId", "movieId", "rating", "timestamp"])
    present = {
        "items": [Table(movies.path, _items(movies.rows))],
        "interactions": [
            Table(
                ratings.path,
                ratings.rows.select(user_id="userId", item_id="movieId", timestamp="timestamp"),
            )
        ],
    }
    if (folder / "tags.csv").is_file():
        tags = _read_csv(folder, "tags", ["userId", "movieId", "tag"])
        queries, qrels = _queries(tags.rows)
        if queries.height:
            present["queries"] = [Table(tags.path, queries, derived=True)]
            present["qrels"] = [Table(tags.path, qrels, derived=True)]
    return present


def _items(movies: pl.DataFrame) -> pl.DataFrame:
    year = pl.col("title").str.extract(r"\((\d{4})\)\s*$")
    genres = pl.col("genres").replace("(no genres listed)", None)
    return movies.select(item_id="movieId", title="title", year=year, genres=genres)


def _queries(tags: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    key = pl.col("tag").fill_null("").map_elements(normalise_query, return_dtype=pl.String)
    given = tags.with_columns(key=key).filter(pl.col("key") != "")
    # What people see is the commonest way in which the tag was typed.
    typed = pl.col("tag").str.to_lowercase().str.strip_chars().mode().sort().first()
    used = given.group_by("key").agg(users=pl.col("userId").n_unique(), text=typed)
    kept = used.filter(pl.col("users") >= _MIN_USERS).sort("key")
    query_id = pl.concat_str(pl.lit("tag:"), pl.col("key").str.replace_all(" ", "-"))
    queries = kept.select(query_id=query_id, text="text", kind=pl.lit("tag"))
    qrels = given.join(kept, on="key", how="semi").select(query_id=query_id, item_id="movieId")
    qrels = qrels.unique(maintain_order=True).sort("query_id", maintain_order=True)
    return queries, qrels


def _read_csv(folder: Path, name: str, columns: list[str]) -> Table:
    path = folder / f"{name}.csv"
    if not path.is_file():
        raise InputError(f"{folder}: no {path.name}, which a MovieLens folder has; unpack it again")
    table = read_table(path)
    missing = [column for column in columns if column not in table.rows.columns]
    if missing:
        raise InputError(f"{path}: no column '{missing[0]}'; unpack the archive again")
    return table


def _read_dat(folder: Path, name: str, columns: list[str]) -> Table:
    """The older layout: `::` between fields, Latin-1, no header."""
    path = folder / f"{name}.dat"
    if not path.is_file():
        raise InputError(f"{folder}: no {path.name}, which a MovieLens folder has; unpack it again")
    rows = [line.split("::") for line in path.read_text(encoding="latin-1").splitlines()]
    for number, row in enumerate(rows, start=1):
        if len(row) != len(columns):
            raise InputError(
                f"{path} line {number}: {len(row)} fields where {len(columns)} are expected"
            )
    return Table(path, pl.DataFrame(rows, schema=dict.fromkeys(columns, pl.String), orient="row"))
