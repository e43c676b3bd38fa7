"""Promise: with `set_json` the candidate gets the changed request, in shadow and where it serves; live, a fallback and
the pair get it as the client wrote it; and a request that cannot be changed is served by live."""

from __future__ import annotations

import gzip

import pytest

from proxy.http.chunks import joined_chunks
from proxy.model.reasons import Reason
from proxy.pairs import link
from tests.request.test_exchange import CANARY, GOOD, LIVE, SHADOW, pairs_of
from tests.worker.configs import for_worker
from tests.worker.rig import Model, Rig, always, eventually, ok, parsed, read_answer, rig

RENAMED = SHADOW.replace("latency_block: 0s", "latency_block: 0s\n        mirror: {max_body: 48KiB}").replace(
    "timeout: 300ms", "timeout: 300ms, set_json: {/model: candidate-2}"
)
LIVE_TOO = RENAMED.replace("url: '{0}'", "url: '{0}', set_json: {/model: live-1}")
AT_LIVE = b'{"model": "live-1", "n": 1E5}'
ASKED, CHANGED = b'{"model": "gpt", "n": 1E5}', b'{"model": "candidate-2", "n": 1E5}'
LONG = b'{"model": "gpt", "x": "' + b"y" * 40_000 + b'"}'


def both() -> tuple[Model, Model]:
    return Model(always(LIVE)), Model(always(GOOD))


async def test_a_copy_is_changed_and_the_pair_is_not() -> None:
    live, candidate = both()
    async with rig(RENAMED, (live, candidate)) as it:
        await it.lane()
        assert (await it.ask(ASKED))[2] == b'{"a":1}'
        (pair,) = await pairs_of(it, 1)
        assert (live.calls[0].body, candidate.calls[0].body, pair.request_body) == (ASKED, CHANGED, ASKED)
        assert candidate.calls[0].headers["content-length"] == str(len(CHANGED))
        assert candidate.calls[0].headers["x-shadow"] == "v2"


async def test_a_candidate_that_serves_is_asked_for_its_own_model_and_live_for_the_clients() -> None:
    live, candidate = both()
    async with rig(RENAMED, (live, candidate)) as it:
        await it.lane(weight=CANARY)
        _, headers, body = await it.ask(ASKED)
        assert (body, headers["x-served-by"]) == (b'{"a":2}', "v2")
        (pair,) = await pairs_of(it, 1)
        assert (live.calls[0].body, candidate.calls[0].body, pair.request_body) == (ASKED, CHANGED, ASKED)
        assert "x-shadow" not in candidate.calls[0].headers


async def test_a_fallback_gets_the_request_as_it_came() -> None:
    live, candidate = Model(always(LIVE)), Model(always(ok(b"", status=b"500 No")))
    async with rig(RENAMED, (live, candidate)) as it:
        await it.lane(weight=CANARY)
        assert (await it.ask(ASKED))[2] == b'{"a":1}'
        assert (live.calls[0].body, candidate.calls[0].body) == (ASKED, CHANGED)
        (pair,) = await pairs_of(it, 1)
        assert pair.fell_back


def chunked(body: bytes) -> bytes:
    return b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)


@pytest.mark.parametrize("weight", [0, CANARY])
async def test_a_chunked_body_is_changed_too(weight: int) -> None:
    live, candidate = both()
    async with rig(RENAMED, (live, candidate)) as it:
        await it.lane(weight=weight)
        head = b"POST /infer HTTP/1.1\r\nHost: t\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
        assert parsed(await it.raw(head + chunked(ASKED)))[0] == 200
        (pair,) = await pairs_of(it, 1)
        assert candidate.calls[0].body == CHANGED
        assert "transfer-encoding" not in candidate.calls[0].headers
        assert joined_chunks(live.calls[0].body) == pair.request_body == ASKED


@pytest.mark.parametrize("weight", [0, CANARY])
async def test_a_chunked_body_of_nothing_goes_on_as_it_came(weight: int) -> None:
    live, candidate = both()
    async with rig(RENAMED, (live, candidate)) as it:
        await it.lane(weight=weight)
        head = b"POST /infer HTTP/1.1\r\nHost: t\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
        assert parsed(await it.raw(head + b"0\r\n\r\n"))[0] == 200
        await pairs_of(it, 1)
        assert [joined_chunks(model.calls[0].body) for model in (live, candidate)] == [b"", b""]


