"""Who shares a pass, who leaves the line, and that neither changes an answer."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.serving.fake import FakeEngine
from twofold.records import InputError, Request
from twofold.serving.engines.batching import BUCKETS, Batcher, OverloadedError, Wanted
from twofold.serving.engines.engine import Asked, Engine, Found
from twofold.serving.settings import ServingSettings

pytestmark = pytest.mark.anyio


class PanicError(BaseException):
    """As a library written in Rust raises it."""


def wanted(query: str, k: int = 5, arm: str = "joint", **changes: bool) -> Wanted:
    return Wanted(arm, k, changes.get("searches", True), lambda _: Request(query, query=query))


@asynccontextmanager
async def batcher(*engines: FakeEngine, **limits: float) -> AsyncIterator[Batcher]:
    made = Batcher({e.arm: e for e in engines}, ServingSettings(**limits))  # type: ignore[arg-type]
    made.start()
    yield made
    await made.close()


async def passing(line: Batcher, engine: FakeEngine) -> asyncio.Future[Any]:
    """A request in a pass that ends when the engine's gate is opened."""
    engine.gate.clear()
    first = asyncio.ensure_future(line.answer([wanted("first")]))
    async with asyncio.timeout(20):
        while not engine.passes:
            await asyncio.sleep(0.001)
    return first


def passes(engine: FakeEngine) -> list[list[str]]:
    return [[str(asked.request.query) for asked in each] for each in engine.passes]


async def test_who_waits_shares_the_next_pass() -> None:
    engine = FakeEngine()
    async with batcher(engine, max_batch=4, gather_ms=0) as line:
        first = await passing(line, engine)
        rest = [asyncio.ensure_future(line.answer([wanted(f"q{n}")])) for n in range(6)]
        await asyncio.sleep(0)
        engine.gate.set()
        await asyncio.gather(first, *rest)
    assert passes(engine) == [["first"], ["q0", "q1", "q2", "q3"], ["q4", "q5"]]


async def test_only_one_arm_task_and_bucket_share_a_pass_and_the_first_in_line_is_next() -> None:
    joint, search = FakeEngine("joint", seconds=0.01), FakeEngine("search")
    async with batcher(joint, search, max_batch=8, gather_ms=5) as line:
        asked = [
            wanted("a"),
            wanted("other arm", arm="search"),
            wanted("b", k=50),
            wanted("more items", k=51),
            wanted("other task", searches=False),
            wanted("c"),
        ]
        await asyncio.gather(*(line.answer([each]) for each in asked))
    assert passes(joint) == [["a", "b", "c"], ["more items"], ["other task"]]
    assert passes(search) == [["other arm"]]


async def test_an_answer_does_not_depend_on_who_shares_its_pass() -> None:
    engine = FakeEngine()
    async with batcher(engine, max_batch=8, gather_ms=5) as line:
        alone = [(await line.answer([wanted(f"q{n}", k)]))[0] for n, k in enumerate((1, 7, 50))]
        together = await line.answer([wanted(f"q{n}", k) for n, k in enumerate((1, 7, 50))])
    assert together == alone
    assert [len(found) for _, found in together] == [1, 7, 50]
    assert {asked.k for each in engine.passes for asked in each} == {BUCKETS[0]}
    assert [asked.shown for asked in engine.passes[-1]] == [1, 7, 50]


async def test_a_cancelled_request_leaves_the_line() -> None:
    engine = FakeEngine()
    async with batcher(engine, max_batch=1, gather_ms=0) as line:
        first = await passing(line, engine)
        gone = asyncio.ensure_future(line.answer([wanted("gone"), wanted("gone too")]))
        last = asyncio.ensure_future(line.answer([wanted("last")]))
        await asyncio.sleep(0)
        gone.cancel()
        engine.gate.set()
        await asyncio.gather(first, last)
        assert line.waiting == 0
    assert passes(engine) == [["first"], ["last"]]


async def test_a_failed_request_of_several_takes_the_others_out_of_the_line() -> None:
    engine = FakeEngine()
    async with batcher(engine, max_batch=1, gather_ms=0) as line:
        with pytest.raises(InputError, match="type another"):
            await line.answer([wanted("refused"), wanted("b"), wanted("c")])
        assert line.waiting == 0
        assert await line.answer([wanted("d")])
    assert "c" not in [query for each in passes(engine) for query in each]


async def test_a_request_that_fails_fails_alone() -> None:
    engine = FakeEngine()
    engine.fail_on = "broken"
    async with batcher(engine, max_batch=8, gather_ms=5) as line:
        outcomes = await asyncio.gather(
            *(line.answer([wanted(q)]) for q in ("a", "broken", "refused", "b")),
            return_exceptions=True,
        )
    assert [type(o).__name__ for o in outcomes] == ["list", "RuntimeError", "InputError", "list"]


