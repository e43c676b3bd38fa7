"""Promise: in whatever order connections are made, lost, used, given up and closed, every leg ends exactly once and the
books of pool and endpoints return to zero, without ever going below it.

The pools run here without sockets: Hypothesis decides when an attempt to connect comes to what, when a model answers,
ends its side or resets, and when a leg is cancelled or late. One turn of the event loop at a time, so that the end of a
connection falls between any two steps of ours. The same for HTTP/1.1 and for gRPC.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from time import monotonic
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from proxy.http.http2 import Http2, Stream
from proxy.http.http2.frames import REFUSED_STREAM, Taker
from proxy.model.reasons import Reason
from proxy.request.legs import Leg
from proxy.resolver import Resolver
from proxy.worker.timers import TimerWheel
from proxy.worker.turn import TurnScheduler
from proxy.worker.upstream.dialling import Settings
from proxy.worker.upstream.endpoint import Endpoint
from proxy.worker.upstream.grpc import GrpcClientConnection
from proxy.worker.upstream.grpc_pool import GrpcPool
from proxy.worker.upstream.http1 import UpstreamConnection
from proxy.worker.upstream.pool import Pool

HEAD = b"POST /x HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"
MESSAGE = b"\0\0\0\0\1x"


class Asked(Leg):
    """A leg that counts its ends."""

    def __init__(self, pool: Pool, repeatable: bool, optional: bool, whole: bool, probe: bool) -> None:
        super().__init__(pool, 1.0)
        self.repeatable, self.optional, self.whole = repeatable, optional, whole
        self.opening = HEAD + (b"{}" if whole else b"{")
        self.ends = 0
        if probe:
            self.tries = 1_000_000

    def head(self, piece: bytes, done: bool) -> None:
        self.ends += done

    def body(self, piece: bytes, done: bool) -> None:
        self.ends += done

    def failed(self, reason: Reason) -> None:
        assert reason
        self.ends += 1

    def cancel(self) -> None:
        self.ends += not self.ended
        super().cancel()


class Line(Taker):
    """A transport, and the model server at its other end."""

    def __init__(self, bench: Bench, protocol: Any) -> None:
        self.bench, self.protocol = bench, protocol
        self.closing = self.gone = False
        self.streams: list[Stream] = []
        self.peer = Http2(True, 32_768, bench.peer_streams, self._opened) if bench.grpc else None
        protocol.connection_made(self)

    def _opened(self, stream: Stream, headers: Any, ended: bool) -> None:
        stream.taker = self
        self.streams.append(stream)

    def on_data(self, data: bytes, ended: bool) -> None: ...

    def on_reset(self, code: int) -> None: ...

    def on_room(self) -> None: ...

    # --- as the proxy knows it ---

    def write(self, data: bytes) -> None:
        assert not self.closing, "written into a connection that is closing"
        if self.peer is not None:
            self.peer.feed(data)

    def is_closing(self) -> bool:
        return self.closing

    def close(self) -> None:
        if not self.closing:
            self.closing = True
            asyncio.get_running_loop().call_soon(self._gone)

    abort = close

    def _gone(self) -> None:
        self.gone = True
        self.protocol.connection_lost(None)

    def get_write_buffer_size(self) -> int:
        return 0

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    # --- what the model does ---

    def say(self, data: bytes) -> None:
        if not self.closing:
            self.protocol.data_received(data)

    def flush(self) -> None:
        assert self.peer is not None
        self.say(self.peer.take())

    def ends(self) -> None:
        """An orderly end of the model's side."""
        if not self.closing and not self.protocol.eof_received():
            self.close()

    def answers(self) -> None:
        if self.peer is None:
            self.say(OK)
            return
        stream = next((one for one in self.streams if not one.local_done), None)
        if stream is not None:
            self.peer.headers(stream, [(b":status", b"200"), (b"content-type", b"application/grpc")], False)
            self.peer.data(stream, MESSAGE, True, [(b"grpc-status", b"0")])
            self.flush()

    def begins(self) -> None:
        """Half an answer."""
        if self.peer is None:
            self.say(b"HTTP/1.1 200 OK\r\ncontent-length: 20\r\n\r\n{")
            return
        stream = next((one for one in self.streams if not one.local_done), None)
        if stream is not None and not stream.answered:
            stream.answered = True
            self.peer.headers(stream, [(b":status", b"200"), (b"content-type", b"application/grpc")], False)
            self.flush()

    def garbles(self) -> None:
        self.say(b"\0\0\1\6\0\0\0\0\0x" if self.peer is not None else b"garbage\r\n\r\n")

    def refuses(self) -> None:
        """Takes no more: what it has not begun goes elsewhere."""
        if self.peer is None:
            self.say(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{}")
            return
        stream = next((one for one in self.streams if not one.local_done), None)
        if stream is not None:
            self.peer.reset(stream, REFUSED_STREAM)
        self.peer.say_goodbye(last=0)
        self.flush()


class Bench:
    """A pool of one name with several addresses, its legs and whatever they wait for."""

    def __init__(self, grpc: bool, urls: int, peer_streams: int = 1) -> None:
        self.grpc, self.peer_streams = grpc, peer_streams
        self.dials: list[tuple[Endpoint, asyncio.Future[Any]]] = []
        self.lines: list[Line] = []
        self.legs: list[Asked] = []
        self.wheel = TimerWheel()
        bench = self

        class Http(Pool):
            async def dial(self, endpoint: Endpoint) -> UpstreamConnection:
                return await bench.dialled(endpoint)  # type: ignore[no-any-return]

        class Grpc(GrpcPool):
            async def connect_link(self, endpoint: Endpoint) -> GrpcClientConnection:
                return await bench.dialled(endpoint)  # type: ignore[no-any-return]

        scheme = "grpc" if grpc else "http"
        given = Settings("m", (f"{scheme}://m.test:1",), 1.0, 60.0, 3)
        resolver = Resolver()
        self.name = resolver.name("m.test")
        self.name.asked = 1e12  # nobody looks it up but `moves`
        if urls:
            self.moves(urls)
        turn = TurnScheduler(asyncio.get_running_loop())
        self.pool: Any = (Grpc if grpc else Http)(given, self.wheel, turn, None, resolver)
        self.endpoints: set[Endpoint] = set()

    def moves(self, n: int) -> None:
        """The name leads to other addresses: one to three of four."""
        some = (1, 2, 3, 5, 6, 8, 9, 12)[n]
        self.name._ended(tuple(f"10.0.0.{at}" for at in range(4) if some >> at & 1), None)

    async def dialled(self, endpoint: Endpoint) -> Any:
        made: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.dials.append((endpoint, made))
        return await made

    # --- what happens; each takes a number that chooses among what there is ---

    def ask(self, n: int) -> None:
        leg = Asked(self.pool, bool(n & 1), bool(n & 2), not n & 4, False)
        self.legs.append(leg)
        self.pool.submit(leg)

    def probe(self, n: int) -> None:
        leg = Asked(self.pool, False, False, True, True)
        before = self.pool.open
        self.pool.probe(self.pool.endpoints[n % len(self.pool.endpoints)], leg)
        if self.grpc or self.pool.open > before:
            self.legs.append(leg)

    def goes_on(self, n: int) -> None:
        going = [leg for leg in self.legs if not leg.ended and not leg.whole]
        if going:
            going[n % len(going)].send(b"}", True)

    def cancel(self, n: int) -> None:
        going = [leg for leg in self.legs if not leg.ended]
        if going:
            going[n % len(going)].cancel()

    def _dial(self, n: int) -> tuple[Endpoint, asyncio.Future[Any]] | None:
        self.dials = [one for one in self.dials if not one[1].done()]
        return self.dials[n % len(self.dials)] if self.dials else None

    def connect(self, n: int, then: Callable[[Line], None] | None = None) -> None:
        if (chosen := self._dial(n)) is not None:
            endpoint, made = chosen
            line = Line(
                self,
                GrpcClientConnection(self.pool, endpoint) if self.grpc else UpstreamConnection(self.pool, endpoint),
            )
            self.lines.append(line)
            made.set_result(line.protocol)
            if self.grpc:
                line.flush()  # SETTINGS
            if then is not None:
                then(line)

    def slow(self) -> None:
        """Every attempt that is under way has lasted for as long as the next one waits for it."""
        if self.grpc:
            for endpoint, task in list(self.pool._dials.items()):
                self.pool._slow(endpoint, task)
        for leg, tasks in list(getattr(self.pool, "_opening", {}).items()):
            self.pool._race(leg, next(iter(tasks)))

    def refuse(self, n: int) -> None:
        if (chosen := self._dial(n)) is not None:
            chosen[1].set_exception((OSError(), TimeoutError(), ssl.SSLError(), UnicodeError())[n % 4])

    def on_a_line(self, n: int, act: Callable[[Line], None]) -> None:
        lines = [line for line in self.lines if not line.closing]
        if lines:
            act(lines[n % len(lines)])

    # --- the books ---

    def check(self) -> None:
        pool = self.pool
        self.endpoints |= set(pool.endpoints)
        assert 0 <= pool.open <= 3
        assert all(endpoint.busy >= 0 for endpoint in self.endpoints)
        assert not any(endpoint.idle for endpoint in self.endpoints if endpoint.gone)
        assert all(number >= 0 for number in pool.counts)
        assert all(leg.ends <= 1 for leg in self.legs)
        assert all(leg.ends == leg.ended for leg in self.legs)

    async def end(self) -> None:
        """Whatever still waits for something comes to its end."""
        for _ in range(100):
            while (chosen := self._dial(0)) is not None:
                chosen[1].set_exception(OSError())
            for line in self.lines:
                line.close()
            self.wheel.sweep(monotonic() + 1000.0)
            await asyncio.sleep(0)
            self.check()

    def at_zero(self) -> None:
        pool = self.pool
        assert [leg.ends for leg in self.legs] == [1] * len(self.legs)
        assert pool.open == 0
        assert pool.counts == (0, 0, 0)
        assert [endpoint.busy for endpoint in self.endpoints] == [0] * len(self.endpoints)
        if self.grpc:
            assert not pool._dials
            assert not pool._every
            assert not any(pool._links.values())
            assert not any(pool._queues.values())
        else:
            assert not pool._opening
            assert not pool._all
            assert not pool._waiting
            assert not any(endpoint.idle for endpoint in pool.endpoints)


HAPPENS: dict[str, Callable[[Bench, int], None]] = {
    "ask": Bench.ask,
    "probe": Bench.probe,
    "goes on": Bench.goes_on,
    "cancel": Bench.cancel,
    "connect": Bench.connect,
    "connect, end": lambda bench, n: bench.connect(n, Line.ends),
    "connect, reset": lambda bench, n: bench.connect(n, Line.close),
    "connect, garbage": lambda bench, n: bench.connect(n, Line.garbles),
    "connect, refuse": lambda bench, n: bench.connect(n, Line.refuses),
    "no connection": Bench.refuse,
    "answer": lambda bench, n: bench.on_a_line(n, Line.answers),
    "begin": lambda bench, n: bench.on_a_line(n, Line.begins),
    "garbage": lambda bench, n: bench.on_a_line(n, Line.garbles),
    "end": lambda bench, n: bench.on_a_line(n, Line.ends),
    "reset": lambda bench, n: bench.on_a_line(n, Line.close),
    "refuse": lambda bench, n: bench.on_a_line(n, Line.refuses),
    "late": lambda bench, n: bench.wheel.sweep(monotonic() + 2.0),
    "idle": lambda bench, n: bench.wheel.sweep(monotonic() + 100.0),
    "close": lambda bench, n: bench.pool.close(),
    "moves": Bench.moves,
    "slow": lambda bench, n: bench.slow(),
    "nothing": lambda bench, n: None,
}
STEP = st.tuples(
    st.one_of(st.sampled_from(("ask", "connect", "nothing", "answer")), st.sampled_from(sorted(HAPPENS))),
    st.integers(0, 7),
    st.sampled_from((0, 0, 1, 2)),
)


async def play(grpc: bool, urls: int, streams: int, steps: list[tuple[str, int, int]]) -> None:
    bench = Bench(grpc, urls, streams)
    for name, n, turns in steps:
        HAPPENS[name](bench, n)
        bench.check()
        for _ in range(turns):
            await asyncio.sleep(0)
            bench.check()
    await bench.end()
    bench.at_zero()


@pytest.mark.parametrize("grpc", [False, True], ids=["http", "grpc"])
@settings(max_examples=200, deadline=None)
@given(st.integers(0, 3), st.integers(1, 2), st.lists(STEP, max_size=40))
@example(1, 1, [("ask", 0, 1), ("connect, end", 0, 0), ("nothing", 0, 2)])  # lost before its leg was put on it
@example(1, 1, [("ask", 0, 1), ("connect, reset", 0, 1)])
@example(2, 1, [("ask", 0, 1), ("connect, garbage", 0, 2), ("connect", 0, 2), ("answer", 0, 1)])
@example(1, 1, [("ask", 0, 1), ("connect", 0, 2), ("answer", 0, 0), ("end", 0, 0), ("ask", 0, 2)])  # met as it closes
@example(1, 1, [("ask", 0, 1), ("connect, refuse", 0, 2), ("nothing", 0, 2)])
@example(0, 1, [("ask", 0, 1), ("moves", 2, 1), ("slow", 0, 1), ("connect", 1, 2), ("connect", 0, 2)])
@example(1, 2, [("ask", 0, 1), ("connect", 0, 2), ("moves", 5, 1), ("answer", 0, 2), ("ask", 0, 2)])
def test_books_return_to_zero_in_any_order(
    grpc: bool, urls: int, streams: int, steps: list[tuple[str, int, int]]
) -> None:
    asyncio.run(play(grpc, urls, streams, steps))
