"""Fakes that whole-program tests share: a model server with every bad habit, and a client that believes nothing.

`FakeModel` speaks V2 and gives an answer that is a pure function of its name and the request (`answer`), so that a
client can compare every byte. Its `mood` can be changed at any time, in its own process with `POST /control`. It is a
bare `asyncio.Protocol`, because what it has to get wrong (framing, lengths, pace) no HTTP library lets one get wrong.

    python -m tests.fakes NAME      in a process of its own; prints `listening PORT`
"""

from __future__ import annotations

import asyncio
import math
import random
import subprocess
import sys
import zlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from statistics import NormalDist

import aiohttp
import httptools
import orjson

from proxy.demo.traffic import Seen, Traffic
from tests.ports import free_port

FLOOD = 10 * 1024 * 1024
"""Bytes of a flooding answer."""
PIECE = b"9" * 65536


@dataclass(frozen=True)
class Mood:
    """How a fake model answers.

    `mode`: `normal`, `hang` (never answers), `garbage` (not HTTP), `flood` (a 10 MB answer), `drip` (one byte a
    second), `lie_long` (promises more bytes than it sends, then closes), `lie_short` (sends more than it promised),
    `error` (500), `close` (closes without a byte), `hold` (answers when the model's `released` is set). `wrong`: share
    of requests with another label. `delay`: seconds before an answer, median of a lognormal with `sigma`; a share
    `tail` of requests takes `slower` times as long. `only_served`: copies (which carry `x-shadow`) are spared all of
    this.
    """

    mode: str = "normal"
    wrong: float = 0.0
    delay: float = 0.0
    sigma: float = 0.0
    slower: float = 1.0
    tail: float = 1.0
    only_served: bool = False


def _dice(body: bytes, salt: bytes) -> float:
    return zlib.crc32(body + salt) / 2**32


def _delay(mood: Mood, name: str, body: bytes) -> float:
    """Seconds before the answer to `body`: half of the spread is the request's own, half is the model's."""
    shared, own = (NormalDist().inv_cdf(max(_dice(body, salt), 1e-9)) for salt in (b"delay", name.encode()))
    factor = mood.slower if _dice(body, b"tail" + name.encode()) < mood.tail else 1.0
    return mood.delay * math.exp(mood.sigma * (shared + own) / math.sqrt(2)) * factor


def answer(name: str, body: bytes, wrong: float = 0.0) -> bytes:
    """The body of the answer of model `name` to `body`; another label for a share `wrong` of all bodies."""
    label = zlib.crc32(body) % 10
    if _dice(body, b"wrong") < wrong:
        label = (label + 1) % 10
    output = {"name": "predict", "shape": [1], "datatype": "INT64", "data": [label]}
    return orjson.dumps({"model_name": name, "outputs": [output]})


def question(number: int, padding: int = 0) -> bytes:
    """A V2 request body that no other number has; `padding` makes it longer."""
    data = [float(number), *([0.5] * padding)]
    tensor = {"name": "x", "shape": [1, len(data)], "datatype": "FP64", "data": data}
    return orjson.dumps({"inputs": [tensor]})


@dataclass
class FakeModel:
    """A model server; change `mood` at will. `requests` and `copies` count what came, `held` has the bodies of the
    requests (copies aside) that a mood of `hold` keeps until `released` is set."""

    name: str
    mood: Mood = field(default_factory=Mood)
    requests: int = 0
    copies: int = 0
    held: set[bytes] = field(default_factory=set)
    released: asyncio.Event = field(default_factory=asyncio.Event)
    port: int = 0
    host: str = "127.0.0.1"
    _server: asyncio.Server | None = None
    _connections: set[asyncio.Transport] = field(default_factory=set)
    dead: bool = False

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://{self.host}:{self.port}"

    async def start(self) -> FakeModel:
        """Listen, on the same port as before if it has died."""
        loop = asyncio.get_running_loop()
        self.dead, self.port = False, self.port or free_port()
        # As many as real servers let wait (uvicorn, gunicorn): with asyncio's 100 the kernel drops connections to a
        # model that has been without a core for a third of a second.
        self._server = await loop.create_server(lambda: _Connection(self), self.host, self.port, backlog=2048)
        return self

    def die(self) -> None:
        """Stop listening and reset every connection, as a killed process does."""
        self.dead = True
        if self._server is not None:
            self._server.close()
        for transport in list(self._connections):
            transport.abort()

    async def stop(self) -> None:
        """Die, and let the loop close what it had accepted: a test's loop ends right behind its last line."""
        assert self._server is not None
        for sock in self._server.sockets:  # none more: one that is accepted in the turn of `close` is never closed
            asyncio.get_running_loop().remove_reader(sock)
        await _turns()
        self.die()
        await _turns()

    def control(self, body: bytes) -> bytes:
        """Change the mood by a JSON object of its fields; gives the counts."""
        if body:
            self.mood = replace(self.mood, **orjson.loads(body))
        return orjson.dumps({"requests": self.requests, "copies": self.copies, "mood": asdict(self.mood)})


