"""Which requests share a batch, which leave the queue, and that neither changes an answer."""

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.serving.fake import FakeEngine
from twofold.records import InputError, Request
from twofold.serving.engines.batching import K_STEPS, Batcher, OverloadedError, QueuedRequest
from twofold.serving.engines.engine import Engine, ScoredItem, TopK
from twofold.serving.settings import ServingSettings

pytestmark = pytest.mark.anyio


class PanicError(BaseException):
    """As a library written in Rust raises it."""


def queued(query: str, k: int = 5, model: str = "joint", is_search: bool = True) -> QueuedRequest:
    return QueuedRequest(model, k, is_search, lambda _: Request(query, query=query))


@asynccontextmanager
async def batcher(*engines: FakeEngine, **limits: float) -> AsyncIterator[Batcher]:
    made = Batcher({e.name: e for e in engines}, ServingSettings(**limits))  # type: ignore[arg-type]
    made.start()
    yield made
    await made.close()


async def running(queue: Batcher, engine: FakeEngine) -> asyncio.Future[Any]:
    """A request in a batch that ends when the engine's gate is opened."""
    engine.gate.clear()
    first = asyncio.ensure_future(queue.answer([queued("first")]))
    async with asyncio.timeout(20):
        while not engine.batches:
            await asyncio.sleep(0.001)
    return first


def batches_of(engine: FakeEngine) -> list[list[str]]:
    return [[str(asked.request.query) for asked in each] for each in engine.batches]


async def test_queued_requests_share_the_next_batch() -> None:
    engine = FakeEngine()
    async with batcher(engine, max_batch_size=4, batch_window_ms=0) as queue:
        first = await running(queue, engine)
        rest = [asyncio.ensure_future(queue.answer([queued(f"q{n}")])) for n in range(6)]
        await asyncio.sleep(0)
        engine.gate.set()
        await asyncio.gather(first, *rest)
    assert batches_of(engine) == [["first"], ["q0", "q1", "q2", "q3"], ["q4", "q5"]]


async def test_only_one_model_task_and_k_step_share_a_batch_and_the_queue_keeps_its_order() -> None:
    joint, search = FakeEngine("joint", seconds=0.01), FakeEngine("search")
    async with batcher(joint, search, max_batch_size=8, batch_window_ms=5) as queue:
        asked = [
            queued("a"),
            queued("other model", model="search"),
            queued("b", k=50),
            queued("more items", k=51),
            queued("other task", is_search=False),
            queued("c"),
        ]
        await asyncio.gather(*(queue.answer([each]) for each in asked))
    assert batches_of(joint) == [["a", "b", "c"], ["more items"], ["other task"]]
    assert batches_of(search) == [["other model"]]


async def test_an_answer_does_not_depend_on_its_batch() -> None:
    engine = FakeEngine()
    async with batcher(engine, max_batch_size=8, batch_window_ms=5) as queue:
        alone = [(await queue.answer([queued(f"q{n}", k)]))[0] for n, k in enumerate((1, 7, 50))]
        together = await queue.answer([queued(f"q{n}", k) for n, k in enumerate((1, 7, 50))])
    assert together == alone
    assert [len(answered.items) for answered in together] == [1, 7, 50]
    assert {asked.k for each in engine.batches for asked in each} == {K_STEPS[0]}
    assert [asked.described for asked in engine.batches[-1]] == [1, 7, 50]


async def test_a_cancelled_request_leaves_the_queue() -> None:
    engine = FakeEngine()
    async with batcher(engine, max_batch_size=1, batch_window_ms=0) as queue:
        first = await running(queue, engine)
        gone = asyncio.ensure_future(queue.answer([queued("gone"), queued("gone too")]))
        last = asyncio.ensure_future(queue.answer([queued("last")]))
        await asyncio.sleep(0)
        gone.cancel()
        engine.gate.set()
        await asyncio.gather(first, last)
        assert queue.queued == 0
    assert batches_of(engine) == [["first"], ["last"]]


async def test_a_failed_request_of_a_call_takes_the_others_out_of_the_queue() -> None:
    engine = FakeEngine()
    async with batcher(engine, max_batch_size=1, batch_window_ms=0) as queue:
        with pytest.raises(InputError, match="type another"):
            await queue.answer([queued("refused"), queued("b"), queued("c")])
        assert queue.queued == 0
        assert await queue.answer([queued("d")])
    assert "c" not in [query for each in batches_of(engine) for query in each]