async def test_what_belongs_to_no_route_is_changed_for_its_live_too() -> None:
    config = """
server: {listen: '127.0.0.1:0'}
upstreams: {v1: {url: '{0}', set_json: {/model: one}}}
default: {live: v1}
"""
    live = Model()
    async with rig(config, [live]) as it:
        answer = await it.ask(b'{"model": "two"}')
        assert answer[0] == 200
        assert live.calls[0].body == b'{"model": "one"}'


async def send_in_pieces(it: Rig, body: bytes, *headers: bytes, path: bytes = b"/infer") -> bytes:
    """The body in three pieces, each behind the answer to a request on another connection, so that they are read apart;
    gives the answer's body."""
    reader, writer = await it.connect()
    lines = b"".join(header + b"\r\n" for header in headers)
    writer.write(b"POST %b HTTP/1.1\r\nHost: t\r\nContent-Length: %d\r\n%b\r\n" % (path, len(body), lines))
    third = len(body) // 3
    if headers:
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100")
    for piece in (body[:third], body[third : 2 * third], body[2 * third :]):
        assert (await it.raw(b"GET /-/healthz HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n")).endswith(b"ok\n")
        writer.write(piece)
        await writer.drain()
    _, _, answer = await read_answer(reader)
    writer.close()
    return answer


@pytest.mark.parametrize("headers", [(), (b"Expect: 100-continue",)])
async def test_a_body_that_comes_in_pieces_is_gathered_first(headers: tuple[bytes, ...]) -> None:
    live, candidate = both()
    async with rig(RENAMED, (live, candidate)) as it:
        await it.lane(weight=CANARY)
        assert await send_in_pieces(it, LONG, *headers) == b'{"a":2}'
        (pair,) = await pairs_of(it, 1)
        assert candidate.calls[0].body == LONG.replace(b"gpt", b"candidate-2")
        assert live.calls[0].body == LONG
        assert (pair.request_body, pair.request_size) == (LONG[: link.KEPT], len(LONG))
        assert "expect" not in candidate.calls[0].headers


async def test_a_body_too_long_to_gather_is_served_by_live() -> None:
    live, candidate = both()
    long = LONG[:-2] + b"y" * 20_000 + b'"}'
    async with rig(RENAMED, (live, candidate)) as it:
        await it.lane(weight=CANARY)
        assert await send_in_pieces(it, long) == b'{"a":1}'
        head = b"POST /infer HTTP/1.1\r\nHost: t\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
        assert parsed(await it.raw(head + chunked(long)))[2] == b'{"a":1}'
        await it.settled()
        assert (candidate.calls, it.trial.too_large) == ([], 2)
        assert live.calls[0].body == joined_chunks(live.calls[1].body) == long
        await eventually(lambda: it.controller.counts.get("not_rewritten") == [["v2", "not_whole", 2]])


UNFIT = {
    "compressed": (b"\x1f\x8b", (b"Content-Encoding: gzip",)),
    "not_json": (b"a=1", ()),
    "no_place": (b"[1]", ()),
    "": (ASKED, ()),
}


@pytest.mark.parametrize("why", UNFIT)
@pytest.mark.parametrize("who", ["v1", "v2"])
async def test_what_cannot_be_changed_is_counted_under_its_reason(who: str, why: str) -> None:
    """A candidate's goes to live, live's passes as it came."""
    live, candidate = both()
    body, lines = UNFIT[why]
    config = RENAMED if who == "v2" else RENAMED.replace("v1: {url: '{0}'", "v1: {url: '{0}', set_json: {/model: x}")
    async with rig(config, (live, candidate)) as it:
        await it.lane(weight=CANARY if who == "v2" else 0, share=0)
        status, headers, _ = await it.ask(body, *lines)
        assert (status, headers["x-served-by"]) == (200, who if not why else "v1")
        if why:
            assert live.calls[0].body == body
        wanted = [[who, why, 1]] if why else []
        await eventually(lambda: it.controller.counts.get("not_rewritten") == wanted)


