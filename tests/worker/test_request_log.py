"""Promise: a request that was chosen leaves one entry that says what was asked of whom, under the ids that the models
have seen; one that was not leaves nothing, and while nothing is configured nobody even asks."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from proxy.pairs import request_log
from proxy.pairs.channel import Channel
from proxy.pairs.link import Frame
from proxy.pairs.request_log import RequestEntry
from proxy.worker.request_log import MAX_PATH, MAX_WAITING, RequestLog
from tests.worker.rig import Model, Rig, always, eventually, hang, ok, rig

CONFIG = """
upstreams: {live: {url: '{0}', timeout: 2s}, candidate: {url: '{1}', timeout: 300ms}}
routes:
  - name: all
    live: live
    override: {header: x-arm}
    rollouts: [{candidate: candidate, shadow: 100%, mirror: {timeout: 300ms}, fallback: {after: 50ms}}]
"""
TRACING = "tracing: {otlp: 'http://127.0.0.1:4318', share: %s}\n"
ACCESS = "log: {access: {share: %s}}\n"
TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
PARENT = f"traceparent: 00-{TRACE}-{SPAN}-01".encode()


class Heard:
    """What a worker tells the controller's end of the rig."""

    def __init__(self, it: Rig) -> None:
        self.rig, self.entries = it, list[RequestEntry]()
        plain = it.controller._on_pairs

        def on_pairs(channel: Channel, kind: Frame, payload: bytes) -> None:
            if kind is Frame.REQUESTS:
                self.entries += request_log.decode_entries(payload)
            else:
                plain(channel, kind, payload)

        it.controller._on_pairs = on_pairs  # type: ignore[method-assign]
        for link in it.controller._links:
            link._on_frame = on_pairs

    async def one(self) -> RequestEntry:
        """The only entry there is, or will be in a moment."""
        await eventually(lambda: self.entries, "an entry")
        await self.rig.settled()
        (entry,) = self.entries
        return entry


@asynccontextmanager
async def followed(config: str, live: Model, candidate: Model) -> AsyncIterator[tuple[Rig, Heard]]:
    async with rig(config, (live, candidate)) as it:
        await eventually(lambda: it.controller._links, "the link")
        yield it, Heard(it)


def sent(model: Model, n: int = 0) -> str:
    return model.calls[n].headers.get("traceparent", "")


def legs(entry: RequestEntry) -> dict[str, Any]:
    return {one.leg: one for one in entry.legs}


# --- who is chosen ---------------------------------------------------------------------------------------------------


async def test_without_configuration_an_exchange_is_an_exchange_and_nothing_else() -> None:
    async with followed(CONFIG, Model(), Model()) as (it, heard):
        await it.lane()
        assert it.worker.context.requests is not it.worker.context.request_log
        assert (await it.ask(b"{}", PARENT))[0] == 200
        await it.settled()
        assert heard.entries == []
        assert it.worker.context.request_log._waiting == it.worker.context.request_log._waiting.__class__()


async def test_a_sampled_caller_is_followed_whatever_the_share_and_an_unsampled_one_never() -> None:
    live, candidate = Model(), Model()
    async with followed(CONFIG + TRACING % "0%", live, candidate) as (it, heard):
        await it.lane(share=0)
        await it.ask(b"{}", PARENT[:-1] + b"0")
        await it.ask(b"{}")
        assert (await it.ask(b"{}", PARENT))[0] == 200
        entry = await heard.one()
        assert (entry.trace, entry.parent) == (TRACE, SPAN)
        assert re.fullmatch("[0-9a-f]{16}", entry.span)
        assert sent(live, 0).endswith("-00")
        assert sent(live, 1) == ""


async def test_a_caller_that_repeats_its_id_is_followed_in_its_share() -> None:
    live = Model()
    config = CONFIG + "tracing: {otlp: 'http://127.0.0.1:4318', share: 50%}\nlog: {access: {share: 50%}}\n"
    async with followed(config, live, Model()) as (it, heard):
        await it.lane(share=0)
        for _ in range(60):
            await it.ask(b"{}", b"x-request-id: session-1")
        await eventually(lambda: len({bool(entry.trace) for entry in heard.entries}) == 2, "traced and not")
        await it.settled()
        assert {entry.id for entry in heard.entries} == {"session-1"}
        assert 0 < sum(entry.logged for entry in heard.entries) < 60
        assert 0 < sum(bool(entry.trace) for entry in heard.entries) < 60


