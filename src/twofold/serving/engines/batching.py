"""A queue of requests, and the thread that owns the engines and answers requests in batches.

Every call of an engine except `place` runs in that thread, one at a time, so an answer always names
the version that computed it.
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
from typing import Any, NamedTuple, Protocol, TypeVar

from twofold.records import InputError, Request
from twofold.serving.engines.engine import Engine, ScoredItem, ServedModel, TopK
from twofold.serving.settings import ServingSettings

T = TypeVar("T")

K_STEPS = (50, 100, 200, 500, 1000)
"""A batch retrieves one of these numbers of items, and each answer is truncated to its `k`. The
number of beams depends on the `k` of the batch, so this keeps answers independent of the `k` of
other requests.
"""

_NICE = 5
"""Niceness of the engines' thread on top of the process's own."""


class OverloadedError(Exception):
    """The queue is full; `retry_after` is in whole seconds."""

    def __init__(self, retry_after: int) -> None:
        super().__init__(f"too many requests are queued; retry in {retry_after} s")
        self.retry_after = retry_after


@dataclass(frozen=True, slots=True)
class QueuedRequest:
    """A request that the engine completes when it is processed, since the engine has the users'
    histories.

    Attributes:
        model: the name of the model that answers.
        k: how many items.
        is_search: whether there is a query; a batch holds requests of one task.
        build: makes the request; raises InputError if the engine cannot answer it.
    """

    model: str
    k: int
    is_search: bool
    build: Callable[[Engine], Request]

    @property
    def k_step(self) -> int:
        """The number of items that its batch retrieves."""
        return next(step for step in K_STEPS if step >= self.k)


class Answered(NamedTuple):
    """The answer to one request.

    Attributes:
        served: the version that retrieved the items.
        items: best first.
        no_known_words: the model knows no word of the query.
    """

    served: ServedModel
    items: list[ScoredItem]
    no_known_words: bool = False


class Observer(Protocol):
    """Counts batches."""

    def batch_done(self, requests: int, seconds: float) -> None:
        """Count a batch, and the time it took."""
        ...


@dataclass(eq=False, slots=True)
class _Call:
    """One call of `answer` or `call`; the same version answers all of its jobs."""

    started: bool = False


@dataclass(eq=False, slots=True)
class _Job:
    """One task of the engines' thread, and the future of its result.

    Attributes:
        future: the result.
        call: the call that the job belongs to.
    """

    future: "asyncio.Future[Any]"
    call: _Call

    @property
    def batch_key(self) -> tuple[str, bool, int] | None:
        """Jobs with equal keys share a batch; a job without a key runs alone."""
        return None


@dataclass(eq=False, slots=True)
class _RetrieveJob(_Job):
    """Retrieves the items of one request."""

    request: QueuedRequest

    @property
    def batch_key(self) -> tuple[str, bool, int]:
        return self.request.model, self.request.is_search, self.request.k_step


@dataclass(eq=False, slots=True)
class _EngineJob(_Job):
    """Calls a function with one model's engine."""

    model: str
    run: Callable[[Engine], Any]


@dataclass(eq=False, slots=True)
class _ChangeJob(_Job):
    """Changes the engines."""

    change: Callable[[dict[str, Engine]], Any]


