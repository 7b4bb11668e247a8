"""Twofold's own layout: a folder with items and interactions, or queries and qrels, or all four."""

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from twofold.data.dataset import Note
from twofold.data.formats import PACKED, SUFFIXES, Table, find_table, format_suffix, read_table
from twofold.records import InputError

TABLES = ("items", "interactions", "queries", "qrels")
LISTED = {
    "name": "four tables",
    "recognised by": "interactions.csv, or items.csv with queries.csv and qrels.csv, or all four",
    "gives": "search, recommendation or both, by the tables that exist",
}
"""The description of this layout in `twofold sources`; a table may be in any format that is read.
"""


def tables(folder: Path, given: Mapping[str, Table] | None = None) -> dict[str, list[Table]]:
    """The tables of a folder, which must be enough for at least one task.

    Args:
        folder: the folder.
        given: tables that were read already.

    Raises:
        InputError: a table is missing or not readable.
    """
    if parts := _in_parts(folder):
        raise InputError(f"{parts}; if it is not a table, rename it")
    read = read_present(folder, given)
    if not read:
        raise InputError(
            f"{folder}: is not a dataset; it needs items and interactions or queries with qrels, "
            f"each as {', '.join(SUFFIXES)}{_holds(folder)}; twofold sources lists the other "
            f"layouts"
        )
    name = next(iter(read))
    read[name] = [replace(t, notes=(*t.notes, *_not_read(folder))) for t in read[name]]
    return require_enough(folder, read)


def _in_parts(folder: Path) -> str | None:
    """What is wrong with a folder that has the name of a missing table and files with rows, as
    Spark and Hive write a table.
    """
    for name in TABLES:
        parts = (folder / name).rglob("*") if name not in present(folder) else ()
        suffixes = sorted(s for path in parts if (s := format_suffix(path)) in SUFFIXES)
        if suffixes:
            return _folder_of_parts(folder / name, f"{name}{suffixes[0]}")
    return None


def _folder_of_parts(path: Path, meant: str) -> str:
    return f"{path}: is a folder; write its parts as one file {meant}"


def _not_read(folder: Path) -> list[Note]:
    """Notes on files that may contain a table but do not have the name of one, and on folders with
    the name of a table that a file holds.
    """
    tables = present(folder)
    notes = [
        Note(1, f"{folder / name}", f"{path.name} holds the table {name}", "keep one of them",
             "folder", "not read")
        for name, path in tables.items()
        if any(format_suffix(part) in SUFFIXES for part in (folder / name).rglob("*"))
    ]  # fmt: skip
    names = sorted(
        path.name
        for path in set(folder.iterdir()) - set(tables.values())
        if format_suffix(path) in SUFFIXES and not path.name.startswith(".")
    )
    if not names:
        return notes
    more = ", ..." if len(names) > _SHOWN else ""
    have = "does" if len(names) == 1 else "do"
    problem = f"{', '.join(names[:_SHOWN])}{more} {have} not have the name of a table"
    remedy = f"nothing to do, or rename a table to one of {', '.join(TABLES)}"
    return [*notes, Note(len(names), str(folder), problem, remedy, "file", "not read")]


def present(folder: Path) -> dict[str, Path]:
    """The files of the tables that a folder has.

    Raises:
        InputError: there are two files of a table.
    """
    paths = {name: find_table(folder, name) for name in TABLES}
    return {name: path for name, path in paths.items() if path}


def read_present(folder: Path, given: Mapping[str, Table] | None = None) -> dict[str, list[Table]]:
    """The tables that a folder has, even if they are too few; `given` were read already.

    Raises:
        InputError: a table is missing, and a file has a similar name.
    """
    paths = present(folder)
    for name in TABLES:
        if name not in paths and (other := _almost(folder, name)):
            raise InputError(f"{other}; if it is not a table, rename it")
    known = given or {}
    return {n: [known[n] if n in known else read_table(path)] for n, path in paths.items()}


_SPLIT = "(train|training|valid|validation|val|dev|test)"


def _almost(folder: Path, name: str) -> str | None:
    """What is wrong with a file whose name is similar to that of a missing table."""
    one = {"queries": "query"}.get(name, name.removesuffix("s"))
    part = rf"[-_ ]?(part)?[-_ ]?\d+|[-_. ]{_SPLIT}"
    called = re.compile(rf"({_SPLIT}[-_. ])?({name}|{one})({part})?\..+", re.IGNORECASE)
    alike = sorted(path for path in folder.iterdir() if called.fullmatch(path.name))
    for path in alike:
        if path.is_symlink() and not path.exists():
            return f"{path}: is a broken link; correct it, or remove it"
        if path.is_dir():
            return _folder_of_parts(path, f"{name}{format_suffix(path)}")
        if {path.suffix.lower(), format_suffix(path)} & {*PACKED}:
            return f"{path}: is in no supported format; unpack it, and name the table {name}.csv"
        if format_suffix(path) not in SUFFIXES or not path.is_file():
            return f"{path}: is in no supported format; write it as {name}.csv"
        meant = f"{name}{format_suffix(path)}"
        remedy = f"name it {meant}" if len(alike) == 1 else f"join all parts as {meant}"
        if len(alike) > 1 and name == "queries":
            remedy += ", if they are splits with a column split"
        return f"{path}: is not read; {remedy}"
    return None


def _holds(folder: Path) -> str:
    """The first files of a folder without tables, for the error message."""
    names = sorted(
        f"{path.name} (a folder)" if path.is_dir() else path.name
        for path in folder.iterdir()
        if not path.name.startswith(".")
    )
    more = ", ..." if len(names) > _SHOWN else ""
    return f"; it holds {', '.join(names[:_SHOWN])}{more}" if names else "; it is empty"


_SHOWN = 5


def require_enough(folder: Path, tables: dict[str, list[Table]]) -> dict[str, list[Table]]:
    """Return the tables if they are enough for one task; else raise InputError."""
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
