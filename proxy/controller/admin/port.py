"""The admin port's listening side: aiohttp's server, with bounds on what connections may cost, and with the errors that
aiohttp answers by itself as problems too.

What is no HTTP at all, has a head too long or an expectation that nobody knows never reaches a handler, so no
middleware sees it; `finish_response` is where every answer passes.

Invariant: a client that holds connections, heads, bodies or answers open keeps nobody else out, neither from this port
nor from the descriptors that webhooks, the store and the workers need.
"""

from __future__ import annotations

import asyncio
import resource
import socket
from collections.abc import Callable
from contextlib import suppress
from email.utils import formatdate
from time import monotonic
from typing import Any, cast

from aiohttp import web

from proxy.config.admin import Admin
from proxy.controller.admin.access import HEADERS
from proxy.controller.admin.handlers import METRICS
from proxy.controller.admin.problems import CONTENT_TYPE, Problem, server_log
from proxy.model.reasons import Reason

KEPT_BACK = 128
"""Descriptors that connections of this port leave to webhooks, the store, recordings and the workers' links."""
LEAST = 16
"""Connections that are taken however few descriptors there are."""
_WHY = {401: Reason.UNAUTHORIZED, 403: Reason.UNAUTHORIZED, 413: Reason.BODY_TOO_LARGE}
"""Answers that are refusals, whoever gave them."""
LOOK = 1.0
"""Seconds between two looks at who is late, at most."""


class _Connection(web.RequestHandler):
    transport: asyncio.Transport | None

    def __init__(self, port: Port, manager: web.Server, **settings: Any) -> None:
        super().__init__(manager, **settings)
        self._port, self.peer = port, ""
        self.passed_on = False
        self._turned_away = False
        self._heard = self._head_since = 0.0
        self._unread, self._taken = 0, 0.0

    @property
    def idle_since(self) -> float:
        """When it last had a request or said something; 0.0 while one is answered."""
        return 0.0 if self._current_request is not None else self._heard

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        address = transport.get_extra_info("peername")
        self.peer = str(address[0]) if isinstance(address, tuple) else ""
        self._heard = self._taken = monotonic()
        if self._port.admit(self):
            super().connection_made(transport)
            return
        self._turned_away = True
        self.transport = cast(asyncio.Transport, transport)
        self.end(503, Reason.TOO_MANY_CONNECTIONS, "There are too many connections.")

    def data_received(self, data: bytes) -> None:
        if self._turned_away:
            return
        self._heard = now = monotonic()
        if not self._head_since and self._current_request is None:
            self._head_since = now
        super().data_received(data)

    def eof_received(self) -> None:
        if not self._turned_away:
            super().eof_received()

    def connection_lost(self, exc: BaseException | None) -> None:
        self._port.connections.discard(self)
        if not self._turned_away:
            super().connection_lost(exc)

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        reason = _WHY.get(resp.status, Reason.NONE)
        if resp.status >= 400 and resp.content_type != CONTENT_TYPE:
            resp, reason = _as_problem(resp), reason or Reason.BAD_REQUEST
        if reason:
            self._port.refusals[reason] += 1
        try:
            return await super().finish_response(request, resp, start_time)
        finally:
            self._heard, self._head_since = monotonic(), 0.0

    def check(self, admin: Admin, now: float) -> None:
        """End the connection when its client is late."""
        transport, request, times = self.transport, self._current_request, admin.timeouts
        if transport is None or transport.is_closing():
            return
        unread = transport.get_write_buffer_size()
        if not unread or unread < self._unread:
            self._taken = now
        self._unread = unread
        if now - self._taken >= times.idle:
            self._port.refusals[Reason.SLOW_CLIENT] += 1
            transport.abort()
        elif request is not None:
            if not request.content.is_eof() and now - self._heard >= times.body:
                self.end(408, Reason.REQUEST_TIMEOUT, "The rest of the request did not come.")
        elif self._head_since:
            if now - self._head_since >= times.header:
                self.end(408, Reason.REQUEST_TIMEOUT, "The request did not come.")
        elif now - self._heard >= times.idle:
            transport.close()

    def end(self, status: int, reason: Reason, why: str) -> None:
        """Answer, and close."""
        self._port.refusals[reason] += 1
        if self.transport is not None:
            self.transport.write(_raw(Problem(status, why).answer))
            self.transport.close()


