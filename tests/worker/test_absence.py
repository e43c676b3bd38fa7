"""Promise: a candidate with `health` that restarts in mid-trial loses nothing by it but time. On the first connection
that is refused or lost it is asked whether it is there; what is lost while it says that it is not is nobody's fault,
`not_ready` in the ledger. If it is there, it has failed. A candidate that goes away again and again is not spared."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator

import pytest

from proxy.worker.upstream.absence import Absence
from proxy.worker.upstream.endpoint import Endpoint
from tests.worker.grpc.models import Client, GrpcModel, Seen, says
from tests.worker.rig import Call, Model, Rig, eventually, ok, resets, rig

CONFIG = """
server: {listen: '127.0.0.1:0'}
upstreams: {v1: {url: '{0}'}, v2: {url: '{1}', health: {path: /ready, interval: 10m, wait: WAIT}}}
routes: [{name: m, live: v1, rollouts: [{candidate: v2, shadow: 100%}]}]
""".replace("WAIT", "10m")
CALLS = """
server: {listen: '127.0.0.1:0', grpc_listen: '127.0.0.1:0'}
upstreams: {v1: {url: '{0}'}, v2: {url: '{1}', health: {path: /grpc.health.v1.Health/Check, interval: 10m}}}
routes: [{name: m, live: v1, rollouts: [{candidate: v2, shadow: 100%}]}]
"""
"""No check is due within a test but the first, and those that are sent because something was lost."""


class Killed(Model):
    """A model whose calls wait for `go_on`, and which can be killed and started again on its port."""

    def __init__(self) -> None:
        self.go_on = asyncio.Event()
        self.go_on.set()
        self.healthy = True
        self.breaks = False

        async def script(call: Call) -> None:
            await call.read_body()
            if call.head.startswith(b"GET /ready "):
                await call.send(ok(status=b"200 OK" if self.healthy else b"503 Loading"))
            elif self.breaks:
                resets(call.writer)
                raise ConnectionError
            else:
                await self.go_on.wait()
                await call.send(ok())

        super().__init__(script)

    async def die(self) -> None:
        await self.stop()

    @property
    def checks(self) -> int:
        return sum(call.head.startswith(b"GET /ready ") for call in self.calls)

    @property
    def asked(self) -> int:
        return len(self.calls) - self.checks


async def becomes_ready(it: Rig) -> None:
    await eventually(lambda: it.trial.ready)


@pytest.mark.parametrize("weight", [0, 5_000, 10_000])
async def test_what_a_restart_loses_is_nobodys_fault(weight: int) -> None:
    """Requests that it carries, and those that come before a check is due: `interval` is ten minutes here."""
    live, candidate = Model(), Killed()
    async with rig(CONFIG, (live, candidate)) as it:
        await it.lane(weight)
        await becomes_ready(it)
        candidate.go_on.clear()
        carried = [asyncio.create_task(it.ask()) for _ in range(6)]
        await eventually(lambda: candidate.asked == 6 if weight in (0, 10_000) else candidate.asked)
        await candidate.die()
        answers = await asyncio.gather(*carried)
        answers += [await it.ask() for _ in range(20)]
        if weight < 10_000:  # live stands in; at full weight nothing can, until it is known that it is away
            assert {status for status, _, _ in answers} == {200}
        await eventually(lambda: it.controller.counts.get("ready") == {it.trial.settings.trial: False})
        await it.settled()
        assert it.trial.not_ready == it.trial.sampled >= 6
        assert it.controller.pairs == []
        assert (await it.ask())[1]["x-served-by"] == "v1"


async def test_it_goes_on_when_it_is_back() -> None:
    live, candidate = Model(), Killed()
    async with rig(CONFIG.replace("interval: 10m", "interval: 20ms"), (live, candidate)) as it:
        await it.lane()
        await becomes_ready(it)
        await it.ask()
        await candidate.die()
        await eventually(lambda: not it.trial.ready)
        for _ in range(5):
            await it.ask()
        candidate.healthy = False
        await candidate.start()
        asked = candidate.asked
        await it.ask()
        assert (candidate.asked, it.trial.ready) == (asked, False)  # it listens, and still loads
        candidate.healthy = True
        await becomes_ready(it)
        before = len(it.controller.pairs)
        for _ in range(5):
            await it.ask()
        await eventually(lambda: len(it.controller.pairs) == before + 5)
        assert not any(pair.candidate.reason for pair in it.controller.pairs)
        await it.settled("v2")


async def test_a_model_that_is_there_and_breaks_off_has_failed() -> None:
    """The pair waits for the check, and for no longer."""
    live, candidate = Model(), Killed()
    async with rig(CONFIG, (live, candidate)) as it:
        await it.lane()
        await becomes_ready(it)
        candidate.breaks = True
        for _ in range(8):
            assert (await it.ask())[0] == 200
        await eventually(lambda: len(it.controller.pairs) == 8)
        assert {pair.candidate.reason for pair in it.controller.pairs} == {"disconnect"}
        await it.settled()
        assert (it.trial.not_ready, it.trial.ready) == (0, True)


async def test_a_pair_waits_until_the_check_has_ended() -> None:
    """Neither fault nor none before the model has said; and it is asked once for all that it lost at the moment."""
    live, candidate = Model(), Killed()
    says_so = asyncio.Event()
    plain = candidate.script

    async def script(call: Call) -> None:
        if call.head.startswith(b"GET /ready ") and candidate.breaks:
            await says_so.wait()
        await plain(call)

    candidate.script = script
    async with rig(CONFIG, (live, candidate)) as it:
        await it.lane()
        await becomes_ready(it)
        candidate.breaks = True
        for _ in range(3):
            await it.ask()
        await eventually(lambda: it.trial.in_flight == 0 and candidate.checks == 2)
        assert (it.controller.pairs, len(it.trial.pending)) == ([], 3)
        says_so.set()
        await eventually(lambda: len(it.controller.pairs) == 3)
        assert candidate.checks == 2
        await it.settled()


async def test_a_candidate_that_goes_away_again_and_again_has_failed() -> None:
    """Sooner than `wait` after it came back: it is left out, but what it lost counts."""
    live, candidate = Model(), Killed()
    async with rig(CONFIG.replace("interval: 10m", "interval: 20ms"), (live, candidate)) as it:
        await it.lane()
        lost = []
        for _ in range(2):
            await becomes_ready(it)
            candidate.go_on.clear()
            asked = candidate.asked
            await it.ask()
            await eventually(lambda asked=asked: candidate.asked > asked)  # type: ignore[misc] # the name of the default
            await candidate.die()
            await eventually(lambda: not it.trial.pending and not it.trial.ready)
            lost.append((it.trial.not_ready, it.trial.sent))
            candidate.go_on.set()
            await candidate.start()
        assert lost == [(1, 0), (1, 1)]
        await eventually(lambda: it.controller.pairs)
        assert it.controller.pairs[0].candidate.reason in ("connect", "disconnect")  # copies are sent once more


async def test_no_room_for_a_check_is_no_excuse() -> None:
    config = CONFIG.replace("wait: 10m}", "wait: 10m}, max_connections: 1")
    live, candidate = Model(), Killed()
    async with rig(config, (live, candidate)) as it:
        await it.lane()
        await becomes_ready(it)
        await candidate.die()
        pool = it.worker.pools["v2"]
        await it.ask()
        await eventually(lambda: not it.trial.pending)
        assert it.trial.not_ready + it.trial.sent == 1
        assert pool.counts == (0, 0, 0)


@pytest.mark.parametrize("weight", [0, 5_000])
async def test_calls_too(weight: int) -> None:
    def script(seen: Seen, messages: Iterator[bytes]) -> Iterable[bytes]:
        yield from says(b"\x08\x01" if seen.method.endswith("/Check") else b"candidate")(seen, messages)

    live, candidate = GrpcModel(says(b"live")), GrpcModel(script)
    async with rig(CALLS, [live, candidate], grpc=True) as it:
        await it.lane(weight)
        await becomes_ready(it)
        with Client(it.grpc_port) as client:
            await candidate.stop()
            while it.trial.ready:
                assert (await client.ask(b"x")).answers == [b"live"]
            await it.settled()
        assert it.trial.not_ready == it.trial.sampled > 0
        assert it.controller.pairs == []


def test_one_check_that_was_sent_for_it_is_enough_to_be_left_out() -> None:
    endpoint = Endpoint("http://a:1", wait=600.0)
    endpoint.was_checked(True)
    inquiry, new = endpoint.absence.inquire()
    assert (new, endpoint.absence.inquire()) == (True, (inquiry, False))
    endpoint.was_checked(False, inquiry)
    assert (endpoint.ready, endpoint.healthy, inquiry.pending, inquiry.excuses) == (False, False, False, True)


def test_whose_fault_it_is_by_the_times() -> None:
    absence = Absence(600.0)

    def away(at: float) -> bool:
        inquiry, new = absence.inquire()
        assert new
        absence.checked(inquiry, False, at)
        assert absence.inquire() == (inquiry, False)
        return inquiry.excuses

    assert away(100.0)
    absence.checked(None, True, 160.0)
    assert not away(759.0)
    absence.checked(None, False, 800.0)
    absence.checked(None, True, 900.0)
    assert away(1500.0)


def test_who_waits_is_told_once() -> None:
    told = []
    absence = Absence(1.0)
    inquiry, _ = absence.inquire()

    def then() -> None:
        told.append(inquiry.excuses)

    inquiry.wait(then)
    inquiry.wait(then)
    absence.checked(inquiry, True, 0.0)
    absence.checked(inquiry, True, 1.0)
    assert told == [False]
