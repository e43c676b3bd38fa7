"""The rig of the data plane's tests: a worker, scripted model servers and a controller's end of the links, on loopback.

Everything runs in the test's own event loop over real sockets; nothing is patched. A `Model` answers each request as
its script says (bytes, pauses, resets), and remembers what it read.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from proxy.errors import ConfigError
from proxy.model import DROPPED, Lane, Pair, State, Table
from proxy.pairs import link
from proxy.pairs.channel import Channel
from proxy.pairs.link import Frame
from proxy.resolver import LookUp, system
from proxy.worker.process import Worker
from tests.ports import free_port
from tests.worker.configs import config_frame, for_worker

PATIENCE = 20.0
"""Seconds any wait in these tests may take: far more than needed, so that it only ends what hangs."""

Script = Callable[["Call"], Awaitable[None]]


async def eventually(condition: Callable[[], Any], what: str = "condition") -> None:
    """Wait until it holds; fails after `PATIENCE`."""
    deadline = asyncio.get_running_loop().time() + PATIENCE
    while not condition():
        if asyncio.get_running_loop().time() > deadline:
            raise AssertionError(f"never came: {what}")
        await asyncio.sleep(0.005)


def ok(body: bytes = b"{}", *headers: bytes, status: bytes = b"200 OK") -> bytes:
    """A whole answer with Content-Length."""
    lines = b"".join(h + b"\r\n" for h in headers)
    return b"HTTP/1.1 %b\r\nContent-Length: %d\r\n%b\r\n%b" % (status, len(body), lines, body)


class Call:
    """One request as a model server sees it."""

    def __init__(self, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.head, self.reader, self.writer = head, reader, writer
        self.body = b""

    @property
    def headers(self) -> dict[str, str]:
        lines = self.head.decode("latin-1").split("\r\n")[1:-2]
        return {name.lower(): value.strip() for name, value in (line.split(":", 1) for line in lines)}

    async def read_body(self) -> bytes:
        """Read the body, chunk framing included."""
        headers = self.headers
        if headers.get("transfer-encoding") == "chunked":
            self.body = await self.reader.readuntil(b"0\r\n\r\n")
        else:
            self.body = await self.reader.readexactly(int(headers.get("content-length", 0)))
        return self.body

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()


def resets(writer: asyncio.StreamWriter) -> None:
    """Let the end of this connection be a reset (socket(7), `SO_LINGER`)."""
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


class Served(Protocol):
    """A model server of any protocol."""

    @property
    def url(self) -> str: ...

    async def start(self) -> None: ...

    async def stop(self) -> None: ...


class Model:
    """A scripted model server. `script` gets each call; by default it answers 200 with `{}`."""

    host = "127.0.0.1"

    def __init__(self, script: Script | None = None) -> None:
        self.script = script or self.answer
        self.calls: list[Call] = []
        self.connections = 0
        self.open = 0
        self.port = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._lives = 0

    @staticmethod
    async def answer(call: Call) -> None:
        await call.read_body()
        await call.send(ok())

    async def start(self) -> None:
        self.port = self.port or free_port()
        self.server = await asyncio.start_server(self._serving(), self.host, self.port)

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    def _serving(self) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]:
        """What serves a connection of this life: one that is accepted, and has no task yet when the model stops, ends
        with the others. Else it would be carried by a model that is dead, and wait for ever."""
        life = self._lives

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            if life == self._lives:
                await self._serve(reader, writer)
            else:
                writer.close()

        return serve

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open += 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                call = Call(head, reader, writer)
                self.calls.append(call)
                await self.script(call)
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            self.open -= 1
            writer.close()
            self._tasks.discard(task)

    async def stop(self) -> None:
        self.server.close()
        await self.stop_tasks()

    async def stop_tasks(self) -> None:
        self._lives += 1
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


def always(data: bytes) -> Script:
    """Read the request, send these bytes."""

    async def script(call: Call) -> None:
        await call.read_body()
        await call.send(data)

    return script


async def hang(call: Call) -> None:
    """Read the request, never answer; ends when the proxy gives up."""
    await call.read_body()
    await call.reader.read()
    raise ConnectionError


class Controller:
    """The controller's end of both links."""

    def __init__(self, runtime: Path) -> None:
        self.runtime = runtime
        self.pairs: list[Pair] = []
        self.marks: dict[str, int] = {}
        self.counts: dict[str, Any] = {}
        self.acks: list[dict[str, Any]] = []
        self.hellos: list[dict[str, Any]] = []
        self.tables: list[Channel] = []
        self._trials: dict[int, str] = {}
        self._links: list[Channel] = []
        self.secret = ""
        self.greets = True
        """Whether it answers the first HELLO with a table, as the real one does every time; nobody is in it."""
        self._number = 0
        self._servers: list[asyncio.Server] = []

    async def start(self) -> None:
        loop = asyncio.get_running_loop()
        self._servers = [
            await loop.create_unix_server(lambda: Channel(self._on_pairs), str(self.runtime / "pairs.sock")),
            await loop.create_unix_server(
                lambda: Channel(self._on_tables, self._tables_gone), str(self.runtime / "tables.sock")
            ),
        ]

    def _on_pairs(self, channel: Channel, kind: Frame, payload: bytes) -> None:
        if kind is Frame.HELLO:
            self._trials = {}
            self._links.append(channel)
        elif kind is Frame.TRIAL:
            note = link.read_note(payload)
            self._trials[note["index"]] = note["trial"]
        elif kind is Frame.PAIR:
            self.pairs.append(link.decode_pair(payload, self._trials, "w"))
        elif kind is Frame.MARK:
            mark = link.decode_mark(payload)
            self.marks[self._trials[mark.trial]] = mark.sequence
        elif kind is Frame.COUNTS:
            self.counts = link.read_note(payload)

    def _on_tables(self, channel: Channel, kind: Frame, payload: bytes) -> None:
        if kind is Frame.HELLO:
            self.hellos.append(link.read_note(payload))
            self.tables.append(channel)
            if self.greets and len(self.hellos) == 1:
                channel.send(link.encode_table(Table(self._number, (), self.secret)))
        elif kind is Frame.ACK:
            self.acks.append(link.read_note(payload))

    def _tables_gone(self, channel: Channel) -> None:
        if channel in self.tables:
            self.tables.remove(channel)

    async def publish(self, *lanes: Lane, term: int = 0) -> None:
        """Send a routing table and wait until it is in force."""
        await eventually(lambda: self.tables, "a worker on tables.sock")
        self._number += 1
        self.send(Table(self._number, lanes, self.secret, term))
        await eventually(lambda: self.acks and self.acks[-1]["number"] == self._number, "ACK")

    def send(self, table: Table) -> None:
        """Send a routing table, whatever becomes of it."""
        for channel in self.tables:
            channel.send(link.encode_table(table))

    async def stop(self) -> None:
        for channel in [*self.tables, *self._links]:
            channel.close()
        for server in self._servers:
            server.close()


