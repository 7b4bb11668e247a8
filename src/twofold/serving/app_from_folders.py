"""The application for model folders, which a server runs in one or several processes."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from fastapi import FastAPI

from twofold.additions.log import ChangeLog
from twofold.serving.app import create_app
from twofold.serving.engines.catalog_engine import CatalogEngine, load_engine
from twofold.serving.http.keys import Key
from twofold.serving.settings import ServingSettings


def app_from_folders(
    folders: Mapping[str, Path],
    settings: ServingSettings | None = None,
    *,
    state: Path | None = None,
    keys: Sequence[Key] = (),
    device: str = "cpu",
    reloads: bool = True,
) -> FastAPI:
    """Load models and make the application that serves them.

    Args:
        folders: model folders by the names under which the models are served.
        settings: limits.
        state: the folder that keeps catalog changes; without it the catalog cannot change.
        keys: see `create_app`.
        device: `cpu`, `cuda`, or `auto`.
        reloads: whether a running server may replace its models.

    Raises:
        InputError: a folder or the log of changes is damaged, or the log is in use.
    """
    log = ChangeLog(state) if state else None

    def load(folder: Path, name: str) -> CatalogEngine:
        return load_engine(folder, name, log, device)

    engines = {name: load(folder, name) for name, folder in folders.items()}
    return create_app(engines, settings, folders=folders, load=load if reloads else None, keys=keys)
