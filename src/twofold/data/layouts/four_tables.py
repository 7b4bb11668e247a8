"""Our own layout: a folder with items and interactions, or queries and qrels, or all four."""

from pathlib import Path

from twofold.data.formats import SUFFIXES, Table, find_table, read_table
from twofold.records import InputError

TABLES = ("items", "interactions", "queries", "qrels")
LISTED = {
    "name": "four tables",
    "recognised by": "interactions.csv, or items.csv with queries.csv and qrels.csv, or all four",
    "gives": "what there is: search, recommendation or both",
}
"""What `twofold sources` says of this layout; each table may be in any format that is read."""


def tables(folder: Path) -> dict[str, list[Table]]:
    """The tables of a folder, enough for one task at least.

    Raises:
        InputError: a table is missing or not readable.
    """
    read = read_present(folder)
    if not read:
        raise InputError(
            f"{folder}: is no dataset; it needs items and interactions or queries with qrels, "
            f"each as {', '.join(SUFFIXES)}{_holds(folder)}; twofold sources lists what else is "
            f"read"
        )
    return require_enough(folder, read)


def present(folder: Path) -> dict[str, Path]:
    """The files of the tables that a folder has.

    Raises:
        InputError: a table is there twice.
    """
    paths = {name: find_table(folder, name) for name in TABLES}
    return {name: path for name, path in paths.items() if path}


def read_present(folder: Path) -> dict[str, list[Table]]:
    """The tables that a folder has, few as they may be."""
    return {name: [read_table(path)] for name, path in present(folder).items()}


def _holds(folder: Path) -> str:
    """The first files of a folder in which no table was found, for a person to see why."""
    names = sorted(
        f"{path.name} (a folder)" if path.is_dir() else path.name
        for path in folder.iterdir()
        if not path.name.startswith(".")
    )
    more = ", ..." if len(names) > _SHOWN else ""
    return f"; it holds {', '.join(names[:_SHOWN])}{more}" if names else "; it is empty"


_SHOWN = 5


def require_enough(folder: Path, tables: dict[str, list[Table]]) -> dict[str, list[Table]]:
    """Return the tables where they are enough for one task; else raise InputError."""
    for first, second in (("queries", "qrels"), ("qrels", "queries")):
        if first in tables and second not in tables:
            raise InputError(
                f"{folder}: has {first} but no table {second}; add {second}.csv, "
                f"or remove {first} to study recommendation alone"
            )
    if "items" not in tables and "queries" in tables:
        raise InputError(
            f"{folder}: no table items; add items.csv with the columns item_id and title"
        )
    if set(tables) == {"items"}:
        raise InputError(
            f"{folder}: has items only; add interactions.csv, or queries.csv with qrels.csv"
        )
    return tables
