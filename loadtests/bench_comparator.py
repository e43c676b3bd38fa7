"""What the comparator costs, and how it compares: `python -m loadtests.bench_comparator [--peers]`.

Measures, in CPU time of this process (so that a busy machine disturbs little):
- µs per pair at micro-batches of 1, 8, 32, 128, 512: the statistics alone (columns to counts, for score + label +
  latency + error guards), the evidence (readings to counts), and all of it from the bytes of two V2 JSON answers;
- the evidence with latency by blocks of 0.1 s, at two rates;
- time of one verdict and memory, with 10 guards and 20 segments;
- on the same streams in the same run, false alarms and delay against river's ADWIN, KSWIN and PageHinkley and against
  the naive rules that most canary tools use (`--peers`; needs `pip install river`).

Writes a table to standard output, in Markdown.
"""

from __future__ import annotations

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # before numpy: its threads only spin on products this small

import argparse
import gc
import platform
import time
import tracemalloc
from collections.abc import Callable

import numpy as np
import orjson

from proxy.evidence import Evidence
from proxy.evidence.count_store import CountStore
from proxy.evidence.families.rule import Context
from proxy.evidence.input.batch import Batch, columns
from proxy.evidence.input.measures import measure, metric_of
from proxy.evidence.process.budget import pool
from proxy.evidence.rules.registry import layout, measures_of_rules
from proxy.model import Arm, Guard, Kind, Outcome, Pair, Plan, PredictionSpec, Reading
from proxy.predictions import PairReader
from tests.evidence.streams import ALL_GUARDS, cut, make_plan, score_stream, segments

SIZES = (1, 8, 32, 128, 512)
FOUR = (
    Guard("max_mean_shift", 0.01),
    Guard("max_disagreement", 0.02),
    Guard("p99_latency", 0.25),
    Guard("max_extra_errors", 0.002),
)
"""One guard each on score, label, latency and error."""


def timed(work: Callable[[], object], least: float = 0.4) -> float:
    """CPU seconds of one call: the best of several rounds, each at least this long altogether."""
    best, spent = float("inf"), 0.0
    gc.disable()
    while spent < least or best == float("inf"):
        start = time.process_time()
        work()
        took = time.process_time() - start
        best, spent = min(best, took), spent + took
    gc.enable()
    return best


def statistics_alone(plan: Plan, size: int, pairs: int) -> float:
    """µs per pair from columns to counts."""
    readings = score_stream(pairs, seed=1)
    slots = layout(plan.guards, Context(Kind.SCORE, plan.prediction), 1)
    tally, metric, wanted = CountStore.empty(slots, 0), metric_of(Kind.SCORE, 0.0, 1.0), measures_of_rules(slots)
    batches: list[Batch] = []
    for part in cut(readings, (size,)):
        yes = np.ones(len(part), bool)
        batch = columns(dict(zip(Reading._fields, zip(*part, strict=True), strict=True)), 1, yes, yes)
        batch.measures = measure(part, Kind.SCORE, metric, np.zeros(len(part)), None, wanted)
        batches.append(batch)
    current = [np.ones(batch.size, bool) for batch in batches]

    def work() -> None:
        for batch, now in zip(batches, current, strict=True):
            tally.count(batch, now, None)

    return timed(work) / pairs * 1e6


def evidence(plan: Plan, size: int, pairs: int, rate: float = 1.0) -> float:
    """µs per pair from readings to counts, of `rate` requests a second."""
    batches = cut([r._replace(time=r.time / rate) for r in score_stream(pairs, seed=2)], (size,))

    def work() -> None:
        gathered = Evidence.begin(plan, 1)
        for batch in batches:
            gathered.add(batch)

    return timed(work) / pairs * 1e6


def v2_answer(score: float) -> bytes:
    """A V2 JSON answer of about 300 bytes."""
    body = {
        "model_name": "credit",
        "model_version": "2026-11-20",
        "id": "7d9f8a52-1c3e-4f6b-9c1d-2f3a4b5c6d7e",
        "parameters": {"content_type": "np", "headers": {"ce-source": "ai.seldon"}},
        "outputs": [{"name": "predict", "shape": [1, 1], "datatype": "FP64", "data": [score]}],
    }
    return orjson.dumps(body)


