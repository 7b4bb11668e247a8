"""`twofold report`."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class FormatName(StrEnum):
    """How tables are written."""

    markdown = "markdown"
    latex = "latex"
    csv = "csv"


def report(
    study: Annotated[Path, typer.Argument(help="A finished study.")],
    other: Annotated[
        Path | None, typer.Argument(help="Another one, of the same data and protocol.")
    ] = None,
    form: Annotated[
        FormatName, typer.Option("--format", help="Of the tables.")
    ] = FormatName.markdown,
) -> None:
    """Print the tables of a study for a paper, or two studies side by side."""
    from twofold.studies.tables import compare, load_result, render, study_tables

    tables = compare(study, other) if other else study_tables(load_result(study))
    print(render(tables, form.value), end="")
