"""Processes may die: a dead controller costs nothing, a dead worker only what it held, SIGTERM cuts nothing off."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import aiohttp
import pytest
import yaml

from proxy.time_slices import LONGEST, SHORTEST
from tests.e2e.harness import Understudy, route, running
from tests.fakes import FakeModel, Load, Mood, model_process
from tests.slices import needs_slices, slice_of

STAGES = [{"shadow": "100%", "min_pairs": 100}, {"canary": "20%", "min_pairs": 1_000_000}]
GUARDS = {"max_disagreement": "10%", "max_extra_errors": "10%"}


@asynccontextmanager
async def _house(folder: Path, controller_lost: str = "30s") -> AsyncIterator[tuple[Understudy, str]]:
    """A proxy whose candidate is as good as live and climbs to a canary; and the URL clients use."""
    async with model_process("live") as (_, live), model_process("good") as (_, good):
        config = {
            "server": {"listen": "127.0.0.1:0", "workers": 2, "controller_lost": controller_lost},
            "upstreams": {"live": {"url": live}, "good": {"url": good}},
            "routes": [route("r", "live", "good", STAGES, guards=GUARDS, latency_block="0s")],
        }
        async with running(folder, config) as understudy:
            yield understudy, f"{understudy.data_url}/r/infer"


@pytest.mark.chaos
async def test_a_killed_controller_costs_no_request_and_comes_back_with_stage_and_evidence(tmp_path: Path) -> None:
    async with _house(tmp_path) as (understudy, url), Load(url) as load:
        await understudy.until("r/good", lambda rollout: rollout["state"] == "canary")
        before = await understudy.until("r/good", lambda rollout: rollout["ledger"]["compared"] > 400)
        first = (await understudy.processes())["controller"]
        os.kill(first, signal.SIGKILL)
        await load.more(200)
        after = await understudy.until("r/good", lambda rollout: rollout["ledger"]["compared"] > 0)
        again = (await understudy.processes())["controller"]
        grown = await understudy.until("r/good", lambda r: r["ledger"]["compared"] > before["ledger"]["compared"] + 200)
        assert again != first
        assert (after["state"], after["weight"]) == ("canary", 20.0)
        assert after["stage"]["entered_at"] == before["stage"]["entered_at"]
        assert grown["findings"][0]["pairs"] > before["findings"][0]["pairs"] / 2, "evidence was lost"
        assert load.by("good") > 0
    assert load.problems() == []


async def _journaled(understudy: Understudy, kind: str, times: int) -> None:
    """Wait until the journal holds so many entries of a kind."""
    async with asyncio.timeout(30):
        while True:
            with suppress(aiohttp.ClientError, TimeoutError, OSError):
                journal = await understudy.api("/api/v1/rollouts/r/good/journal?limit=100")
                if sum(entry["kind"] == kind for entry in journal["journal"]) >= times:
                    return
            await asyncio.sleep(0.1)


async def _serves(load: Load, model: str) -> None:
    """Wait until a model has answered once more."""
    seen = load.by(model)
    async with asyncio.timeout(30):
        while load.by(model) == seen:
            await load.more(20)


@pytest.mark.parametrize(
    "for_good", [pytest.param(False, marks=pytest.mark.chaos), pytest.param(True, marks=pytest.mark.slow)]
)
async def test_a_controller_that_hangs_is_lost_and_found_again_or_replaced(tmp_path: Path, for_good: bool) -> None:
    # Between this and three times as long, when the supervisor would replace it, the test must see it lost.
    lost = "3s" if for_good else "6s"
    async with _house(tmp_path, controller_lost=lost) as (understudy, url), Load(url) as load:
        await understudy.until("r/good", lambda rollout: rollout["state"] == "canary")
        first = (await understudy.processes())["controller"]
        os.kill(first, signal.SIGSTOP)
        await _gives_up(load)
        if not for_good:
            os.kill(first, signal.SIGCONT)
        await _journaled(understudy, "restored", 1)
        await _serves(load, "good")
        assert ((await understudy.processes())["controller"] != first) is for_good
        assert [event["name"] for event in understudy.events("process.silent")] == ["controller"] * for_good
        assert (await understudy.rollout("r/good"))["state"] == "canary"
    assert load.problems() == []


@pytest.mark.slow
async def test_a_worker_that_hangs_is_replaced(tmp_path: Path) -> None:
    async with _house(tmp_path, controller_lost="2s") as (understudy, url), Load(url, reuse=False) as load:
        worker = (await understudy.processes())["workers"][0]
        held = load.in_flight()
        os.kill(worker["pid"], signal.SIGSTOP)
        async with asyncio.timeout(30):
            while (await understudy.processes())["workers"][0]["pid"] in (worker["pid"], None):  # noqa: ASYNC110
                await asyncio.sleep(0.1)
        await load.more(400)
        assert [event["name"] for event in understudy.events("process.silent")] == ["worker 0"]
    assert _lost(load) <= held


def _lost(load: Load) -> set[int]:
    return {seen.asked for seen in load.seen if load.problem(seen)}


async def _gives_up(load: Load) -> None:
    """Wait until the workers let the candidate serve nobody."""
    async with asyncio.timeout(30):
        while True:
            seen = load.by("good")
            await load.more(60)  # at 20 % a run of sixty without the candidate is no accident
            if load.by("good") == seen:
                return


async def _start_of_python() -> float:
    """Seconds that a process with a worker's imports takes to start now; under one on a machine that is not busy."""
    began = asyncio.get_running_loop().time()
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", "import proxy.worker.__main__")
    assert await process.wait() == 0
    return asyncio.get_running_loop().time() - began