def pairs_of(count: int) -> list[Pair]:
    """Pairs as a worker hands them over."""
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 300\r\n\r\n"
    request = b"POST /v2/models/credit/infer HTTP/1.1\r\nhost: h\r\ncontent-type: application/json\r\n\r\n"
    found = []
    for i, reading in enumerate(score_stream(count, seed=3)):
        rows = [p.rows[0] for p in (reading.live, reading.candidate) if p is not None]
        live, candidate = (Outcome(200, head=head, body=v2_answer(score), seconds=0.01, first=0.009) for score in rows)
        body = orjson.dumps(
            {"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP64", "data": [i, 1.0, 2.0, 3.0]}]}
        )
        found.append(Pair("t", 0, "w", i, f"r{i}", float(i), Arm.LIVE, request, body, live, candidate))
    return found


def end_to_end(plan: Plan, size: int, count: int) -> float:
    """µs per pair from two answers' bytes to counts."""
    batches, reader = cut(pairs_of(count), (size,)), PairReader(plan.prediction)

    def work() -> None:
        gathered = Evidence.begin(plan, 1)
        for batch in batches:
            gathered.add([reader.read(pair) for pair in batch])

    return timed(work) / count * 1e6


def costs() -> None:
    """The table of costs; four guards but where ten are named."""
    spec = PredictionSpec(protocol="v2", kind=Kind.SCORE, output="predict")
    four, ten = make_plan(*FOUR, prediction=spec), make_plan(*ALL_GUARDS, segments=segments(20), prediction=spec)
    blocks = make_plan(*ALL_GUARDS, prediction=spec, latency_block=0.1)
    print("| micro-batch | statistics | evidence | with decoding | evidence, 10 guards, 20 segments |", end="")
    print(" 10 guards, latency by blocks, 500 pairs/s | 10,000 pairs/s |\n" + "|---" * 7 + "|")
    for size in SIZES:
        n = max(1024, size * 8) if size > 1 else 1024
        row = (
            statistics_alone(four, size, n),
            evidence(four, size, n),
            end_to_end(four, size, n),
            evidence(ten, size, n),
            *(evidence(blocks, size, max(n, 4096), rate) for rate in (500, 10_000)),
        )
        print(f"| {size} | " + " | ".join(f"{us:.2f} µs" for us in row) + " |", flush=True)
    print(f"\nOne V2 answer: {len(v2_answer(0.123456789))} bytes.\n")
    verdicts(ten)


def verdicts(plan: Plan) -> None:
    """Time of a verdict, size of a snapshot, memory."""
    stream = [r._replace(segment=f"t{i % 30}") for i, r in enumerate(score_stream(4000, seed=4))]
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    gathered = Evidence.begin(plan, 1)
    for batch in cut(stream, (128,)):
        gathered.add(batch)
    after_4000 = tracemalloc.get_traced_memory()[0] - before
    for batch in cut([r._replace(request_hash=-1 - r.request_hash) for r in stream * 4], (128,)):
        gathered.add(batch)
    after_20000 = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    whole = timed(lambda: gathered.assess(100.0)) * 1e3
    look = timed(gathered.log_e) * 1e3
    dump = timed(gathered.dump) * 1e3
    print("| 10 guards, 20 segments | |\n|---|---|")
    print(f"| memory after 4,000 / 20,000 pairs | {after_4000 / 2**20:.2f} / {after_20000 / 2**20:.2f} MiB |")
    print(f"| of which counts | {gathered.nbytes / 2**20:.2f} MiB |")
    print(f"| evidence of all guards and segments | {look:.1f} ms |")
    print(f"| a verdict with all {len(gathered.assess(100.0).findings)} findings | {whole:.1f} ms |")
    print(f"| a snapshot | {dump:.1f} ms, {len(gathered.dump()) / 1024:.0f} KiB |\n")


# --- peers -----------------------------------------------------------------------------------------------------------

RUNS, PAIRS = 20, 5_000


