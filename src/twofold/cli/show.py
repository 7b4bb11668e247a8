"""How answers are printed."""

import dataclasses
import json
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from twofold.records import RankedItem


def show(answers: Sequence[RankedItem], as_json: bool) -> None:
    """A table for a person, or JSON; scores are log-probabilities.

    Ids and titles are whole: in a terminal they are folded, elsewhere a line has no end.
    In JSON each item of a search that the model knows no word of says so: `no_known_words`.
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
"""The width of a line where there is no terminal: the table is as wide as what it holds."""


def _line(text: str) -> Text:
    """A text on one line."""
    return Text(" ".join(text.splitlines()))
