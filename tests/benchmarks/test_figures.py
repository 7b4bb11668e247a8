"""The figures of docs/results draw what the JSON of docs/benchmarks holds."""

import re
from pathlib import Path

import figures
import matplotlib as mpl
import pytest


@pytest.fixture(scope="module")
def drawn() -> dict[Path, str]:
    return figures.render_figures()


def texts(svg: str) -> list[str]:
    return re.findall(r"<text[^>]*>([^<]*)</text>", svg)


def test_published_figures_are_those_of_the_json(drawn: dict[Path, str]) -> None:
    assert set(figures.FIGURES.glob("*.svg")) == set(drawn)
    for path, svg in drawn.items():
        published = path.read_text(encoding="utf-8")
        assert texts(published) == texts(svg), f"{path}: run python benchmarks/figures.py"
        if f"Matplotlib v{mpl.__version__}," in published:
            assert published == svg, f"{path}: run python benchmarks/figures.py"


def test_every_colour_of_a_figure_has_one_for_dark_pages(drawn: dict[Path, str]) -> None:
    for svg in drawn.values():
        style, body = svg.split("</style>", 1)
        used = set(re.findall(r"(?:fill|stroke): (#[0-9a-f]{6})", body)) - {"#000000"}
        assert used <= set(figures.DARK)
        assert "prefers-color-scheme: dark" in style


def test_each_figure_stands_on_a_page_that_names_command_seeds_protocol_and_commit() -> None:
    pages = [path.read_text(encoding="utf-8") for path in figures.FIGURES.parent.glob("*.md")]
    for name in figures.DRAWN:
        found = re.search(
            rf"!\[[^\]]+\]\(figures/{name}\.svg\)\n\n(\*Command: .*?\*\n)\n", "\n".join(pages), re.S
        )
        assert found, name
        assert all(f"{word}:" in found[1] for word in ("Seeds", "Protocol")), name
        assert re.search(r"Commits?:", found[1]), name