async def _turns() -> None:
    """Enough turns of the loop for a connection that was accepted to be made, aborted and closed: it takes four."""
    for _ in range(10):
        await asyncio.sleep(0)


class _Connection(asyncio.Protocol):
    """One connection: requests are answered in turn, well or badly."""

    def __init__(self, model: FakeModel) -> None:
        self._model = model
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._path, self._body, self._is_copy = b"", b"", False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._model._connections.add(transport)
        if self._model.dead:  # it had been accepted before, and nobody would ever close it
            transport.abort()

    def connection_lost(self, error: Exception | None) -> None:
        assert self._transport is not None
        self._model._connections.discard(self._transport)
        for task in self._tasks:
            task.cancel()

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_begin(self) -> None:
        self._path, self._body, self._is_copy = b"", b"", False

    def on_url(self, url: bytes) -> None:
        self._path += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._is_copy |= name.lower() == b"x-shadow"

    def on_body(self, data: bytes) -> None:
        self._body += data

    def on_message_complete(self) -> None:
        if self._path == b"/control":
            self._write(_whole(self._model.control(self._body)))
            return
        self._model.requests += 1
        self._model.copies += self._is_copy
        mood = Mood() if self._model.mood.only_served and self._is_copy else self._model.mood
        if mood.mode == "normal" and not mood.delay:
            self._write(_whole(answer(self._model.name, self._body, mood.wrong)))
            return
        if mood.mode == "hold" and not self._is_copy:
            self._model.held.add(self._body)
        task = asyncio.create_task(self._misbehave(mood, self._body))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _misbehave(self, mood: Mood, body: bytes) -> None:
        assert self._transport is not None
        await asyncio.sleep(_delay(mood, self._model.name, body))
        right = answer(self._model.name, body, mood.wrong)
        match mood.mode:
            case "normal":
                self._write(_whole(right))
            case "hang":
                pass
            case "hold":
                await self._model.released.wait()
                self._model.held.discard(body)
                self._write(_whole(right))
            case "garbage":
                self._write(random.Random(len(body)).randbytes(2000))
            case "flood":
                await self._flood()
            case "drip":
                for byte in _whole(right):
                    self._write(bytes([byte]))
                    await asyncio.sleep(1)
            case "lie_long":
                self._write(_whole(right, length=len(right) + 1000))
                self._transport.close()
            case "lie_short":
                self._write(_whole(right, length=len(right) - 10))
            case "error":
                self._write(_whole(b'{"error": "out of memory"}', status=b"500 Internal Server Error"))
            case "close":
                self._transport.close()

    async def _flood(self) -> None:
        """Write as fast as it is read, in pieces: a fake that stalls under its own flood would only look slow."""
        assert self._transport is not None
        self._write(_whole(b"", length=FLOOD))
        for _ in range(FLOOD // len(PIECE)):
            self._write(PIECE)
            while self._transport.get_write_buffer_size() > len(PIECE):  # noqa: ASYNC110 - a fake may poll
                await asyncio.sleep(0.005)

    def _write(self, data: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)


def _whole(body: bytes, length: int | None = None, status: bytes = b"200 OK") -> bytes:
    size = len(body) if length is None else length
    return b"HTTP/1.1 %s\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (status, size, body)


def certificate(folder: Path, name: str, ca: str = "", names: str = "IP:127.0.0.1,DNS:localhost") -> None:
    """`name.pem` and `name.key`, self-signed or signed by `ca`."""
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-days",
        "2",
    ]
    command += ["-subj", f"/CN={name}", "-addext", f"subjectAltName={names}"]
    command += ["-keyout", str(folder / f"{name}.key"), "-out", str(folder / f"{name}.pem")]
    if ca:
        command += ["-CA", str(folder / f"{ca}.pem"), "-CAkey", str(folder / f"{ca}.key")]
        command += ["-addext", "basicConstraints=critical,CA:FALSE"]
    subprocess.run(command, check=True, capture_output=True)


