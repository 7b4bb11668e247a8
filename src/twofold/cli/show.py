"""How answers are printed."""

import dataclasses
import json
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from twofold.records import RankedItem


def show(answers: Sequence[RankedItem], as_json: bool) -> None:
    """A table for a person, or JSON; scores are log-probabilities."""
    if as_json:
        print(json.dumps([dataclasses.asdict(answer) for answer in answers], ensure_ascii=False))
        return
    table = Table("rank", "score", "item_id", "title", box=None)
    for answer in answers:
        table.add_row(
            str(answer.rank), f"{answer.score:.3f}", Text(answer.item_id), Text(answer.title)
        )
    Console().print(table)
