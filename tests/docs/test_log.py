"""The log has an index of its entries, and an entry begins with its conclusion."""

import re
from pathlib import Path

import pytest

LOG = Path(__file__).parents[2] / "docs" / "project" / "log"
FILES = sorted(LOG.glob("20*.md"))
ENTRY = re.compile(r"^## (\d{4}-\d\d-\d\d · .+)$", re.MULTILINE)
WIDTH = 120


def anchor(title: str) -> str:
    kept = "".join(c for c in title.lower() if c.isalnum() or c in " -_")
    return kept.replace(" ", "-")


def test_the_index_links_every_entry_newest_first() -> None:
    links = re.findall(
        r"^\| (\S+) \|.*\]\((\S+)\) \|$", (LOG / "index.md").read_text(), re.MULTILINE
    )
    dates = [date for date, _ in links]
    assert dates == sorted(dates, reverse=True)
    written = {
        f"{path.name}#{anchor(title)}"
        for path in FILES
        for title in ENTRY.findall(path.read_text())
    }
    assert {link for _, link in links} == written


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_entries_stand_newest_first(path: Path) -> None:
    dates = [title[:10] for title in ENTRY.findall(path.read_text())]
    assert dates
    assert dates == sorted(dates, reverse=True)
    assert all(date.startswith(path.stem[:7]) for date in dates)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_an_entry_begins_with_a_conclusion_of_a_few_lines(path: Path) -> None:
    for entry in re.split(r"^## ", path.read_text(), flags=re.MULTILINE)[1:]:
        title, _, conclusion = entry.split("\n\n")[0].partition("\n")
        paragraph = entry.split("\n\n")[1]
        assert not conclusion, title
        assert not paragraph.startswith(("|", "```", "**")), title
        assert len(paragraph.split("\n")) <= 4, title


@pytest.mark.parametrize("path", [*FILES, LOG / "index.md"], ids=lambda path: path.stem)
def test_the_log_has_one_width(path: Path) -> None:
    lines = path.read_text().split("\n")
    assert not [line for line in lines if len(line) > WIDTH and not line.startswith("|")]
