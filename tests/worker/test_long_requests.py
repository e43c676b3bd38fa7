"""Promise: of a long request that nobody needs whole, a pair carries the beginning and what tells it from others; what
is recorded, judged, or read by a field is sent whole."""

from __future__ import annotations

import gzip
import random
from dataclasses import replace

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from proxy.http.request_head import Request
from proxy.model import Table
from proxy.pairs.link import KEPT, cut_request
from proxy.predictions.request import body_hash
from proxy.request.driver import RequestDriver, RequestFactory
from proxy.request.legs import APART, bytes_of
from proxy.request.ports import DownstreamStream, RequestContext
from tests.worker.configs import config_frame, for_worker
from tests.worker.rig import Call, Model, eventually, ok, read_answer, rig
from tests.worker.test_cuts import PLAIN, TOGETHER, Bench, cut, message

CONFIG = """
server: {listen: '127.0.0.1:0'}
upstreams: {v1: {url: '{0}', version: a}, v2: {url: '{1}', version: b}}
routes:
  - name: chat
    live: v1
    prediction: {protocol: openai, kind: text}
    rollouts: [{candidate: v2, shadow: 100%}]
"""
WHOLE = {
    "recorded": ("shadow: 100%", "shadow: 100%, record: {path: pairs.jsonl}"),
    "by a field": ("live: v1", "live: v1\n    segments: {request_field: /model}"),
    "fields are left out": ("kind: text", "kind: text, ignore: [/id]"),
    "Triton's classes": ("protocol: openai, kind: text", "protocol: v2"),
    "recognised": ("protocol: openai, kind: text", "kind: label"),
}
LONG = random.Random(1).randbytes(300_000)


def needs_whole(config: str) -> bool:
    file = config.replace("{0}", "http://a:1").replace("{1}", "http://b:1")
    return for_worker(file).routes[0].rollouts[0].whole_requests


@pytest.mark.parametrize("why", WHOLE)
def test_what_looks_at_requests_gets_them_whole(why: str) -> None:
    assert not needs_whole(CONFIG)
    assert needs_whole(CONFIG.replace(*WHOLE[why]))


def test_a_judge_reads_what_was_asked() -> None:
    asked = "judges: {j: {url: 'http://j:1', model: m}}"
    assert needs_whole(CONFIG.replace("kind: text", "kind: text, judge: j") + asked)


async def test_a_pair_has_the_beginning_and_the_models_have_all_of_it() -> None:
    models = [Model(), Model()]
    other = LONG[:-1] + bytes([LONG[-1] ^ 1])
    async with rig(CONFIG, models) as it:
        await it.lane()
        for body in (LONG, LONG, other, LONG[: 2 * KEPT]):
            assert (await it.ask(body))[0] == 200
        await eventually(lambda: len(it.controller.pairs) == 4)
        first, again, third, short = it.controller.pairs
        assert first.request_body == LONG[:KEPT]
        assert first.request_size == len(LONG)
        hashes = [body_hash(one.request_head, one.request_body, rest=one.request_rest) for one in (first, again, third)]
        assert hashes[0] == hashes[1] != hashes[2]
        assert (short.request_body, short.request_rest) == (LONG[: 2 * KEPT], b""), "what is not long is whole"
        assert all([call.body for call in model.calls][:3] == [LONG, LONG, other] for model in models)
        await it.settled()


async def test_one_that_is_compressed_or_needed_is_whole_and_one_in_chunks_has_its_content() -> None:
    packed = gzip.compress(LONG)
    async with rig(CONFIG, [Model(), Model()]) as it:
        await it.lane()
        assert (await it.ask(packed, b"Content-Encoding: gzip"))[0] == 200
        head = b"POST /infer HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
        middle = LONG[:50_000]
        assert b" 200 " in await it.raw(head + b"%x\r\n%b\r\n0\r\n\r\n" % (len(middle), middle))
        it.trial.configure(replace(it.trial.settings, whole_requests=True), it.trial.pool)
        assert (await it.ask(LONG))[0] == 200
        await eventually(lambda: len(it.controller.pairs) == 3)
        coded, chunked, needed = it.controller.pairs
        assert (coded.request_body, coded.request_rest) == (packed, b"")
        assert (chunked.request_body, chunked.request_size) == (middle[:KEPT], len(middle))
        assert (needed.request_body, needed.request_rest) == (LONG, b"")
        await it.settled()


