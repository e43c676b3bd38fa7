"""`python -m tests.calibration.peers [RUNS]`: how many pairs a verdict takes, beside other anytime-valid tests on the
very same streams; written to docs/power.md.

- ville 0.1: its betting and Bernoulli tests (Waudby-Smith and Ramdas), predictable bets instead of a fixed grid.
- Quantile sequences (Howard and Ramdas, arXiv 1906.09712): f(p) = 1.5 √(p(1−p) ℓ) + 0.8 ℓ, ℓ = (1.4 ln ln 2.1t +
  ln(10/α)) / t. A p99 ratio fails when the candidate's lower end exceeds the limit times live's upper end.
- Normal mixture (mSPRT) with the variance plugged in, from 100 pairs on: what many experimentation platforms use.

Everybody looks every 100 pairs, fails at 1 % and passes at 5 %, and is told in which direction to look.
"""

from __future__ import annotations

import datetime
import platform
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from proxy.evidence import Evidence
from proxy.evidence.families.mean import Mean
from proxy.evidence.families.rule import Rule
from proxy.evidence.process.normal import log_cdf
from proxy.model import Guard, Verdict
from tests.calibration import bounds, truths
from tests.calibration.cases import DIFFERS, ERRORS, MEDIAN, P99, SHIFT
from tests.calibration.harness import FAIL, LOOK, PASS, alone, first, together
from tests.calibration.outcome_peers import outcome_table
from tests.calibration.truths import Batch, Truth
from tests.evidence.streams import make_plan, make_reading

OUT = Path(__file__).parents[2] / "docs" / "power.md"
NUMBER = Mean("shift", -8.0, 8.0, two_sided=True)
Peer = Callable[[Batch], float]
"""Pairs until a verdict, at a look; infinite when it does not come."""


@dataclass(frozen=True)
class Duel:
    """One row: a truth, our rule at its limit, and the peers by name."""

    what: str
    guard: str
    rule: Rule
    limit: float
    truth: Truth
    fail: bool
    pairs: int
    peers: dict[str, Peer]


def at_looks(logs: np.ndarray, level: float) -> float:
    """The first look at which log evidence per pair, (n,), is at the level."""
    return first(logs[LOOK - 1 :: LOOK] >= level)


def bets(values: Callable[[Batch], np.ndarray], m: float, ends: tuple[float, float], *, fail: bool) -> Peer:
    """ville's betting test of a mean against `m`, upwards for a fail and downwards for a pass."""
    import ville

    def until(batch: Batch) -> float:
        test = ville.BettingTest(m, bounds=ends, alternative="greater" if fail else "less")
        test.fit(values(batch))
        return at_looks(np.asarray(test.log_e_values_), FAIL if fail else PASS)

    return until


def both(upper: Peer, lower: Peer) -> Peer:
    """A pass on both sides of a two-sided limit: not before either."""
    return lambda batch: max(upper(batch), lower(batch))


def beta(values: Callable[[Batch], np.ndarray], p: float) -> Peer:
    """ville's beta-binomial mixture against a rate of `p`."""
    import ville

    def until(batch: Batch) -> float:
        test = ville.BernoulliTest(p)
        test.fit(values(batch))
        return at_looks(np.asarray(test.log_e_values_), FAIL)

    return until


def mixture(values: Callable[[Batch], np.ndarray], m: float, *, fail: bool, rho2: float = 0.01) -> Peer:
    """A one-sided normal mixture with the variance so far in the place of the true one."""

    def until(batch: Batch) -> float:
        x, t = values(batch), np.arange(1, batch.size + 1)
        mean = np.cumsum(x) / t
        sd = np.sqrt(np.maximum(np.cumsum(x**2) / t - mean**2, 1e-12))
        spread = 1.0 + t * rho2
        z = (1.0 if fail else -1.0) * np.sqrt(rho2) * t * (mean - m) / (sd * np.sqrt(spread))
        logs = np.log(2.0) - 0.5 * np.log(spread) + 0.5 * z**2 + log_cdf(z)
        return at_looks(np.where(t >= 100, logs, 0.0), FAIL if fail else PASS)

    return until


def quantiles(limit: float, p: float, *, fail: bool) -> Peer:
    """Howard and Ramdas' sequences for the two arms' p-quantiles, half of the error rate each."""

    def until(batch: Batch) -> float:
        for t in range(LOOK, batch.size + 1, LOOK):
            alpha = 0.5 * (0.01 if fail else 0.05)
            rate = (1.4 * np.log(np.log(2.1 * t)) + np.log(10.0 / alpha)) / t
            width = 1.5 * np.sqrt(p * (1.0 - p) * rate) + 0.8 * rate
            if p + width >= 1.0:  # no upper end yet
                continue
            faster, slower = (batch.live_seconds, batch.seconds) if fail else (batch.seconds, batch.live_seconds)
            high, low = np.quantile(faster[:t], p + width), np.quantile(slower[:t], p - width)
            if (low > limit * high) if fail else (high < limit * low):
                return float(t)
        return float("inf")

    return until


