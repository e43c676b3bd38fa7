"""A program between a client and PostgreSQL that knows messages: it gives processes other numbers, as a pooler does,
and cuts the connection at a COMMIT, before or after the server has it."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import replace

from proxy.config.postgres_url import PostgresTarget

COMMIT = b"Q\x00\x00\x00\x0bCOMMIT\x00"
LATE = 30.0


class Wire:
    """Stands between for as long as it is entered, which gives the way through it.

    `poses`: as a pooler. `skip` COMMITs pass; at the next the client is cut off; where it `arrives` the server gets it.
    """

    def __init__(self, target: PostgresTarget, *, poses: bool = False, skip: int = -1, arrives: bool = True) -> None:
        self._target, self._poses, self._skip, self._arrives = target, poses, skip, arrives
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> PostgresTarget:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return replace(self._target, hosts=(self._server.sockets[0].getsockname()[:2],))

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        async with asyncio.timeout(LATE):
            await asyncio.gather(*self._tasks)

    async def _serve(self, client: asyncio.StreamReader, answers: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        server, requests = await asyncio.open_connection(*self._target.hosts[0])
        pumps = [asyncio.ensure_future(self._up(client, requests)), asyncio.ensure_future(self._down(server, answers))]
        await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        for pump in pumps:
            pump.cancel()
        await asyncio.gather(*pumps, return_exceptions=True)
        for writer in (answers, requests):
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    async def _up(self, client: asyncio.StreamReader, requests: asyncio.StreamWriter) -> None:
        while data := await client.read(1 << 20):
            if COMMIT in data:
                self._skip -= 1
                if self._skip == -1:
                    if self._arrives:
                        requests.write(data)
                        await requests.drain()
                    return
            requests.write(data)

    async def _down(self, server: asyncio.StreamReader, answers: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError):
            while True:
                head = await server.readexactly(5)
                body = await server.readexactly(int.from_bytes(head[1:], "big") - 4)
                pid = head[:1] == b"K" and self._poses
                answers.write(head + (b"\0\0\x30\x39" + body[4:] if pid else body))
