"""`twofold report`."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class FormatName(StrEnum):
    """The formats of tables."""

    markdown = "markdown"
    latex = "latex"
    csv = "csv"


def report(
    study: Annotated[Path, typer.Argument(help="The folder of a finished study.")],
    other: Annotated[
        Path | None, typer.Argument(help="Another study of the same data and protocol.")
    ] = None,
    form: Annotated[
        FormatName, typer.Option("--format", help="Format of the tables.")
    ] = FormatName.markdown,
) -> None:
    """Print the tables of a study for a paper, or compare two studies."""
    from twofold.studies.cells import render
    from twofold.studies.pages.tables import compare, study_tables
    from twofold.studies.result import load_result

    tables = compare(study, other) if other else study_tables(load_result(study))
    print(render(tables, form.value), end="")
