"""Many rollouts of one controller, each fed its own stream of pairs over the workers' links: for tests of what a whole
controller decides how often."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

import orjson

from proxy.controller.controller import Controller
from proxy.controller.readings import EACH, FULL
from proxy.controller.rollout_run import RolloutRun
from proxy.model import Arm, Outcome, Pair, State
from proxy.pairs import link
from proxy.pairs.link import Frame
from tests.controller.controllers import eventually, running
from tests.controller.worker import OK, FakeWorker

CONFIG = """
  - name: rN
    live: l
    match: {path: /N}
    prediction: {protocol: v2, output: y, PREDICTION}
    rollouts:
      - candidate: c
        stages: [{shadow: 100%, min_pairs: LEAST}, {canary: 50%, min_pairs: 100000000}]
        PLAN
        guards: {GUARDS}
"""


BATCH = FULL // EACH
"""Requests told of at a time: those of a micro-batch of one value each."""


@dataclass(frozen=True)
class Said:
    """One request as a test has it: both answers and their seconds, the body's number, the user, who served it; which
    worker had it, and after how many later requests its pair is told."""

    live: float
    candidate: float
    body: int
    live_seconds: float = 0.01
    seconds: float = 0.01
    user: int = 0
    served: Arm = Arm.LIVE
    hedged: bool = False
    worker: int = 0
    late: int = 0
    truth: float | None = None
    truth_late: int = 0


@dataclass(frozen=True)
class Traffic:
    """What a rollout is asked: its guards and more of its plan, as YAML; requests a second; a stream for each seed."""

    guards: str
    stream: Callable[[int], Sequence[Said]]
    prediction: str = "kind: label"
    plan: str = "fallback: auto"
    rate: float = 100.0
    workers: int = 1
    min_pairs: int = 1


@dataclass
class Decided:
    """How many rollouts a controller rolled back and took further; of each how many requests had come by its end,
    and what the findings say."""

    rolled_back: int = 0
    advanced: int = 0
    asked: list[int] = field(default_factory=list)
    reasons: list[list[str]] = field(default_factory=list)


def text_of(traffic: Traffic, count: int) -> str:
    text = 'upstreams: {l: {url: "http://127.0.0.1:1"}, c: {url: "http://127.0.0.1:2", version: "1"}}\nroutes:'
    rollout = CONFIG.replace("PREDICTION", traffic.prediction).replace("PLAN", traffic.plan)
    rollout = rollout.replace("GUARDS", traffic.guards).replace("LEAST", str(traffic.min_pairs))
    return text + "".join(rollout.replace("rN", f"r{n}").replace("/N", f"/{n}") for n in range(count)) + "\n"


def outcome(value: float, seconds: float) -> Outcome:
    datatype = "INT64" if isinstance(value, int) else "FP64"
    body = orjson.dumps({"outputs": [{"name": "y", "datatype": datatype, "shape": [1], "data": [value]}]})
    return Outcome(200, head=OK, body=body, seconds=seconds, first=seconds)


class Feeder:
    """One rollout's requests on their way: frames by worker, in the order in which workers tell of them."""

    def __init__(self, number: int, trial: str, traffic: Traffic, seed: int) -> None:
        self.number, self.trial, self.rate = number, trial, traffic.rate
        self.said = traffic.stream(seed)
        sequences, told = [0] * traffic.workers, list[tuple[int, int, bytes]]()
        for at, one in enumerate(self.said):
            told.append((at + one.late, one.worker, self._frame(at, one, sequences[one.worker])))
            sequences[one.worker] += 1
        self.told = sorted(told, key=lambda frame: frame[0])
        truths = ((at + one.truth_late, at, one.truth) for at, one in enumerate(self.said) if one.truth is not None)
        self.truths = sorted(truths)
        self.sent = 0

    def _frame(self, at: int, one: Said, sequence: int) -> bytes:
        head = b"POST /%d HTTP/1.1\r\nhost: x\r\nx-user: u%d\r\n\r\n" % (self.number, one.user)
        live, candidate = outcome(one.live, one.live_seconds), outcome(one.candidate, one.seconds)
        worker, name, body = f"w{one.worker}", f"{self.number}-{at}", b"%d" % one.body
        pair = Pair(
            self.trial, 0, worker, sequence, name, 1000.0 + at / self.rate, one.served, head, body, live, candidate
        )
        return link.encode_pair(pair._replace(latency_slot=True, hedged=one.hedged), self.number)

    def next(self, workers: Sequence[FakeWorker], run: RolloutRun) -> int:
        """Tell of the next requests, and the truths that have come by then; how many there were."""
        part = self.told[self.sent : self.sent + BATCH]
        self.sent += len(part)
        for number, worker in enumerate(workers):
            worker.say(b"".join(frame for _, who, frame in part if who == number))
        return len(part)

    def tell_truths(self, run: RolloutRun) -> None:
        while self.truths and (self.truths[0][0] < self.sent or self.sent == len(self.told)):
            _, at, truth = self.truths.pop(0)
            run.outcome(f"{self.number}-{at}", truth)


async def decided(folder: Path, traffic: Traffic, seeds: Sequence[int]) -> Decided:
    """What one controller decides of as many rollouts as there are seeds."""
    async with AsyncExitStack() as stack:
        controller = await stack.enter_async_context(running(folder, text_of(traffic, len(seeds))))
        runs = [controller.trials[f"r{n}/c"] for n in range(len(seeds))]
        workers = [await FakeWorker(folder, slot, f"w{slot}", slot + 1).connect() for slot in range(traffic.workers)]
        for worker in workers:
            stack.callback(worker.disconnect)
            for n, run in enumerate(runs):
                worker.say(link.note(Frame.TRIAL, {"index": n, "trial": run.plan.trial}))
        feeders = [
            Feeder(n, run.plan.trial, traffic, seed) for n, (run, seed) in enumerate(zip(runs, seeds, strict=True))
        ]
        while any(
            [await one_round(controller, feeder, workers, run) for feeder, run in zip(feeders, runs, strict=True)]
        ):
            pass
        for run in runs:
            await controller.executor.settled(run)  # a step up is saved before it is taken
        return judged(runs, feeders)


async def one_round(controller: Controller, feeder: Feeder, workers: Sequence[FakeWorker], run: RolloutRun) -> bool:
    """The next requests of a rollout, until the controller has them all; whether there were any."""
    if run.rollout.over or not feeder.next(workers, run):
        return False
    await eventually(lambda: run.rollout.over or arrived(run) >= feeder.sent)
    run.flush()
    feeder.tell_truths(run)
    controller.look(run)
    await asyncio.sleep(0)
    return True


def arrived(run: RolloutRun) -> int:
    return sum(run.pair_ledger.account(worker).arrived for worker in run.pair_ledger.workers)


def judged(runs: Sequence[RolloutRun], feeders: Sequence[Feeder]) -> Decided:
    found = Decided(asked=[feeder.sent for feeder in feeders])
    for run in runs:
        found.rolled_back += run.rollout.state is State.ROLLED_BACK
        found.advanced += run.rollout.entry > 0 and run.rollout.state is not State.ROLLED_BACK
        looked = run.looked
        found.reasons.append([one.reason for one in looked.assessment.findings] if looked is not None else [])
    return found