@needs_slices
async def test_a_worker_goes_on_at_once_when_it_wakes_up_and_the_controller_lets_it(tmp_path: Path) -> None:
    async with _house(tmp_path) as (understudy, _):
        tree = await understudy.processes()
        assert [slice_of(worker["pid"]) for worker in tree["workers"]] == [SHORTEST, SHORTEST]
        assert slice_of(tree["controller"]) == LONGEST


@pytest.mark.chaos
async def test_a_killed_worker_costs_what_it_held_and_another_serves_within_two_seconds(tmp_path: Path) -> None:
    # A connection for each request: half of those that come after the death wait in the dead worker's queue, and are
    # answered only when the new worker takes it over.
    async with _house(tmp_path) as (understudy, url), Load(url, reuse=False) as load:
        worker = (await understudy.processes())["workers"][0]
        held, killed = load.in_flight(), asyncio.get_running_loop().time()
        os.kill(worker["pid"], signal.SIGKILL)
        allowed = max(2.0, 3 * await _start_of_python())  # measured while the new worker starts, on the same cores
        await load.more(800)
        assert (await understudy.processes())["workers"][0]["pid"] != worker["pid"]
    assert _lost(load) <= held
    assert max(seen.seconds for seen in load.seen if seen.due > killed) < allowed


async def _drains(url: str) -> None:
    """Wait until a worker says with an answer that its connections end."""
    async with asyncio.timeout(30), aiohttp.ClientSession() as session:
        while True:
            async with session.get(f"{url}/nowhere") as answer:
                if answer.headers.get("connection") == "close":
                    return


@pytest.mark.chaos
async def test_sigterm_under_load_finishes_what_is_in_flight_and_exits_0(tmp_path: Path) -> None:
    live, good = FakeModel("live"), FakeModel("good")
    for model in (live, good):
        await model.start()
    config = {
        "server": {"listen": "127.0.0.1:0", "workers": 2, "timeouts": {"drain_delay": "0s"}},
        "upstreams": {"live": {"url": live.url}, "good": {"url": good.url}},
        "routes": [route("r", "live", "good", [{"canary": "20%"}], guards=GUARDS)],
    }
    async with running(tmp_path, config) as understudy:
        async with Load(f"{understudy.data_url}/r/infer") as load:
            await load.more(100)
            live.mood = good.mood = Mood("hold")
            await load.until(lambda: len(live.held | good.held) >= 20)
            load.stop()
            await load.until(lambda: len(live.held | good.held) == len(load.in_flight()))
            in_flight = load.in_flight()
            understudy.process.send_signal(signal.SIGTERM)
            await _drains(understudy.data_url)
            assert load.in_flight() == in_flight
            for model in (live, good):
                model.released.set()
        async with asyncio.timeout(30):
            assert await understudy.process.wait() == 0, understudy.output
    for model in (live, good):
        await model.stop()
    assert not load.in_flight()
    assert load.problems() == []


@pytest.mark.chaos
async def test_reloads_under_load_cost_no_request(tmp_path: Path) -> None:
    """Each gives both upstreams new connections and the route a new name: what is in hand ends where it began."""
    async with _house(tmp_path) as (understudy, url), Load(url) as load:
        await load.more(100)
        for number in range(8):
            whole = yaml.safe_load(understudy.config.read_text())
            for upstream in whole["upstreams"].values():
                upstream["timeout"] = f"{20 + number}s"
            whole["routes"][0]["name"] = f"r{number}"
            understudy.config.write_text(yaml.safe_dump(whole))
            await understudy.api("/-/reload", {})
            await load.more(50)
            assert (await understudy.rollout(f"r{number}/good"))["name"] == f"r{number}/good"
    assert load.problems() == []


async def test_a_bad_configuration_is_refused_with_every_mistake_and_starts_nothing(tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text(
        "sever: {listen: 127.0.0.1:0}\n"
        "admin: {listen: 127.0.0.1:0}\n"
        "upstreams:\n"
        "  credit-v1: {url: http://127.0.0.1:9001, timeout: 2x}\n"
        "  credit-v2: {url: http://127.0.0.1:9002}\n"
        "routes:\n"
        "  - name: credit\n"
        "    live: credit-v1\n"
        "    rollouts:\n"
        "      - candidate: credit-v3\n"
        "        stages: [{canary: 5%}]\n"
        "        guards: {max_disagrement: 2%}\n"
    )
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "proxy", "serve", "--config", str(tmp_path / "bad.yaml")),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said = (await asyncio.wait_for(process.communicate(), 30))[0].decode()
    assert process.returncode == 2
    for path, spelling in {
        "sever": "server",
        "upstreams.credit-v1.timeout": "2x",
        "routes[0].rollouts[0].candidate": "credit-v2",
        "routes[0].rollouts[0].guards.max_disagrement": "max_disagreement",
    }.items():
        line = next((line for line in said.splitlines() if path in line), "")
        assert spelling in line, said
    assert '"event"' not in said, "something was started"


async def test_a_worker_may_open_as_many_files_as_the_system_lets_it(tmp_path: Path) -> None:
    """Most shells and systemd give 1,024 unless asked, and `max_connections` is 10,000."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(1024, hard), hard))
    try:
        async with _house(tmp_path) as (understudy, _):
            worker = (await understudy.processes())["workers"][0]["pid"]
            assert resource.prlimit(worker, resource.RLIMIT_NOFILE) == (hard, hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
