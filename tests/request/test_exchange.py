"""Promise: the live answer never waits for the candidate, and every sampled request is accounted for."""

from __future__ import annotations

import asyncio
import re

import pytest

from proxy.built import DATA_PATH
from proxy.http.credentials import HEADERS
from proxy.model import Pair, State
from tests.worker.rig import Call, Model, Rig, always, eventually, hang, ok, parsed, rig

PLAIN = "upstreams: {m: {url: '{0}'}}\nroutes: [{name: all, live: m}]\nserver: {listen: '127.0.0.1:0'}"
SHADOW = """
server: {listen: '127.0.0.1:0'}
upstreams:
  v1: {url: '{0}'}
  v2: {url: '{1}', timeout: 300ms}
routes:
  - name: r
    match: {path: /infer}
    live: v1
    prediction: {protocol: json, pointer: /a, kind: number}
    rollouts:
      - candidate: v2
        latency_block: 0s
        stages: [{shadow: 100%}, {canary: 5%}]
"""


async def test_forwards() -> None:
    model = Model(always(ok(b"hello")))
    async with rig(PLAIN, (model,)) as it:
        status, headers, body = await it.ask(b"abc")
        assert (status, body) == (200, b"hello")
        assert headers["x-served-by"] == "m"
        assert model.calls[0].body == b"abc"
        seen = model.calls[0].headers
        assert seen["x-request-id"] == headers["x-request-id"]
        assert seen["x-forwarded-for"] == "127.0.0.1"
        assert "connection" not in seen


async def test_shadow_makes_pairs() -> None:
    live, candidate = Model(always(ok(b'{"a":1}'))), Model(always(ok(b'{"a":2}')))
    async with rig(SHADOW, (live, candidate)) as it:
        await it.lane()
        for _ in range(5):
            status, _, body = await it.ask(b'{"x":1}', b"authorization: secret")
            assert (status, body) == (200, b'{"a":1}')
        await eventually(lambda: len(it.controller.pairs) == 5)
        pair = it.controller.pairs[0]
        assert (pair.live.body, pair.candidate.body) == (b'{"a":1}', b'{"a":2}')
        assert pair.request_body == b'{"x":1}'
        assert b"secret" not in pair.request_head
        assert [p.sequence for p in it.controller.pairs] == [0, 1, 2, 3, 4]
        seen = candidate.calls[0].headers
        assert seen["x-shadow"] == "v2"
        assert "authorization" not in seen
        assert live.calls[0].headers["authorization"] == "secret"
        await it.settled()


async def test_no_credential_reaches_a_copy_or_a_pair_but_live_gets_all() -> None:
    """Copied at once, in canary too, where live is the copy: it has seen the caller's credentials before."""
    lines = b"\r\n".join(f"{name.title()}: secret".encode() for name in sorted(HEADERS))
    trusting = SHADOW.replace("server: {", "server: {trusted_proxies: [127.0.0.1], ")  # who may send `x-forwarded-…`
    for weight in (0, CANARY):
        live, candidate = Model(always(LIVE)), Model(always(GOOD))
        async with rig(trusting, (live, candidate)) as it:
            await it.lane(weight=weight)
            await it.ask(b"{}", lines + b"\r\nX-User: ann")
            (pair,) = await pairs_of(it, 1)
            copy = (live if weight else candidate).calls[0].headers
            assert HEADERS.isdisjoint(candidate.calls[0].headers) or weight
            assert copy["x-user"] == "ann"
            assert HEADERS - {"proxy-authorization"} <= live.calls[0].headers.keys()  # that one is for us alone
            assert b"secret" not in pair.request_head
            assert b"X-User: ann" in pair.request_head


async def test_the_owner_says_which_headers_a_copy_carries() -> None:
    for drop, carried in (
        ("[]", {"authorization", "x-api-key", "x-own"}),
        ("[x-own, Cookie]", {"authorization", "x-api-key"}),
    ):
        live, candidate = Model(always(LIVE)), Model(always(GOOD))
        text = SHADOW.replace("latency_block: 0s", f"latency_block: 0s\n        mirror: {{headers: {{drop: {drop}}}}}")
        async with rig(text, (live, candidate)) as it:
            await it.lane()
            await it.ask(b"{}", b"Authorization: secret\r\nX-Api-Key: secret\r\nX-Own: o")
            (pair,) = await pairs_of(it, 1)
            assert carried == {"authorization", "x-api-key", "x-own", "cookie"} & candidate.calls[0].headers.keys()
            assert b"secret" not in pair.request_head


