"""An open-loop client: sends at a steady rate whatever the answers do, and keeps what it saw of each.

Open loop, because a client that waits for an answer before it sends the next request slows down together with what it
measures and hides every stall (coordinated omission). So latency here runs from the moment a request was *due*.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

import aiohttp

Asked = TypeVar("Asked")


@dataclass(frozen=True, slots=True)
class Seen(Generic[Asked]):
    """What the client saw of one request. `due` is loop time; `seconds` run from there to the last byte.

    `status` is 0 and `error` says why when no whole answer came.
    """

    asked: Asked
    due: float
    seconds: float
    status: int = 0
    served_by: str = ""
    body: bytes = b""
    error: str = ""


class Traffic(Generic[Asked]):
    """Sends `body_of(draw())` to `url`, `rate` times a second, and calls `on_seen` with every answer or error.

    `reuse=False` opens a connection for each request, `connections` bounds them (0: as many as it takes). `timeout` is
    per request, seconds; `headers` are further ones of it.
    """

    def __init__(
        self,
        url: str,
        rate: float,
        draw: Callable[[], Asked],
        body_of: Callable[[Asked], bytes],
        on_seen: Callable[[Seen[Asked]], None],
        timeout: float = 30.0,
        reuse: bool = True,
        connections: int = 0,
        headers: Callable[[Asked], dict[str, str]] = lambda asked: {},
    ) -> None:
        self.url, self.rate = url, rate
        self._draw, self._body_of, self._on_seen = draw, body_of, on_seen
        self._reuse, self._connections, self._headers = reuse, connections, headers
        self._timeout = aiohttp.ClientTimeout(total=timeout)
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        """Send no more; `run` returns when the answers that are under way have come."""
        self._stopping.set()

    async def run(self) -> None:
        """Send until `stop`, then wait for what is in flight."""
        loop = asyncio.get_running_loop()
        connector = aiohttp.TCPConnector(limit=self._connections, force_close=not self._reuse)
        under_way: set[asyncio.Task[None]] = set()
        async with aiohttp.ClientSession(connector=connector, timeout=self._timeout) as session:
            due = loop.time()
            while not self._stopping.is_set():
                task = asyncio.create_task(self._send(session, self._draw(), due))
                under_way.add(task)
                task.add_done_callback(under_way.discard)
                due += 1 / self.rate
                await self._pause(due - loop.time())
            if under_way:
                await asyncio.gather(*under_way)

    async def _pause(self, seconds: float) -> None:
        if seconds <= 0:
            await asyncio.sleep(0)  # late: catch up, but let answers in between
            return
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            pass

    async def _send(self, session: aiohttp.ClientSession, asked: Asked, due: float) -> None:
        loop = asyncio.get_running_loop()
        headers = {"content-type": "application/json", **self._headers(asked)}
        try:
            async with session.post(self.url, data=self._body_of(asked), headers=headers) as answer:
                body = await answer.read()
                served_by = answer.headers.get("x-served-by", "")
                seen = Seen(asked, due, loop.time() - due, answer.status, served_by, body)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            seen = Seen(asked, due, loop.time() - due, error=f"{type(error).__name__}: {error}")
        self._on_seen(seen)