def _raw(answer: web.Response) -> bytes:
    """An answer for who has no request that aiohttp could answer."""
    body = answer.text or ""
    date = formatdate(usegmt=True)
    own = {"content-type": CONTENT_TYPE, "content-length": len(body.encode()), "date": date, "connection": "close"}
    headers = own | HEADERS
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {answer.status} {answer.reason}\r\n{lines}\r\n{body}".encode()


def _as_problem(refusal: web.StreamResponse) -> web.Response:
    said = (refusal.text if isinstance(refusal, web.Response) else None) or refusal.reason
    answer = Problem(refusal.status, f"Refused before it was looked at: {said.splitlines()[0].rstrip(':')}.").answer
    answer.headers.update(HEADERS | {"cache-control": "no-store"})
    if refusal.keep_alive is False:
        answer.force_close()
    return answer


class Port:
    """Serves an application; requests have `drain` seconds to finish when it is closed. `admin`: its bounds, which may
    be replaced."""

    def __init__(self, app: web.Application, drain: float, admin: Admin | None = None) -> None:
        self.admin = admin or Admin()
        self.refusals = app[METRICS].refusals
        self.connections: set[_Connection] = set()
        self._settings: dict[str, Any] = {"access_log": None, "logger": server_log, "auto_decompress": False}
        self._runner = web.AppRunner(app, shutdown_timeout=drain, **self._settings)
        self._server: asyncio.Server | None = None
        self._new: Callable[[], _Connection] | None = None
        self._looks: asyncio.Task[None] | None = None

    async def start(self, listener: socket.socket) -> None:
        """Serve on a socket."""
        await self._runner.setup()
        loop, manager = asyncio.get_running_loop(), self._runner.server
        assert manager is not None
        self._new = lambda: _Connection(self, manager, loop=loop, **self._settings)
        self._server = await loop.create_server(self._new, sock=listener)
        self._looks = asyncio.create_task(self._look())

    def take_over(self, transport: asyncio.Transport, data: bytes) -> None:
        """Serve a connection that came another way: a standby's, which passes requests on. `data` was read already."""
        if self._new is None:
            transport.abort()
            return
        connection = self._new()
        connection.passed_on = True
        transport.set_protocol(connection)
        connection.connection_made(transport)
        connection.data_received(data)

    def admit(self, new: _Connection) -> bool:
        """Take in a connection, in the place of the one that has been idle longest where there is none left; whether
        there is a place. One peer's takes the place of its own."""
        limits = self.admin.limits
        most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        mine = [one for one in self.connections if one.peer == new.peer]
        for among, room in (
            (mine, limits.max_connections_per_peer),
            (list(self.connections), min(limits.max_connections, max(LEAST, most - KEPT_BACK))),
        ):
            if len(among) >= room:
                idle = min((one for one in among if one.idle_since), key=lambda one: one.idle_since, default=None)
                if idle is None or idle.transport is None:
                    return False
                self.connections.discard(idle)
                idle.transport.abort()
        self.connections.add(new)
        return True

    async def _look(self) -> None:
        while True:
            times = self.admin.timeouts
            await asyncio.sleep(min(LOOK, times.header / 4, times.body / 4, times.idle / 4))
            now = monotonic()
            for one in list(self.connections):
                one.check(self.admin, now)

    async def close(self) -> None:
        """Take no more connections, let requests finish, end."""
        if self._server is not None:
            self._server.close()
        if self._looks is not None:
            self._looks.cancel()
            with suppress(asyncio.CancelledError):
                await self._looks
        await self._runner.cleanup()
