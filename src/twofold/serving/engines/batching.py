"""Requests wait in line; one thread owns the engines and answers several in one pass.

Every call of an engine but `place` runs in that thread, one at a time: what an answer says of its
version is the version that gave it.
"""

import asyncio
import math
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent import futures
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from twofold.records import InputError, Request
from twofold.serving.engines.engine import Asked, Engine, Found
from twofold.serving.settings import ServingSettings

T = TypeVar("T")

BUCKETS = (50, 100, 200, 500, 1000)
"""A pass asks for one of these many items and cuts, so that no answer depends on what the
requests beside it wanted: beams follow the number asked for."""

_NICE = 5
"""Of the engines' thread, added to the process's own."""


class OverloadedError(Exception):
    """More requests wait than may; `retry_after` is in whole seconds."""

    def __init__(self, retry_after: int) -> None:
        super().__init__(f"too many requests are waiting; come back in {retry_after} s")
        self.retry_after = retry_after


@dataclass(frozen=True, slots=True)
class Version:
    """What an answer rests on."""

    arm: str
    model_version: str
    catalog_version: str
    items: int
    carries_histories: bool
    tasks: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Wanted:
    """A request to be: an engine makes it, as it may know the user's history or not.

    Attributes:
        arm: whose engine answers.
        k: how many items.
        searches: whether there is a query; requests of one task share a pass.
        request: raises InputError where the engine cannot answer it.
    """

    arm: str
    k: int
    searches: bool
    request: Callable[[Engine], Request]

    @property
    def bucket(self) -> int:
        return next(bucket for bucket in BUCKETS if bucket >= self.k)


class Observer(Protocol):
    """Whoever counts passes."""

    def passed(self, requests: int, seconds: float) -> None: ...


@dataclass(eq=False, slots=True)
class _Call:
    """What was asked for at once: one job, or several whose answers are of one version."""

    begun: bool = False


@dataclass(eq=False, slots=True)
class _Job:
    future: "asyncio.Future[Any]"
    call: _Call
    run: Callable[[Engine], Any] | None = None
    arm: str = ""
    wanted: Wanted | None = None
    change: Callable[[dict[str, Engine]], Any] | None = None

    @property
    def group(self) -> tuple[str, bool, int] | None:
        """Jobs of one group share a pass; without one a job runs alone."""
        if self.wanted is None:
            return None
        return self.wanted.arm, self.wanted.searches, self.wanted.bucket


