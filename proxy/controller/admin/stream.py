"""`GET /api/v1/events`: what happens, as server-sent events (WHATWG HTML §9.2).

Each reader has a bounded queue in the controller, which loses its oldest event when the reader does not keep up, and
the connection ends when the reader takes nothing for `STALLED` seconds. After a gap a reader asks for the state again,
so a lost event is never wrong, only late.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import Any

import orjson
from aiohttp import web

from proxy.controller.admin.callers import Caller
from proxy.controller.admin.interface import AdminService
from proxy.controller.admin.problems import Problem

MAX_READERS = 64
HEARTBEAT = 15.0  # seconds; proxies in between cut what is silent for longer, typically 30 to 60
STALLED = 30.0


def encode_event(event: dict[str, Any]) -> bytes:
    """One event as text; JSON has no raw line break, so it is always one `data` line.

    >>> encode_event({"type": "rollout.changed", "data": {"rollout": "a\\\\nb"}})
    b'event: rollout.changed\\ndata: {"type":"rollout.changed","data":{"rollout":"a\\\\\\\\nb"}}\\n\\n'
    """
    return b"event: %s\ndata: %s\n\n" % (str(event["type"]).encode(), orjson.dumps(event))


def concerns(event: dict[str, Any], caller: Caller) -> bool:
    """Whether an event is about something that the caller may see: it names its rollout or its route, or concerns all.

    >>> from proxy.controller.admin.callers import Grant, Role
    >>> some = Caller("token:ci", (Grant(Role.VIEW, frozenset({"credit"})),))
    >>> [concerns({"data": data}, some) for data in ({"rollout": "credit/v2"}, {"route": "fraud"}, {})]
    [True, False, False]
    """
    data = event["data"]
    route = data.get("route") or str(data.get("rollout") or "").partition("/")[0]
    return caller.role_on(route or None) is not None


class EventStreams:
    """All readers of events."""

    def __init__(self, service: AdminService) -> None:
        self._service = service
        self._closing = asyncio.Event()
        self._readers = 0

    async def close(self, app: web.Application) -> None:
        """End every stream, so that a drain need not wait for readers that never leave."""
        self._closing.set()

    async def serve(self, request: web.Request, caller: Caller) -> web.StreamResponse:
        """Stream what the caller may see until they or this process go, or what they have proven ends; 503 when there
        are too many readers."""
        if self._readers >= MAX_READERS or self._closing.is_set():
            raise Problem(503, f"There are {self._readers} readers already.", {"retry-after": "5"})
        response = web.StreamResponse(headers={"content-type": "text/event-stream", "x-accel-buffering": "no"})
        self._readers += 1
        queue = self._service.subscribe()
        try:
            await response.prepare(request)
            with suppress(ConnectionError, TimeoutError):
                await self._pump(queue, response, caller)
        finally:
            self._service.unsubscribe(queue)
            self._readers -= 1
        return response

    async def _pump(self, queue: asyncio.Queue[dict[str, Any]], response: web.StreamResponse, caller: Caller) -> None:
        await _write(response, b"retry: 1000\n\n")
        closing = asyncio.create_task(self._closing.wait())
        try:
            while not closing.done() and (caller.until is None or time.time() < caller.until):
                getting = asyncio.create_task(queue.get())
                await asyncio.wait({getting, closing}, timeout=HEARTBEAT, return_when=asyncio.FIRST_COMPLETED)
                if getting.done():
                    if concerns(getting.result(), caller):
                        await _write(response, encode_event(getting.result()))
                else:
                    getting.cancel()
                    await _write(response, b": still here\n\n")
        finally:
            closing.cancel()


async def _write(response: web.StreamResponse, data: bytes) -> None:
    async with asyncio.timeout(STALLED):
        await response.write(data)