def measure(name: str) -> Callable[[Batch], np.ndarray]:
    """A column of differences."""
    return lambda batch: batch.measures[name]


def failures(batch: Batch) -> np.ndarray:
    """1 where only the candidate failed, −1 where only live did."""
    return batch.failed.astype(float) - batch.live_broke.astype(float)


def beyond(limit: float) -> Callable[[Batch], np.ndarray]:
    """1 where the candidate takes more than so many times as long as live."""
    return lambda batch: (batch.seconds > limit * batch.live_seconds).astype(float)


def duels() -> list[Duel]:
    """The rows of docs/power.md."""
    differs, shift, one = measure("differs"), measure("shift"), (-1.0, 1.0)
    errors = "max_extra_errors: 0.2%"
    wide, half = (-8.0, 8.0), np.sqrt(2.0)

    def passing(m: float, ends: tuple[float, float]) -> dict[str, Peer]:
        def lower(batch: Batch) -> np.ndarray:
            return -shift(batch)

        sides = [bets(side, m, ends, fail=False) for side in (shift, lower)]
        mixed = [mixture(side, m, fail=False) for side in (shift, lower)]
        return {"ville": both(*sides), "normal mixture": both(*mixed)}

    def failing(m: float, ends: tuple[float, float]) -> dict[str, Peer]:
        return {"ville": bets(shift, m, ends, fail=True), "normal mixture": mixture(shift, m, fail=True)}

    rows: Sequence[tuple[str, str, Rule, float, Truth, bool, int, dict[str, Peer]]] = [
        ("5 % wrong", "max_disagreement: 2%", DIFFERS, 0.02, truths.events("differs", 0.05), True, 4000,
         {"ville": beta(differs, 0.02), "normal mixture": mixture(differs, 0.02, fail=True)}),
        ("shift 0.02", "max_mean_shift: 0.01", SHIFT, 0.01, truths.shifted(0.02, 0.09 * half), True, 12_000,
         failing(0.01, one)),
        ("shift 0", "max_mean_shift: 0.01", SHIFT, 0.01, truths.shifted(0.0, 0.09 * half), False, 12_000,
         passing(0.01, one)),
        ("number, shift 0.2", "max_mean_shift: 0.1", NUMBER, 0.1, truths.shifted(0.2, 0.2), True, 4000,
         failing(0.1, wide)),
        ("number, shift 0", "max_mean_shift: 0.1", NUMBER, 0.1, truths.shifted(0.0, 0.2), False, 4000,
         passing(0.1, wide)),
        ("errors + 1 point", errors, ERRORS, 0.002, truths.errors(0.01), True, 12_000,
         {"ville": bets(failures, 0.002, one, fail=True), "normal mixture": mixture(failures, 0.002, fail=True)}),
        ("errors equal, 0.1 %", errors, ERRORS, 0.002, truths.errors(0.0), False, 20_000,
         {"ville": bets(failures, 0.002, one, fail=False), "normal mixture": mixture(failures, 0.002, fail=False)}),
        ("errors at the limit", errors, ERRORS, 0.002, truths.errors(0.002, 0.0001), False, 20_000,
         {"ville": bets(failures, 0.002, one, fail=False), "normal mixture": mixture(failures, 0.002, fail=False)}),
        ("median × 1.5", "median_latency: 1.2x", MEDIAN, 1.2, truths.times(1.5), True, 2000,
         {"ville": bets(beyond(1.2), 0.5, (0.0, 1.0), fail=True), "quantiles": quantiles(1.2, 0.5, fail=True)}),
        ("p99 × 1.5, blocks", "p99_latency: 1.2x", P99, 1.2, truths.times(1.5), True, 20_000,
         {"quantiles": quantiles(1.2, 0.99, fail=True)}),
        ("p99 equal, blocks", "p99_latency: 1.2x", P99, 1.2, truths.times(), False, 20_000,
         {"quantiles": quantiles(1.2, 0.99, fail=False)}),
    ]  # fmt: skip
    return [Duel(*row) for row in rows]


def blocks_until(duel: Duel, run: int, most: int = 6000, look: int = 20) -> float:
    """Blocks of 100 ms until the verdict of `Evidence`, with ten pairs in each (100 requests/s)."""
    plan = make_plan(Guard("p99_latency", duel.limit, relative=True), latency_block=0.1)
    evidence, rng = Evidence.begin(plan, run), np.random.default_rng([52, run])
    for at in range(0, most, look):
        batch = duel.truth(rng, 10 * look)
        times = zip(batch.live_seconds.tolist(), batch.seconds.tolist(), strict=True)
        evidence.add(
            [
                make_reading(i, live_seconds=ours, seconds=theirs, time=1000.0 + i * 0.01)
                for i, (ours, theirs) in enumerate(times, 10 * at)
            ]
        )
        done = evidence.crossed() if duel.fail else evidence.assess(forecast=False).verdict is Verdict.PASS
        if done:
            return float(at + look)
    return float("inf")


