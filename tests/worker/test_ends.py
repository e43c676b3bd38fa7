"""Promise: whatever happens to a request, in whatever order, it ends in one part of the ledger, and leaves nothing.

Both arms, the client and the clock are drawn: what each arm says and when it stops, when the client leaves and how,
what the candidate's weight is, whether live may answer instead, and how soon.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

import uvloop
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxy.model import State
from tests.request.test_exchange import SHADOW
from tests.worker.rig import PATIENCE, Call, Model, eventually, resets, rig

STEP = 0.02
TIMEOUT = "80ms"
AT_ONCE = 32
ANSWERS = {
    "whole": (b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n", b"ab", b"cd"),
    "long": (b"HTTP/1.1 200 OK\r\nContent-Length: 4000\r\n\r\n", b"a" * 2000, b"b" * 2000),
    "refused": (b"HTTP/1.1 404 No\r\nContent-Length: 2\r\n\r\n", b"n", b"o"),
    "failed": (b"HTTP/1.1 503 No\r\nContent-Length: 2\r\n\r\n", b"n", b"o"),
    "chunks": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\na\r\n", b"1\r\nb\r\n0\r\n\r\n"),
    "events": (
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"9\r\ndata: a\n\n\r\n",
        b"9\r\ndata: b\n\n\r\n0\r\n\r\n",
    ),
}


@dataclass(frozen=True)
class Arm:
    """What a model says: `said` of its three parts, with so many steps before each; then it hangs or breaks off."""

    answer: str
    said: int
    pauses: tuple[int, int, int]
    breaks: bool

    async def answer_to(self, call: Call) -> None:
        for part, pause in list(zip(ANSWERS[self.answer], self.pauses, strict=True))[: self.said]:
            await asyncio.sleep(pause * STEP)
            await call.send(part)
        if self.said < 3:
            if not self.breaks:
                await call.reader.read()
            raise ConnectionError


steps = st.integers(0, 3)
arms = st.builds(
    Arm, st.sampled_from(sorted(ANSWERS)), st.integers(0, 3), st.tuples(steps, steps, steps), st.booleans()
)
leaving = st.one_of(st.none(), st.integers(0, 8))


@dataclass(frozen=True)
class Case:
    live: Arm
    candidate: Arm
    leaves: int | None
    reset: bool
    half: bool


cases = st.lists(st.builds(Case, arms, arms, leaving, st.booleans(), st.booleans()), min_size=AT_ONCE, max_size=AT_ONCE)


def model(each: list[Case], arm: Callable[[Case], Arm]) -> Model:
    """A model that answers each request as its case says; the request's body is the number of the case."""

    async def script(call: Call) -> None:
        await arm(each[int(await call.read_body())]).answer_to(call)

    return Model(script)


async def visit(port: int, number: int, case: Case) -> None:
    """One client."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    body = b"%04d" % number
    try:
        writer.write(b"POST /infer HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 4\r\n\r\n" + body[:2])
        if case.half:
            await asyncio.sleep(STEP)
        writer.write(body[2:])
        async with asyncio.timeout(PATIENCE if case.leaves is None else case.leaves * STEP):
            await reader.read()
    except (TimeoutError, ConnectionError):
        if case.reset:
            resets(writer)
    finally:
        writer.transport.abort()


async def run(each: list[Case], weight: int, state: State, after: str, copies: int) -> None:
    mirror = f"mirror: {{max_body: 1KB, max_duration: 400ms, max_in_flight: {copies}}}"
    config = SHADOW.replace("url: '{0}'", f"url: '{{0}}', timeout: {TIMEOUT}").replace("300ms", TIMEOUT)
    config = config.replace(
        "latency_block: 0s", f"latency_block: 0s\n        {mirror}\n        fallback: {{after: '{after}', hold: 10ms}}"
    )
    models = model(each, lambda case: case.live), model(each, lambda case: case.candidate)
    async with rig(config, models) as it:
        await it.lane(weight=weight, state=state)
        await asyncio.gather(*(visit(it.port, number, case) for number, case in enumerate(each)))
        await eventually(lambda: not it.worker.context.clients, "no client")
        await it.settled()
        trial = it.trial
        assert (trial.sampled, trial.link_full) == (len(each), 0)
        assert trial.memory == trial.in_flight == 0
        assert not it.worker.context.precise_timer._due
        for pool in it.worker.pools.values():
            assert all(endpoint.busy == 0 for endpoint in pool.endpoints)


@given(
    each=cases,
    how=st.sampled_from(((0, State.SHADOW), (9_999, State.CANARY), (10_000, State.PROMOTED))),
    after=st.sampled_from(("off", "20ms", "60s")),
    copies=st.sampled_from((1, 64)),
)
@settings(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_every_sampled_request_ends_in_one_row(
    each: list[Case], how: tuple[int, State], after: str, copies: int
) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run(each, *how, after, copies))
