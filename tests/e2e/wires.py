"""What stands between processes: `Cable`, a way to a leader that can be cut for one replica, and `Balancer`, which
gives new connections to whoever is ready, as a Service of Kubernetes does. Both pass on bytes, whatever they are."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

from proxy.pairs import replicas
from proxy.pairs.link import Frame, LinkError
from tests.e2e.harness import Understudy

_HEAD = struct.Struct("<IB")
_PIECE = 1 << 16
_POLL = 0.1


class Cable:
    """The way to one replica's port for links, at `port`. Who comes says its name in its first frame; for those in
    `cut` nothing passes any more in either direction, and nothing ends, as if a cable were out."""

    def __init__(self, to: int) -> None:
        self._to, self.port = to, 0
        self.cut: set[str] = set()

    async def meet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection until it ends."""
        first = await reader.readexactly(_HEAD.size)
        length, kind = _HEAD.unpack(first)
        name = ""
        if kind == Frame.REPLICA:  # else it is a request, which says nothing of who asks
            first += await reader.readexactly(length)
            with suppress(LinkError):
                name = replicas.decode_hello(first[_HEAD.size :]).name
        there, back = await asyncio.open_connection("127.0.0.1", self._to)
        if name not in self.cut:
            back.write(first)
        await _both(reader, writer, there, back, lambda: name not in self.cut)


class Balancer:
    """Gives each new connection to one of `replicas` that is ready, in turn."""

    def __init__(self, replicas: Callable[[], list[Understudy]]) -> None:
        self._replicas, self.port, self._next = replicas, 0, 0
        self.ready: list[Understudy] = []

    async def watch(self) -> None:
        """Ask who is ready, again and again."""
        while True:
            asked = self._replicas()
            said = await asyncio.gather(*(one.takes_requests() for one in asked))
            self.ready = [one for one, yes in zip(asked, said, strict=True) if yes]
            await asyncio.sleep(_POLL)

    async def meet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection until it ends."""
        if not self.ready:
            raise ConnectionRefusedError("nobody is ready")
        self._next += 1
        chosen = self.ready[self._next % len(self.ready)]
        port = int(chosen.data_url.rpartition(":")[2])
        await _both(reader, writer, *await asyncio.open_connection("127.0.0.1", port), lambda: True)


async def _both(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    there: asyncio.StreamReader,
    back: asyncio.StreamWriter,
    passes: Callable[[], bool],
) -> None:
    """Pass bytes on in both directions; when one end is closed, both are."""

    async def one_way(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while data := await source.read(_PIECE):
            if passes():
                sink.write(data)
                await sink.drain()

    ways = [asyncio.create_task(one_way(reader, back)), asyncio.create_task(one_way(there, writer))]
    try:
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)
        back.close()


@asynccontextmanager
async def listening(one: Cable | Balancer) -> AsyncIterator[None]:
    """Let it serve on a free port, for a while."""
    meetings: set[asyncio.Task[None]] = set()

    async def meet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await one.meet(reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    def met(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(meet(reader, writer))
        meetings.add(task)
        task.add_done_callback(meetings.discard)

    server = await asyncio.start_server(met, "127.0.0.1", 0, backlog=2048)
    one.port = server.sockets[0].getsockname()[1]
    watching = asyncio.create_task(one.watch()) if isinstance(one, Balancer) else None
    try:
        yield
    finally:
        server.close()
        for task in (*meetings, *filter(None, (watching,))):
            task.cancel()
        await asyncio.gather(*meetings, *filter(None, (watching,)), return_exceptions=True)