def our_alarm(live: np.ndarray, candidate: np.ndarray, seed: int) -> float:
    """Pairs until the comparator fails the candidate: mean shift and KS, the documented limits; infinite for never."""
    plan = make_plan(Guard("max_mean_shift", 0.01), Guard("max_ks", 0.05))
    gathered = Evidence.begin(plan, seed)
    base = score_stream(1, 0)[0]
    for at in range(0, len(live), 100):
        gathered.add(
            [
                base._replace(
                    sequence=i,
                    request_hash=i,
                    time=float(i),
                    live=base.live.__class__(Kind.SCORE, (float(live[i]),)),  # type: ignore[union-attr]
                    candidate=base.live.__class__(Kind.SCORE, (float(candidate[i]),)),  # type: ignore[union-attr]
                )
                for i in range(at, at + 100)
            ]
        )
        if pool(gathered.log_e(), [0.5, 0.5], 0.01).crossed:
            return at + 100.0
    return float("inf")


def naive(rule: str, live: np.ndarray, candidate: np.ndarray) -> float:
    """Pairs until a rule as it is usually written fires."""
    from scipy import stats

    edges = np.quantile(live[:500], np.arange(1, 10) / 10)
    for end in range(200, len(live) + 1, 200):
        window = slice(end - 200, end)
        a, b, d = live[window], candidate[window], candidate[:end] - live[:end]
        if rule == "PSI > 0.2 on windows of 200":
            p, q = ((np.bincount(np.searchsorted(edges, x), minlength=10) + 0.5) / 205 for x in (a, b))
            fired = float(((q - p) * np.log(q / p)).sum()) > 0.2
        elif rule == "KS p < 0.01, windows of 200":
            fired = stats.ks_2samp(a, b).pvalue < 0.01
        else:
            fired = abs(d.mean()) > stats.t.ppf(0.995, end - 1) * d.std(ddof=1) / np.sqrt(end)
        if fired:
            return float(end)
    return float("inf")


def river_alarm(name: str, live: np.ndarray, candidate: np.ndarray) -> float:
    """Pairs until a drift detector with its defaults fires on the differences after the warm-up on live's own noise."""
    from river import drift

    detector = {"ADWIN": drift.ADWIN, "KSWIN": lambda: drift.KSWIN(seed=1), "PageHinkley": drift.PageHinkley}[name]()
    for i, value in enumerate(candidate if name == "KSWIN" else candidate - live):
        detector.update(float(value))
        if detector.drift_detected:
            return float(i + 1)
    return float("inf")


def peers() -> None:
    """The table of false alarms and delays, on the same streams."""
    from scipy import stats

    rules: dict[str, Callable[[np.ndarray, np.ndarray, int], float]] = {
        "Understudy: max_mean_shift 0.01 + max_ks 0.05": our_alarm,
        **{
            rule: lambda a, b, _s, rule=rule: naive(rule, a, b)
            for rule in ("PSI > 0.2 on windows of 200", "KS p < 0.01, windows of 200", "paired t, p < 0.01, cumulative")
        },
        **{
            f"river {name}, defaults": lambda a, b, _s, name=name: river_alarm(name, a, b)
            for name in ("ADWIN", "KSWIN", "PageHinkley")
        },
    }
    truths = {"equal, ρ 0": (0.0, 0.0), "equal, ρ 0.9": (0.9, 0.0), "shift 0.05, ρ 0.9": (0.9, 0.05)}
    print(f"| rule | {' | '.join(truths)} |\n|---|{'---|' * len(truths)}")
    for rule, alarm in rules.items():
        cells = []
        for rho, shift in truths.values():
            fired = []
            for run in range(RUNS):
                rng = np.random.default_rng([run, int(100 * rho)])
                a = rng.standard_normal(PAIRS)
                b = rho * a + np.sqrt(1 - rho**2) * rng.standard_normal(PAIRS)
                fired.append(alarm(stats.norm.cdf(a), np.clip(stats.norm.cdf(b) + shift, 0, 1), run))
            share, delay = float(np.isfinite(fired).mean()), float(np.median(fired))
            cells.append(f"{share:.0%}" + (f", median {delay:,.0f}" if np.isfinite(delay) and shift else ""))
        print(f"| {rule} | {' | '.join(cells)} |", flush=True)
    print(f"\nShare of {RUNS} runs of {PAIRS:,} pairs that raised an alarm; for equal models every alarm is false.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peers", action="store_true", help="compare with river and with naive rules (minutes)")
    arguments = parser.parse_args()
    print(
        f"{platform.machine()}, Python {platform.python_version()}, numpy {np.__version__}, CPU time, best of rounds\n"
    )
    costs()
    if arguments.peers:
        peers()


if __name__ == "__main__":
    main()