async def test_what_the_controller_still_reads_is_whole_though_the_file_does_not_ask_for_it() -> None:
    """A reload takes the segments out of the file; the trial keeps them."""
    by_field = CONFIG.replace(*WHOLE["by a field"])
    models = Model(), Model()
    async with rig(by_field, models) as it:
        await it.lane()
        (name,) = it.worker.trials
        number, lanes = it.worker._table.number, it.worker._table.lanes
        for read, told in ((name,), 1), ((), 2):
            it.controller.send(Table(number, lanes, it.controller.secret, whole_requests=read))
            await eventually(lambda told=told: len(it.controller.acks) == told + 2)
            file = (CONFIG if told == 1 else CONFIG + "\n").replace("{0}", models[0].url).replace("{1}", models[1].url)
            it.control.send(config_frame(1 + told, file))
            await eventually(lambda told=told: len(it.replies) == told + 1)
            assert (await it.ask(LONG))[0] == 200
            await eventually(lambda told=told: len(it.controller.pairs) == told)
        kept, ended = it.controller.pairs
        assert (kept.request_body, kept.request_rest) == (LONG, b"")
        assert ended.request_body == LONG[:KEPT]
        await it.settled()


class Watching(RequestFactory):
    """Keeps what the heads of requests were read as."""

    def __init__(self) -> None:
        self.seen: list[Request] = []

    def exchange(
        self, client: DownstreamStream, context: RequestContext, request: Request, name: bytes, now: float
    ) -> RequestDriver:
        self.seen.append(request)
        return super().exchange(client, context, request, name, now)


