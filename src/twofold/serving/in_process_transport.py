"""A transport for `Client` to an application in the same process, without a socket."""

import contextlib

import httpx
from anyio.from_thread import start_blocking_portal
from fastapi import FastAPI


class InProcessTransport(httpx.BaseTransport):
    """Passes a client's requests to an application whose event loop runs in its own thread.

    Args:
        app: an application of `create_app`; it is started here, and stopped by `close`.
    """

    def __init__(self, app: FastAPI) -> None:
        self._transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        with contextlib.ExitStack() as stack:
            self._portal = stack.enter_context(start_blocking_portal())
            lifespan = app.router.lifespan_context(app)
            stack.enter_context(self._portal.wrap_async_context_manager(lifespan))
            self._stack = stack.pop_all()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        return self._portal.call(self._response, request)

    async def _response(self, request: httpx.Request) -> httpx.Response:
        response = await self._transport.handle_async_request(request)
        content = await response.aread()
        return httpx.Response(response.status_code, headers=response.headers, content=content)

    def close(self) -> None:
        self._stack.close()
