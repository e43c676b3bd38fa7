"""However a candidate misbehaves, no client notices: not in shadow, and as a canary by no more than `fallback.after`.

Each case runs one candidate at 200 requests a second in shadow on one route and, at the same time, as a 20 % canary on
another, first well and then badly, until both are rolled back. Every answer is compared byte for byte, and latencies
with those on a route without a candidate at the same time, so that a busy machine disturbs both alike.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.e2e.harness import Understudy, route, running
from tests.fakes import Load, model_process, set_mood

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.chaos]

TIMEOUT = 1.5
"""The candidate's timeout; a client that ever waits for the candidate waits this long."""
FALLBACK_AFTER = 0.1
SLACK = 0.5
"""Seconds by which the slowest request may differ from the slowest without a candidate; far below `TIMEOUT`."""
USUAL = 0.05
"""Seconds by which the 90th percentiles may differ."""
BUSY = 1.5
"""And the factor, for machines so busy that two routes are disturbed differently."""

REASONS = {
    "kill": {"connect", "disconnect"},
    "hang": {"timeout"},
    "garbage": {"bad_reply"},
    "flood": {"too_large"},
    "drip": {"timeout"},
    "lie_long": {"disconnect"},
    "error": {"status_5xx"},
    "close": {"disconnect"},
}
SLOW = ("lie_long", "error", "close")


@dataclass
class House:
    """The proxy, and the two processes that candidates live in: one is killed, the other misbehaves."""

    understudy: Understudy
    doomed: asyncio.subprocess.Process
    wild: str

    async def break_candidate(self, how: str) -> None:
        """Make the candidate of case `how` misbehave from now on."""
        if how == "kill":
            self.doomed.kill()
        else:
            await set_mood(self.wild, mode=how)


def _routes(how: str) -> list[dict[str, object]]:
    # Limits so wide that in shadow the bad candidate is endured for hundreds of pairs: a delay would have time to show.
    guards = {"max_extra_errors": "95%"}
    shadow = [{"shadow": "100%", "min_pairs": 1_000_000}]
    canary = [{"canary": "20%", "min_pairs": 1_000_000}]
    fallback = {"after": f"{FALLBACK_AFTER * 1000:.0f}ms"}
    return [
        route(f"{how}-shadow", "live", f"bad-{how}", shadow, guards=guards, consecutive_failures=100),
        route(f"{how}-canary", "live", f"bad-{how}", canary, guards=guards, consecutive_failures=20, fallback=fallback),
    ]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    folder: Path = tmp_path_factory.mktemp("house")
    async with (
        model_process("live") as (_, live),
        model_process("bad") as (doomed, one),
        model_process("bad") as (_, wild),
    ):
        candidates = {
            f"bad-{how}": {"url": one if how == "kill" else wild, "timeout": f"{TIMEOUT:g}s"} for how in REASONS
        }
        plain = {"name": "plain", "match": {"path": "/plain/infer"}, "live": "live"}
        config = {
            "upstreams": {"live": {"url": live}, **candidates},
            "routes": [plain, *(each for how in REASONS for each in _routes(how))],
        }
        async with running(folder, config) as understudy:
            yield House(understudy, doomed, wild)


def _latency(load: Load, since: int) -> tuple[float, float]:
    """The slowest and the 90th percentile from the answer numbered `since` on, seconds."""
    seconds = load.latencies(since)
    return seconds[-1], seconds[len(seconds) * 9 // 10]


@pytest.mark.parametrize("how", [pytest.param(how, marks=pytest.mark.slow if how in SLOW else ()) for how in REASONS])
async def test_a_bad_candidate_costs_clients_nothing_and_is_rolled_back(house: House, how: str) -> None:
    understudy = house.understudy
    models = {f"bad-{how}": "bad"}
    await set_mood(house.wild, mode="normal")
    in_shadow = Load(f"{understudy.data_url}/{how}-shadow/infer", models=models)
    as_canary = Load(f"{understudy.data_url}/{how}-canary/infer", models=models)
    alone = Load(f"{understudy.data_url}/plain/infer")
    async with in_shadow, as_canary, alone:
        await in_shadow.more(150)
        await as_canary.until(lambda: as_canary.by(f"bad-{how}") > 0)
        before = {load: len(load.seen) for load in (in_shadow, as_canary, alone)}
        await house.break_candidate(how)
        ended = [
            await understudy.until(f"{how}-{stage}/bad-{how}", lambda rollout: rollout["state"] == "rolled_back")
            for stage in ("shadow", "canary")
        ]
        out = len(as_canary.seen)
        await in_shadow.until(lambda: all(len(load.seen) > before[load] + 500 for load in before))

    assert in_shadow.problems() == []
    assert as_canary.problems() == []
    assert in_shadow.by(f"bad-{how}") == 0
    assert as_canary.by(f"bad-{how}") > 0, "it never was a canary"
    late = [seen for seen in as_canary.seen[out:] if seen.served_by == f"bad-{how}"]
    assert len(late) <= 2, "it answered after it was out"

    slowest, usual = _latency(alone, before[alone])
    for load, more in ((in_shadow, 0.0), (as_canary, FALLBACK_AFTER)):
        assert _latency(load, before[load])[0] < BUSY * slowest + more + SLACK
        assert _latency(load, before[load])[1] < BUSY * usual + more + USUAL

    def told(rollout: dict[str, Any]) -> int:
        # The tripwire acts on arrival: pairs that wait for an earlier one then are booked as late, and count no more.
        return sum(rollout["candidate_failures"].get(reason, 0) for reason in REASONS[how]) + int(
            rollout["ledger"]["late"]
        )

    for rollout in ended:
        await understudy.until(rollout["name"], lambda now: told(now) >= 20)
        ledger = rollout["ledger"]
        assert ledger["compared"] > 0
        assert ledger["sampled"] == sum(count for part, count in ledger.items() if part != "sampled")