class Batcher:
    """One line, one thread.

    Args:
        engines: by the arm's name; the first answers where no arm is asked for.
        settings: limits.
        observer: is told of every pass, in the engines' thread.
    """

    def __init__(
        self,
        engines: Mapping[str, Engine],
        settings: ServingSettings,
        observer: Observer | None = None,
    ) -> None:
        self._engines = dict(engines)
        self._settings = settings
        self._observer = observer
        self._line: deque[_Job] = deque()
        self._changes: deque[_Job] = deque()
        self._filled = asyncio.Event()
        self._thread = futures.ThreadPoolExecutor(
            1, "engines", initializer=give_way, initargs=(_NICE,)
        )
        self._worker: asyncio.Task[None] | None = None
        self._passing: list[_Job] = []
        self._pass_ends: futures.Future[list[Any]] | None = None
        self._pace = 0.01  # seconds a request, a moving mean
        self.versions = {arm: _version(engine) for arm, engine in engines.items()}

    @property
    def waiting(self) -> int:
        return len(self._line)

    @property
    def full(self) -> bool:
        return len(self._line) >= self._settings.max_waiting

    @property
    def retry_after(self) -> int:
        """Seconds until those that wait now are answered, at least 1."""
        return max(1, math.ceil(len(self._line) * self._pace))

    def rest(self, seconds: float) -> None:
        """Keep the event loop still until the pass that runs ends, for so long at most."""
        if self._pass_ends is not None:
            futures.wait((self._pass_ends,), seconds)

    def arm(self, name: str | None) -> str:
        """The arm asked for, or the first.

        Raises:
            InputError: it is not served.
        """
        if name is None and self.versions:
            return next(iter(self.versions))
        if name not in self.versions:
            raise InputError(f"arm '{name}' is not served; take one of {', '.join(self.versions)}")
        return name

    def start(self) -> None:
        """Begin to answer, in the running event loop."""
        self._worker = asyncio.create_task(self._work())

    async def close(self) -> None:
        """Let the pass that runs end; whoever waits for an answer is cancelled."""
        if self._worker is not None:
            self._worker.cancel()
            await asyncio.gather(self._worker, return_exceptions=True)
        for job in (*self._passing, *self._changes, *self._line):
            job.future.cancel()
        await asyncio.to_thread(self._thread.shutdown)

    async def answer(self, wanted: Sequence[Wanted]) -> list[tuple[Version, list[Found]]]:
        """The items of each, best first, and the version that found them, one for all that are of
        one arm. All of them are taken in, or none.

        Raises:
            OverloadedError: too many wait already.
            InputError: one of them cannot be answered.
        """
        call = _Call()
        return await self._wait([_Job(self._future(), call, wanted=each) for each in wanted])

    async def call(self, arm: str, run: Callable[[Engine], T]) -> tuple[Version, T]:
        """What `run` gives with the arm's engine, when its turn comes.

        Raises:
            OverloadedError: too many wait already.
        """
        found: list[tuple[Version, T]]
        found = await self._wait([_Job(self._future(), _Call(), run=run, arm=arm)])
        return found[0]

    async def change(self, change: Callable[[dict[str, Engine]], T]) -> T:
        """Change the engines themselves, before any request that waits but those that were asked
        with one that has its answer; never refused."""
        job = _Job(self._future(), _Call(), change=change)
        self._changes.append(job)
        self._filled.set()
        found: T = await job.future
        return found

    def _future(self) -> "asyncio.Future[Any]":
        return asyncio.get_running_loop().create_future()

    async def _wait(self, jobs: list[_Job]) -> list[Any]:
        if self.full:
            raise OverloadedError(self.retry_after)
        self._line.extend(jobs)
        self._filled.set()
        try:
            return await asyncio.gather(*(job.future for job in jobs))
        finally:
            # Nobody waits for what is left of a request that was cancelled or failed in part.
            for job in jobs:
                if job in self._line:
                    self._line.remove(job)
                job.future.cancel()

    async def _work(self) -> None:
        while True:
            if not (self._line or self._changes):
                self._filled.clear()
                await self._filled.wait()
                if len(self._line) < self._settings.max_batch and not self._changes:
                    await asyncio.sleep(self._settings.gather_ms / 1000)
            self._passing = self._take()
            if self._passing:
                await self._pass(self._passing)

    def _take(self) -> list[_Job]:
        """The first job in line, and those further back that can share its pass; a change before
        them, once no call is answered in part."""
        line = self._line
        if self._changes:
            line = deque(job for job in line if job.call.begun)
            if not line:
                return [self._changes.popleft()]
        if not line:
            return []
        group, most = line[0].group, self._settings.max_batch
        jobs = [line[0]] if group is None else [job for job in line if job.group == group][:most]
        for job in jobs:
            job.call.begun = True
        taken = set(jobs)
        self._line = deque(job for job in self._line if job not in taken)
        return jobs

    async def _pass(self, jobs: list[_Job]) -> None:
        started = time.perf_counter()
        self._pass_ends = self._thread.submit(self._run, jobs)
        outcomes = await asyncio.shield(asyncio.wrap_future(self._pass_ends))
        seconds = time.perf_counter() - started
        self._pace += 0.1 * (seconds / len(jobs) - self._pace)
        if self._observer is not None and jobs[0].wanted is not None:
            self._observer.passed(len(jobs), seconds)
        for job, outcome in zip(jobs, outcomes, strict=True):
            if job.future.done():
                continue
            if isinstance(outcome, Exception):
                job.future.set_exception(outcome)
            else:
                job.future.set_result(outcome)

    def _run(self, jobs: list[_Job]) -> list[Any]:
        """In the engines' thread: what each job gives, or the exception it ended with."""
        job = jobs[0]
        try:
            if job.change is not None:
                return [self._change(job.change)]
            if job.run is not None:
                engine = self._engines[job.arm]
                return [(_version(engine), job.run(engine))]
            wanted = [job.wanted for job in jobs if job.wanted is not None]
            return _answer(self._engines[wanted[0].arm], wanted)
        except BaseException as error:
            return [_survived(error)] * len(jobs)

    def _change(self, change: Callable[[dict[str, Engine]], T]) -> T:
        try:
            return change(self._engines)
        finally:
            self.versions = {arm: _version(engine) for arm, engine in self._engines.items()}


def give_way(nice: int) -> None:
    """Let the event loop, which needs little, go before this thread and those it starts: on a busy
    core a refusal would wait for its turn otherwise.

    Args:
        nice: added to the process's own.
    """
    if sys.platform == "linux":  # where a thread has a priority of its own
        thread = threading.get_native_id()
        own = os.getpriority(os.PRIO_PROCESS, thread)
        os.setpriority(os.PRIO_PROCESS, thread, min(19, own + nice))


def _version(engine: Engine) -> Version:
    return Version(
        engine.arm,
        engine.model_version,
        engine.catalog_version,
        engine.items,
        engine.carries_histories,
        engine.tasks,
    )


def _answer(engine: Engine, wanted: Sequence[Wanted]) -> list[Any]:
    """One pass; a request that cannot be answered does not fail those beside it."""
    outcomes: list[Any] = [None] * len(wanted)
    asked: dict[int, Asked] = {}
    for place, each in enumerate(wanted):
        try:
            asked[place] = Asked(each.request(engine), each.bucket, each.k)
        except BaseException as error:
            outcomes[place] = _survived(error)
    version = _version(engine)
    for place, found in _find(engine, asked).items():
        failed = isinstance(found, Exception)
        outcomes[place] = found if failed else (version, found[: wanted[place].k])
    return outcomes


def _find(engine: Engine, asked: Mapping[int, Asked]) -> dict[int, Any]:
    """The items of each request, or its exception: together, and one by one where that fails."""
    if not asked:
        return {}
    try:
        return dict(zip(asked, engine.answer(list(asked.values())), strict=True))
    except BaseException as error:
        if len(asked) == 1:
            return dict.fromkeys(asked, _survived(error))
    alone = [_find(engine, {place: one}) for place, one in asked.items()]
    return {place: found for each in alone for place, found in each.items()}


def _survived(error: BaseException) -> Exception:
    """What a library's panic, which is no Exception, becomes: a fault of one pass, not the end of
    the one who answers."""
    if isinstance(error, Exception):
        return error
    return RuntimeError(f"{type(error).__name__}: {error}")
