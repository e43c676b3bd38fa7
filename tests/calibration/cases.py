"""The rows of the calibration: a truth, a guard, what must come out. docs/statistics.md says why each is here.

A row gives a figure and whether it keeps its promise. Error rates must stay within their nominal value plus three
standard errors of the simulation; delays are medians and may be a quarter longer than their target.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import scipy
from scipy.special import ndtri

from proxy.evidence.families.mean import Mean
from proxy.evidence.families.projections import Projections
from proxy.evidence.families.rate import Rate
from proxy.evidence.families.ratio import Ratio
from proxy.evidence.families.rule import Rule
from proxy.evidence.families.slower import Slower
from proxy.evidence.rules.extra_errors import ExtraErrors
from proxy.evidence.rules.ks import Ks
from proxy.evidence.rules.psi import Psi
from proxy.evidence.rules.rate_increase import RateIncrease
from proxy.evidence.rules.response_mismatch import Mismatched
from proxy.evidence.rules.similarity import Similarity
from proxy.model import Guard
from tests.calibration import truths
from tests.calibration.harness import KEPT, alone, together
from tests.calibration.truths import NORMAL, UNIFORM, Truth

ALPHA, ALPHA_PASS = 0.01, 0.05
SLACK = 1.25


@dataclass(frozen=True)
class Row:
    """One line of the table. `default` is the figure with the default budget, where it says something."""

    truth: str
    guard: str
    target: str
    measured: str
    default: str
    ok: bool


Case = Callable[[float], Row]
"""A case takes the share of its full number of runs."""

DIFFERS = Rate("differs")
SHIFT = Mean("shift", -1.0, 1.0, two_sided=True)
NUMBER = Mean("shift", -8.0, 8.0, two_sided=True)
KS_N, KS_U = Ks(NORMAL.thresholds, 1 / 32), Ks(UNIFORM.thresholds, 1 / 32)
PSI = Psi(UNIFORM.edges, 0.1)
BIG = Rate("jump", above=0.3)
P99 = Ratio.at("whole", 1.2, 0.01)
MEDIAN = Slower.at("whole", 1.2, 0.5, relative=True)
ERRORS = ExtraErrors()
MISMATCH = Mismatched()
INCREASE = RateIncrease()

DEFAULTS: list[tuple[Guard, Rule]] = [
    (Guard("max_disagreement", 0.02), DIFFERS),
    (Guard("max_mean_shift", 0.01), SHIFT),
    (Guard("max_ks", 0.05), KS_U),
    (Guard("max_psi", 0.2), PSI),
    (Guard("max_big_change", 0.005, tolerance=0.3), BIG),
    (Guard("p99_latency", 1.2, relative=True), P99),
    (Guard("median_latency", 1.2, relative=True), MEDIAN),
    (Guard("max_extra_errors", 0.002), ERRORS),
]
"""The eight guards of the documented example."""


IDLE = Rate("excess_differs")
"""A guard that has nothing to say about the truth at hand, but has its share of the budget."""


def most(rate: float, n: int) -> float:
    """The largest share of n runs that keeps a promise: the rate and three standard errors."""
    return float(rate + 3 * np.sqrt(rate * (1 - rate) / n))


def share_of(count: int, n: int) -> str:
    """A share with its 95 % interval (Clopper and Pearson)."""
    low = scipy.stats.beta.ppf(0.025, count, n - count + 1) if count else 0.0
    high = scipy.stats.beta.ppf(0.975, count + 1, n - count) if count < n else 1.0
    return f"{count / n:.2%} ({low:.2%} – {high:.2%})"


def runs_of(full: int, share: float, least: int = 2) -> int:
    return max(least, round(full * share))


# --- at the limit ----------------------------------------------------------------------------------------------------


def at_limit(name: str, rule: Rule, limit: float, truth: Truth, runs: int = 2000, pairs: int = 20_000) -> Case:
    """Exactly at the limit, 200 looks: a FAIL at most α of the time, a PASS at most α_pass."""

    def case(share: float) -> Row:
        n = runs_of(runs, share)
        found = alone(rule, limit, truth, pairs, n, seed=11)
        most_fail, most_pass = most(ALPHA, n), most(ALPHA_PASS, n)
        ok = found.fail_rate <= most_fail and found.pass_rate <= most_pass
        fails, passes = (share_of(round(rate * n), n) for rate in (found.fail_rate, found.pass_rate))
        measured = f"fail {fails}, pass {passes} of {n} runs"
        return Row("at the limit exactly", name, f"fail ≤ {most_fail:.2%}, pass ≤ {most_pass:.2%}", measured, "", ok)

    return case


def limits() -> Iterator[Case]:
    """Every guard at its limit."""
    yield at_limit("max_disagreement: 2%", DIFFERS, 0.02, truths.events("differs", 0.02))
    yield at_limit("max_mean_shift: 0.01 (above)", SHIFT, 0.01, truths.shifted(0.01))
    yield at_limit("max_mean_shift: 0.01 (below)", SHIFT, 0.01, truths.shifted(-0.01))
    yield at_limit("max_mean_shift of numbers: 0.1", NUMBER, 0.1, truths.shifted(0.1, 0.2, reach=8.0), runs=400)
    yield at_limit("max_mean_shift of vectors: 0.1", Projections(), 0.1, truths.projected(0.1))
    yield at_limit("max_ks: 0.05", KS_U, 0.05, truths.crossing(0.05))
    yield at_limit("max_psi: 0.2", PSI, 0.2, truths.psi_of(0.2))
    for limit in (0.1, 0.2):
        emptied = truths.psi_of(limit, truths.emptied, paired=True)
        yield at_limit(f"max_psi: {limit:g}, one bin emptied", PSI, limit, emptied)
        yield at_limit(f"max_psi: {limit:g}, paired", PSI, limit, truths.psi_of(limit, paired=True))
    for who, of in (("100 users, 2 wrong", truths.always_there(100, 2)), ("20 each", truths.sessions(20, 1, 0.02))):
        yield at_limit(f"max_disagreement: 2%, cluster_by, {who}", DIFFERS, 0.02, of, runs=400)
    yield at_limit("max_big_change: {0.3, 0.5%}", BIG, 0.005, truths.jumps(0.005))
    spread = Mean("spread", -8.0, 8.0, two_sided=True)
    yield at_limit("max_spread_change: 0.1", spread, 0.1, truths.shifted(0.1, 0.2, "spread"))
    near = Similarity("distance", 0.0, 1.0, two_sided=False)
    yield at_limit("min_similarity: 0.9", near, 0.9, truths.events("distance", 0.1))
    excess = Mean("excess_differs", -1.0, 1.0, two_sided=False)
    yield at_limit("max_disagreement, noise floor", excess, 0.02, truths.shifted(0.02, 0.2, "excess_differs"))
    quality = Mean("excess", -1.0, 1.0, two_sided=False)
    yield at_limit("max_quality_drop: 0.02", quality, 0.02, truths.shifted(0.02, 0.3, "excess"))
    yield at_limit("p99_latency: 1.2x", P99, 1.2, truths.times(1.2), runs=1000)
    yield at_limit("median_latency: 1.2x", MEDIAN, 1.2, truths.times(1.2))
    for at in (0.9, 0.95, 0.99):
        hedged = truths.hedged(at, 1.2)
        yield at_limit(f"p99_latency: 1.2x, hedged at live's p{100 * at:.0f}", P99, 1.2, hedged, runs=400)
        yield at_limit(f"median_latency: 1.2x, hedged at live's p{100 * at:.0f}", MEDIAN, 1.2, hedged, runs=400)
    limit = float(np.exp(-4.0 + ndtri(0.99) * np.hypot(0.5, 0.3)))
    yield at_limit("p99_latency, absolute", Slower.at("whole", limit, 0.01, relative=False), limit, truths.times())
    yield at_limit("max_extra_errors: 0.2%", ERRORS, 0.002, truths.errors(0.002))
    yield at_limit("max_response_mismatch: 1%", MISMATCH, 0.01, truths.mismatches(0.01))
    for base in (0.001, 0.3):
        of = truths.more_often(0.005, base)
        yield at_limit(f"max_rate_increase: 0.5%, {100 * base:g} % have it", INCREASE, 0.005, of)


# --- how long it takes -----------------------------------------------------------------------------------------------


def delay(
    what: str,
    name: str,
    rule: Rule,
    limit: float,
    truth: Truth,
    *,
    fail: int = 0,
    pass_: int = 0,
    runs: int = 300,
    slack: float = SLACK,
) -> Case:
    """Median pairs until the verdict; the other verdict never in more than its error rate of the runs."""
    target, side = (fail, "fail") if fail else (pass_, "pass")
    pairs = max(3000, 4 * target)

    def case(share: float) -> Row:
        n = runs_of(runs, share)
        found = alone(rule, limit, truth, pairs, n, seed=12)
        median, wrong = (found.fail_median, found.pass_rate) if fail else (found.pass_median, found.fail_rate)
        ok = median <= slack * target and wrong <= (ALPHA_PASS if fail else ALPHA) + 3 / np.sqrt(n) * 0.22
        budget = ""
        if fail:
            own = name.split(":")[0]
            guards = [(g, rule if g.name == own else IDLE) for g, _ in DEFAULTS]
            if own not in {g.name for g, _ in DEFAULTS}:  # in the place of one that has nothing to say either
                guards[0] = (Guard(own, limit), rule)
            whole = together(guards, truth, min(pairs, KEPT), max(2, n // 6), seed=13)
            budget = f"{side} {whole.fail_median:,.0f}"
        goal = f"{side} by {target:,}" + (" *" if slack > SLACK else "")
        return Row(what, name, goal, f"{side} {median:,.0f} ({n} runs)", budget, ok)

    return case


def delays() -> Iterator[Case]:
    """Medians until the verdict."""
    name = "max_disagreement: 2%"
    yield delay("0.5 % differ", name, DIFFERS, 0.02, truths.events("differs", 0.005), pass_=500)
    yield delay("1 % differ", name, DIFFERS, 0.02, truths.events("differs", 0.01), pass_=1200)
    yield delay("3 % differ", name, DIFFERS, 0.02, truths.events("differs", 0.03), fail=2700)
    yield delay("5 % differ", name, DIFFERS, 0.02, truths.events("differs", 0.05), fail=400)
    clustered = "max_disagreement: 2%, cluster_by"
    yield delay("100 users, none wrong", clustered, DIFFERS, 0.02, truths.always_there(100, 0), pass_=3000, runs=100)
    yield delay("5 of 100 users wrong", clustered, DIFFERS, 0.02, truths.always_there(100, 5), fail=5700, runs=100)
    name = "max_mean_shift: 0.01"
    yield delay("shift 0.02, ρ 0.9", name, SHIFT, 0.01, truths.scores(0.02), fail=2800)
    yield delay("shift 0.05, ρ 0.9", name, SHIFT, 0.01, truths.scores(0.05), fail=500)
    yield delay("no shift, ρ 0.9", name, SHIFT, 0.01, truths.scores(), pass_=2300)
    yield delay("shift 0.02, sd 0.126", name, SHIFT, 0.01, truths.shifted(0.02, 0.126), fail=2300, slack=1.0)
    yield delay("no shift, sd 0.126", name, SHIFT, 0.01, truths.shifted(0.0, 0.126), pass_=2200, slack=1.0)
    name = "max_mean_shift of numbers: 0.1"
    yield delay("shift 0.2, sd 0.2", name, NUMBER, 0.1, truths.shifted(0.2, 0.2, reach=8.0), fail=600, slack=1.0)
    yield delay("no shift, sd 0.2", name, NUMBER, 0.1, truths.shifted(0.0, 0.2, reach=8.0), pass_=450, slack=1.0)
    name = "max_ks: 0.05"
    for ks, pairs in ((0.08, 2100), (0.2, 200)):
        delta = float(2 * ndtri((1 + ks) / 2))
        yield delay(f"KS {ks:g}, ρ 0.9, after warm-up", name, KS_N, 0.05, truths.normals(delta, 0.9), fail=pairs)
    name = "max_psi: 0.2"
    yield delay("PSI 0, ρ 0", name, PSI, 0.2, truths.psi_of(0.0), pass_=500)
    yield delay("PSI 0.1, ρ 0", name, PSI, 0.2, truths.psi_of(0.1), pass_=1450)
    yield delay("PSI 0.3, ρ 0", name, PSI, 0.2, truths.psi_of(0.3), fail=2800)
    yield delay("PSI 0.5, ρ 0", name, PSI, 0.2, truths.psi_of(0.5), fail=700)
    name = "p99_latency: 1.2x"
    yield delay("p99 × 1.5", name, P99, 1.2, truths.times(1.5), fail=3300)
    # Longer than its target by more than a quarter, and explained in docs/statistics.md: the two order arrays and the
    # conservative bins were not in the simulation that the target comes from.
    yield delay("3 % of requests × 5", name, P99, 1.2, truths.times(tail=0.03), fail=2750, slack=1.4)
    yield delay("p99 × 1.5, hedged at live's p90", name, P99, 1.2, truths.hedged(0.9, 1.5), fail=3300)
    yield delay("equal times", name, P99, 1.2, truths.times(), pass_=4500)
    # Half of the requests only are asked of live first, and a pass rests on those.
    yield delay("equal times, half hedged at live's p90", name, P99, 1.2, truths.hedged(0.9), pass_=9000)
    yield delay("uniformly × 1.5", "median_latency: 1.2x", MEDIAN, 1.2, truths.times(1.5), fail=200)
    name = "max_extra_errors: 0.2%"
    yield delay("1 point on 0.1 %", name, ERRORS, 0.002, truths.errors(0.01), fail=1900, slack=1.0)
    yield delay("equal, 0.1 % fail", name, ERRORS, 0.002, truths.errors(0.0), pass_=4000)
    yield delay("2 points on 0.1 %", "max_extra_errors: 0.2%", ERRORS, 0.002, truths.errors(0.02), fail=1100)
    name = "max_rate_increase: 0.5%"
    yield delay("2 points on 1 %", name, INCREASE, 0.005, truths.more_often(0.02, 0.01), fail=1500)
    yield delay("equal, 0.1 % have it", name, INCREASE, 0.005, truths.more_often(0.0, 0.001), pass_=1500)
    yield delay("half as often as live's 2 %", name, INCREASE, 0.005, truths.more_often(-0.01, 0.02), pass_=1200)
    name = "max_response_mismatch: 1%"
    yield delay("every answer like live's", name, MISMATCH, 0.01, truths.mismatches(0.0), pass_=400)
    yield delay("3 % of answers of another form", name, MISMATCH, 0.01, truths.mismatches(0.03), fail=600)
    yield delay("every answer of another form", name, MISMATCH, 0.01, truths.mismatches(1.0), fail=100)
    scrambled = truths.scores(rho=0.99, scrambled=0.02)
    yield delay("2 % scrambled, ρ 0.99", "max_big_change: {0.3, 0.5%}", BIG, 0.005, scrambled, fail=3500)


# --- the whole budget ------------------------------------------------------------------------------------------------


def broken(share: float) -> Row:
    """A break of 0.2 standard deviations at pair 10,000, all defaults on."""

    def truth(rng: np.random.Generator, n: int) -> truths.Batch:
        whole = truths.everything()(rng, n)
        measures = whole.measures
        after = np.arange(n) >= 10_000
        measures["candidate"] = np.clip(measures["candidate"] + 0.0577 * after, 0.0, 1.0)
        measures["shift"] = measures["candidate"] - measures["live"]
        return whole

    n = runs_of(100, share)
    found = together(DEFAULTS, truth, 13_000, n, seed=14)
    median = found.fail_median - 10_000
    row = ("break of 0.2 sd at pair 10,000", "defaults", "fail within 1,000")
    return Row(*row, "", f"fail {median:,.0f} after ({n} runs)", 0 < median <= 1000 * SLACK)


def pooled(share: float) -> Row:
    """Ten guards of which one is bad against that one alone."""
    n = runs_of(400, share)
    ten = [DEFAULTS[0], *((Guard(f"idle {i}", 0.02), IDLE) for i in range(9))]
    truth = truths.events("differs", 0.04)
    single = together(ten[:1], truth, 6000, n, seed=15).fail_median
    all_ten = together(ten, truth, 6000, n, seed=15).fail_median
    measured = f"{all_ten:,.0f} against {single:,.0f} ({n} runs)"
    return Row("ten guards, one bad", "pooled", "≤ 1.4 × the single guard's", "", measured, all_ten <= 1.4 * single)


def harmless(truth: str, what: Truth, runs: int = 200, pairs: int = 20_000, seed: int = 16) -> Case:
    """A good candidate under difficult traffic, all defaults on: at most α of the runs fail."""

    def case(share: float) -> Row:
        n = runs_of(runs, share)
        found = together(DEFAULTS, what, pairs, n, seed=seed)
        text = f"fail {share_of(round(found.fail_rate * n), n)} of {n} runs"
        return Row(truth, "defaults", f"fail ≤ {most(ALPHA, n):.2%}", "", text, found.fail_rate <= most(ALPHA, n))

    return case


def harmlesses() -> Iterator[Case]:
    """Daily cycles, bursts and stalls against everything the documented example has."""
    yield harmless("inputs cycle by ± 1 sd, good candidate", truths.everything(cycle=1.0))
    yield harmless("bursts of 3, good candidate", truths.bursts(3, block=100), 150)
    yield harmless("bursts of 50, good candidate", truths.bursts(50, block=100), 150)
    yield harmless("stalls of 100 requests, good candidate", truths.bursts(1, block=100, stall=0.012), 120)


def stalls(share: float) -> Row:
    """Independent stalls of 100 requests at 1,000 requests a second, one latency pair per 100 ms."""
    n = runs_of(250, share)
    found = alone(P99, 1.2, truths.stalls(100, 0.012, block=100), 40_000, n, seed=17)
    every = alone(P99, 1.2, truths.stalls(100, 0.012, block=1), 20_000, max(4, n // 4), seed=17)
    bound = most(ALPHA, n)
    text = f"fail {share_of(round(found.fail_rate * n), n)} of {n} runs (every pair: {every.fail_rate:.0%})"
    ok = found.fail_rate <= bound < every.fail_rate
    return Row("stalls of 100 requests, equal arms", "p99_latency: 1.2x", f"fail ≤ {bound:.2%}", text, "", ok)
