"""A load generator that costs little: HTTP/1.1 over kept connections, in one process."""

import asyncio
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

_IDLE = 3.0
"""Seconds after which a connection is not used again: servers close those that nobody uses."""


@dataclass(slots=True)
class Seen:
    """What came back: status, seconds, and when, of each request."""

    status: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    broken: int = 0

    def quantile(self, share: float, status: int = 200) -> float:
        """Milliseconds within which a share of the answers with this status came."""
        times = [s for s, code in zip(self.seconds, self.status, strict=True) if code == status]
        return float(np.quantile(times, share)) * 1e3 if times else float("nan")

    def count(self, status: int) -> int:
        return self.status.count(status)

    def note(self, status: int, seconds: float) -> None:
        self.status.append(status)
        self.seconds.append(seconds)

    def merge(self, other: "Seen") -> None:
        self.status += other.status
        self.seconds += other.seconds
        self.broken += other.broken


class Connection:
    """One kept connection, one request at a time."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._used = 0.0

    async def post(self, path: str, body: bytes) -> tuple[int, bytes]:
        """Status and body of the answer; OSError where the connection broke."""
        if time.perf_counter() - self._used > _IDLE:
            self.close()
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port)
        reader, writer = self._streams
        head = (
            f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{self._port}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        try:
            writer.write(head.encode() + body)
            status = int((await reader.readline()).split()[1])
            length, closes = 0, False
            while (line := (await reader.readline()).strip().lower()) != b"":
                if line.startswith(b"content-length:"):
                    length = int(line.split(b":")[1])
                closes |= line == b"connection: close"
            content = await reader.readexactly(length)
        except (OSError, IndexError, ValueError, asyncio.IncompleteReadError) as error:
            self.close()
            raise ConnectionError(str(error)) from error
        self._used = time.perf_counter()
        if closes:
            self.close()
        return status, content

    def close(self) -> None:
        """Give the connection up."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


Check = Callable[[int, bytes], None]


async def closed_loop(
    port: int,
    requests: Sequence[tuple[str, bytes]],
    clients: int,
    seconds: float,
    check: Check | None = None,
) -> Seen:
    """So many clients, each asking again as soon as it was answered."""
    seen, until = Seen(), time.perf_counter() + seconds
    turn = _turns(len(requests))

    async def client() -> None:
        connection = Connection(port)
        while time.perf_counter() < until:
            await _ask(connection, *requests[next(turn)], seen, check)
        connection.close()

    await asyncio.gather(*(client() for _ in range(clients)))
    return seen


async def open_loop(
    port: int, requests: Sequence[tuple[str, bytes]], rate: float, seconds: float, most: int = 500
) -> Seen:
    """So many requests a second, whether the ones before were answered or not.

    Args:
        most: connections; a request that finds none free waits for one, and its time counts.
    """
    seen, free = Seen(), [Connection(port) for _ in range(most)]
    turn, tasks = _turns(len(requests)), set()
    wake = asyncio.Semaphore(most)
    begin, sent = time.perf_counter(), 0

    async def one() -> None:
        async with wake:
            connection = free.pop()
            await _ask(connection, *requests[next(turn)], seen, None)
            free.append(connection)

    while (now := time.perf_counter() - begin) < seconds:
        while sent < now * rate:
            task = asyncio.create_task(one())
            tasks.add(task)
            task.add_done_callback(tasks.discard)
            sent += 1
        await asyncio.sleep(0.001)
    await asyncio.gather(*tasks)
    for connection in free:
        connection.close()
    return seen


async def _ask(
    connection: Connection, path: str, body: bytes, seen: Seen, check: Check | None
) -> None:
    start = time.perf_counter()
    try:
        status, content = await connection.post(path, body)
    except OSError:
        seen.broken += 1
        await asyncio.sleep(0.01)
        return
    seen.note(status, time.perf_counter() - start)
    if check is not None:
        check(status, content)


def _turns(count: int) -> Iterator[int]:
    turn = 0
    while True:
        yield turn % count
        turn += 1


def as_json(value: Any) -> bytes:
    """A body."""
    return json.dumps(value).encode()
