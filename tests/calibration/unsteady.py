"""Rows about what moves under the evidence: truth that comes later for one class, live that leaves the thresholds,
users whose requests are all alike. All run readings through `Evidence` as shipped, a look every 100 pairs."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from proxy.evidence import Evidence
from proxy.evidence.input.reference import LEFT, freeze
from proxy.evidence.rules.ks import Ks
from proxy.model import Guard, Kind, PredictionSpec, Verdict
from tests.calibration import truths
from tests.calibration.cases import ALPHA, ALPHA_PASS, Case, Row, most, runs_of, share_of
from tests.evidence.streams import make_plan, make_reading

LOOK = 100


def late_labels(number: int, delay: float) -> bool:
    """Whether it ever passes: 3 % of requests are frauds, which are known 1,000 requests later and of which the
    candidate finds none; all else is known at once. A request a second."""
    spec = PredictionSpec("json", Kind.LABEL, label_delay=delay)
    evidence = Evidence.begin(make_plan(Guard("max_quality_drop", 0.02), prediction=spec), number)
    fraud = (np.random.default_rng([31, number]).random(5000) < 0.03).astype(int).tolist()
    for at in range(0, 5000, LOOK):
        now = range(at, at + LOOK)
        evidence.add([make_reading(i, fraud[i], 0, kind=Kind.LABEL) for i in now])
        for i in now:
            if not fraud[i]:
                evidence.outcome(f"r{i}", 0)
            if i >= 1000 and fraud[i - 1000]:
                evidence.outcome(f"r{i - 1000}", 1)
        if evidence.assess(forecast=False).verdict is Verdict.PASS:
            return True
    return False


def labels(share: float) -> Row:
    """A truth that comes later for one class, with a horizon that covers it and with one that does not."""
    n, m = runs_of(200, share), runs_of(20, share)
    passed = sum(late_labels(number, 1100.0) for number in range(n))
    short = sum(late_labels(number, 100.0) for number in range(m))
    text = f"pass {share_of(passed, n)} of {n} runs (label_delay too short: {short / m:.0%})"
    truth, target = "frauds known 1,000 later, none found, drop 3 %", f"pass ≤ {most(ALPHA_PASS, n):.2%}"
    return Row(truth, "max_quality_drop: 2%", target, "", text, passed / n <= most(ALPHA_PASS, n))


def moved(number: int, guard: Guard, by: float) -> bool:
    """Whether it ever passes: live's answers narrow to a twentieth and move after the 500 from which thresholds are
    chosen, and the candidate's lie half a standard deviation further: a true KS of 0.2, a PSI of 0.25."""
    plan = make_plan(guard, Guard("max_extra_errors", 0.02), kind=Kind.NUMBER)
    evidence, rng = Evidence.begin(plan, number), np.random.default_rng([32, number])
    live = rng.normal(0.0, 1.0, 4000)
    live[500:] = by + 0.05 * live[500:]
    other = live.copy()
    other[500:] += 0.025
    stream = [make_reading(i, float(live[i]), float(other[i]), kind=Kind.NUMBER) for i in range(4000)]
    for at in range(0, 4000, LOOK):
        evidence.add(stream[at : at + LOOK])
        if evidence.assess(forecast=False).findings[0].verdict is Verdict.PASS:
            return True
    return False


def thresholds(guard: Guard) -> Case:
    """Live that leaves the frozen thresholds, to beyond the last of them or in between two."""

    def case(share: float) -> Row:
        n = runs_of(60, share)
        passed = sum(moved(number, guard, 6.0 if number % 2 else 1.2) for number in range(n))
        text = f"pass {share_of(passed, n)} of {n} runs"
        name = f"{guard.name}: {guard.limit:g}"
        target = f"pass ≤ {most(ALPHA_PASS, n):.2%}"
        return Row("live leaves the thresholds, KS 0.2", name, target, "", text, passed / n <= most(ALPHA_PASS, n))

    return case


def gaps(share: float) -> Row:
    """Live's largest share between neighbouring thresholds, of answers that come after those they were chosen from; and
    how often that of a live that stays keeps a PASS back for good."""
    n, rng = runs_of(3000, share), np.random.default_rng(33)
    found, blocked = [], 0
    for _ in range(n):
        reference = freeze(rng.random(500))
        inside = [x for x in reference.thresholds if 0.0 < x < 1.0]
        found.append(float(np.diff([0.0, *inside, 1.0]).max()))
        blocked += found[-1] > Ks(reference.thresholds, reference.gap).most
    text = f"mean {np.mean(found):.3f}, 99 %: {np.quantile(found, 0.99):.3f}; held back {share_of(blocked, n)}"
    ok = float(np.mean(found)) < 0.051 and blocked / n <= most(LEFT, n)
    return Row("live stays", "max_ks: gap", f"held back ≤ {most(LEFT, n):.2%}", f"{text} of {n} runs", "", ok)


def user(number: int, what: truths.Whole, pairs: int) -> tuple[bool, bool]:
    """Whether it ever fails, and passes, when a candidate is right or wrong for whole users (`what`)."""
    plan = make_plan(Guard("max_disagreement", 0.02), kind=Kind.LABEL, cluster_by="x-user")
    evidence, rng = Evidence.begin(plan, number), np.random.default_rng([34, number])
    who, wrong = what(rng, pairs)
    passed = failed = False
    for at in range(0, pairs, LOOK):
        now = range(at, at + LOOK)
        evidence.add([make_reading(i, 1, int(not wrong[who[i]]), kind=Kind.LABEL, cluster=f"u{who[i]}") for i in now])
        failed |= evidence.crossed()
        passed |= evidence.assess(forecast=False).findings[0].verdict is Verdict.PASS
    return failed, passed


def heavy(share: float) -> Row:
    """One user with 2 % of the requests, always wrong, among others who come once; and beside it, what becomes of users
    whose requests are spread over more than a window, which is no promise."""
    n, m, pairs = runs_of(80, share), runs_of(40, share), 12_000 if share >= 0.5 else 3000
    fails, passes = np.array([user(number, truths.heavy(0.02), pairs) for number in range(n)]).sum(axis=0).tolist()
    longer = np.array([user(number, truths.coming(100, 20, 0.02), pairs) for number in range(m)]).mean(axis=0)
    ok = fails / n <= most(ALPHA, n) and passes / n <= most(ALPHA_PASS, n)
    target = f"fail ≤ {most(ALPHA, n):.2%}, pass ≤ {most(ALPHA_PASS, n):.2%}"
    text = f"fail {share_of(fails, n)}, pass {share_of(passes, n)} of {n} runs"
    text += f" (2 % of users who each stay for two windows: fail {longer[0]:.0%}, pass {longer[1]:.0%})"
    return Row("one user sends 2 %, always wrong", "max_disagreement: 2%, cluster_by", target, "", text, ok)


def unsteady() -> Iterator[Case]:
    """All of them."""
    yield labels
    yield thresholds(Guard("max_ks", 0.05))
    yield thresholds(Guard("max_psi", 0.2))
    yield gaps
    yield heavy
