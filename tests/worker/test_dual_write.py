"""Promise: a call that sets up state is on both arms before its client goes on, and whatever the candidate does with
it, the client gets live's answer, at most `timeout` later."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator

import grpc
import pytest

from proxy.http.chunks import joined_chunks
from proxy.pairs import request_log
from proxy.pairs.link import Frame
from proxy.request.routes import MAX_MEMORY
from tests.worker.grpc.models import Client, GrpcModel, Seen, echo
from tests.worker.rig import Call, Model, Rig, Script, always, eventually, hang, ok, parsed, resets, rig

CONFIG = """
server: {listen: '127.0.0.1:0'}
upstreams: {v1: {url: '{0}'}, v2: {url: '{1}', timeout: 2s}}
routes:
  - {name: set-up, match: {path: /setup/*}, live: v1, dual_write: {upstream: v2, timeout: 5s}}
  - name: r
    match: {path: /infer}
    live: v1
    rollouts: [{candidate: v2, shadow: 100%, canary: 50%, latency_block: 0s}]
"""
SHORT = CONFIG.replace("timeout: 5s", "timeout: 100ms")
ANSWER = ok(b'{"live":1}')


class Stateful(Model):
    """A server that knows only what was registered with it, `delay` seconds after it was asked to."""

    def __init__(self, delay: float) -> None:
        super().__init__(self.serve)
        self.delay, self.refused = delay, 0
        self.known: set[bytes] = set()

    async def serve(self, call: Call) -> None:
        await call.read_body()
        if call.head.startswith(b"POST /setup/"):
            await asyncio.sleep(self.delay)
            self.known.add(call.body)
            await call.send(ok())
        elif call.body in self.known:
            await call.send(ok())
        else:
            self.refused += 1
            await call.send(ok(b"no such region", status=b"404 Not Found"))


async def test_of_forty_clients_of_a_canary_none_is_told_that_its_state_is_not_there() -> None:
    live, candidate = Stateful(0.0), Stateful(0.05)
    async with rig(CONFIG, (live, candidate)) as it:
        await it.lane(weight=5_000)

        async def client(number: int) -> tuple[int, str]:
            name = b"region-%d" % number
            assert (await it.ask(name, path=b"/setup/register"))[0] == 200
            status, headers, _ = await it.ask(name)
            return status, headers["x-served-by"]

        told = await asyncio.gather(*(client(number) for number in range(40)))
        assert {status for status, _ in told} == {200}
        assert {arm for _, arm in told} == {"v1", "v2"}
        await it.settled()
        assert (live.refused, candidate.refused) == (0, 0)


async def cut(call: Call) -> None:
    await call.read_body()
    resets(call.writer)
    raise ConnectionError


@pytest.mark.parametrize(
    "script",
    [always(ok(b"busy", status=b"503 No")), always(ok(b"no", status=b"401 No")), always(b"nonsense\r\n\r\n"), cut],
)
async def test_a_candidate_that_fails_changes_nothing(script: Script) -> None:
    live = Model(always(ANSWER))
    async with rig(CONFIG, (live, Model(script))) as it:
        status, headers, body = await it.ask(b"a", path=b"/setup/a")
        assert (status, headers["x-served-by"], body) == (200, "v1", b'{"live":1}')
        assert len(live.calls) == 1
        await it.settled()


async def test_a_candidate_that_is_not_there_changes_nothing() -> None:
    live, gone = Model(always(ANSWER)), Model()
    async with rig(CONFIG, (live, gone)) as it:
        await gone.stop()
        for _ in range(8):
            assert (await it.ask(b"a", path=b"/setup/a"))[2] == b'{"live":1}'
        await it.settled()


async def test_a_candidate_that_hangs_is_waited_for_no_longer_than_asked_and_goes_on_for_itself() -> None:
    live, candidate = Model(always(ANSWER)), Model(hang)
    async with rig(SHORT, (live, candidate)) as it:
        began = asyncio.get_running_loop().time()
        assert (await it.ask(b"a", path=b"/setup/a"))[2] == b'{"live":1}'
        assert 0.1 <= asyncio.get_running_loop().time() - began < 1.5
        assert candidate.open == 1, "it is not broken off"
        assert it.worker.context.routes.all[0].dual_write.memory == 0  # type: ignore[union-attr]
        await it.settled()  # after the upstream's own timeout
        await eventually(lambda: codes(it) == {"timeout": 1}, "its end is counted")


def codes(it: Rig) -> dict[str, int]:
    """What became of the candidate's part, as reported."""
    return {
        code: n
        for route, _, leg, code, n in it.worker.context.counts.report()["requests"]
        if leg == "copy" and route == "set-up"
    }


async def test_a_client_that_leaves_meanwhile_is_not_asked_for() -> None:
    live, candidate = Model(always(ANSWER)), Model(hang)
    async with rig(CONFIG, (live, candidate)) as it:
        _, writer = await it.connect()
        writer.write(b"POST /setup/a HTTP/1.1\r\nHost: t\r\nContent-Length: 1\r\n\r\na")
        await eventually(lambda: candidate.calls, "the candidate's part")
        writer.transport.abort()
        await eventually(lambda: not it.worker.context.clients, "the client's end")
        assert it.worker.context.routes.all[0].dual_write.memory == 0  # type: ignore[union-attr]
        await it.settled()
        assert live.calls == []


async def test_a_pipelined_request_waits_its_turn() -> None:
    release = asyncio.Event()

    async def script(call: Call) -> None:
        await call.read_body()
        await release.wait()
        await call.send(ok())

    live = Model(always(ANSWER))
    async with rig(CONFIG, (live, Model(script))) as it:
        reader, writer = await it.connect()
        writer.write(b"POST /setup/a HTTP/1.1\r\nHost: t\r\nContent-Length: 1\r\n\r\na")
        await eventually(lambda: it.worker.context.clients, "the client")
        writer.write(b"GET /-/healthz HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n")
        await writer.drain()
        assert (await it.raw(b"GET /-/healthz HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n")).endswith(b"ok\n")
        release.set()
        answers = await reader.read()
        assert answers.index(b'{"live":1}') < answers.index(b"ok\n")
        writer.close()


async def test_both_get_the_same_request_and_the_candidate_no_credentials() -> None:
    live, candidate = Model(always(ANSWER)), Model()
    config = CONFIG.replace("timeout: 5s", "timeout: 5s, headers: {set: {x-team: blue}}")
    async with rig(config, (live, candidate)) as it:
        lines = b"Host: t\r\nAuthorization: secret\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
        assert parsed(await it.raw(b"POST /setup/a HTTP/1.1\r\n" + lines + b"2\r\nab\r\n0\r\n\r\n"))[2] == b'{"live":1}'
        (served,), (copied,) = live.calls, candidate.calls
        assert joined_chunks(served.body) == joined_chunks(copied.body) == b"ab"
        assert served.headers["x-request-id"] == copied.headers["x-request-id"]
        assert (copied.headers["x-shadow"], copied.headers["x-team"]) == ("v2", "blue")
        assert "authorization" not in copied.headers
        assert "x-shadow" not in served.headers


async def test_a_body_that_is_too_long_goes_to_live_alone_and_is_counted() -> None:
    live, candidate = Model(always(ANSWER)), Model()
    async with rig(CONFIG, (live, candidate)) as it:
        it.worker.context.routes.all[0].dual_write.max_body = 10  # type: ignore[union-attr]
        assert (await it.ask(b"x" * 11, path=b"/setup/a"))[2] == b'{"live":1}'
        assert (await it.ask(b"x" * 10, path=b"/setup/a"))[2] == b'{"live":1}'
        assert [call.body for call in candidate.calls] == [b"x" * 10]
        it.streams()
        reader, writer = await it.connect()
        writer.write(b"POST /setup/a HTTP/1.1\r\nHost: t\r\nConnection: close\r\nContent-Length: 11\r\n\r\nx")
        await eventually(lambda: len(live.calls) == 3, "its first piece, which is not held")
        writer.write(b"y" * 10)
        assert (await reader.read()).endswith(b'{"live":1}')
        writer.close()
        assert codes(it) == {"too_large": 2, "200": 1}


async def test_what_there_is_no_memory_for_goes_to_live_alone_and_is_counted() -> None:
    candidate = Model()
    async with rig(CONFIG, (Model(), candidate)) as it:
        both = it.worker.context.routes.all[0].dual_write
        assert both is not None
        both.memory = MAX_MEMORY
        assert (await it.ask(b"x", path=b"/setup/a"))[0] == 200
        assert (len(candidate.calls), both.memory) == (0, MAX_MEMORY)
        both.memory = 0
        assert (await it.ask(b"x", path=b"/setup/a"))[0] == 200
        assert (len(candidate.calls), both.memory) == (1, 0)
        assert codes(it) == {"pool_full": 1, "200": 1}


async def test_a_entry_tells_of_both() -> None:
    found: list[request_log.RequestEntry] = []
    config = CONFIG + "log: {access: {share: 100%}}\n"
    async with rig(config, (Model(always(ANSWER)), Model())) as it:
        await eventually(lambda: it.controller._links, "the link")
        for link in it.controller._links:
            link._on_frame = lambda _, kind, payload: found.extend(
                request_log.decode_entries(payload) if kind is Frame.REQUESTS else ()
            )
        await it.ask(b"a", path=b"/setup/a")
        await eventually(lambda: found, "an entry")
    (entry,) = found
    assert [(leg.leg, leg.arm, leg.upstream, leg.status) for leg in entry.legs] == [
        ("copy", "candidate", "v2", 200), ("served", "live", "v1", 200),
    ]  # fmt: skip


CALLS = """
server: {grpc_listen: 127.0.0.1:0}
upstreams: {v1: {url: "{0}"}, v2: {url: "{1}"}}
routes: [{name: set-up, live: v1, dual_write: {upstream: v2, timeout: 5s}}]
"""


async def test_a_unary_call_goes_to_both_and_a_stream_to_live() -> None:
    live, candidate = GrpcModel(), GrpcModel()
    async with rig(CALLS, [live, candidate], grpc=True) as it:
        with Client(it.grpc_port) as client:
            told = await client.ask(b"region", metadata=[("authorization", "secret")])
            assert (told.code, told.answer, told.found["x-served-by"]) == (grpc.StatusCode.OK, b"region", "v1")
            assert [seen.messages for seen in (*live.calls, *candidate.calls)] == [[b"region"], [b"region"]]
            assert "authorization" not in candidate.calls[0].found
            streamed = await asyncio.to_thread(lambda: client.read(client.stream([b"a", b"b"])))
            assert streamed.answers == [b"a", b"b"]
        assert len(candidate.calls) == 1
        await it.settled()


async def test_a_call_whose_candidate_fails_is_answered_by_live() -> None:
    def script(seen: Seen, messages: Iterator[bytes]) -> Iterable[bytes]:
        seen.messages.extend(messages)
        seen.context.abort(grpc.StatusCode.INTERNAL, "no")
        yield from ()

    async with rig(CALLS, [GrpcModel(echo), GrpcModel(script)], grpc=True) as it:
        with Client(it.grpc_port) as client:
            told = await client.ask(b"region")
        assert (told.code, told.answer) == (grpc.StatusCode.OK, b"region")
        await it.settled()
