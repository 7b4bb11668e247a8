"""How rankings are printed."""

import dataclasses
import json
import sys
from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from twofold.records import RankedItem


def show(
    answers: Sequence[RankedItem], as_json: bool, filters: Mapping[str, Sequence[str]] | None = None
) -> None:
    """Print a ranking as a table, or as JSON.

    Long ids and titles are wrapped in a terminal, and on one line otherwise. If the model knows no
    word of the query, each item in JSON has `no_known_words`.
    """
    if not answers:
        reason = "all of them are in the history, so excluded; --seen keep keeps them"
        if filters:
            given = " and ".join(f"{n} {' or '.join(map(repr, v))}" for n, v in filters.items())
            reason = one_line(f"none has {given}, or the history has all that do")
        print(f"No item is left: {reason}.", file=sys.stderr)
    if as_json:
        unknown = getattr(answers, "no_known_words", False)
        mark = {"no_known_words": True} if unknown else {}
        rows = [dataclasses.asdict(answer) | mark for answer in answers]
        print(json.dumps(rows, ensure_ascii=False))
        return
    table = Table(box=None)
    for name in ("rank", "score", "item_id", "title"):
        table.add_column(name, overflow="fold")
    for answer in answers:
        texts = (Text(one_line(text)) for text in (answer.item_id, answer.title))
        table.add_row(str(answer.rank), f"{answer.score:.3f}", *texts)
    console = Console()
    if not console.is_terminal:
        console = Console(width=_ENDLESS)
    console.print(table)


_ENDLESS = 1_000_000
"""The largest width of a line without a terminal; the table is as wide as its content."""


_CONTROLS = {n: f"\\x{n:02x}" for n in (*range(32), *range(127, 160))}
"""The control characters, which could move the cursor or change the colours of a terminal."""


def one_line(text: str) -> str:
    """The text on one line, its control characters as escape sequences."""
    return " ".join(text.replace("\t", " ").splitlines()).translate(_CONTROLS)
