"""The style that all figures share. matplotlib is loaded when the first one is drawn."""

import io
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK = "#808890"
"""The colour of text and axes, which is readable on a light and a dark page."""
COLOURS = {
    "search": "#3b82c4",
    "recommendation": "#d97a2b",
    "joint": "#2f9e6e",
    "search-step-matched": "#8fb8dd",
    "recommendation-step-matched": "#e8b98c",
}
"""The colour of each arm; a task has the colour of its plain arm."""
CATEGORIES = ("#3b82c4", "#d97a2b", "#2f9e6e", "#b0559e", "#c9a227", "#7f6bd0", INK)
"""Colours for categories of items; the last one is for all other values."""
WIDTH = 7.2
"""The width of a figure in inches."""

_STYLE: dict[Any, Any] = {
    "svg.hashsalt": "twofold",
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
}


def svg(draw: "Callable[[], Figure]") -> str:
    """A figure as inline SVG with a transparent background; the same bytes every time."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    with mpl.rc_context(_STYLE):
        figure = draw()
        text = io.StringIO()
        figure.savefig(text, format="svg", transparent=True, metadata={"Date": None})
        plt.close(figure)
    content = text.getvalue()
    return content[content.index("<svg") :]


def panels(
    rows: int, columns: int, height: float, **options: Any
) -> "tuple[Figure, Sequence[Axes]]":
    """A figure of the page's width with a grid of panels, which are returned row by row.

    Args:
        rows, columns: the size of the grid.
        height: the height of the figure, in inches.
        options: options of `matplotlib.pyplot.subplots`.
    """
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(
        rows, columns, figsize=(WIDTH, height), layout="constrained", squeeze=False, **options
    )
    return figure, list(axes.ravel())


def title(axis: "Axes", text: str) -> None:
    """A panel's title, on the left."""
    axis.set_title(text, loc="left", fontsize=11, color=INK)


def legend(axis: "Axes") -> None:
    """A small legend without a frame; none for an axis on which nothing has a label."""
    if axis.get_legend_handles_labels()[0]:
        axis.legend(frameon=False, fontsize=8)
