"""Numbers as text, and tables of them as Markdown, LaTeX or CSV."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from twofold.studies.values import Difference, Mean

Format = Literal["markdown", "latex", "csv"]


def number(value: float, signed: bool = False) -> str:
    """Four decimals, without the zero before the point: `.0312`, `−.0312`, `+.0312`."""
    text = f"{abs(value):.4f}"
    text = text[1:] if text.startswith("0.") else text
    sign = "−" if value < 0 else "+" if signed else ""
    return sign + text


def interval(bounds: Sequence[float], signed: bool = False) -> str:
    """The bounds in brackets; with signs if they belong to a difference."""
    low, high = (number(bound, signed) for bound in bounds)
    return f"[{low}, {high}]"


@dataclass(frozen=True, slots=True)
class Cell:
    """A number with its 95 % interval, if it has one."""

    value: float
    interval: Sequence[float] | None = None
    signed: bool = False

    @classmethod
    def mean(cls, estimate: Mean) -> "Cell":
        """A mean and its interval."""
        return cls(estimate.mean, estimate.interval)

    @classmethod
    def difference(cls, estimate: Difference) -> "Cell":
        """A difference and its interval, both with a sign."""
        return cls(estimate.difference, estimate.interval, signed=True)

    def __str__(self) -> str:
        text = number(self.value, self.signed)
        return text if self.interval is None else f"{text} {interval(self.interval, self.signed)}"


Row = tuple[str, Sequence[Cell | str]]
"""The name of a row, and its cells."""


@dataclass(frozen=True, slots=True)
class Table:
    """A title, the names of the columns, and rows of a name and cells."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Row]


def render(tables: Sequence[Table], form: Format) -> str:
    """The tables as text."""
    return {"markdown": _markdown, "latex": _latex, "csv": _csv}[form](tables)


def _markdown(tables: Sequence[Table]) -> str:
    parts = []
    for table in tables:
        lines = [f"## {table.title}", "", "| | " + " | ".join(table.columns) + " |"]
        lines.append("|---|" + "---|" * len(table.columns))
        lines += [f"| {name} | " + " | ".join(map(str, cells)) + " |" for name, cells in table.rows]
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def _latex(tables: Sequence[Table]) -> str:
    """Tables for the package booktabs."""
    parts = []
    for table in tables:
        lines = [
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{_escape(table.title)}}}",
            r"\begin{tabular}{l" + "r" * len(table.columns) + "}",
            r"\toprule",
            " & ".join(["", *map(_escape, table.columns)]) + r" \\",
            r"\midrule",
            *(
                " & ".join(_escape(str(part)) for part in (name, *cells)) + r" \\"
                for name, cells in table.rows
            ),
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
        ]
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def _escape(text: str) -> str:
    for character in "\\&%$#_{}":
        text = text.replace(character, rf"\{character}" if character != "\\" else "/")
    return text.replace("−", "$-$").replace("±", r"$\pm$")


def _csv(tables: Sequence[Table]) -> str:
    """One row for each number: table, row, column, value, low, high; full precision."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["table", "row", "column", "value", "low", "high"])
    for table in tables:
        for name, cells in table.rows:
            for column, cell in zip(table.columns, cells, strict=True):
                if isinstance(cell, str):
                    rows.writerow([table.title, name, column, cell, "", ""])
                else:
                    low, high = cell.interval or ("", "")
                    rows.writerow([table.title, name, column, cell.value, low, high])
    return text.getvalue()