async def test_a_share_of_the_others_begins_a_trace_that_the_models_continue() -> None:
    live, candidate = Model(), Model()
    async with followed(CONFIG + TRACING % "100%", live, candidate) as (it, heard):
        await it.lane()
        assert (await it.ask(b"{}"))[0] == 200
        entry = await heard.one()
        assert entry.parent == ""
        found = legs(entry)
        assert sent(live) == f"00-{entry.trace}-{found['served'].span}-01"
        assert sent(candidate) == f"00-{entry.trace}-{found['copy'].span}-01"
        assert len({entry.span, found["served"].span, found["copy"].span}) == 3


async def test_a_traceparent_that_cannot_be_read_is_replaced_with_its_state() -> None:
    live, candidate = Model(), Model()
    async with followed(CONFIG + TRACING % "100%", live, candidate) as (it, heard):
        await it.lane(share=0)
        await it.ask(b"{}", PARENT, PARENT.replace(b"-b7", b"-c7"), b"tracestate: a=1")
        entry = await heard.one()
        assert entry.trace != TRACE
        assert sent(live) == f"00-{entry.trace}-{entry.legs[0].span}-01"
        assert "tracestate" not in live.calls[0].headers


async def test_what_the_owner_drops_on_copies_stays_dropped() -> None:
    live, candidate = Model(), Model()
    config = CONFIG.replace("timeout: 300ms}, fallback", "timeout: 300ms, headers: {drop: [traceparent]}}, fallback")
    async with followed(config + TRACING % "100%", live, candidate) as (it, heard):
        await it.lane()
        await it.ask(b"{}")
        assert re.fullmatch("[0-9a-f]{16}", legs(await heard.one())["copy"].span)
        assert sent(candidate) == ""


async def test_the_access_log_alone_changes_nothing_on_the_wire() -> None:
    live, candidate = Model(), Model()
    async with followed(CONFIG + ACCESS % "100%", live, candidate) as (it, heard):
        await it.lane()
        await it.ask(b"{}", path=b"/infer?token=secret")
        entry = await heard.one()
        assert (entry.logged, entry.trace, entry.path) == (True, "", "/infer")
        assert sent(live) == sent(candidate) == ""


# --- what it says ----------------------------------------------------------------------------------------------------


async def test_a_long_path_is_cut() -> None:
    async with followed(CONFIG + ACCESS % "100%", Model(), Model()) as (it, heard):
        assert (await it.ask(b"{}", path=b"/" + b"a" * 20_000))[0] == 200
        assert (await heard.one()).path == "/" + "a" * (MAX_PATH - 1)


async def test_a_request_that_live_answers() -> None:
    live, candidate = Model(always(ok(b'{"a": 1}'))), Model(always(ok(status=b"503 Busy")))
    async with followed(CONFIG + ACCESS % "100%", live, candidate) as (it, heard):
        await it.lane()
        _, headers, _ = await it.ask(b"{} ")
        entry = await heard.one()
        assert entry.id == headers["x-request-id"]
        assert (entry.route, entry.method, entry.client) == ("all", "POST", "127.0.0.1")
        assert (entry.upstream, entry.arm, entry.status, entry.reason) == ("live", "live", 200, "")
        assert (entry.request_bytes, entry.answer_bytes) == (3, 8)
        assert abs(entry.start - it.worker.context.epoch - it.worker.loop.time()) < 60
        copy = legs(entry)["copy"]
        assert (copy.arm, copy.upstream, copy.rollout, copy.status) == (
            "candidate",
            "candidate",
            "all/candidate",
            503,
        )
        served = legs(entry)["served"]
        assert entry.start <= served.start <= served.start + served.seconds <= copy.start + 0.001
        assert 0 <= served.first <= served.seconds <= entry.seconds


async def test_a_fallback_and_a_hedge() -> None:
    live, candidate = Model(), Model(always(ok(status=b"500 Oh")))
    async with followed(CONFIG + TRACING % "100%", live, candidate) as (it, heard):
        await it.lane(weight=10_000)
        assert (await it.ask(b"{}"))[0] == 200
        entry = await heard.one()
        assert (entry.fell_back, entry.hedged, entry.upstream, entry.arm) == (True, False, "live", "live")
        assert (legs(entry)["served"].status, legs(entry)["hedge"].status) == (500, 200)
        heard.entries.clear()
        candidate.script = hang
        assert (await it.ask(b"{}"))[0] == 200
        entry = await heard.one()
        assert (entry.fell_back, entry.hedged) == (False, True)
        assert legs(entry)["served"].reason == "timeout"
        assert entry.seconds < legs(entry)["served"].seconds  # the client did not wait for the slow one
        assert sent(live, -1).split("-")[2] == legs(entry)["hedge"].span