def panic(*_: object) -> object:
    raise PanicError("a table broke")


async def test_a_panic_fails_its_pass_and_the_line_goes_on() -> None:
    engine = FakeEngine()
    async with asyncio.timeout(5), batcher(engine) as line:
        with pytest.raises(RuntimeError, match="PanicError: a table broke"):
            await line.call("joint", panic)
        with pytest.raises(RuntimeError, match="PanicError: a table broke"):
            await line.change(panic)
        engine.answer = panic  # type: ignore[method-assign,assignment]
        with pytest.raises(RuntimeError, match="PanicError: a table broke"):
            await line.answer([wanted("a")])
        del engine.answer
        assert await line.answer([wanted("a")])


async def test_close_leaves_nobody_waiting() -> None:
    engine = FakeEngine()
    async with batcher(engine, max_batch=1, gather_ms=0) as line:
        jobs: list[asyncio.Future[Any]] = [await passing(line, engine)]
        jobs.append(asyncio.ensure_future(line.answer([wanted("waiting")])))
        jobs.append(asyncio.ensure_future(line.change(len)))
        await asyncio.sleep(0)
        threading.Timer(0.1, engine.gate.set).start()
    done, pending = await asyncio.wait(jobs, timeout=1)
    assert not pending
    assert all(job.cancelled() for job in done)


async def test_a_full_line_takes_nobody_and_says_when_to_come_back() -> None:
    engine = FakeEngine()
    async with batcher(engine, max_batch=1, max_waiting=2, gather_ms=0) as line:
        first = await passing(line, engine)
        waiting = [asyncio.ensure_future(line.answer([wanted(f"q{n}")])) for n in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(OverloadedError) as refusal:
            await line.answer([wanted("too many")])
        assert refusal.value.retry_after >= 1
        # What changes the catalog is never refused, and goes before those that wait.
        change = asyncio.ensure_future(line.change(lambda _: len(engine.passes)))
        await asyncio.sleep(0)
        engine.gate.set()
        assert await change == 1
        await asyncio.gather(first, *waiting)


async def test_a_change_waits_for_the_rest_of_a_call_that_has_begun() -> None:
    old, new = FakeEngine(model_version="m1"), FakeEngine(model_version="m2")

    def swap(engines: dict[str, Engine]) -> None:
        engines["joint"] = new

    async with batcher(old, gather_ms=0) as line:
        old.gate.clear()
        tasks = [wanted("a"), wanted("b", searches=False), wanted("c", k=60)]
        begun = asyncio.ensure_future(line.answer(tasks))
        async with asyncio.timeout(20):
            while not old.passes:
                await asyncio.sleep(0.001)
        later = asyncio.ensure_future(line.answer([wanted("d"), wanted("e", searches=False)]))
        change = asyncio.ensure_future(line.change(swap))
        await asyncio.sleep(0)
        old.gate.set()
        versions = [[version.model_version for version, _ in await each] for each in (begun, later)]
        await change
    assert versions == [["m1"] * 3, ["m2"] * 2]
    assert passes(old) == [["a"], ["b"], ["c"]]


async def test_a_rest_lasts_no_longer_than_the_pass_nor_than_asked() -> None:
    engine = FakeEngine()
    async with batcher(engine, gather_ms=0) as line:
        start = time.perf_counter()
        line.rest(20)
        assert time.perf_counter() - start < 5, "no pass, no rest"
        first = await passing(line, engine)
        line.rest(0.05)
        assert 0.05 <= time.perf_counter() - start < 15
        threading.Timer(0.1, engine.gate.set).start()
        line.rest(60)
        assert time.perf_counter() - start < 30, "the pass ended"
        await first
        line.rest(60)
        assert time.perf_counter() - start < 30, "no other pass has begun"


async def test_changes_come_between_passes_in_one_thread() -> None:
    running = 0

    class Watched(FakeEngine):
        def answer(self, asked: Sequence[Asked]) -> list[list[Found]]:
            nonlocal running
            running += 1
            assert running == 1
            found = super().answer(asked)
            running -= 1
            return found

    def change(_: dict[str, Engine]) -> int:
        assert running == 0
        return 1

    engine = Watched(seconds=0.002)
    async with batcher(engine, gather_ms=0, max_waiting=200) as line:
        asked = [line.answer([wanted(f"q{n}")]) for n in range(60)]
        await asyncio.gather(*asked, *(line.change(change) for _ in range(60)))