async def test_a_head_that_is_known_is_not_read_again_before_a_long_body() -> None:
    async with rig(CONFIG, [Model(), Model()]) as it:
        it.worker.context.requests = watching = Watching()
        reader, writer = await it.connect()
        for body in (LONG, LONG[::-1]):
            writer.write(b"POST /infer HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
            assert (await read_answer(reader))[0] == 200
        writer.close()
        first, second = watching.seen
        assert second is first


PLACED = CONFIG.replace(
    "{url: '{1}', version: b}", "{url: '{1}', version: b, host: other, path: {from: /infer, to: /b}, set_json: {/a: 2}}"
)


async def test_a_long_body_follows_its_head_wherever_that_is_placed() -> None:
    live, candidate = Model(), Model()
    text = b'{"a": 1, "b": "%b"}' % (b"x" * 100_000)
    async with rig(PLACED, [live, candidate]) as it:
        for weight in (0, 9_999):
            await it.lane(weight)
            assert (await it.ask(text))[0] == 200
        await eventually(lambda: len(it.controller.pairs) == 2)
        assert [call.body for call in live.calls] == [text, text]
        assert [call.body for call in candidate.calls] == [text.replace(b"1", b"2", 1)] * 2
        assert {(call.head.split()[1], call.headers["host"]) for call in candidate.calls} == {(b"/b", "other")}
        await it.settled()


LENGTHS = st.integers(0, 3 * 256_000)


@settings(max_examples=60, deadline=None)
@given(LENGTHS, st.lists(LENGTHS, max_size=5), TOGETHER, st.booleans())
@example(300_000, [100, 256_100], 3, True)
def test_however_it_was_cut_the_model_gets_all_of_it_and_its_pair_what_tells_it(
    length: int, cuts: list[int], together: int, again: bool
) -> None:
    body = (LONG * 3)[:length]
    request = message(b"POST /x HTTP/1.1\r\nHost: a\r\n", body, [], False)
    requests, answers = request * (1 + again), [ok(b"yes", b"Date: now")] * (1 + again)
    asked, answered = Bench(together).talk(requests, answers, cuts, [])
    assert (asked, answered) == Bench().talk(requests, answers, [], [])
    assert asked.endswith(b"\r\n\r\n" + body)
    assert cut_request(*cut(body, cuts), b"") == cut_request(body)


@pytest.mark.parametrize("idempotent", [False, True])
def test_what_has_been_written_is_kept_only_for_a_request_that_may_be_sent_again(idempotent: bool) -> None:
    file = PLAIN.replace("live: m", "live: m, idempotent: true") if idempotent else PLAIN
    bench = Bench(config=for_worker(file))
    bench.talk(message(b"POST /x HTTP/1.1\r\nHost: a\r\n", LONG, [], False), [], [100_000, 200_000], [])
    leg = bench.model.leg
    assert leg is not None
    assert leg.written
    assert len(leg.behind) + bytes_of(list(leg.rest)) == (len(LONG) if idempotent else 0)


async def test_one_whose_connection_was_stale_goes_again_with_all_of_its_body() -> None:
    async def script(call: Call) -> None:
        await call.read_body()
        if len(model.calls) == 2:
            raise ConnectionError
        await call.send(ok())

    model = Model(script)
    async with rig(CONFIG.split("    rollouts")[0] + "    idempotent: true", [model, Model()]) as it:
        for _ in range(2):
            assert (await it.ask(LONG))[0] == 200
        assert [call.body for call in model.calls] == [LONG] * 3


@pytest.mark.parametrize("cuts", [[], [260_000]])
def test_of_what_came_with_its_head_there_is_no_copy(cuts: list[int]) -> None:
    """A request that may be sent again, so that its body is still there when it was written."""
    bench = Bench(config=for_worker(PLAIN.replace("live: m", "live: m, idempotent: true")))
    bench.talk(message(b"POST /x HTTP/1.1\r\nHost: a\r\n", LONG, [], False), [], cuts, [])
    leg = bench.model.leg
    assert leg is not None
    assert isinstance(leg.behind, memoryview)
    assert len(leg.rest) == len(cuts), "nor are the pieces joined"
    assert b"".join((leg.behind, *leg.rest)) == LONG


@pytest.mark.parametrize("before", [0, 210_000])
def test_what_is_kept_of_a_body_keeps_little_of_what_was_read_with_it(before: int) -> None:
    """Requests that came in one read: each would keep all of that for as long as its model takes, and count its own."""
    bench = Bench(config=for_worker(PLAIN.replace("live: m", "live: m, idempotent: true, match: {path: /x}")))
    short = message(b"POST /x HTTP/1.1\r\nHost: a\r\n", LONG[:40_000], [], False)
    nowhere = message(b"POST /nowhere HTTP/1.1\r\nHost: a\r\n", LONG[:before], [], False) if before else b""
    bench.talk(nowhere + short + (b"" if before else short * 5), [], [], [])
    leg = bench.model.leg
    assert leg is not None
    assert leg.behind == LONG[:40_000]
    held = leg.behind.obj if isinstance(leg.behind, memoryview) else leg.behind
    assert len(held) <= len(leg.behind) + APART


READ = {
    "nobody reads it": ("", ""),
    "where it belongs": ("live: v1", "live: v1\n    match: {json: {/a: '1'}}"),
    "who answers": ("live: v1", "live: v1\n    sticky: {json: /a}"),
    "live gets it changed": ("version: a", "version: a, set_json: {/c: 3}"),
    "it goes to both": ("rollouts: [{candidate: v2, shadow: 100%}]", "dual_write: {upstream: v2}"),
    "which endpoint is asked": ("version: a", "version: a, balance: {hash: {json: /a}}"),
}


@pytest.mark.parametrize("why", READ)
async def test_whoever_reads_a_long_body_that_came_with_its_head_reads_all_of_it(why: str) -> None:
    text = b'{"a": "1", "b": "%b"}' % (b"x" * 100_000)
    models = [Model(), Model()]
    async with rig(CONFIG.replace(*READ[why]), models) as it:
        if why != "it goes to both":  # such a route has no rollouts
            await it.lane(9_999)
        reader, writer = await it.connect()
        request = b"POST /infer HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(text) + text
        for _ in range(3):
            writer.write(request)
            assert (await read_answer(reader))[0] == 200
        writer.close()
        await eventually(lambda: sum(len(model.calls) for model in models) >= 3)
        assert {call.body.replace(b', "c": 3', b"").replace(b',"c":3', b"") for call in models[1].calls} <= {text}
        await it.settled()
