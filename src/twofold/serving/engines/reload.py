"""Replaces a served model without a pause: load the new one, warm it up, swap the two."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from pathlib import Path

from twofold.records import InputError, Request
from twofold.serving.engines.batching import Batcher
from twofold.serving.engines.engine import Engine, TopK

_log = logging.getLogger(__name__)

Load = Callable[[Path, str], Engine]
"""A function that loads the engine of a model folder, which is served under this name."""


class ReloadingError(Exception):
    """Another reload is running."""


class Reloader:
    """One reload at a time.

    Args:
        batcher: the batcher whose engines are swapped.
        folders: folders of the served models, by name.
        load: loads a model folder and the changes of its catalog; InputError for an invalid one.

    Attributes:
        placement_lock: locked while items are placed and added, and while models are swapped: a
            placement is valid for one model, and items that are added while a model is loaded must
            be placed in it as well.
    """

    def __init__(self, batcher: Batcher, folders: Mapping[str, Path], load: Load | None) -> None:
        self._batcher = batcher
        self._folders = dict(folders)
        self._load = load
        self._busy = False
        self.placement_lock = asyncio.Lock()

    async def reload(self, model: str | None = None, folder: Path | None = None) -> None:
        """Load, warm up and swap all of the models, or none.

        Args:
            model: the name of the model; all models if neither name nor folder is given.
            folder: its new folder; the present one if None.

        Raises:
            InputError: a folder cannot be served; the old models are kept.
            ReloadingError: another reload is running.
        """
        if self._busy:
            raise ReloadingError("another reload is under way; wait for it to end")
        self._busy = True
        try:
            folders = self._folders_to_load(model, folder)
            engines = await asyncio.to_thread(self._loaded, folders)
            async with self.placement_lock:
                await asyncio.to_thread(_catch_up, engines)  # places items; no request waits for it
                # In the engines' thread no item is removed between the two steps of the swap.
                await self._batcher.change(lambda served: _swap(served, engines))
            self._folders |= folders
        finally:
            self._busy = False

    def _folders_to_load(self, model: str | None, folder: Path | None) -> dict[str, Path]:
        if self._load is None or not self._folders:
            raise InputError("this server was started without model folders to reload")
        if model is None and folder is None:
            return dict(self._folders)
        name = self._batcher.model_name(model)
        return {name: folder or self._folders[name]}

    def _loaded(self, folders: Mapping[str, Path]) -> dict[str, Engine]:
        assert self._load is not None
        engines = {}
        for name, folder in folders.items():
            try:
                engines[name] = self._load(folder, name)
                warm_up(engines[name])
            except BaseException as error:  # a panic in a library is not an Exception
                if not isinstance(error, InputError):
                    _log.exception("%s cannot be loaded", folder)
                raise InputError(
                    f"{folder} cannot be served, model '{name}' stays as it is: {error}"
                ) from error
        return engines


def _catch_up(engines: Mapping[str, Engine]) -> None:
    for engine in engines.values():
        engine.catch_up()


def _swap(served: dict[str, Engine], engines: Mapping[str, Engine]) -> None:
    _catch_up(engines)
    served.update(engines)


def warm_up(engine: Engine) -> None:
    """Let the engine answer a query and a history.

    Raises:
        InputError: it can answer neither.
    """
    items = engine.find_titles("", 1)
    title = items[0].title if items else "a"
    requests = [Request("warm-up query", query=title)]
    requests += [Request("warm-up history", history=(item.item_id,)) for item in items]
    refusals: list[InputError] = []
    for request in requests:
        try:
            engine.check(request)
            engine.answer([TopK(request, 50)])
        except InputError as error:
            refusals.append(error)
    if len(refusals) == len(requests):
        raise refusals[0]
