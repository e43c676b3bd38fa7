"""A standby's admin port answers for the fleet: what concerns rollouts is asked of the leader, over the port where that
takes the links of replicas, and given to the caller as it comes.

The token travels along and the leader checks it. `x-understudy-replica` on each answer says which replica gave it.

Invariants
- A leader that is away, silent or slow to connect is an error within seconds that names it: 503 (nobody leads now, ask
  again) or 502 (it was asked and did not answer). What was sent may have been carried out then, and that is said.
- Nothing is kept: an answer of any length goes through as it comes, at the caller's pace.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass

import aiohttp
from aiohttp import web
from yarl import URL

from proxy.aiohttp_client import connector
from proxy.controller.admin.handlers import SURFACE
from proxy.controller.admin.identity import BELIEVED, is_proxy
from proxy.controller.admin.outcome_lines import is_lines
from proxy.controller.admin.problems import Handler, Problem

REPLICA = "x-understudy-replica"
CONNECT = 2.0
SILENCE = 40.0
"""Seconds without a byte from the leader; a stream of events says something every 15."""
MOST = 64
"""Requests under way to the leader, streams of events among them; it takes 128 connections from one address."""

_LEADERS = (
    "/api/v1/rollouts", "/api/v1/outcomes", "/api/v1/events", "/api/v1/webhooks", "/api/v1/fleet", "/api/v1/traffic",
    "/api/v1/upstreams", "/api/v1/journal", "/api/v1/hooks", "/api/v1/registry", "/api/v1/drift",
)  # fmt: skip
"""What only the leader knows or decides: what is counted is reported to it each second. Processes, metrics, health and
the console's files are each replica's own."""
_HOP_BY_HOP = {
    "connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "te", "trailer", "transfer-encoding",
    "upgrade", "content-length", "date", "server", "expect",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class LeaderAt:
    """The leader as a standby knows it: its name and `HOST:PORT`."""

    name: str
    address: str


class PassingOn:
    """Asks the leader. `leader` says who that is now; `context` is the client's end of the fleet's TLS, `None` for
    loopback without it."""

    def __init__(self, leader: Callable[[], LeaderAt | None], context: Callable[[], ssl.SSLContext | None]) -> None:
        self._leader, self._context = leader, context
        self._session: aiohttp.ClientSession | None = None

    async def close(self, app: web.Application | None = None) -> None:
        """Let go of the connections to the leader."""
        if self._session is not None:
            await self._session.close()

    @web.middleware
    async def middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Pass on what the leader has to answer."""
        if not any(request.path == path or request.path.startswith(f"{path}/") for path in _LEADERS):
            return await handler(request)
        leader = self._leader()
        if leader is None:
            raise Problem(503, "No replica of the fleet leads now.", {"retry-after": "1"})
        body = request.content.iter_any() if is_lines(request) else await request.read()
        response = None
        try:
            async with self._ask(leader, request, body) as answer:
                headers = {k: v for k, v in answer.headers.items() if k.lower() not in _HOP_BY_HOP}
                response = web.StreamResponse(status=answer.status, headers=headers)
                response.headers[REPLICA] = leader.name
                await response.prepare(request)
                async for chunk in answer.content.iter_any():
                    await response.write(chunk)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            if response is None or not response.prepared:
                raise _silent(leader, request, error) from error
            if request.transport is not None:  # cut off, as the leader's answer was: never an answer that looks whole
                request.transport.abort()
        with suppress(ConnectionError):
            await response.write_eof()
        return response

    def _ask(
        self, leader: LeaderAt, request: web.Request, body: bytes | AsyncIterator[bytes]
    ) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        if self._session is None:
            pool = connector(limit=MOST, force_close=True)
            self._session = aiohttp.ClientSession(connector=pool, auto_decompress=False)
        context = self._context()
        scheme = "http" if context is None else "https"
        headers = [(k, v) for k, v in request.headers.items() if k.lower() not in _HOP_BY_HOP | {BELIEVED}]
        rule = request.app[SURFACE].config.admin.trusted_user_header
        if rule is not None and is_proxy(request.remote or "", rule):
            headers.append((BELIEVED, rule.header))
        return self._session.request(
            request.method,
            URL(f"{scheme}://{leader.address}{request.raw_path}", encoded=True),
            data=body or None,
            headers=headers,
            ssl=context or True,
            allow_redirects=False,
            timeout=aiohttp.ClientTimeout(total=None, connect=CONNECT, sock_connect=CONNECT, sock_read=SILENCE),
        )


def _silent(leader: LeaderAt, request: web.Request, error: Exception) -> Problem:
    asked = isinstance(error, aiohttp.ServerDisconnectedError | aiohttp.ClientPayloadError | aiohttp.SocketTimeoutError)
    why = str(error) or type(error).__name__
    unknown = " Whether it was carried out is not known." if asked and request.method == "POST" else ""
    return Problem(
        502, f"{leader.name} ({leader.address}), which leads, gave no answer: {why}.{unknown}", {"retry-after": "1"}
    )
