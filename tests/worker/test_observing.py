"""Promise: where `drift` is asked for, a random few of live's requests reach the controller with their answers, drawn
before anything is known of them; each that was drawn is sent or counted, and where it is not asked for nothing is."""

from __future__ import annotations

import random

import pytest

from proxy.model import Arm, Observation
from proxy.model.reasons import Reason
from proxy.pairs import link
from proxy.pairs.channel import Channel
from proxy.pairs.link import Frame
from proxy.request.legs import Upstream
from proxy.request.observing import BURST, Observer, gap, observer
from proxy.worker.publisher import MAX_BACKLOG
from tests.worker.rig import Model, Rig, always, eventually, hang, ok, rig

PLAIN = "upstreams: {m: {url: '{0}'}}\nserver: {listen: '127.0.0.1:0'}\nroutes: [{name: all, live: m%s}]"
WATCHED = PLAIN % ", drift: {observations_per_second: 1000}"
ROLLOUT = """
server: {listen: '127.0.0.1:0'}
upstreams: {v1: {url: '{0}'}, v2: {url: '{1}'}}
routes:
  - name: r
    live: v1
    drift: {observations_per_second: 1000}
    rollouts: [{candidate: v2, stages: [{shadow: 100%}, {canary: 50%}], latency_block: 0s}]
"""


def listens(it: Rig) -> list[Observation]:
    """What the controller observes from now on."""
    found: list[Observation] = []
    plain, routes = it.controller._on_pairs, dict[int, str]()

    def on_pairs(channel: Channel, kind: Frame, payload: bytes) -> None:
        if kind is Frame.TRIAL:
            note = link.read_note(payload)
            routes[note["index"]] = note["trial"]
        if kind is Frame.OBSERVATION:
            found.append(link.decode_observation(payload, routes, "w"))
        else:
            plain(channel, kind, payload)

    it.controller._on_pairs = on_pairs  # type: ignore[method-assign]
    for one in it.controller._links:
        one._on_frame = on_pairs
    return found


def totals(it: Rig) -> dict[str, int]:
    (one,) = it.worker._books._observers.values()
    return one.totals


async def test_live_alone_is_observed_with_its_answer_and_without_credentials() -> None:
    async with rig(WATCHED, (Model(always(ok(b'{"score": 0.5}'))),)) as it:
        seen = listens(it)
        assert (await it.ask(b'{"amount": 7}', b"Authorization: secret", b"X-Country: DE"))[0] == 200
        await eventually(lambda: seen)
        (one,) = seen
        assert (one.route, one.served, one.request_body) == ("all", Arm.LIVE, b'{"amount": 7}')
        assert (one.live.status, one.live.body, one.live.reason) == (200, b'{"score": 0.5}', Reason.NONE)
        assert b"X-Country: DE" in one.request_head
        assert b"secret" not in one.request_head
        await eventually(lambda: it.controller.counts.get("observed"))
        await eventually(lambda: it.controller.counts["observed"]["all"]["sent"] == 1)
        assert it.controller.pairs == []


async def test_nothing_is_observed_where_it_is_not_asked_for() -> None:
    async with rig(PLAIN % "", (Model(always(ok(b"{}"))),)) as it:
        seen = listens(it)
        for _ in range(20):
            await it.ask(b"{}")
        await eventually(lambda: it.controller.counts)
        assert seen == []
        assert it.controller.counts["observed"] == {}
        assert it.worker.context.routes.all[0].max_body == 0  # nothing of a body is kept