class Load:
    """Open-loop load of numbered questions on one URL; every answer is compared byte for byte with what must come.

    What must come is the answer of the model behind the upstream that `x-served-by` names: `models` maps upstreams to
    models where the names differ, `wrong` gives a model's share of wrong labels. `seen` holds everything in the order
    in which it ended; `asked` counts what was begun.
    """

    def __init__(
        self,
        url: str,
        rate: float = 200.0,
        models: dict[str, str] | None = None,
        wrong: dict[str, float] | None = None,
        reuse: bool = True,
    ) -> None:
        self.seen: list[Seen[int]] = []
        self._models, self._wrong = models or {}, wrong or {}
        self.asked = 0
        self._traffic = Traffic(url, rate, self._draw, question, self.seen.append, reuse=reuse)
        self._running: asyncio.Task[None] | None = None

    def _draw(self) -> int:
        self.asked += 1
        return self.asked - 1

    async def __aenter__(self) -> Load:
        self._running = asyncio.create_task(self._traffic.run())
        return self

    def stop(self) -> None:
        """Send no more."""
        self._traffic.stop()

    async def __aexit__(self, *_: object) -> None:
        self.stop()
        assert self._running is not None
        await self._running

    async def until(self, done: Callable[[], bool], within: float = 30.0) -> None:
        """Go on until `done()`; raises `TimeoutError` after `within` seconds."""
        async with asyncio.timeout(within):
            while not done():  # noqa: ASYNC110 - what is waited for is often in another process
                await asyncio.sleep(0.02)

    async def more(self, count: int, within: float = 60.0) -> None:
        """Go on until `count` more answers have come."""
        goal = len(self.seen) + count
        await self.until(lambda: len(self.seen) >= goal, within)

    def in_flight(self) -> set[int]:
        """The questions that have been asked and not answered: no process that dies now can hold more."""
        return set(range(self.asked)) - {seen.asked for seen in self.seen}

    def problem(self, seen: Seen[int]) -> str:
        """What is wrong with one answer; empty when every byte is as it must be."""
        if seen.error or seen.status != 200:
            return seen.error or f"{seen.status} by {seen.served_by!r}: {seen.body[:200]!r}"
        model = self._models.get(seen.served_by, seen.served_by)
        right = answer(model, question(seen.asked), self._wrong.get(model, 0.0))
        return "" if seen.body == right else f"question {seen.asked}: {seen.body[:200]!r} is not {right!r}"

    def problems(self, since: int = 0) -> list[str]:
        """What is wrong with the answers from the one numbered `since` on."""
        return [problem for seen in self.seen[since:] if (problem := self.problem(seen))]

    def latencies(self, since: int = 0) -> list[float]:
        """Seconds, ascending, of the answers from the one numbered `since` on."""
        return sorted(seen.seconds for seen in self.seen[since:])

    def by(self, name: str, since: int = 0) -> int:
        """How many answers, from the one numbered `since` on, came from model `name`."""
        return sum(seen.served_by == name for seen in self.seen[since:])


@asynccontextmanager
async def model_process(name: str) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    """A fake model in a process of its own, and its URL."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.fakes", name),
        stdout=asyncio.subprocess.PIPE,
        cwd=Path(__file__).parent.parent,
    )
    try:
        assert process.stdout is not None
        word, port = (await process.stdout.readline()).split()
        assert word == b"listening"
        yield process, f"http://127.0.0.1:{int(port)}"
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def set_mood(url: str, **fields: object) -> None:
    """Change fields of the mood of the fake model at `url`."""
    async with aiohttp.ClientSession() as session, session.post(f"{url}/control", data=orjson.dumps(fields)) as said:
        assert said.status == 200


async def _serve(name: str) -> None:
    model = await FakeModel(name).start()
    print("listening", model.port, flush=True)  # noqa: T201 - this is how the parent learns the port
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_serve(sys.argv[1]))