@pytest.mark.parametrize(
    ("body", "headers"),
    [(b"model=gpt", ()), (b"[]", ()), (gzip.compress(ASKED, mtime=0), (b"Content-Encoding: gzip",))],
)
@pytest.mark.parametrize("weight", [0, CANARY])
async def test_what_cannot_be_changed_is_served_by_live_and_counted(
    body: bytes, headers: tuple[bytes, ...], weight: int
) -> None:
    live, candidate = both()
    async with rig(RENAMED, (live, candidate)) as it:
        await it.lane(weight=weight)
        assert (await it.ask(body, *headers))[2] == b'{"a":1}'
        (pair,) = await pairs_of(it, 1)
        assert (live.calls[0].body, candidate.calls, pair.candidate.reason) == (body, [], Reason.NOT_REWRITTEN)
        assert ["r", "v2", "copy", "not_rewritten", 1] in it.worker.context.counts.report()["requests"]


async def test_a_request_without_a_body_goes_as_it_is() -> None:
    live, candidate = both()
    async with rig(RENAMED, (live, candidate)) as it:
        await it.lane(weight=CANARY)
        answer = await it.raw(b"GET /infer HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n")
        assert parsed(answer)[2] == b'{"a":2}'
        await pairs_of(it, 1)
        assert candidate.calls[0].body == b""


async def test_a_client_that_leaves_while_its_body_is_gathered_leaves_nothing_behind() -> None:
    live, candidate = both()
    async with rig(RENAMED, (live, candidate)) as it:
        await it.lane(weight=CANARY)
        _, writer = await it.connect()
        writer.write(b"POST /infer HTTP/1.1\r\nHost: t\r\nContent-Length: 100\r\n\r\n{")
        await eventually(lambda: it.trial.memory == 1, "the first byte")
        writer.close()
        await it.settled()
        assert (live.calls, candidate.calls, it.trial.sampled) == ([], [], 0)


async def test_no_memory_to_gather_means_live_serves() -> None:
    live, candidate = both()
    async with rig(RENAMED.replace("max_body: 48KiB", "max_body: 48KiB, max_memory: 256KiB"), (live, candidate)) as it:
        await it.lane(weight=CANARY)
        it.trial.memory += 256 * 1024
        assert await send_in_pieces(it, LONG) == b'{"a":1}'
        it.trial.memory -= 256 * 1024
        await it.settled()
        assert (len(live.calls), candidate.calls) == (1, [])


TWO = """
server: {listen: '127.0.0.1:0'}
upstreams:
  v1: {url: '{0}'}
  v2: {url: '{1}', set_json: {/model: a}}
  v3: {url: '{2}', set_json: {/model: b}}
routes:
  - name: r
    live: v1
    rollouts:
      - {candidate: v2, latency_block: 0s, stages: [{shadow: 100%}], mirror: {noise_floor: 100%}}
      - {candidate: v3, latency_block: 0s, stages: [{shadow: 100%}]}
"""


async def test_each_candidate_has_its_own_name_and_copies_that_fail_at_once_are_settled_once() -> None:
    models = Model(always(LIVE)), Model(always(GOOD)), Model(always(GOOD))
    async with rig(TWO, models) as it:
        await it.lane()
        await it.ask(ASKED)
        await it.ask(b"no JSON")
        await eventually(lambda: len(it.controller.pairs) == 4, "two pairs for each")
        await it.settled()
        assert [model.calls[0].body[:12] for model in models] == [b'{"model": "g', b'{"model": "a', b'{"model": "b']
        reasons = sorted(pair.candidate.reason for pair in it.controller.pairs)
        assert reasons == ["", "", "not_rewritten", "not_rewritten"]
        assert len({(pair.trial, pair.sequence) for pair in it.controller.pairs}) == 4


async def test_a_copy_that_fails_before_all_are_asked_settles_nothing_twice() -> None:
    """The candidate has answered, live is known to be dead, and the other candidate's copy fails at once."""
    models = Model(always(LIVE)), Model(always(GOOD)), Model(always(GOOD))
    async with rig(TWO.replace("/model: b", "/no/parent: b"), models) as it:
        await it.lane(weight=CANARY)
        await models[0].stop()
        for asked in range(1, 6):
            assert (await it.ask(ASKED))[2] == b'{"a":2}'
            await eventually(lambda asked=asked: len(it.controller.pairs) == 2 * asked, "a pair for each candidate")
        await it.settled()


