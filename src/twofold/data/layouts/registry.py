"""The known layouts, and the recognition of a folder's layout or of the nearest one."""

from collections.abc import Mapping
from pathlib import Path

from twofold.data.download import Archive
from twofold.data.layouts import (
    beir,
    four_tables,
    kuaishou,
    mind,
    movielens,
    playlists,
    qilin,
    recbole,
    shops,
    tagged,
    ubi,
)
from twofold.data.layouts.layout import Layout, Tables, pattern_text
from twofold.records import InputError

LAYOUTS: tuple[Layout, ...] = (
    movielens.LAYOUT,
    movielens.LAYOUT_100K,
    beir.LAYOUT,
    beir.LAYOUT_ONE_FOLDER,
    recbole.LAYOUT,
    ubi.LAYOUT,
    tagged.GOODBOOKS,
    tagged.LASTFM,
    mind.LAYOUT,
    playlists.LAYOUT,
    kuaishou.KUAISAR,
    kuaishou.KUAISEARCH,
    qilin.LAYOUT,
    shops.AMAZON,
    shops.JDSEARCH,
)
"""The published layouts in the order in which they are tried; `four_tables` is the last."""

ARCHIVES: Mapping[str, Archive] = {
    archive.name: archive for layout in LAYOUTS for archive in layout.archives
}
"""The datasets that are downloaded by name."""


def listed() -> list[dict[str, str]]:
    """Every layout: its name, the files by which it is recognised, and its tables."""
    return [four_tables.LISTED] + [
        {
            "name": layout.name,
            "recognised by": ", ".join(pattern_text(p) for p in layout.marks or layout.needs),
            "gives": layout.gives,
        }
        for layout in LAYOUTS
    ]


def folder_tables(folder: Path) -> Tables:
    """The tables of a folder, by the first layout that recognises it.

    Raises:
        InputError: no layout has these files; the message has the nearest one and the missing
            files.
    """
    for layout in LAYOUTS:
        if layout.recognises(folder):
            return _usable(folder, layout, layout.tables(folder))
    own = four_tables.present(folder)
    near = max(LAYOUTS, key=lambda layout: len(layout.present(folder)))
    if len(near.present(folder)) > len(own):
        raise _nearest(folder, near)
    if not own and (inside := _inside(folder)):
        raise inside
    return four_tables.tables(folder)


def _usable(folder: Path, layout: Layout, tables: Tables) -> Tables:
    """The tables that have rows.

    Raises:
        InputError: they are not enough for any task; the message has the first reason why rows were
            left out.
    """
    empty = {n for n, parts in tables.items() if not any(part.rows.height for part in parts)}
    if empty & {"queries", "qrels"}:
        empty |= {"queries", "qrels"}
    kept = {name: parts for name, parts in tables.items() if name not in empty}
    if "items" not in empty and len(kept) > ("items" in kept):
        return kept
    notes = [note for name in sorted(empty & set(tables)) for t in tables[name] for note in t.notes]
    why = f" ({notes[0]})" if notes else ""
    raise InputError(
        f"{folder}: has the files of the layout {layout.name}, but no rows in "
        f"{', '.join(sorted(empty & set(tables)))}{why}; add some, or unpack it again"
    )


def _nearest(folder: Path, layout: Layout) -> InputError:
    present = layout.present(folder)
    missing = [pattern_text(pattern) for pattern in layout.needs if pattern not in present]
    return InputError(
        f"{folder}: is nearest to the layout {layout.name}, with "
        f"{', '.join(map(pattern_text, present))} but no {', no '.join(missing)}; add "
        f"what is missing, or write items and interactions or queries with qrels (twofold "
        f"sources lists the layouts)"
    )


def _inside(folder: Path) -> InputError | None:
    """An error that names a subfolder of `folder` with a dataset; None if there is none."""
    for path in sorted(path for path in folder.iterdir() if path.is_dir()):
        name = next((layout.name for layout in LAYOUTS if layout.recognises(path)), None)
        if name is None and len(four_tables.present(path)) > 1:
            name = "of four tables"
        if name is not None:
            return InputError(
                f"{folder}: is no dataset itself; its folder {path.name} has the layout {name}: "
                f"give {path}"
            )
    return None
