"""Numbers as text, and tables in three forms."""

from twofold.studies.cells import Cell, render
from twofold.studies.pages.tables import study_tables
from twofold.studies.result import StudyResult


def test_numbers_are_written_with_four_decimals_and_a_sign() -> None:
    assert str(Cell(0.12345)) == ".1235"
    assert str(Cell(-0.5, (-1.25, 0.0), signed=True)) == "−.5000 [−1.2500, +.0000]"
    assert str(Cell(0.0, signed=True)) == "+.0000"


def test_markdown_and_latex_hold_the_same_cells(result: StudyResult) -> None:
    tables = study_tables(result)
    markdown, latex = render(tables, "markdown"), render(tables, "latex")
    for table in tables:
        assert f"## {table.title}" in markdown
        widths = {line.count("|") for line in markdown.split(f"## {table.title}")[1].splitlines()}
        assert len(table.columns) + 2 in widths
    assert latex.count(r"\begin{tabular}") == len(tables)
    assert latex.count(r"\toprule") == latex.count(r"\bottomrule") == len(tables)
    assert "−" not in latex