LIVE = ok(b'{"a":1}')
GOOD = ok(b'{"a":2}')
CANARY = 9_999  # all but one bucket, and still a canary whose answers are held


async def flood(call: Call) -> None:
    await call.read_body()
    await call.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10000000\r\n\r\n")
    for _ in range(100):
        await call.send(b"x" * 100_000)


async def announce_a_flood(call: Call) -> None:
    await call.read_body()
    await call.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10000000\r\n\r\nx")
    await asyncio.sleep(40)  # and the rest never comes


async def drip(call: Call) -> None:
    await call.read_body()
    for byte in ok(b"x" * 1000):
        await call.send(bytes([byte]))
        await asyncio.sleep(0.1)


async def flood_slowly(call: Call) -> None:
    """At a pace at which what is held would be taken for a stream, if its length were not known."""
    await call.read_body()
    await call.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10000000\r\n\r\n")
    for _ in range(100):
        await call.send(b"x" * 1000)
        await asyncio.sleep(0.05)


async def reset(call: Call) -> None:
    await call.read_body()
    raise ConnectionError


HOSTILE = {
    "hangs": (hang, "timeout"),
    "floods": (flood, "too_large"),
    "announces a flood": (announce_a_flood, "too_large"),
    "floods slowly": (flood_slowly, "too_large"),
    "drips": (drip, "timeout"),
    "resets": (reset, "disconnect"),
    "garbage": (always(b"\x16\x03garbage\r\n\r\n"), "bad_reply"),
    "promises more than it sends": (always(ok(b"x").replace(b": 1", b": 9")), "timeout"),
    "bad chunks": (always(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n"), "bad_reply"),
    "breaks off in a chunk": (always(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nab"), "timeout"),
}


def fallbacks(it: Rig) -> list[list[object]]:
    """Rollout, reason and number of the answers that clients got from live in the candidate's place."""
    found: list[list[object]] = it.worker.context.counts.report()["fallbacks"]
    return found


async def pairs_of(it: Rig, count: int) -> list[Pair]:
    await eventually(lambda: len(it.controller.pairs) >= count, f"{count} pairs")
    await it.settled()
    return it.controller.pairs


AS_IT_COMES = ("breaks off in a chunk",)
"""What cannot be told from a stream before a client has some of it."""


@pytest.mark.parametrize(
    ("name", "weight"),
    [*((name, 0) for name in HOSTILE), *((name, CANARY) for name in HOSTILE if name not in AS_IT_COMES)],
)
async def test_hostile_candidate_costs_the_client_nothing(name: str, weight: int) -> None:
    script, reason = HOSTILE[name]
    config = SHADOW if reason == "timeout" else SHADOW.replace("timeout: 300ms", "timeout: 5s")
    async with rig(config, (Model(always(LIVE)), Model(script))) as it:
        await it.lane(weight=weight)
        for _ in range(2):
            status, headers, body = await it.ask(b"{}")
            assert (status, body, headers["x-served-by"]) == (200, b'{"a":1}', "v1")
        for pair in await pairs_of(it, 2):
            assert pair.candidate.reason == reason
            assert pair.live.body == b'{"a":1}'
            assert (pair.served == "candidate") is bool(weight)
            assert (pair.hedged or pair.fell_back) is bool(weight)
        assert sum(int(str(n)) for _, _, n in fallbacks(it)) == (2 if weight else 0)


@pytest.mark.parametrize("status", [b"500 No", b"503 No", b"429 Slow down"])
async def test_failing_canary_falls_back_and_is_judged(status: bytes) -> None:
    async with rig(SHADOW, (Model(always(LIVE)), Model(always(ok(b"no", status=status))))) as it:
        await it.lane(weight=CANARY)
        got, headers, _ = await it.ask()
        assert (got, headers["x-served-by"]) == (200, "v1")
        (pair,) = await pairs_of(it, 1)
        assert pair.candidate.status == int(status[:3])
        assert pair.candidate.body == b"no"
        assert (pair.fell_back, pair.hedged, pair.live.body) == (True, False, b'{"a":1}')
        assert fallbacks(it) == [["r/v2", f"status_{'429' if status[:3] == b'429' else '5xx'}", 1]]


async def test_dead_canary_falls_back() -> None:
    candidate = Model()
    async with rig(SHADOW, (Model(always(LIVE)), candidate)) as it:
        await candidate.stop()
        await it.lane(weight=CANARY)
        assert (await it.ask())[1]["x-served-by"] == "v1"
        (pair,) = await pairs_of(it, 1)
        assert pair.candidate.reason == "connect"


@pytest.mark.skipif(DATA_PATH == "compiled", reason="stands in for a method, which a compiled class does not allow")
async def test_dead_candidate_is_not_dialled_for_every_copy() -> None:
    """After three refusals copies fail at once, each still a pair; the candidate is found again when it is back."""
    candidate = Model(always(GOOD))
    async with rig(SHADOW, (Model(always(LIVE)), candidate)) as it:
        await candidate.stop()
        await it.lane()
        dialled = 0
        dial = it.worker.pools["v2"].dial

        async def counted(endpoint):  # type: ignore[no-untyped-def]
            nonlocal dialled
            dialled += 1
            return await dial(endpoint)

        it.worker.pools["v2"].dial = counted
        for _ in range(10):
            assert (await it.ask())[0] == 200
        found = await pairs_of(it, 10)
        assert {pair.candidate.reason for pair in found} == {"connect"}
        assert dialled < 10
        candidate.server = await asyncio.start_server(candidate._serve, "127.0.0.1", candidate.port)
        it.worker.pools["v2"].endpoints[0].dead_until = 0.0
        await it.ask()
        assert (await pairs_of(it, 11))[-1].candidate.status == 200


async def test_both_arms_fail() -> None:
    async with rig(SHADOW, (Model(reset), Model(reset))) as it:
        await it.lane(weight=CANARY)
        status, headers, _ = await it.ask()
        assert (status, headers["x-understudy-error"]) == (502, "disconnect")
        (pair,) = await pairs_of(it, 1)
        assert (pair.live.reason, pair.candidate.reason) == ("disconnect", "disconnect")
        assert fallbacks(it) == []  # live was asked in vain


@pytest.mark.parametrize("framing", [b"Transfer-Encoding: chunked", b"Connection: close"])
async def test_the_first_token_of_a_stream_is_its_first_event_not_its_head(framing: bytes) -> None:
    """Servers send the head when they begin, and comments to keep the connection, long before the model has spoken."""

    async def script(call: Call) -> None:
        await call.read_body()
        await call.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n%b\r\n\r\n" % framing)
        # The last pause is long: a machine that stands still for so long would read both events at once.
        for pause, text in ((0.05, b": wait\n\n"), (0.05, b"data: a\n\n"), (0.5, b"data: b\n\n")):
            await asyncio.sleep(pause)
            await call.send(b"%x\r\n%b\r\n" % (len(text), text) if b"chunked" in framing else text)
        if b"chunked" not in framing:
            raise ConnectionError
        await call.send(b"0\r\n\r\n")

    async with rig(SHADOW.replace("timeout: 300ms", "timeout: 5s"), (Model(script), Model(script))) as it:
        await it.lane()
        assert (await it.ask())[0] == 200
        (pair,) = await pairs_of(it, 1)
        for outcome in (pair.live, pair.candidate):
            assert 0.09 < outcome.first < outcome.seconds - 0.4


async def test_fallback_off_lets_the_failure_through() -> None:
    config = SHADOW.replace("latency_block: 0s", "latency_block: 0s\n        fallback: {after: 'off'}")
    async with rig(config, (Model(always(LIVE)), Model(always(ok(b"no", status=b"500 No"))))) as it:
        await it.lane(weight=CANARY)
        assert (await it.ask())[0] == 500


async def test_canary_serves_and_live_gets_the_copy() -> None:
    live, candidate = Model(always(LIVE)), Model(always(GOOD))
    async with rig(SHADOW, (live, candidate)) as it:
        await it.lane(weight=CANARY)
        _, headers, body = await it.ask(b"{}", b"Authorization: x")
        assert (body, headers["x-served-by"]) == (b'{"a":2}', "v2")
        (pair,) = await pairs_of(it, 1)
        assert (pair.served, pair.live.body, pair.candidate.body) == ("candidate", b'{"a":1}', b'{"a":2}')
        assert "x-shadow" in live.calls[0].headers
        assert "x-shadow" not in candidate.calls[0].headers


async def test_slow_canary_that_answers_first_wins() -> None:
    """Live is asked too, and is slower still: the candidate's answer is used, live's is the pair's."""

    asked, served = asyncio.Event(), asyncio.Event()

    async def slow(call: Call) -> None:
        await call.read_body()
        await asked.wait()
        await call.send(GOOD)

    async def slower(call: Call) -> None:
        await call.read_body()
        asked.set()
        await served.wait()
        await call.send(LIVE)

    config = SHADOW.replace("timeout: 300ms", "timeout: 30s").replace(
        "latency_block: 0s", "latency_block: 0s\n        fallback: {after: 20ms}"
    )
    async with rig(config, (Model(slower), Model(slow))) as it:
        await it.lane(weight=CANARY)
        _, headers, _ = await it.ask()
        assert headers["x-served-by"] == "v2"
        served.set()
        (pair,) = await pairs_of(it, 1)
        assert pair.hedged
        assert fallbacks(it) == []
        assert pair.live.body == b'{"a":1}'


async def test_fallback_waits_for_the_whole_body() -> None:
    """The candidate fails while the client is still sending; live gets all of it."""

    async def early(call: Call) -> None:
        raise ConnectionError

    live = Model(always(LIVE))
    async with rig(SHADOW, (live, Model(early))) as it:
        it.streams()
        await it.lane(weight=CANARY)
        reader, writer = await it.connect()
        writer.write(b"POST /infer HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 6\r\n\r\nabc")
        await eventually(lambda: it.worker.pools["v2"].open == 0 and it.trial.sampled == 1)
        writer.write(b"def")
        assert parsed(await reader.read())[0] == 200
        assert live.calls[0].body == b"abcdef"
        writer.close()


EVENTS = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n5\r\ndata:\r\n"


async def test_event_stream_commits_at_its_first_data() -> None:
    async def script(call: Call) -> None:
        await call.read_body()
        await call.send(EVENTS)
        await call.reader.read(1)

    async with rig(SHADOW, (Model(always(LIVE)), Model(script))) as it:
        await it.lane(weight=CANARY)
        answer = await it.raw(b"POST /infer HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")
        assert b"x-served-by: v2" in answer
        assert answer.endswith(b"data:\r\n")
        (pair,) = await pairs_of(it, 1)
        assert pair.candidate.reason == "committed"


async def test_promoted_candidate_streams_and_falls_back() -> None:
    live, candidate = Model(always(LIVE)), Model(always(GOOD))
    async with rig(SHADOW, (live, candidate)) as it:
        await it.lane(weight=10_000, state=State.PROMOTED)
        assert (await it.ask())[1]["x-served-by"] == "v2"
        candidate.script = always(ok(b"no", status=b"500 No"))
        assert (await it.ask())[1]["x-served-by"] == "v1"
        candidate.script = reset
        assert (await it.ask())[1]["x-served-by"] == "v1"
        found = await pairs_of(it, 3)
        assert [pair.fell_back for pair in found] == [False, True, True]


async def test_every_pair_may_give_latency_evidence_whatever_its_block() -> None:
    config = SHADOW.replace("latency_block: 0s", "latency_block: 1h")
    async with rig(config, (Model(always(LIVE)), Model(always(GOOD)))) as it:
        await it.lane()
        for _ in range(3):
            await it.ask()
        assert [pair.latency_slot for pair in await pairs_of(it, 3)] == [True, True, True]


async def test_chunked_bodies_are_joined_in_the_pair() -> None:
    chunked = b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n{"a\r\n4\r\n":1}\r\n0\r\n\r\n'
    async with rig(SHADOW, (Model(always(LIVE)), Model(always(chunked)))) as it:
        await it.lane()
        head = b"POST /infer HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
        await it.raw(head + b"1\r\n{\r\n1\r\n}\r\n0\r\n\r\n")
        (pair,) = await pairs_of(it, 1)
        assert (pair.request_body, pair.candidate.body) == (b"{}", b'{"a":1}')
        assert re.fullmatch("[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", pair.id)
        assert pair.live.seconds >= pair.live.first > 0


async def test_client_that_leaves_live_before_the_answer_is_no_evidence() -> None:
    live = Model(hang)
    async with rig(SHADOW, (live, Model(always(GOOD)))) as it:
        await it.lane()
        _, writer = await it.connect()
        writer.write(b"POST /infer HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")
        await eventually(lambda: live.calls)
        writer.close()
        await eventually(lambda: it.trial.client_gone == 1)
        await it.settled()
