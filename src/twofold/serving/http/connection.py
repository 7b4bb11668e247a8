"""A connection whose patience ends: a request arrives whole in time, its head in bounds, and an
answer is taken in time.

uvicorn bounds only how long a connection stays open between requests, so a client that sends a
head byte by byte would hold its connection for good, one that never ends it, memory, and one that
never reads, its answers. It does not bound how many connect either. And a server that is asked for
five times what it can do must say so cheaply: a request that a full line refuses is answered here,
without a task or a scope of its own.
"""

import asyncio
import socket
import struct
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from twofold.serving.http.limits import Door

_SECONDS = 25.0
"""From a request's first byte to its last: longer than a body may take, which gets an answer. And
from when the client takes no more of an answer until all of it is on its way."""
_CONNECTIONS = 900
"""At once: many systems let a process have 1,024 files open, and connections are files."""
_HEAD = 512 << 10
"""Bytes; a read of the socket, of at most half of this, may hold a head's end and a body."""
_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER: to close drops what was not sent."""
_METHODS = (b"GET", b"POST")


class PatientProtocol(HttpToolsProtocol):
    """HTTP/1.1, given up where a request does not end.

    Args:
        door: says which requests are refused.
    """

    _deadline: asyncio.TimerHandle | None = None
    _unread: asyncio.TimerHandle | None = None
    _answering: RequestResponseCycle | None = None
    _head = 0
    _reads_head = True
    _reads = False
    _refused = False

    def __init__(self, *given: Any, door: Door, **named: Any) -> None:
        super().__init__(*given, **named)
        self._door = door

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        transport.set_write_buffer_limits(0)  # told of any byte that waits, not of 64 KiB alone
        self._set_deadline()
        if len(self.connections) > _CONNECTIONS:
            transport.write(self._door.no_room())
            transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._unset_deadline()
        self._unset_unread()
        if self._answering is not None:  # uvicorn tells the last request read, which may wait
            self._answering.disconnected = True
            self._answering.message_event.set()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._unread is None:
            self._unread = self.loop.call_later(_SECONDS, self._cut)

    def resume_writing(self) -> None:
        self._unset_unread()
        super().resume_writing()

    def data_received(self, data: bytes) -> None:
        self._reads, self._head = True, self._head + len(data)
        super().data_received(data)
        # Most requests arrive whole and need no timer.
        if self._reads and self._deadline is None:
            self._set_deadline()
        if self._reads_head and self._head > _HEAD and not self.transport.is_closing():
            self.send_400_response("The head of the request is too large.")

    def on_message_begin(self) -> None:
        self._reads = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._reads_head = False
        answer = self._refusal()
        if answer is None:
            super().on_headers_complete()
        else:
            self._refused = True
            self.transport.write(answer)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._answering = cycle
        super()._start_asgi_task(cycle, app)

    def on_body(self, body: bytes) -> None:
        if not self._refused:
            super().on_body(body)

    def on_message_complete(self) -> None:
        self._reads_head, self._reads, self._head = True, False, 0
        self._unset_deadline()
        if not self._refused:
            super().on_message_complete()
            return
        self._refused = False
        if self.parser.should_keep_alive():
            self.on_response_complete()
        else:
            self.transport.close()

    def _refusal(self) -> bytes | None:
        """Only what our routes are asked by: an answer to HEAD has no body, and one to an upgrade
        ends HTTP on the connection. `Admission` refuses those, and whoever does not read."""
        if self.parser.get_method() not in _METHODS or self.parser.should_upgrade():
            return None
        if self._answers_another() or self.flow.write_paused:
            return None
        return self._door.refusal(self.url.decode("latin-1"))

    def _answers_another(self) -> bool:
        """Whether a request before this one on the connection still waits for its answer."""
        return self.cycle is not None and not self.cycle.response_complete

    def _set_deadline(self) -> None:
        self._deadline = self.loop.call_later(_SECONDS, self._give_up)

    def _unset_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _unset_unread(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None

    def _cut(self) -> None:
        self._unread = None
        # Else the system would go on to offer what it took of the answer.
        connection = self.transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.transport.abort()

    def _give_up(self) -> None:
        self._deadline = None
        self.transport.close()
