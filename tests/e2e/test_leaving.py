"""Promise: a candidate that hangs is out, though none of its clients ever waits for its timeout."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from tests.e2e.harness import Understudy, running
from tests.worker.rig import Call, Model, Script, hang, resets

PATIENCE = 0.5
"""Seconds that a client waits for what it has not got yet; the candidate's timeout is four times as long."""
EVENT = b"9\r\ndata: a\n\n\r\n"
EVENTS = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n" + EVENT


async def whole(call: Call) -> None:
    await call.read_body()
    await asyncio.sleep(0.02)
    await call.send(EVENTS + EVENT + b"0\r\n\r\n")


async def halts(call: Call) -> None:
    """Well begun, then silent, until the proxy gives up."""
    await call.read_body()
    await call.send(EVENTS)
    await call.reader.read()
    raise ConnectionError


async def leaves(address: tuple[str, int], name: bytes, by_reset: bool) -> None:
    """One client: reads what comes, leaves when nothing has come for a while."""
    reader, writer = await asyncio.open_connection(*address)
    writer.write(b"POST /infer HTTP/1.1\r\nHost: a\r\nX-Request-Id: %b\r\nContent-Length: 2\r\n\r\n{}" % name)
    try:
        # Until the answer or the connection ends: at its end `read` returns at once, again and again.
        while data := await asyncio.wait_for(reader.read(1 << 16), PATIENCE):
            if data.endswith(b"0\r\n\r\n"):
                break
    except TimeoutError:
        if by_reset:
            resets(writer)
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


async def impatient(understudy: Understudy, by_reset: bool) -> None:
    """Sixteen clients at a time, one after the other, without end."""
    host, port = understudy.data_url.removeprefix("http://").split(":")

    async def one(slot: int) -> None:
        for number in range(10_000):
            await leaves((host, int(port)), b"%d-%d" % (slot, number), by_reset)

    await asyncio.gather(*(one(slot) for slot in range(16)))


@asynccontextmanager
async def house(folder: Path, live: Model, candidate: Model, silent: str) -> AsyncIterator[Understudy]:
    """The proxy before two models, half of the requests the candidate's, nothing held."""
    rollout = {"candidate": "v2", "canary": "50%", "fallback": "off", "guards": {"max_extra_errors": "5%"}}
    await live.start()
    await candidate.start()
    config = {
        "upstreams": {"v1": {"url": live.url, "timeout": "60s"}, "v2": {"url": candidate.url, "timeout": silent}},
        "routes": [{"name": "r", "live": "v1", "rollouts": [rollout]}],
    }
    try:
        async with running(folder, config) as understudy:
            await understudy.until("r/v2", lambda found: found["state"] == "canary")
            yield understudy
    finally:
        await live.stop()
        await candidate.stop()
        for _ in range(20):  # the transports' own last callbacks
            await asyncio.sleep(0)


@asynccontextmanager
async def visited(understudy: Understudy, by_reset: bool) -> AsyncIterator[None]:
    """While impatient clients come."""
    clients = asyncio.create_task(impatient(understudy, by_reset))
    try:
        yield
    finally:
        clients.cancel()
        await asyncio.gather(clients, return_exceptions=True)


async def ends(folder: Path, script: Script, by_reset: bool, promoted: bool) -> dict[str, int]:
    """The failures of a candidate that was rolled back though all its clients were impatient."""
    live, candidate = Model(whole), Model(whole)
    async with house(folder, live, candidate, f"{4 * PATIENCE}s") as understudy:
        if promoted:
            body = {"reason": "it looks well", "full": True}
            await understudy.api("/api/v1/rollouts/r/v2/promote", body)
            await understudy.until("r/v2", lambda found: found["state"] == "promoted")
        candidate.script = script
        async with visited(understudy, by_reset):
            found = await understudy.until("r/v2", lambda found: found["state"] == "rolled_back")
    failures: dict[str, int] = found["candidate_failures"]
    return failures


LEAVES = pytest.mark.parametrize(
    "by_reset", [pytest.param(True, id="resets"), pytest.param(False, id="ends", marks=pytest.mark.slow)]
)


@LEAVES
async def test_a_canary_that_hangs_is_out(tmp_path: Path, by_reset: bool) -> None:
    assert (await ends(tmp_path, hang, by_reset, promoted=False))["timeout"] >= 10


@LEAVES
@pytest.mark.parametrize(
    "script", [pytest.param(halts, id="in the middle"), pytest.param(hang, id="at once", marks=pytest.mark.slow)]
)
async def test_a_promoted_candidate_that_hangs_is_out(tmp_path: Path, script: Script, by_reset: bool) -> None:
    failures = await ends(tmp_path, script, by_reset, promoted=True)
    assert failures.get("timeout", 0) + failures.get("committed", 0) >= 10


@pytest.mark.slow
async def test_clients_that_leave_two_slow_arms_end_nothing(tmp_path: Path) -> None:
    """Both are silent for longer than any client waits: that is nobody's fault, and none of it runs on."""
    live, candidate = Model(hang), Model(hang)
    async with house(tmp_path, live, candidate, "60s") as understudy:
        async with visited(understudy, True):
            found = await understudy.until("r/v2", lambda found: found["ledger"]["client_gone"] >= 60)
            assert (found["state"], found["ledger"]["compared"]) == ("canary", 0)
        found = await understudy.until("r/v2", lambda found: found["ledger"]["pending"] == 0)
        assert found["ledger"]["sampled"] == found["ledger"]["client_gone"] + found["ledger"]["shed"]
        assert live.open == candidate.open == 0
