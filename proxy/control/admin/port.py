"""The admin port's listening side: aiohttp's server, with the errors that aiohttp answers by itself as problems too.

What is no HTTP at all, has a head too long or an expectation that nobody knows never reaches a handler, so no
middleware sees it; `finish_response` is where every answer passes.
"""

from __future__ import annotations

import asyncio
import socket
from typing import Any

from aiohttp import web

from proxy.control.admin.access import HEADERS
from proxy.control.admin.problems import CONTENT_TYPE, Problem, server_log


class _Connection(web.RequestHandler):
    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        if resp.status >= 400 and resp.content_type != CONTENT_TYPE:
            resp = _as_problem(resp)
        return await super().finish_response(request, resp, start_time)


def _as_problem(refusal: web.StreamResponse) -> web.Response:
    said = (refusal.text if isinstance(refusal, web.Response) else None) or refusal.reason
    answer = Problem(refusal.status, f"Refused before it was looked at: {said.splitlines()[0].rstrip(':')}.").answer
    answer.headers.update(HEADERS | {"cache-control": "no-store"})
    if refusal.keep_alive is False:
        answer.force_close()
    return answer


class Port:
    """Serves an application; requests have `drain` seconds to finish when it is closed."""

    def __init__(self, app: web.Application, drain: float) -> None:
        self._settings: dict[str, Any] = {"access_log": None, "logger": server_log}
        self._runner = web.AppRunner(app, shutdown_timeout=drain, **self._settings)
        self._server: asyncio.Server | None = None

    async def start(self, listener: socket.socket) -> None:
        """Serve on a socket."""
        await self._runner.setup()
        loop, manager = asyncio.get_running_loop(), self._runner.server
        assert manager is not None
        self._server = await loop.create_server(
            lambda: _Connection(manager, loop=loop, **self._settings), sock=listener
        )

    async def close(self) -> None:
        """Take no more connections, let requests finish, end."""
        if self._server is not None:
            self._server.close()
        await self._runner.cleanup()