class Batcher:
    """One queue and one thread.

    Args:
        engines: by the name of the model; the first is the default.
        settings: limits.
        observer: is notified of every batch.

    Attributes:
        served: the served models, by name.
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
        self._queue: deque[_Job] = deque()
        self._changes: deque[_ChangeJob] = deque()
        self._filled = asyncio.Event()
        self._thread = futures.ThreadPoolExecutor(
            1, "engines", initializer=lower_thread_priority, initargs=(_NICE,)
        )
        self._worker: asyncio.Task[None] | None = None
        self._running: list[_Job] = []
        self._seconds_per_request = 0.01  # a moving average
        self.served = {name: engine.served for name, engine in engines.items()}

    @property
    def queued(self) -> int:
        """How many requests are queued."""
        return len(self._queue)

    @property
    def is_full(self) -> bool:
        """Whether the queue is full."""
        return len(self._queue) >= self._settings.max_queue_size

    @property
    def retry_after(self) -> int:
        """Seconds until the requests in the queue are answered, at least 1."""
        return max(1, math.ceil(len(self._queue) * self._seconds_per_request))

    def model_name(self, name: str | None) -> str:
        """The given name, or that of the first model.

        Raises:
            InputError: no model with this name is served.
        """
        if name is None and self.served:
            return next(iter(self.served))
        if name not in self.served:
            raise InputError(f"model '{name}' is not served; choose from {', '.join(self.served)}")
        return name

    def start(self) -> None:
        """Start to answer requests, in the running event loop."""
        self._worker = asyncio.create_task(self._work())

    async def close(self) -> None:
        """Let the running batch end and cancel every other request."""
        if self._worker is not None:
            self._worker.cancel()
            await asyncio.gather(self._worker, return_exceptions=True)
        for job in (*self._running, *self._changes, *self._queue):
            job.future.cancel()
        await asyncio.to_thread(self._thread.shutdown)

    async def answer(self, requests: Sequence[QueuedRequest]) -> list[Answered]:
        """The answers, in order, by one version of each model. Either all of the requests are
        queued or none.

        Raises:
            OverloadedError: the queue is full.
            InputError: one of the requests cannot be answered.
        """
        call = _Call()
        return await self._wait([_RetrieveJob(self._future(), call, each) for each in requests])

    async def call(self, model: str, run: Callable[[Engine], T]) -> tuple[ServedModel, T]:
        """The result of `run` with the model's engine, after the calls before it.

        Raises:
            OverloadedError: the queue is full.
        """
        results: list[tuple[ServedModel, T]]
        results = await self._wait([_EngineJob(self._future(), _Call(), model, run)])
        return results[0]

    async def change(self, change: Callable[[dict[str, Engine]], T]) -> T:
        """Change the engines: before the queued calls, but after those that are partly answered.

        A change is never refused.
        """
        job = _ChangeJob(self._future(), _Call(), change)
        self._changes.append(job)
        self._filled.set()
        result: T = await job.future
        return result

    def _future(self) -> "asyncio.Future[Any]":
        return asyncio.get_running_loop().create_future()

    async def _wait(self, jobs: Sequence[_Job]) -> list[Any]:
        if self.is_full:
            raise OverloadedError(self.retry_after)
        self._queue.extend(jobs)
        self._filled.set()
        try:
            return await asyncio.gather(*(job.future for job in jobs))
        finally:
            # If a call was cancelled, or a part of it failed, the rest of it leaves the queue.
            for job in jobs:
                if job in self._queue:
                    self._queue.remove(job)
                job.future.cancel()

    async def _work(self) -> None:
        while True:
            if not (self._queue or self._changes):
                self._filled.clear()
                await self._filled.wait()
                if len(self._queue) < self._settings.max_batch_size and not self._changes:
                    await asyncio.sleep(self._settings.batch_window_ms / 1000)
            self._running = self._next_jobs()
            if self._running:
                await self._run_jobs(self._running)

    def _next_jobs(self) -> list[_Job]:
        """A batch: the first job and later ones with its key. A change comes first, once no call is
        partly answered."""
        queue = self._queue
        if self._changes:
            queue = deque(job for job in queue if job.call.started)
            if not queue:
                return [self._changes.popleft()]
        if not queue:
            return []
        key = queue[0].batch_key
        jobs = [queue[0]]
        if key is not None:
            jobs = [job for job in queue if job.batch_key == key][: self._settings.max_batch_size]
        for job in jobs:
            job.call.started = True
        taken = set(jobs)
        self._queue = deque(job for job in self._queue if job not in taken)
        return jobs

    async def _run_jobs(self, jobs: list[_Job]) -> None:
        started = time.perf_counter()
        running = self._thread.submit(self._outcomes, jobs)
        outcomes = await asyncio.shield(asyncio.wrap_future(running))
        seconds = time.perf_counter() - started
        self._seconds_per_request += 0.1 * (seconds / len(jobs) - self._seconds_per_request)
        if self._observer is not None and isinstance(jobs[0], _RetrieveJob):
            self._observer.batch_done(len(jobs), seconds)
        for job, outcome in zip(jobs, outcomes, strict=True):
            if job.future.done():
                continue
            if isinstance(outcome, Exception):
                job.future.set_exception(outcome)
            else:
                job.future.set_result(outcome)

    def _outcomes(self, jobs: list[_Job]) -> list[Any]:
        """The result of each job, or its exception; runs in the engines' thread."""
        job = jobs[0]
        try:
            if isinstance(job, _ChangeJob):
                return [self._change(job.change)]
            if isinstance(job, _EngineJob):
                engine = self._engines[job.model]
                return [(engine.served, job.run(engine))]
            requests = [job.request for job in jobs if isinstance(job, _RetrieveJob)]
            return _answer(self._engines[requests[0].model], requests)
        except BaseException as error:
            return [_as_exception(error)] * len(jobs)

    def _change(self, change: Callable[[dict[str, Engine]], T]) -> T:
        try:
            return change(self._engines)
        finally:
            self.served = {name: engine.served for name, engine in self._engines.items()}


def lower_thread_priority(nice: int) -> None:
    """Lower the priority of this thread, and of those it starts, below that of the event loop.

    The event loop needs little time, but on a busy core even a refusal would have to wait for it.

    Args:
        nice: niceness on top of the process's own.
    """
    if sys.platform == "linux":  # where each thread has its own priority
        thread = threading.get_native_id()
        current = os.getpriority(os.PRIO_PROCESS, thread)
        os.setpriority(os.PRIO_PROCESS, thread, min(19, current + nice))


def _answer(engine: Engine, requests: Sequence[QueuedRequest]) -> list[Any]:
    """One batch; a request that cannot be answered does not fail the others."""
    outcomes: list[Any] = [None] * len(requests)
    built: dict[int, TopK] = {}
    for place, each in enumerate(requests):
        try:
            built[place] = TopK(each.build(engine), each.k_step, each.k)
        except BaseException as error:
            outcomes[place] = _as_exception(error)
    served = engine.served
    for place, items in _retrieve(engine, built).items():
        if isinstance(items, Exception):
            outcomes[place] = items
        else:
            unknown = not engine.has_known_word(built[place].request)
            outcomes[place] = Answered(served, items[: requests[place].k], unknown)
    return outcomes


def _retrieve(engine: Engine, requests: Mapping[int, TopK]) -> dict[int, Any]:
    """The items of each request, or its exception.

    The requests are answered in one batch, or one by one if that fails.
    """
    if not requests:
        return {}
    try:
        return dict(zip(requests, engine.answer(list(requests.values())), strict=True))
    except BaseException as error:
        if len(requests) == 1:
            return dict.fromkeys(requests, _as_exception(error))
    outcomes: dict[int, Any] = {}
    for place, request in requests.items():
        outcomes |= _retrieve(engine, {place: request})
    return outcomes


def _as_exception(error: BaseException) -> Exception:
    """The error as an Exception.

    So a BaseException, such as a panic in a Rust library, fails only its batch and not the thread.
    """
    if isinstance(error, Exception):
        return error
    return RuntimeError(f"{type(error).__name__}: {error}")