class Rig:
    """A worker that serves `config`, with a controller. `port` is its data port."""

    def __init__(self, worker: Worker, controller: Controller, port: int, task: asyncio.Task[None]) -> None:
        self.worker, self.controller, self.port, self.task = worker, controller, port, task
        self.control: Channel
        self.grpc_port = 0
        self.replies: list[tuple[Frame, dict[str, Any]]] = []

    async def lane(self, weight: int = 0, share: int = 10_000, stage: int = 1, state: State | None = None) -> None:
        """Publish the same numbers for every trial of the configuration."""
        state = state or (State.CANARY if weight else State.SHADOW)
        trials = self.worker.trials.values()
        await self.controller.publish(
            *(Lane(t.settings.name, t.settings.trial, state, weight, share, stage) for t in trials)
        )

    def streams(self) -> None:
        """From now on bodies go to their models as they come, however short."""
        context = self.worker.context
        context.limits = replace(context.limits, buffer=0)

    def hear(self, kind: Frame, payload: bytes) -> None:
        if kind is not Frame.ALIVE:
            self.replies.append((kind, link.read_note(payload)))

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port)

    async def raw(self, data: bytes, close: bool = False) -> bytes:
        """Send bytes on a new connection and read to its end; `close` shuts down the sending side first."""
        reader, writer = await self.connect()
        writer.write(data)
        if close:
            writer.write_eof()
        try:
            return await asyncio.wait_for(reader.read(), PATIENCE)
        finally:
            writer.close()

    async def ask(
        self, body: bytes = b"{}", *headers: bytes, path: bytes = b"/infer", method: bytes = b"POST"
    ) -> tuple[int, dict[str, str], bytes]:
        """One request on a connection of its own: status, headers, body."""
        lines = b"".join(h + b"\r\n" for h in headers)
        answer = await self.raw(
            b"%b %b HTTP/1.1\r\nHost: test\r\nConnection: close\r\nContent-Length: %d\r\n%b\r\n%b"
            % (method, path, len(body), lines, body)
        )
        return parsed(answer)

    @property
    def trial(self) -> Any:
        return next(iter(self.worker.trials.values()))

    async def settled(self, probed: str = "") -> None:
        """Wait until nothing is under way: no leg, no pair, no memory held, and the books balance. A pool whose health
        checks never rest (`probed`) is left out."""

        def still() -> bool:
            pools = [pool for name, pool in self.worker.pools.items() if name != probed]
            return all(pool.counts[1] == 0 and pool.counts[2] == 0 for pool in pools) and all(
                not t.pending and not t.in_flight and not t.memory for t in self.worker.trials.values()
            )

        await eventually(still, "rest")
        for t in self.worker.trials.values():
            assert t.sampled == t.sent + sum(getattr(t, part) for part in DROPPED)