async def test_errors_of_ours() -> None:
    live, candidate = Model(hang), Model()
    async with followed((CONFIG + ACCESS % "100%").replace("timeout: 2s", "timeout: 50ms"), live, candidate) as both:
        it, heard = both
        await it.lane(share=0)
        assert (await it.ask(b"{}"))[0] == 504
        entry = await heard.one()
        assert (entry.status, entry.reason, entry.upstream, entry.answer_bytes) == (504, "timeout", "", None)
        heard.entries.clear()
        assert (await it.ask(b"{}", b"x-arm: candidate"))[0] == 403
        entry = await heard.one()
        assert (entry.status, entry.reason, entry.legs) == (403, "override_refused", ())


async def test_a_client_that_leaves() -> None:
    live, candidate = Model(hang), Model()
    async with followed(CONFIG + ACCESS % "100%", live, candidate) as (it, heard):
        await it.lane()
        _, writer = await it.connect()
        writer.write(b"POST /infer HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}")
        await eventually(lambda: live.calls, "the model is asked")
        writer.close()
        entry = await heard.one()
        assert (entry.status, entry.reason) == (499, "client_gone")
        assert [one.reason for one in entry.legs] == ["client_gone"]


async def test_a_canary_whose_client_leaves_is_told_when_its_pair_is_made() -> None:
    live, candidate = Model(), Model(hang)
    config = (
        (CONFIG + ACCESS % "100%")
        .replace("after: 50ms", "after: 9s")
        .replace("timeout: 300ms}}\n", "timeout: 1500ms}}\n")
    )
    async with followed(config, live, candidate) as (it, heard):
        await it.lane(weight=10_000)
        _, writer = await it.connect()
        writer.write(b"POST /infer HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}")
        await eventually(lambda: candidate.calls, "the candidate is asked")
        writer.close()
        entry = await heard.one()
        assert (entry.status, entry.reason) == (499, "client_gone")
        assert {(one.leg, one.reason) for one in entry.legs} == {("served", "timeout"), ("copy", "")}


async def test_a_tunnel() -> None:
    async def upgrade(call: Any) -> None:
        await call.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n")
        await call.reader.read()
        raise ConnectionError

    async with followed(CONFIG + ACCESS % "100%", Model(upgrade), Model()) as (it, heard):
        await it.lane()
        _, writer = await it.connect()
        writer.write(b"GET /infer HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n")
        await eventually(lambda: heard.entries, "an entry")
        assert heard.entries[0].status == 101
        writer.close()


# --- bounds ----------------------------------------------------------------------------------------------------------


async def test_a_full_queue_and_a_full_link_drop_by_count() -> None:
    class Link:
        taken = 0

        def aside(self, data: bytes) -> bool:
            self.taken += len(request_log.decode_entries(data[5:]))
            return self.taken <= MAX_WAITING

    queue, wire = RequestLog(), Link()
    plain = (*request_log.example(trace=TRACE, logged=False)[:-1], [])
    for _ in range(MAX_WAITING + 3):
        queue.add(plain)
    assert queue.dropped == {"traces": 3, "access_log": 0}
    queue.send(wire)  # type: ignore[arg-type]
    assert queue.dropped == {"traces": 3, "access_log": 0}
    queue.add(plain)
    queue.add((*request_log.example(logged=True)[:-1], []))
    queue.send(wire)  # type: ignore[arg-type]
    queue.send(wire)  # type: ignore[arg-type]
    assert queue.dropped == {"traces": 4, "access_log": 1}


async def test_without_a_controller_the_live_path_goes_on_and_what_is_dropped_is_counted() -> None:
    async with followed(CONFIG + ACCESS % "100%", Model(), Model()) as (it, _):
        await it.lane()
        await it.controller.stop()
        await eventually(lambda: it.worker.context.publisher._channel is None, "the link is down")
        assert (await it.ask(b"{}"))[0] == 200
        await eventually(lambda: it.worker.context.request_log.dropped["access_log"] == 1, "a drop")


async def test_a_reload_begins_and_ends_it() -> None:
    async with followed(CONFIG, Model(), Model()) as (it, heard):
        await it.lane(share=0)
        worker = it.worker
        config = worker._in_force.config
        assert config is not None
        worker.configure(msgspec.structs.replace(config, access_share=1.0))
        await it.ask(b"{}")
        await heard.one()
        worker.configure(config)
        await it.ask(b"{}")
        await asyncio.sleep(0)
        await it.settled()
        assert len(heard.entries) == 1
        assert worker.context.requests is not it.worker.context.request_log
