"""Serve a new model folder without a pause: load it beside the old one, warm it up, swap."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from pathlib import Path

from twofold.records import InputError, Request
from twofold.serving.engines.batching import Batcher
from twofold.serving.engines.engine import Asked, Engine

log = logging.getLogger(__name__)

Load = Callable[[Path, str], Engine]
"""An engine from a model folder, for the arm of this name."""


class ReloadingError(Exception):
    """A reload is under way."""


class Reloader:
    """One reload at a time.

    Args:
        batcher: whose engines are swapped.
        folders: of the served models, by arm.
        load: reads a model folder and the changes of its catalog; InputError for a bad one.

    Attributes:
        growing: whoever holds it may add items, or swap models: a place in one model is none in
            another, and what came while a model was loaded has to be placed in that as well.
    """

    def __init__(self, batcher: Batcher, folders: Mapping[str, Path], load: Load | None) -> None:
        self._batcher = batcher
        self._folders = dict(folders)
        self._load = load
        self._busy = False
        self.growing = asyncio.Lock()

    async def reload(self, arm: str | None = None, folder: Path | None = None) -> None:
        """Load, warm up, swap: every arm of it, or none.

        Args:
            arm: whose model; all of them where neither an arm nor a folder is given.
            folder: its new folder; the present one where none is given.

        Raises:
            InputError: a folder cannot be served; what was served goes on.
            ReloadingError: another reload is under way.
        """
        if self._busy:
            raise ReloadingError("another reload is under way; wait for it to end")
        self._busy = True
        try:
            folders = self._wanted(arm, folder)
            fresh = await asyncio.to_thread(self._loaded, folders)
            async with self.growing:
                await asyncio.to_thread(_catch_up, fresh)  # items are placed here, not in line
                # In the engines' thread nothing is removed between the two steps.
                await self._batcher.change(lambda engines: _swap(engines, fresh))
            self._folders |= folders
        finally:
            self._busy = False

    def _wanted(self, arm: str | None, folder: Path | None) -> dict[str, Path]:
        if self._load is None or not self._folders:
            raise InputError("this server was started without model folders to reload")
        if arm is None and folder is None:
            return dict(self._folders)
        name = self._batcher.arm(arm)
        return {name: folder or self._folders[name]}

    def _loaded(self, folders: Mapping[str, Path]) -> dict[str, Engine]:
        assert self._load is not None
        fresh = {}
        for arm, folder in folders.items():
            try:
                fresh[arm] = self._load(folder, arm)
                warm_up(fresh[arm])
            except BaseException as error:  # a library's panic is no Exception
                if not isinstance(error, InputError):
                    log.exception("%s cannot be loaded", folder)
                raise InputError(
                    f"{folder} cannot be served, arm '{arm}' stays as it is: {error}"
                ) from error
        return fresh


def _catch_up(fresh: Mapping[str, Engine]) -> None:
    for engine in fresh.values():
        engine.catch_up()


def _swap(engines: dict[str, Engine], fresh: Mapping[str, Engine]) -> None:
    _catch_up(fresh)
    engines.update(fresh)


def warm_up(engine: Engine) -> None:
    """Answer a query and a history, whichever the model is for.

    Raises:
        InputError: it answers neither.
    """
    known = engine.find_titles("", 1)
    title = known[0].title if known else "a"
    requests = [Request("warm-up query", query=title)]
    requests += [Request("warm-up history", history=(item.item_id,)) for item in known]
    refusals: list[InputError] = []
    for request in requests:
        try:
            engine.check(request)
            engine.answer([Asked(request, 50)])
        except InputError as error:
            refusals.append(error)
    if len(refusals) == len(requests):
        raise refusals[0]