def parsed(answer: bytes) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of one whole answer."""
    head, _, body = answer.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    assert first.startswith("HTTP/1.1 "), answer[:200]
    return int(first.split(" ")[1]), dict(line.lower().split(": ", 1) for line in lines), body


async def read_answer(reader: asyncio.StreamReader) -> tuple[int, dict[str, str], bytes]:
    """One answer with a Content-Length: status, headers, body."""
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), PATIENCE)
    status, headers, _ = parsed(head)
    return status, headers, await reader.readexactly(int(headers["content-length"]))


@contextlib.asynccontextmanager
async def rig(
    config: str,
    models: Sequence[Served] = (),
    grpc: bool = False,
    look_up: LookUp = system,
    greets: bool = True,
) -> AsyncIterator[Rig]:
    """Run models, a controller and a worker with this configuration; `{0}`, `{1}` … are the models' URLs.

    `grpc` opens a second listener, at `grpc_port`; `look_up` is the worker's way to look names up. Without
    `greets` the controller says nothing by itself, and READY is not waited for.
    """
    for model in models:
        await model.start()
    for number, model in enumerate(models):
        config = config.replace(f"{{{number}}}", model.url)
    try:
        for_worker(config)
    except ConfigError:
        for model in models:
            await model.stop()  # or the test's loop would wait for them at its end
        raise
    with tempfile.TemporaryDirectory() as folder:
        runtime = Path(folder)
        controller = Controller(runtime)
        controller.greets = greets
        await controller.start()
        listener = socket.create_server(("127.0.0.1", 0), backlog=100)
        listener.setblocking(False)
        mine, its = socket.socketpair()
        its.setblocking(False)
        mine.setblocking(False)
        loop = asyncio.get_running_loop()
        worker = Worker(0, 1, runtime, loop, look_up)
        port = listener.getsockname()[1]
        calls = socket.create_server(("127.0.0.1", 0), backlog=100) if grpc else None
        task = loop.create_task(worker.run(listener, its, calls))
        it = Rig(worker, controller, port, task)
        it.grpc_port = calls.getsockname()[1] if calls is not None else 0
        it.control = Channel(lambda _, kind, payload: it.hear(kind, payload))
        await loop.create_connection(lambda: it.control, sock=mine)
        it.control.send(config_frame(1, config, folder))
        try:
            if greets:
                await eventually(lambda: it.replies, "READY")
            yield it
        finally:
            it.control.close()
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            await controller.stop()
            for model in models:
                await model.stop()
            for _ in range(20):  # the transports' own last callbacks
                await asyncio.sleep(0)