async def test_a_chunked_body_is_observed_without_its_framing_and_a_failure_as_one() -> None:
    async with rig(
        WATCHED, (Model(always(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n")),)
    ) as it:
        seen = listens(it)
        head = b"POST /infer HTTP/1.1\r\nHost: t\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
        await it.raw(head + b"3\r\nabc\r\n0\r\n\r\n")
        await eventually(lambda: seen)
        assert (seen[0].request_body, seen[0].live.body) == (b"abc", b"ok")


async def test_of_what_a_candidate_serves_the_request_alone_is_observed() -> None:
    live, candidate = Model(always(ok(b"live"))), Model(always(ok(b"candidate")))
    async with rig(ROLLOUT, (live, candidate)) as it:
        seen = listens(it)
        await it.lane(weight=5_000)
        for number in range(40):
            await it.ask(b"%d" % number)
        await eventually(lambda: len(seen) == 40)
        by = {arm: [one for one in seen if one.served is arm] for arm in Arm}
        assert by[Arm.LIVE]
        assert by[Arm.CANDIDATE]
        assert {one.live.body for one in by[Arm.LIVE]} == {b"live"}
        assert {(one.live.status, one.live.body) for one in by[Arm.CANDIDATE]} == {(0, b"")}
        await eventually(lambda: len(it.controller.pairs) == 40)  # pairs are none of its business
        await it.settled()
        assert it.worker._books._observers["r"].memory == 0


async def test_what_is_dropped_is_counted_by_its_reason() -> None:
    async with rig(WATCHED, (Model(hang),)) as it:
        _, writer = await it.connect()
        writer.write(b"POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 2\r\n\r\n{}")
        one = it.worker._books._observers["all"]
        await eventually(lambda: one.sampled == 1)
        writer.close()
        await eventually(lambda: one.totals["client_gone"] == 1)
    async with rig(WATCHED, (Model(always(ok(b"x" * (2 << 20)))),)) as it:
        assert (await it.ask(b"{}"))[0] == 200
        await eventually(lambda: totals(it)["too_large"] == 1)
        assert len((await it.ask(b"y" * (2 << 20)))[2]) == 2 << 20  # and clients notice nothing
        await eventually(lambda: totals(it)["too_large"] == 2)
    async with rig(WATCHED, (Model(always(ok(b"{}"))),)) as it:
        it.worker.context.publisher._channel = None
        assert (await it.ask(b"{}"))[0] == 200
        await eventually(lambda: totals(it)["link_full"] == 1)
        assert it.worker._books._observers["all"].pending == {}


async def test_observations_give_way_to_pairs_long_before_pairs_are_dropped() -> None:
    live, candidate = Model(always(ok(b"live"))), Model(always(ok(b"candidate")))
    async with rig(ROLLOUT, (live, candidate)) as it:
        await it.lane()
        publisher, one = it.worker.context.publisher, it.worker._books._observers["r"]
        publisher.backlog = MAX_BACKLOG // 3
        publisher.observation(one, one.begin(), 0.0, 0, b"", b"", link.NO_OUTCOME)
        publisher.pair(it.trial, it.trial.begin(), 1, 0.0, 0, b"id", b"", b"", 2 * link.NO_OUTCOME)
        assert (one.totals["link_full"], one.totals["sent"]) == (1, 0)
        assert (it.trial.link_full, it.trial.sent) == (0, 1)
        await eventually(lambda: len(it.controller.pairs) == 1)


async def test_a_caller_who_chooses_the_arm_is_not_observed() -> None:
    text = ROLLOUT.replace("    drift:", "    override: {header: x-arm}\n    drift:")
    async with rig(text, (Model(always(ok(b"live"))), Model(always(ok(b"candidate"))))) as it:
        seen = listens(it)
        await it.lane(weight=5_000)
        await it.ask(b"chosen", b"x-arm: live")
        await it.ask(b"drawn")
        await eventually(lambda: seen)
        assert [one.request_body for one in seen] == [b"drawn"]


def test_so_many_are_drawn_as_were_asked_for_whatever_the_rate_of_requests() -> None:
    random.seed(3)
    found = of_nothing()
    found.pace(10.0)
    for rate in (5, 200, 5_000, 40, 100_000):
        second(found, rate)
        taken = [second(found, rate) for _ in range(40)]
        assert sum(taken) / 40 == pytest.approx(min(10.0, rate), rel=0.15), rate
        assert max(taken) <= BURST * 10.0
    assert found.over_rate > 0
    quiet = [second(found, 0) for _ in range(3)]
    assert quiet == [0, 0, 0]
    assert second(found, 1_000_000) == BURST * 10.0  # a burst out of nothing is bounded


def test_every_request_of_a_second_has_the_same_chance() -> None:
    """Not only the first ones, nor those behind a gap: place by place, over many seconds."""
    random.seed(4)
    found = of_nothing()
    found.pace(20.0)
    counts = [0] * 200
    for _ in range(2_000):
        found.turn()
        for place in range(200):
            counts[place] += found.draws()
    counts_of = [sum(counts[at : at + 20]) for at in range(0, 200, 20)]
    assert min(counts_of) > 0.93 * max(counts_of), counts_of


def test_gaps_are_geometric() -> None:
    draw = random.Random(1)
    gaps = [gap(0.05, draw.random()) for _ in range(20_000)]
    assert sum(gaps) / len(gaps) == pytest.approx(19.0, rel=0.03)
    assert sum(one == 0 for one in gaps) / len(gaps) == pytest.approx(0.05, rel=0.1)


def of_nothing() -> Observer:
    pool = Upstream()
    pool.name = "m"
    return observer("r", pool)


def second(found: Observer, requests: int) -> int:
    """How many are drawn in a second."""
    drawn = sum(found.draws() for _ in range(requests))
    found.turn()
    return drawn