def fought(duel: Duel, runs: int) -> dict[str, np.ndarray]:
    """Pairs until the verdict of each, (runs,): ours by itself, as shipped (restarts, bursts), and the peers."""
    if duel.rule is P99:
        ours = {"shipped": np.array([blocks_until(duel, run) for run in range(min(runs, 20))])}
        return ours | against(duel, runs)
    most = min(duel.pairs, 20_000)
    single = alone(duel.rule, duel.limit, duel.truth, most, runs, seed=51)
    found = {"bets": single.fails if duel.fail else single.passes}
    if duel.fail:
        whole = together([(Guard("one", duel.limit), duel.rule)], duel.truth, most, runs, seed=51)
        found["shipped"] = whole.fails
    return found | against(duel, runs)


def against(duel: Duel, runs: int) -> dict[str, np.ndarray]:
    """Pairs until the verdict of each peer, (runs,)."""
    rngs = [np.random.default_rng([51, run]) for run in range(runs)]
    batches = [duel.truth(rng, duel.pairs) for rng in rngs]
    return {name: np.array([peer(batch) for batch in batches]) for name, peer in duel.peers.items()}


HEAD = """# Pairs until a verdict, compared with other tests

Written by `python -m tests.calibration.peers`. Medians over {runs} runs of the same streams, a look every 100 pairs,
fail at 1 % and pass at 5 %. {machine}, {today}.

- *Bets*: the guard's own evidence at weight 1. *Shipped*: the same with restarts and burst size (a pass has neither).
- *ville*: ville 0.1, which bets on the mean with predictable stakes.
- *Quantiles*: confidence sequences for each arm's quantile (Howard and Ramdas).
- *Normal mixture*: mSPRT with the variance estimated so far.

| truth | guard | verdict | bets | shipped | ville | quantiles | normal mixture |
|---|---|---|---|---|---|---|---|
"""

TAIL = """
- A pass in the row *errors at the limit* is an error, and 5 % are allowed. Its figures are shares of ten times as many
  runs. The normal mixture passes at the first look if nobody has failed yet, because the estimated variance is then 0.
  It is fast in other rows partly for the same reason, and does not keep its error rate for small numbers of events.
- ville's stakes adapt to the data. Understudy's are a fixed grid, so that the evidence is a function of counts that can
  be merged, saved and judged again. The difference between the columns is what that costs or gains.
- A confidence sequence for one arm's p99 has no upper limit before about {sequences} pairs (p + f(p) < 1). Bets on
  pairs of the same request do not have this delay.
- The rows on p99 count blocks of 100 ms at 100 requests/s (600 per minute). Understudy uses all ten pairs of a
  block. The other tests require independent pairs and use one ([reason](statistics.md#latency-by-blocks)).
"""


def until_upper(p: float = 0.99, alpha: float = 0.005) -> int:
    """Pairs until a quantile sequence has an upper end."""
    t = 100
    while True:
        rate = (1.4 * np.log(np.log(2.1 * t)) + np.log(10.0 / alpha)) / t
        if p + 1.5 * np.sqrt(p * (1.0 - p) * rate) + 0.8 * rate < 1.0:
            return t
        t += 100


def row(duel: Duel, runs: int) -> str:
    """One line of the table."""
    share = duel.what.endswith("at the limit")
    found = fought(duel, 10 * runs if share else runs)

    def cell(name: str) -> str:
        if name not in found:
            return ""
        if share:
            return f"{np.isfinite(found[name]).mean():.0%}"
        median = float(np.median(found[name]))
        return f"{median:,.0f}" if np.isfinite(median) else f"> {duel.pairs:,}"

    verdict = "pass (share of runs)" if share else "fail" if duel.fail else "pass"
    cells = " | ".join(cell(name) for name in ("bets", "shipped", "ville", "quantiles", "normal mixture"))
    return f"| {duel.what} | `{duel.guard}` | {verdict} | {cells} |"


def main(runs: int) -> None:
    """Write the table."""
    lines = []
    for duel in duels():
        lines.append(row(duel, runs))
        print(lines[-1], flush=True)  # noqa: T201
    machine: Any = f"Python {platform.python_version()}, numpy {np.__version__}"
    head = HEAD.format(runs=runs, machine=machine, today=datetime.date.today())
    tail = TAIL.format(sequences=f"{until_upper():,}")
    OUT.write_text(head + "\n".join(lines) + "\n" + tail + outcome_table(runs) + bounds.table())


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 60)
