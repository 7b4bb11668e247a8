"""How rankings are printed."""

import dataclasses
import json
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from twofold.records import RankedItem


def show(answers: Sequence[RankedItem], as_json: bool) -> None:
    """Print a ranking as a table, or as JSON; scores are log-probabilities.

    Long ids and titles are wrapped in a terminal, and on one line otherwise. If the model knows no
    word of the query, each item in JSON has `no_known_words`.
    """
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
        table.add_row(
            str(answer.rank), f"{answer.score:.3f}", _line(answer.item_id), _line(answer.title)
        )
    console = Console()
    if not console.is_terminal:
        console = Console(width=_ENDLESS)
    console.print(table)


_ENDLESS = 1_000_000
"""The largest width of a line without a terminal; the table is as wide as its content."""


def _line(text: str) -> Text:
    """The text on one line."""
    return Text(" ".join(text.splitlines()))
