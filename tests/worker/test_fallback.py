"""Promise: while a candidate is a canary, a client gets what live would have said wherever the candidate says something
else than an answer; and what the candidate says well reaches the client as it comes."""

from __future__ import annotations

import asyncio

import pytest

from proxy.model import Lane, State
from proxy.model.reasons import Reason
from proxy.predictions import read_pair
from tests.request.test_exchange import CANARY, GOOD, LIVE, SHADOW, fallbacks, pairs_of
from tests.worker.rig import PATIENCE, Call, Model, Script, always, eventually, hang, ok, parsed, rig

PATIENT = SHADOW.replace("timeout: 300ms", "timeout: 20s")
"""Live is asked early enough only if there is a reason: what these tests see is not a hedge."""
UNHURRIED = PATIENT.replace("latency_block: 0s", "latency_block: 0s\n        fallback: {after: 20s}")


def status(code: int, body: bytes = b"no") -> bytes:
    return ok(body, status=b"%d No" % code)


# --- another status --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [301, 302, 307, 400, 401, 403, 404, 405, 408, 409, 415, 422, 429, 451, 500])
async def test_live_answers_where_the_candidate_redirects_refuses_or_fails(code: int) -> None:
    live = Model(always(LIVE))
    async with rig(UNHURRIED, (live, Model(always(status(code))))) as it:
        await it.lane(weight=CANARY)
        got, headers, body = await it.ask()
        assert (got, headers["x-served-by"], body) == (200, "v1", b'{"a":1}')
        (pair,) = await pairs_of(it, 1)
        assert (pair.candidate.status, pair.candidate.body, pair.fell_back) == (code, b"no", True)
        assert len(live.calls) == 1
        word = "status_5xx" if code >= 500 else "status_429" if code == 429 else f"status_{code // 100}xx"
        assert fallbacks(it) == [["r/v2", word, 1]]
        fault = read_pair(None, pair).fault
        assert fault == (word if code >= 400 else "")  # a redirect is an answer, and another one than live's


@pytest.mark.parametrize(
    ("mine", "live", "given"),
    [
        (400, 400, "v2"),
        (400, 422, "v1"),  # live refuses the request as such
        (404, 400, "v1"),
        (401, 403, "v2"),
        (307, 302, "v2"),
        (307, 400, "v1"),
        (409, 503, "v1"),
        (304, 200, "v1"),  # to a client that has nothing of it
        (304, 304, "v2"),
        (204, 200, "v2"),
    ],
)
async def test_a_clients_own_mistake_is_answered_by_the_arm_it_was_sent_to(mine: int, live: int, given: str) -> None:
    answers = [b"HTTP/1.1 %d No\r\n%b\r\n" % (code, b"Content-Length: 0\r\n" * (code != 304)) for code in (mine, live)]
    async with rig(UNHURRIED, (Model(always(answers[1])), Model(always(answers[0])))) as it:
        await it.lane(weight=CANARY)
        got, headers, _ = await it.ask()
        assert (got, headers["x-served-by"]) == ((mine, "v2") if given == "v2" else (live, "v1"))
        (pair,) = await pairs_of(it, 1)
        assert (pair.candidate.status, pair.live.status) == (mine, live)


async def test_a_304_that_the_client_asked_for_is_an_answer() -> None:
    live = Model()
    async with rig(UNHURRIED, (live, Model(always(b"HTTP/1.1 304 No\r\n\r\n")))) as it:
        await it.lane(weight=CANARY)
        got, headers, _ = await it.ask(b"", b"If-None-Match: x")
        assert (got, headers["x-served-by"]) == (304, "v2")
        await pairs_of(it, 1)
        assert fallbacks(it) == []


async def test_where_live_has_no_answer_the_candidates_refusal_is_given() -> None:
    live = Model()
    async with rig(UNHURRIED, (live, Model(always(status(404, b"mine"))))) as it:
        await live.stop()
        await it.lane(weight=CANARY)
        got, headers, body = await it.ask()
        assert (got, headers["x-served-by"], body) == (404, "v2", b"mine")
        (pair,) = await pairs_of(it, 1)
        assert (pair.live.reason, pair.candidate.status) == ("connect", 404)
        assert fallbacks(it) == []


