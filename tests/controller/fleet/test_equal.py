"""Promise: eight replicas of one worker each come to the verdict, the findings and the counts, to the bit, of one
process that saw the same pairs in the same order; and where nothing depends on who came first, in any order.

What the order of arrival over workers decides, in a fleet as in one process with as many workers: which of two equal
bodies is the repeat, which pairs are a stage's warm-up, which of live's answers the reference is learned from, before
which pair a restart begins, what is a burst, in which block a pair counts that comes after its own has been closed,
and what is in a row for `consecutive_failures`. The order of one worker's pairs is that of its requests.
"""

from __future__ import annotations

import random
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from proxy.controller import rollout_registry
from proxy.controller.controller import Controller
from proxy.controller.fleet.links import Links, Peer
from proxy.controller.report import finding_json
from proxy.evidence import Evidence
from proxy.model import Ledger, Pair, Plan, Verdict
from tests.controller.controllers import NAME, config_text, eventually, running, trial_of
from tests.controller.fleet.replicas import Standby, authority, contexts, listening
from tests.controller.worker import FakeWorker, answer

REPLICAS, PAIRS, BLOCK = 8, 60, 10
# Blocks so long that a busy machine, on which a PING takes seconds, knows the clocks to a quarter of one.
LATENCY = "guards: {max_disagreement: 10%, p99_latency: 2x, max_extra_errors: 5%}"
LATENCY += f"\n        latency_block: {BLOCK}s\n        warmup: 5"
PLAIN = "guards: {max_disagreement: 10%, max_extra_errors: 5%}\n        latency_block: 0s"


def text(guards: str) -> str:
    """Of a rollout that stays where it is: a stage begins when a look says so, and not at a certain pair."""
    return (
        config_text()
        .replace("min_pairs: 100}", "min_pairs: 1000000}")
        .replace("guards: {max_disagreement: 10%}", guards)
    )


def clock_known(peer: Peer) -> bool:
    """Whether the pairs of a replica say something of latency by now: until its first PONG they do not, and are
    counted as `untimed`. Half of what is allowed, so that it lasts for as long as the test does."""
    return peer.clock.uncertainty(time.monotonic()) < BLOCK / 8


@asynccontextmanager
async def leader(folder: Path, guards: str) -> AsyncIterator[tuple[Controller, list[FakeWorker]]]:
    """A controller that leads eight standbys over TLS, each with a worker of its own."""
    names = [f"r{n}" for n in range(REPLICAS)]
    authority(folder, "leader", *names)
    (folder / "leader").mkdir()
    async with AsyncExitStack() as stack:
        one = await stack.enter_async_context(running(folder / "leader", text(guards)))
        one.connections.replica = "leader"
        links = Links(one.connections, lambda: ("leader", 1), contexts(folder, "leader").server)
        sock, address = listening()
        await links.start(sock)
        stack.push_async_callback(links.stop)
        workers = []
        for n, name in enumerate(names):
            standby = await Standby(folder / name, name, contexts(folder, name)).start()
            stack.push_async_callback(standby.relay.stop)
            standby.relay.follow(address, 1)
            await eventually(lambda standby=standby: standby.relay.leader is not None)
            worker = await FakeWorker(standby.folder).connect()
            worker.first_body = n * 10_000
            workers.append(worker)
        await eventually(lambda: sum(w.connected for w in one.connections.workers.values()) == REPLICAS)
        await eventually(lambda: all(clock_known(peer) for peer in links.peers.values()))
        yield one, workers
        for worker in workers:
            worker.disconnect()


async def send(one: Controller, workers: list[FakeWorker], seed: int) -> tuple[dict[tuple[str, int], Pair], list[Pair]]:
    """Pairs of all workers in some interleaving; what was sent by whom, and the order in which they came."""
    came, sent, rng, take = list[Pair](), dict[tuple[str, int], Pair](), random.Random(seed), one.on_pair

    def heard(pair: Pair) -> None:
        came.append(pair)
        take(pair)

    one.on_pair = heard
    turns = [n for n in range(REPLICAS) for _ in range(PAIRS)]
    rng.shuffle(turns)
    for n in turns:
        number = workers[n].sequence(trial_of(one))
        wrong = (n * PAIRS + number) % 40 == 0  # as it falls to the request, whenever it comes
        pair = workers[n].send(trial_of(one), answer(1), answer(2 if wrong else 1), slot=number % 2 == 0)
        sent[f"r{n}/w0", number] = pair._replace(worker=f"r{n}/w0")
        if rng.random() < 0.1:
            some = rng.randrange(len(sent))
            await eventually(lambda some=some: len(came) >= some)
    for worker in workers:
        worker.counts(trial_of(one))
    await eventually(lambda: one.trials[NAME].ledger.sampled == len(turns) and len(came) == len(turns))
    return sent, came


def judged(one: Controller) -> tuple[Verdict, float, list[dict[str, Any]], int, bytes, Ledger]:
    """Verdict, findings, counts and books."""
    run = one.trials[NAME]
    one.intake.finish()
    run.flush()
    looked = run.evidence.assess(None, 0, forecast=False)
    findings = [finding_json(finding, {}) for finding in looked.findings]
    return (
        looked.verdict,
        looked.budget_used,
        findings,
        run.evidence.compared,
        run.evidence.counts.tobytes(),
        run.ledger,
    )


@pytest.fixture(autouse=True)
def one_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    def fixed(plan: Plan) -> Evidence:
        return Evidence.begin(plan, 12345)

    monkeypatch.setattr(rollout_registry, "fresh_evidence", fixed)


async def test_eight_replicas_come_to_what_one_process_comes_to(tmp_path: Path) -> None:
    async with leader(tmp_path, LATENCY) as (fleet, workers):
        sent, came = await send(fleet, workers, seed=1)
        (tmp_path / "alone").mkdir()
        async with running(tmp_path / "alone", text(LATENCY)) as alone:
            for pair in came:
                alone.on_pair(sent[pair.worker, pair.sequence])
            for n in range(REPLICAS):
                report = {"ledger": {trial_of(alone): {"sampled": PAIRS, "sent": PAIRS}}}
                alone.on_counts(f"r{n}/w0", report)
            assert sum(fleet.connections.untimed.values()) == 0
            assert judged(fleet) == judged(alone)
            assert fleet.trials[NAME].evidence.dump() == alone.trials[NAME].evidence.dump()


async def test_in_any_order_where_nothing_depends_on_who_came_first(tmp_path: Path) -> None:
    found = []
    for seed in (2, 3):
        folder = tmp_path / str(seed)
        folder.mkdir()
        async with leader(folder, PLAIN) as (fleet, workers):
            _, came = await send(fleet, workers, seed)
            verdict, _, findings, *counts = judged(fleet)
            values = [(finding["guard"], finding["verdict"], finding["value"]) for finding in findings]
            found.append((verdict, values, counts, [(pair.worker, pair.sequence) for pair in came]))
    assert found[0][3] != found[1][3]
    assert found[0][:3] == found[1][:3]