@pytest.mark.parametrize("weight", [0, CANARY])
async def test_live_is_asked_for_its_own_model_too_whoever_serves(weight: int) -> None:
    live, candidate = both()
    async with rig(LIVE_TOO, (live, candidate)) as it:
        await it.lane(weight=weight)
        assert (await it.ask(ASKED))[2] == (b'{"a":2}' if weight else b'{"a":1}')
        (pair,) = await pairs_of(it, 1)
        assert (live.calls[0].body, candidate.calls[0].body, pair.request_body) == (AT_LIVE, CHANGED, ASKED)
        assert live.calls[0].headers["content-length"] == str(len(AT_LIVE))


async def test_live_in_the_candidates_place_is_asked_for_its_own_model() -> None:
    live, candidate = Model(always(LIVE)), Model(always(ok(b"", status=b"500 No")))
    async with rig(LIVE_TOO, (live, candidate)) as it:
        await it.lane(weight=CANARY)
        assert (await it.ask(ASKED))[2] == b'{"a":1}'
        assert (live.calls[0].body, candidate.calls[0].body) == (AT_LIVE, CHANGED)


@pytest.mark.parametrize("size", [10, 100_000])
async def test_a_body_that_comes_in_pieces_is_gathered_for_live(size: int) -> None:
    live, candidate = both()
    asked = b'{"model": "gpt", "x": "' + b"y" * size + b'"}'
    async with rig(LIVE_TOO, (live, candidate)) as it:
        await it.lane()
        assert await send_in_pieces(it, asked) == b'{"a":1}'
        assert live.calls[0].body == asked.replace(b"gpt", b"live-1")
        head = b"POST /infer HTTP/1.1\r\nHost: t\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
        assert parsed(await it.raw(head + chunked(asked)))[0] == 200
        assert live.calls[1].body == asked.replace(b"gpt", b"live-1")


@pytest.mark.parametrize("sticky", ["", "    sticky: {json: /user}\n"])
async def test_what_live_cannot_get_changed_goes_as_it_came(sticky: str) -> None:
    live, candidate = both()
    async with rig(LIVE_TOO.replace("    live: v1\n", "    live: v1\n" + sticky), (live, candidate)) as it:
        await it.lane()
        for body in (b"model=gpt", b"[]", b""):
            assert (await it.ask(body))[0] == 200
        assert [call.body for call in live.calls] == [b"model=gpt", b"[]", b""]


async def test_a_body_beyond_what_a_candidate_may_get_is_changed_for_live_whom_the_body_chose() -> None:
    live, candidate = both()
    asked = b'{"user": 1, "model": "gpt", "x": "' + b"y" * 60_000 + b'"}'
    config = LIVE_TOO.replace("    live: v1\n", "    live: v1\n    sticky: {json: /user}\n")
    async with rig(config, (live, candidate)) as it:
        await it.lane(weight=1)
        assert await send_in_pieces(it, asked) == b'{"a":1}'
        assert live.calls[0].body == asked.replace(b"gpt", b"live-1")


async def test_both_that_are_written_to_get_their_own() -> None:
    live, candidate = both()
    head, _, _ = LIVE_TOO.partition("    prediction:")
    async with rig(head + "    dual_write: {upstream: v2}\n", (live, candidate)) as it:
        assert (await it.ask(ASKED))[2] == b'{"a":1}'
        assert (live.calls[0].body, candidate.calls[0].body) == (AT_LIVE, CHANGED)
        assert (await it.ask(b"[]"))[2] == b'{"a":1}'
        assert (live.calls[1].body, len(candidate.calls)) == (b"[]", 1)
        assert ["r", "v2", "copy", "not_rewritten", 1] in it.worker.context.counts.report()["requests"]


async def test_a_reload_changes_what_is_set() -> None:
    live, candidate = both()
    async with rig(LIVE_TOO, (live, candidate)) as it:
        await it.lane()
        await it.ask(ASKED)
        changed = LIVE_TOO.replace("live-1", "live-2").replace("{0}", live.url).replace("{1}", candidate.url)
        it.worker.configure(for_worker(changed))
        await it.ask(ASKED)
        assert [call.body for call in live.calls] == [AT_LIVE, AT_LIVE.replace(b"live-1", b"live-2")]