async def test_a_request_that_fails_fails_alone() -> None:
    engine = FakeEngine()
    engine.fail_on = "broken"
    async with batcher(engine, max_batch_size=8, batch_window_ms=5) as queue:
        outcomes = await asyncio.gather(
            *(queue.answer([queued(q)]) for q in ("a", "broken", "refused", "b")),
            return_exceptions=True,
        )
    assert [type(o).__name__ for o in outcomes] == ["list", "RuntimeError", "InputError", "list"]


def panic(*_: object) -> object:
    raise PanicError("a table broke")


async def test_a_panic_fails_its_batch_and_later_requests_are_answered() -> None:
    engine = FakeEngine()
    async with asyncio.timeout(5), batcher(engine) as queue:
        with pytest.raises(RuntimeError, match="PanicError: a table broke"):
            await queue.call("joint", panic)
        with pytest.raises(RuntimeError, match="PanicError: a table broke"):
            await queue.change(panic)
        engine.answer = panic  # type: ignore[method-assign,assignment]
        with pytest.raises(RuntimeError, match="PanicError: a table broke"):
            await queue.answer([queued("a")])
        del engine.answer
        assert await queue.answer([queued("a")])


async def test_close_leaves_no_request_waiting() -> None:
    engine = FakeEngine()
    async with batcher(engine, max_batch_size=1, batch_window_ms=0) as queue:
        jobs: list[asyncio.Future[Any]] = [await running(queue, engine)]
        jobs.append(asyncio.ensure_future(queue.answer([queued("waiting")])))
        jobs.append(asyncio.ensure_future(queue.change(len)))
        await asyncio.sleep(0)
        threading.Timer(0.1, engine.gate.set).start()
    done, pending = await asyncio.wait(jobs, timeout=1)
    assert not pending
    assert all(job.cancelled() for job in done)


async def test_a_full_queue_refuses_and_says_when_to_retry() -> None:
    engine = FakeEngine()
    async with batcher(engine, max_batch_size=1, max_queue_size=2, batch_window_ms=0) as queue:
        first = await running(queue, engine)
        waiting = [asyncio.ensure_future(queue.answer([queued(f"q{n}")])) for n in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(OverloadedError) as refusal:
            await queue.answer([queued("too many")])
        assert refusal.value.retry_after >= 1
        # A change of the catalog is never refused, and comes before queued requests.
        change = asyncio.ensure_future(queue.change(lambda _: len(engine.batches)))
        await asyncio.sleep(0)
        engine.gate.set()
        assert await change == 1
        await asyncio.gather(first, *waiting)


async def test_a_change_waits_for_the_rest_of_a_call_that_has_started() -> None:
    old, new = FakeEngine(model_version="m1"), FakeEngine(model_version="m2")

    def swap(engines: dict[str, Engine]) -> None:
        engines["joint"] = new

    async with batcher(old, batch_window_ms=0) as queue:
        old.gate.clear()
        tasks = [queued("a"), queued("b", is_search=False), queued("c", k=60)]
        begun = asyncio.ensure_future(queue.answer(tasks))
        async with asyncio.timeout(20):
            while not old.batches:
                await asyncio.sleep(0.001)
        later = asyncio.ensure_future(queue.answer([queued("d"), queued("e", is_search=False)]))
        change = asyncio.ensure_future(queue.change(swap))
        await asyncio.sleep(0)
        old.gate.set()
        versions = [
            [answered.served.model_version for answered in await each] for each in (begun, later)
        ]
        await change
    assert versions == [["m1"] * 3, ["m2"] * 2]
    assert batches_of(old) == [["a"], ["b"], ["c"]]


async def test_changes_come_between_batches_in_one_thread() -> None:
    running = 0

    class Watched(FakeEngine):
        def answer(self, requests: Sequence[TopK]) -> list[list[ScoredItem]]:
            nonlocal running
            running += 1
            assert running == 1
            found = super().answer(requests)
            running -= 1
            return found

    def change(_: dict[str, Engine]) -> int:
        assert running == 0
        return 1

    engine = Watched(seconds=0.002)
    async with batcher(engine, batch_window_ms=0, max_queue_size=200) as queue:
        asked = [queue.answer([queued(f"q{n}")]) for n in range(60)]
        await asyncio.gather(*asked, *(queue.change(change) for _ in range(60)))
