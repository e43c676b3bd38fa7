"""Pairs of many sorts on their way into a rollout's evidence, the same at every run, and digests of what becomes of
them: `python -m tests.controller.same_pairs` writes these, by kind of traffic."""

from __future__ import annotations

import random
import sys
from hashlib import sha256
from pathlib import Path

import orjson

from loadtests import bench_controller, controller_pairs
from loadtests.bench_comparator import pairs_of
from proxy.config import parse
from proxy.controller.rollout_run import RolloutRun
from proxy.controller.sample_pairs import badness
from proxy.evidence import Evidence
from proxy.model import Arm, Outcome, Pair
from proxy.model.reasons import REASONS, Reason
from proxy.pairs.ledger import PairLedger
from proxy.rollout.machine import begin

PAIRS, KINDS = 600, 128
STATUSES = (200, 200, 302, 304, 401, 404, 408, 429, 500, 503, 0)
TYPES = (b"text/html", b"text/event-stream", b"application/grpc")


def answer(known: Outcome, rng: random.Random) -> Outcome:
    """An answer as it came, or another: failed, cut, garbled, of other numbers or another type."""
    chance, body = rng.random(), known.body
    if chance < 0.1:
        cut = body[: rng.randrange(len(body) + 1)]
        reason = rng.choice(REASONS) if rng.random() < 0.3 else Reason.NONE
        return Outcome(rng.choice(STATUSES), reason, known.head, cut)
    if chance < 0.15:
        return known._replace(body=bytes(byte ^ (rng.random() < 0.01) for byte in body))
    if chance < 0.3:
        part = rng.random()
        return known._replace(body=body.replace(b"0.25", b"%r" % part).replace(b"0.75", b"%r" % (1.0 - part)))
    if chance < 0.33:
        return known._replace(head=known.head.replace(b"application/json", rng.choice(TYPES)))
    return known


def numbered(pair: Pair, trial: str, number: int, rng: random.Random) -> Pair:
    """One of these pairs in its place."""
    live, candidate = (answer(one, rng) for one in (pair.live, pair.candidate))
    seconds = rng.lognormvariate(-4.0, 0.4)
    if not live.reason:
        live = live._replace(seconds=seconds, first=seconds * 0.9)
    if not candidate.reason:
        candidate = candidate._replace(seconds=seconds * 1.1, first=seconds)
    return pair._replace(
        trial=trial, sequence=number, id=f"r{number}", time=1e9 + number * 0.01, live=live, candidate=candidate,
        served=rng.choice(tuple(Arm)), latency_slot=rng.random() < 0.9, again=live if rng.random() < 0.05 else None,
    )  # fmt: skip


def digest(workload: str) -> str:
    """Of readings, how bad they are, the evidence, what it says and the pairs that are kept."""
    config, maker, _ = bench_controller.WORKLOADS[workload]
    (plan,) = parse(config or bench_controller.CONFIG, directory=Path()).plans.values()
    run = RolloutRun(plan, begin(plan, 1000.0)[0], Evidence.begin(plan, 7), PairLedger())
    known = getattr(controller_pairs, maker, pairs_of)(KINDS)
    rng, seen = random.Random(workload), sha256()
    for number in range(PAIRS):
        pair = numbered(rng.choice(known), plan.trial, number, rng)
        reading = run.reader.read(pair)
        *_, in_steps = run.reader.steps(pair)
        seen.update(repr((reading, in_steps, run.reader.is_short(pair), badness(reading))).encode())
        run.place(pair, reading)
        if number % 100 == 99:
            run.flush()
    kept = [run.sample_pairs.shown(order, 50, ()) for order in ("worst", "latest")]
    seen.update(repr((run.evidence.dump(), run.evidence.assess(100.0), kept, run.ledger, run.failed)).encode())
    return seen.hexdigest()


def digests() -> dict[str, str]:
    """Of each workload of `bench_controller`."""
    return {workload: digest(workload) for workload in bench_controller.WORKLOADS}


if __name__ == "__main__":
    sys.stdout.buffer.write(orjson.dumps(digests()))
