"""A connection whose patience ends: a request arrives whole in time, its head in bounds.

uvicorn bounds only how long a connection stays open between requests, so a client that sends a
head byte by byte would hold its connection for good, and one that never ends it, memory. And a
server that is asked for five times what it can do must say so cheaply: a request that a full line
refuses is answered here, without a task or a scope of its own.
"""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from twofold.serving.admission import Door

_SECONDS = 25.0
"""From a request's first byte to its last: longer than a body may take, which gets an answer."""
_HEAD = 512 << 10
"""Bytes; a read of the socket, of at most half of this, may hold a head's end and a body."""
_METHODS = (b"GET", b"POST")


class PatientProtocol(HttpToolsProtocol):
    """HTTP/1.1, given up where a request does not end.

    Args:
        door: says which requests are refused.
    """

    _deadline: asyncio.TimerHandle | None = None
    _head = 0
    _reads_head = True
    _reads = False
    _refused = False

    def __init__(self, *given: Any, door: Door, **named: Any) -> None:
        super().__init__(*given, **named)
        self._door = door

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._set_deadline()

    def connection_lost(self, exc: Exception | None) -> None:
        self._unset_deadline()
        super().connection_lost(exc)

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
        ends HTTP on the connection. `Admission` refuses those."""
        if self.parser.get_method() not in _METHODS or self.parser.should_upgrade():
            return None
        return None if self._answers_another() else self._door.refusal(self.url.decode("latin-1"))

    def _answers_another(self) -> bool:
        """Whether a request before this one on the connection still waits for its answer."""
        return self.cycle is not None and not self.cycle.response_complete

    def _set_deadline(self) -> None:
        self._deadline = self.loop.call_later(_SECONDS, self._give_up)

    def _unset_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _give_up(self) -> None:
        self._deadline = None
        self.transport.close()
