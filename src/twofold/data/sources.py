"""Reads a SOURCE, as users name it, into a validated dataset.

A source is a folder in one of the layouts of `layouts/`, the name of a known dataset
(`ml-latest-small`, ...), or `simulate:NAME`. Layouts and simulators are imported when a source
needs them, so that work on a prepared folder loads none.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from twofold.data.dataset import Dataset
from twofold.data.formats import COMPRESSED, PACKED, Table
from twofold.data.validation import validate
from twofold.records import InputError

_SIMULATE = "simulate:"


def read_source(
    source: str | Path | Mapping[str, Any],
    skip_unknown: bool = False,
    given: Mapping[str, Table] | None = None,
) -> Dataset:
    """Read and validate the data that `source` names, or its frames.

    Args:
        source: a folder, a name, or a mapping from tables to frames.
        skip_unknown: leave out rows with an unknown item or query.
        given: tables of a folder of four tables that were read already.

    Raises:
        InputError: there is no such source, or a row is invalid.
    """
    if isinstance(source, Mapping):
        from twofold.data.frames import frame_tables

        return validate(frame_tables(source), skip_unknown)
    name = str(source)
    if name.startswith(_SIMULATE):
        from twofold.data.simulators import simulate

        return validate(simulate.tables(name.removeprefix(_SIMULATE)))
    folder = Path(source)
    if given is not None:
        from twofold.data.layouts import four_tables

        return validate(four_tables.tables(folder, given), skip_unknown)
    return validate(_folder_tables(folder if folder.exists() else _fetched(name)), skip_unknown)


def _folder_tables(folder: Path) -> dict[str, list[Table]]:
    """The tables of a folder, by the first layout that recognises it."""
    from twofold.data.layouts.registry import folder_tables

    if folder.is_file():
        packed = folder.suffix.lower() in (*PACKED, COMPRESSED)
        remedy = "unpack it, and give the folder" if packed else f"give its folder {folder.parent}"
        raise InputError(f"{folder}: is a file, and a source is a folder; {remedy}")
    if not folder.is_dir():
        raise _unknown(str(folder))
    return folder_tables(folder)


def _fetched(name: str) -> Path:
    """The folder of a known dataset, which is downloaded if it is not there yet."""
    from twofold.data.download import fetch
    from twofold.data.layouts.registry import ARCHIVES

    if name not in ARCHIVES:
        raise _unknown(name)
    return fetch(ARCHIVES[name])


def _unknown(name: str) -> InputError:
    from twofold.data.layouts.registry import ARCHIVES
    from twofold.data.simulators import simulate

    known = ", ".join([*ARCHIVES, *(_SIMULATE + n for n in simulate.SIMULATORS)])
    return InputError(f"{name}: no such folder, and none of the known sources {known}")


def known_sources() -> dict[str, list[dict[str, str]]]:
    """All sources: the layouts of folders, the datasets with a name, and the simulators."""
    from twofold.data.layouts.registry import ARCHIVES, listed
    from twofold.data.simulators import simulate

    return {
        "layouts": listed(),
        "names": [{"name": a.name, "url": a.url} for a in ARCHIVES.values()],
        "simulators": [{"name": _SIMULATE + name} for name in simulate.SIMULATORS],
    }