async def test_a_refusal_behind_a_hedge_waits_for_live() -> None:
    """Live was asked because the candidate is slow, and has not answered when the candidate refuses."""
    order: list[str] = []
    refused = asyncio.Event()

    async def slow(call: Call) -> None:
        await call.read_body()
        await eventually(lambda: "live" in order)
        await call.send(status(404))
        refused.set()

    async def slower(call: Call) -> None:
        await call.read_body()
        order.append("live")
        await refused.wait()
        await asyncio.sleep(0.05)
        await call.send(LIVE)

    config = PATIENT.replace("latency_block: 0s", "latency_block: 0s\n        fallback: {after: 20ms}")
    async with rig(config, (Model(slower), Model(slow))) as it:
        await it.lane(weight=CANARY)
        got, headers, _ = await it.ask()
        assert (got, headers["x-served-by"]) == (200, "v1")
        (pair,) = await pairs_of(it, 1)
        assert (pair.hedged, pair.candidate.status) == (True, 404)


async def test_a_promoted_candidate_answers_for_itself() -> None:
    async with rig(UNHURRIED, (Model(always(LIVE)), Model(always(status(404))))) as it:
        await it.lane(weight=10_000, state=State.PROMOTED)
        assert (await it.ask())[0] == 404


async def test_without_fallback_a_refusal_is_the_clients() -> None:
    config = PATIENT.replace("latency_block: 0s", "latency_block: 0s\n        fallback: {after: 'off'}")
    async with rig(config, (Model(always(LIVE)), Model(always(status(404))))) as it:
        await it.lane(weight=CANARY)
        assert (await it.ask())[0] == 404


async def test_a_refusal_too_long_to_keep_falls_back_too() -> None:
    config = UNHURRIED.replace("fallback:", "mirror: {max_body: 1KB}\n        fallback:")
    async with rig(config, (Model(always(LIVE)), Model(always(status(404, b"x" * 100_000))))) as it:
        await it.lane(weight=CANARY)
        assert (await it.ask())[1]["x-served-by"] == "v1"
        (pair,) = await pairs_of(it, 1)
        assert (pair.candidate.status, read_pair(None, pair).fault) == (404, Reason.STATUS_4XX)


# --- streams ---------------------------------------------------------------------------------------------------------


def streams(media_type: bytes, go_on: asyncio.Event, first: bytes = b"data: 1\n\n") -> Script:
    """One piece at once, the other when told to."""

    async def script(call: Call) -> None:
        await call.read_body()
        head = b"HTTP/1.1 200 OK\r\nContent-Type: %b\r\nTransfer-Encoding: chunked\r\n\r\n" % media_type
        await call.send(head + b"%x\r\n%b\r\n" % (len(first), first))
        await go_on.wait()
        await call.send(b"1\r\n2\r\n0\r\n\r\n")

    return script


