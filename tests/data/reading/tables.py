"""Reads a table from text or bytes that a test gives."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from twofold.data.formats import Table, read_table

Read = Callable[..., Table]


def read(folder: Path, name: str, content: str | bytes) -> Table:
    """The table of a file with this name and content."""
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return read_table(path)


def rows(table: Table) -> list[tuple[Any, ...]]:
    return table.rows.rows()


def notes(table: Table) -> list[str]:
    """The notes, without the path of the file."""
    return [str(note).replace(str(table.path), table.path.name) for note in table.notes]
