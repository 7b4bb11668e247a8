"""Model folders as an application: what a server runs, in one process or in many."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from fastapi import FastAPI

from twofold.additions.log import ChangeLog
from twofold.serving.app import create_app
from twofold.serving.engines.catalog_engine import CatalogEngine, load_engine
from twofold.serving.http.keys import Key
from twofold.serving.settings import ServingSettings


def app_of_folders(
    folders: Mapping[str, Path],
    settings: ServingSettings | None = None,
    *,
    state: Path | None = None,
    keys: Sequence[Key] = (),
    device: str = "cpu",
    reloads: bool = True,
) -> FastAPI:
    """The application over models that are loaded here.

    Args:
        folders: model folders, by the names of their arms.
        settings: limits.
        state: the folder that keeps changes of the catalog; without it there are none.
        keys: see `create_app`.
        device: `cpu`, `cuda`, or `auto`.
        reloads: whether another model folder may take the place of one.

    Raises:
        InputError: a folder or the log of changes is damaged, or the log is in use.
    """
    log = ChangeLog(state) if state else None

    def load(folder: Path, arm: str) -> CatalogEngine:
        return load_engine(folder, arm, log, device)

    engines = {arm: load(folder, arm) for arm, folder in folders.items()}
    return create_app(engines, settings, folders=folders, load=load if reloads else None, keys=keys)