@pytest.mark.parametrize("kind", [b"text/event-stream", b"application/x-ndjson", b"audio/mpeg", b"text/plain"])
async def test_a_stream_of_any_type_reaches_the_client_before_it_ends(kind: bytes) -> None:
    go_on = asyncio.Event()
    async with rig(UNHURRIED, (Model(always(LIVE)), Model(streams(kind, go_on)))) as it:
        await it.lane(weight=CANARY)
        reader, writer = await it.connect()
        writer.write(b"POST /infer HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
        head = await asyncio.wait_for(reader.readuntil(b"data: 1\n\n\r\n"), PATIENCE)
        assert b"x-served-by: v2" in head
        go_on.set()
        assert await asyncio.wait_for(reader.read(), PATIENCE) == b"1\r\n2\r\n0\r\n\r\n"
        writer.close()
        (pair,) = await pairs_of(it, 1)
        assert (pair.candidate.body, pair.candidate.reason) == (b"data: 1\n\n2", Reason.NONE)
        assert not it.worker.context.precise_timer._due


async def test_a_comment_is_no_event_yet() -> None:
    """Servers send comments to keep a connection long before the model has spoken: live may still answer instead."""
    config = PATIENT.replace("latency_block: 0s", "latency_block: 0s\n        fallback: {after: 20ms, hold: 10s}")
    script = streams(b"text/event-stream", asyncio.Event(), b": wait\n\n")
    async with rig(config.replace("timeout: 20s", "timeout: 300ms"), (Model(always(LIVE)), Model(script))) as it:
        await it.lane(weight=CANARY)
        assert (await it.ask())[1]["x-served-by"] == "v1"
        await pairs_of(it, 1)


async def test_an_answer_of_known_length_that_goes_on_reaches_the_client_before_it_ends() -> None:
    go_on = asyncio.Event()

    async def slow(call: Call) -> None:
        await call.read_body()
        await call.send(b"HTTP/1.1 200 OK\r\nContent-Type: audio/mpeg\r\nContent-Length: 3\r\n\r\na")
        await asyncio.sleep(0.05)
        await call.send(b"b")
        await go_on.wait()
        await call.send(b"c")

    config = PATIENT.replace("latency_block: 0s", "latency_block: 0s\n        fallback: {after: 20s, hold: 10ms}")
    async with rig(config, (Model(always(LIVE)), Model(slow))) as it:
        await it.lane(weight=CANARY)
        reader, writer = await it.connect()
        writer.write(b"POST /infer HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
        begun = await asyncio.wait_for(reader.readuntil(b"\r\n\r\nab"), PATIENCE)
        assert b"x-served-by: v2" in begun
        go_on.set()
        assert await asyncio.wait_for(reader.read(), PATIENCE) == b"c"
        writer.close()
        (pair,) = await pairs_of(it, 1)
        assert (pair.candidate.body, pair.candidate.reason) == (b"abc", Reason.NONE)


async def test_an_answer_of_known_length_that_falls_silent_is_held() -> None:
    """Silence is no stream: live can still answer when it breaks off."""
    config = PATIENT.replace("latency_block: 0s", "latency_block: 0s\n        fallback: {after: 20s, hold: 1ms}")

    async def breaks(call: Call) -> None:
        await call.read_body()
        await call.send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab")
        await asyncio.sleep(0.05)
        raise ConnectionError

    async with rig(config, (Model(always(LIVE)), Model(breaks))) as it:
        await it.lane(weight=CANARY)
        assert (await it.ask())[1]["x-served-by"] == "v1"
        await pairs_of(it, 1)


# --- what is too long ------------------------------------------------------------------------------------------------

SMALL = UNHURRIED.replace("fallback:", "mirror: {max_body: 1KB, max_memory: 8KB}\n        fallback:")


@pytest.mark.parametrize(
    ("mine", "live", "fault"),
    [(3000, 3000, ""), (3000, 700, ""), (3000, 10, "too_large"), (10, 3000, "")],
)
@pytest.mark.parametrize("weight", [0, CANARY])
async def test_an_answer_too_long_for_a_pair(mine: int, live: int, fault: str, weight: int) -> None:
    """A failure is only what is far longer than live's, and in its place a client gets live's."""
    models = Model(pieces(live)), Model(pieces(mine))
    async with rig(SMALL, models) as it:
        await it.lane(weight=weight)
        _, headers, body = await it.ask()
        await it.settled()
        assert (headers["x-served-by"], len(body)) == ("v2", mine) if weight and mine == 10 else ("v1", live)
        assert (it.trial.too_large, it.trial.sent) == ((0, 1) if fault else (1, 0))
        assert [pair.candidate.reason for pair in await pairs_of(it, it.trial.sent)] == [fault] * bool(fault)


def pieces(size: int) -> Script:
    """An answer in two pieces, as long ones come."""

    async def script(call: Call) -> None:
        await call.read_body()
        await call.send(ok(b"x" * size)[:-1])
        await asyncio.sleep(0.02)
        await call.send(b"x")

    return script


async def test_where_live_answers_at_length_so_may_the_candidate() -> None:
    """It is asked once, given as it comes, and live is asked for no more than the pair."""
    live, candidate = Model(pieces(3000)), Model(pieces(3000))
    async with rig(SMALL, (live, candidate)) as it:
        await it.lane()
        assert (await it.ask())[1]["x-served-by"] == "v1"
        await it.lane(weight=CANARY)
        for _ in range(5):
            _, headers, body = await it.ask()
            assert (headers["x-served-by"], len(body)) == ("v2", 3000)
        await it.settled()
        assert (it.trial.too_large, it.trial.sent, fallbacks(it)) == (6, 0, [])
        assert (len(live.calls), len(candidate.calls)) == (6, 5)


# --- memory ----------------------------------------------------------------------------------------------------------


UPLOAD = b"POST /infer HTTP/1.1\r\nHost: a\r\nContent-Length: 600001\r\n\r\n" + b"x" * 600_000
"""All but the last byte of it."""


@pytest.mark.parametrize("full", [False, True])
async def test_an_upload_kept_for_live_alone_is_charged_and_bounded(full: bool) -> None:
    """No pair will come of it, and it is kept so that live can answer instead; without memory for it, live cannot."""
    config = UNHURRIED.replace("fallback:", "mirror: {max_body: 1MB, max_memory: 4MB}\n        fallback:")
    candidate = Model(hang)
    async with rig(config, (Model(always(LIVE)), candidate)) as it:
        trial = it.trial
        lane = Lane(
            trial.settings.name, trial.settings.trial, State.CANARY, CANARY, 10_000, 1, 0 if not full else 10_000
        )
        await it.controller.publish(lane)
        others = trial.memory = 4_500_000 if full else 0
        writers = [(await it.connect())[1] for _ in range(3)]
        for writer in writers:
            writer.write(UPLOAD)
        clients = it.worker.context.clients
        await eventually(
            lambda: [c.exchange is not None and c.exchange.kept_size for c in clients] == [600_000] * 3 or full
        )
        await eventually(lambda: len(candidate.calls) == 3)
        if full:
            await eventually(lambda: all(client.exchange.parts is None for client in clients), "given up")
            assert trial.shed == 3
        assert trial.memory == (others if full else 1_800_000)
        for writer in writers:
            writer.transport.abort()
        await eventually(lambda: not clients)
        assert trial.memory == others
        trial.memory = 0
        await it.settled()


@pytest.mark.parametrize("word", ["disconnect", "status"])
async def test_an_upload_that_outgrows_what_is_kept_after_its_candidate_failed_has_the_failure(word: str) -> None:
    """Live cannot answer instead, so the client need not send the rest to hear of it."""

    async def fails(call: Call) -> None:
        if word == "status":
            await call.send(status(500))
        raise ConnectionError

    config = UNHURRIED.replace("fallback:", "mirror: {max_body: 100KB}\n        fallback:")
    live = Model(always(LIVE))
    async with rig(config, (live, Model(fails))) as it:
        it.streams()
        await it.lane(weight=CANARY)
        reader, writer = await it.connect()
        writer.write(b"POST /infer HTTP/1.1\r\nHost: a\r\nContent-Length: 200000\r\n\r\n" + b"x" * 1000)
        await eventually(lambda: any(c.exchange and c.exchange.first.ended for c in it.worker.context.clients))
        writer.write(b"x" * 150_000)
        got, headers, body = parsed(await asyncio.wait_for(reader.read(), PATIENCE))
        if word == "status":
            assert (got, body) == (500, b"no")
        else:
            assert (got, headers["x-understudy-error"]) == (502, "disconnect")
        assert not live.calls
        writer.close()
        await it.settled()


async def test_a_held_answer_without_memory_is_committed() -> None:
    config = UNHURRIED.replace("fallback:", "mirror: {max_body: 1MB, max_memory: 4MB}\n        fallback:")

    async def long(call: Call) -> None:
        await call.read_body()
        it.trial.memory += 4_000_000
        await call.send(b"HTTP/1.1 200 OK\r\nContent-Length: 500001\r\n\r\n" + b"x" * 500_000)
        await going_on.wait()
        it.trial.memory -= 4_000_000
        await call.send(b"y")

    going_on = asyncio.Event()
    async with rig(config, (Model(always(LIVE)), Model(long))) as it:
        await it.lane(weight=CANARY)
        reader, writer = await it.connect()
        writer.write(b"POST /infer HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
        begun = await asyncio.wait_for(reader.readexactly(400_000), PATIENCE)
        going_on.set()
        status_code, headers, body = parsed(begun + await asyncio.wait_for(reader.read(), PATIENCE))
        assert (status_code, headers["x-served-by"], len(body)) == (200, "v2", 500_001)
        writer.close()
        await it.settled()
        assert it.trial.shed == 1


async def test_good_answers_set_no_timer() -> None:
    added: list[object] = []
    async with rig(UNHURRIED, (Model(always(LIVE)), Model(always(GOOD)))) as it:
        await it.lane(weight=CANARY)
        for _ in range(3):
            assert (await it.ask())[1]["x-served-by"] == "v2"
            added += [key for key in it.worker.context.precise_timer._due if not hasattr(key, "client")]
        await pairs_of(it, 3)
        assert added == []
