"""Rows about a judge: what becomes of `min_win_rate` when it is noisy, has a taste for position or length, ties often,
or changes. All run verdicts through `Evidence` as shipped, a look every 50, those about a judge that changes with its
anchors as `judges.anchors` says they are to be asked; beside them a rolling z-test and a test of a fixed sample.

The judge is made up (`tests.judges.made_up`): it scores the better answer, its position and its length, with whims
about each pair that stay and noise of each asking that does not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import sqrt

import numpy as np

from proxy.evidence import Evidence
from proxy.judges.anchors import ROUND_EVERY, after_round, begin_record, next_round
from proxy.model import Guard, Kind, PredictionSpec, Verdict
from proxy.model.judged import Judged
from tests.calibration.cases import ALPHA, ALPHA_PASS, SLACK, Case, Row, most, runs_of, share_of
from tests.evidence.streams import cut, make_plan
from tests.judges.made_up import JUDGE, MadeUpJudge, Taste

LOOK = 50
SPEC = PredictionSpec("openai", Kind.TEXT, judge="helpful")
OTHERS = (
    Guard("max_rate_increase", 0.005),
    Guard("p99_latency", 1.2, relative=True),
    Guard("time_to_first_token", 1.5, relative=True),
    Guard("max_extra_errors", 0.005),
)
"""Guards that share the budget and have nothing to say."""
Values = Callable[[np.random.Generator, int], np.ndarray]
"""Verdicts (n,) on the candidate: 1 won, 0 tied, −1 lost."""


@dataclass(frozen=True)
class Ending:
    """Verdicts until the first look at which a trial failed or passed; infinite where it never did."""

    failed: float
    passed: float


def items(values: np.ndarray, start: int = 0, floors: np.ndarray | None = None) -> list[Judged]:
    """Verdicts on requests of their own, one a second."""
    own: list[float | None] = [None] * len(values) if floors is None else floors.tolist()
    return [
        Judged("", f"r{start + i}", start + i, "w1", 0, float(start + i), value, floor)
        for i, (value, floor) in enumerate(zip(values.tolist(), own, strict=True))
    ]


def trial(limit: float, number: int, *, others: bool = False, floor: bool = False) -> Evidence:
    """Evidence of a trial by this guard, and others where they share its budget."""
    guards = (Guard("min_win_rate", limit), *(OTHERS if others else ()))
    plan = make_plan(*guards, prediction=SPEC, latency_block=0.1, noise_floor=0.2 if floor else 0.0)
    evidence = Evidence.begin(plan, number)
    evidence.enter_stage(0)
    return evidence


def ending(evidence: Evidence, stream: list[Judged], *, until_both: bool = True) -> Ending:
    """What becomes of a trial, a look every 50 verdicts."""
    failed = passed = float("inf")
    for at in range(0, len(stream), LOOK):
        evidence.judged(stream[at : at + LOOK])
        if failed == float("inf") and evidence.crossed():
            failed = at + LOOK
        if passed == float("inf") and evidence.assess(forecast=False).findings[0].verdict is Verdict.PASS:
            passed = at + LOOK
        if min(failed, passed) < float("inf") and not until_both:
            break
    return Ending(failed, passed)


def random_verdicts(win_rate: float, ties: float = 0.3) -> Values:
    """Independent verdicts of this win rate, of which a share are ties."""
    won = win_rate - 0.5 * ties

    def drawn(rng: np.random.Generator, n: int) -> np.ndarray:
        return rng.choice([1.0, 0.0, -1.0], size=n, p=[won, ties, 1.0 - won - ties])

    return drawn


def by_judge(taste: Taste, shorter: float = 0.5) -> Values:
    """Verdicts on two equally good arms by a judge of this taste; the candidate's answer is the shorter one in a share
    of the pairs."""

    def drawn(rng: np.random.Generator, n: int) -> np.ndarray:
        judge = MadeUpJudge(int(rng.integers(2**31)), taste)
        return judge.pairs(rng.normal(0.0, 1.0, n), np.where(rng.random(n) < shorter, -1.0, 1.0))

    return drawn


# --- peers -----------------------------------------------------------------------------------------------------------


def rolling_z(values: np.ndarray, limit: float, window: int = 200) -> float:
    """Verdicts until the last `window` have a win rate that is significantly (1 %, one-sided) below the limit, asked at
    every look: what a dashboard does."""
    for at in range(window, len(values) + 1, LOOK):
        won = 0.5 + 0.5 * values[at - window : at]
        if won.mean() + 2.326 * won.std() / sqrt(window) < limit:
            return float(at)
    return float("inf")


def fixed_sample(values: np.ndarray, limit: float, size: int = 500, *, peeking: bool = False) -> float:
    """The same test on the first `size`, once; `peeking`: at every look until then, from 100 on."""
    for at in range(100, size + 1, LOOK) if peeking else (size,):
        won = 0.5 + 0.5 * values[:at]
        if won.mean() + 2.326 * won.std() / sqrt(at) < limit:
            return float(at)
    return float("inf")


# --- rows ------------------------------------------------------------------------------------------------------------


def pairs_of(share: float) -> int:
    """Judged pairs of a run: fewer in a quick one."""
    return 4000 if share >= 0.1 else 1500


def equal_arms(truth: str, what: Values, runs: int = 400) -> Case:
    """Two equally good arms: at most α of the trials are rolled back."""

    def case(share: float) -> Row:
        n, pairs, bad = runs_of(runs, share), pairs_of(share), 0
        for number in range(n):
            stream = items(what(np.random.default_rng([41, number]), pairs))
            bad += ending(trial(0.45, number), stream).failed < float("inf")
        text = f"fail {share_of(bad, n)} of {n} runs"
        return Row(truth, "min_win_rate: -5pp", f"fail ≤ {most(ALPHA, n):.2%}", "", text, bad / n <= most(ALPHA, n))

    return case


def limit_exactly(name: str, ties: float, *, floor: bool = False, runs: int = 400) -> Case:
    """A win rate of exactly 45 %, and the same beyond live's with itself; beside it what others make of the stream."""

    def case(share: float) -> Row:
        n, pairs = runs_of(runs, share), pairs_of(share)
        fails = passes = rolled = peeked = once = 0
        for number in range(n):
            rng = np.random.default_rng([42, number])
            values = random_verdicts(0.43 if floor else 0.45, ties)(rng, pairs)
            floors = random_verdicts(0.48, ties)(rng, pairs) if floor else None
            found = ending(trial(0.45, number, floor=floor), items(values, floors=floors))
            fails += found.failed < float("inf")
            passes += found.passed < float("inf")
            rolled += rolling_z(values, 0.45) < float("inf")
            peeked += fixed_sample(values, 0.45, peeking=True) < float("inf")
            once += fixed_sample(values, 0.45) < float("inf")
        ok = fails / n <= most(ALPHA, n) and passes / n <= most(ALPHA_PASS, n)
        target = f"fail ≤ {most(ALPHA, n):.2%}, pass ≤ {most(ALPHA_PASS, n):.2%}"
        text = f"fail {share_of(fails, n)}, pass {share_of(passes, n)} of {n} runs"
        if not floor:
            each = (
                f"rolling z {rolled / n:.0%}, fixed sample of 500 {once / n:.1%}, looked at meanwhile {peeked / n:.1%}"
            )
            text += f" ({each})"
        return Row("at the limit exactly", name, target, "", text, ok)

    return case


def decided(truth: str, guard: str, limit: float, what: Values, *, fail: int = 0, pass_: int = 0) -> Case:
    """Median verdicts until it fails or passes, alone and with four others that share the budget."""
    target, side = (fail, "fail") if fail else (pass_, "pass")

    def case(share: float) -> Row:
        n = runs_of(200, share)
        medians = []
        for others in (False, True):
            found = []
            for number in range(n if not others else max(4, n // 4)):
                stream = items(what(np.random.default_rng([43, number]), 4 * target))
                one = ending(trial(limit, number, others=others), stream, until_both=False)
                found.append(one.failed if fail else one.passed)
            medians.append(float(np.median(found)))
        text = [f"{side} {median:,.0f}" for median in medians]
        ok = medians[0] <= target and medians[1] <= SLACK * target
        return Row(truth, guard, f"{side} by {target:,}", f"{text[0]} ({n} runs)", text[1], ok)

    return case


@dataclass(frozen=True)
class Watched:
    """What became of a trial whose judge has anchors: rolled back, or put down to the judge; verdicts that counted
    after the change; rounds asked. `bare` without anchors, `rolling` and `fixed` by the other tests."""

    rolled: bool
    moved: bool
    leaked: int
    asked: int
    bare: bool
    rolling: bool
    fixed: bool


class WatchedTrial:
    """A trial whose judge has anchors, asked as `judges.anchors` says; `at` is when the judge changes."""

    def __init__(self, judge: MadeUpJudge, number: int, key: bytes, at: int) -> None:
        self.judge, self.key, self.at = judge, key, at
        self.evidence, self.record = trial(0.45, number), begin_record(judge.anchors)
        self.waiting: list[Judged] = []
        self.rolled, self.leaked, self.asked = False, 0, 0
        while not self.record.is_known:
            self.ask()

    def ask(self) -> None:
        """One round of anchors."""
        questions = next_round(self.record, self.key)
        self.record = after_round(self.record, questions, [self.judge.anchor(one) for one in questions])
        self.asked += 1

    def judged(self, verdicts: list[Judged]) -> None:
        """Let verdicts wait, and go when a round was due and confirmed the judge."""
        self.waiting += verdicts
        if self.rolled or self.record.moved or len(self.waiting) < ROUND_EVERY:
            return
        self.ask()
        while not self.record.confirms and not self.record.moved:
            self.ask()
        if self.record.moved:
            self.evidence.judge_moved("")
        else:
            self.leaked += sum(one.time >= self.at for one in self.waiting)
            for batch in cut(self.waiting, (LOOK,)):
                self.evidence.judged(batch)
                self.rolled |= self.evidence.crossed()
        self.waiting = []


def watched(number: int, change: Taste | None, pairs: int = 3000, shorter: float = 1.0) -> Watched:
    """A judge of two equally good arms, of which the candidate's answers are the shorter ones in this share of pairs.
    It changes after 1,000 verdicts or some more (never where `change` is `None`)."""
    rng, judge = np.random.default_rng([44, number]), MadeUpJudge(number)
    key, at = rng.bytes(16), 1000 + int(rng.integers(ROUND_EVERY))
    held, bare, every = WatchedTrial(judge, number, key, at), trial(0.45, number), list[np.ndarray]()
    for start in range(0, pairs, LOOK):
        before = min(max(at - start, 0), LOOK)
        for n, new in ((before, False), (LOOK - before, True)):
            if new and n and change is not None:
                judge.taste = change
            every.append(judge.pairs(rng.normal(0.0, 1.0, n), np.where(rng.random(n) < shorter, -1.0, 1.0)))
        verdicts = items(np.concatenate(every[-2:]), start)
        bare.judged(verdicts)
        held.judged(verdicts)
    values = np.concatenate(every)
    lasting, sample = rolling_z(values, 0.45) < float("inf"), fixed_sample(values[at:], 0.45) < float("inf")
    return Watched(held.rolled, held.record.moved, held.leaked, held.asked, bare.crossed(), lasting, sample)


CHANGES = {
    "noisier": JUDGE._replace(noise=2.0, right=0.5),
    "towards the first": JUDGE._replace(position=2.0),
    "towards the longer": JUDGE._replace(length=2.0),
}
"""The three changes."""


def changed(share: float) -> Row:
    """A judge that changes silently, a third of the runs each, and a candidate that is as good and always shorter."""
    n = runs_of(40, share)
    found = {name: [watched(number, taste) for number in range(n)] for name, taste in CHANGES.items()}
    each = [one for runs in found.values() for one in runs]
    rolled, moved = sum(one.rolled for one in each), sum(one.moved for one in each)
    kinds = ", ".join(f"{name} {sum(one.moved for one in runs)}" for name, runs in found.items())
    longer = found["towards the longer"]
    bare, z = (sum(getattr(one, name) for one in longer) / n for name in ("bare", "rolling"))
    sample, leak = sum(one.fixed for one in longer) / n, float(np.mean([one.leaked for one in each]))
    text = f"rolled back {rolled}, put down to the judge {moved} of {3 * n} runs ({kinds})"
    text += f"; {leak:.0f} verdicts counted after it"
    beside = f"of those towards the longer without anchors {bare:.0%}, rolling z {z:.0%}, fixed sample {sample:.0%}"
    ok = rolled == 0 and moved >= 110 / 120 * 3 * n
    return Row(
        "the judge changes silently, equal arms", "min_win_rate: -5pp", "0 rolled back, ≥ 92% told", text, beside, ok
    )


def slightly(share: float) -> Row:
    """A judge that turns towards length a little, so that an always shorter candidate falls to a win rate of 43, 36 or
    30 %: the limit of what anchors can show. No promise."""
    n, text = runs_of(40, share), []
    for length in (0.3, 0.6, 0.9):
        found = [watched(number, JUDGE._replace(length=length)) for number in range(n)]
        rate = 0.5 + 0.5 * by_judge(JUDGE._replace(length=length), 1.0)(np.random.default_rng(1), 20_000).mean()
        rolled, moved = sum(one.rolled for one in found), sum(one.moved for one in found)
        text.append(f"to {rate:.0%}: rolled back {rolled / n:.0%}, told {moved / n:.0%}")
    said = f"{'; '.join(text)} ({n} runs each)"
    return Row("the judge turns towards length a little, always shorter", "min_win_rate: -5pp", "none", said, "", True)


def unchanged(share: float) -> Row:
    """A judge that stays as it is: how often it is said to have changed, and what its anchors cost."""
    n, pairs = runs_of(400, share), 3000
    found = [watched(number, None, pairs, shorter=0.5) for number in range(n)]
    moved, rolled = sum(one.moved for one in found), sum(one.rolled for one in found)
    cost = sum(one.asked for one in found) * 20 / (n * pairs)
    bound = most(0.001, n)
    text = f"alarm {share_of(moved, n)} of {n} runs, {cost:.2f} anchors a verdict; rolled back {rolled / n:.2%}"
    ok = moved / n <= bound and rolled / n <= most(ALPHA, n)
    return Row("the judge stays as it is, equal arms", "anchors", f"alarm ≤ {bound:.2%}", text, "", ok)


def judged_rows() -> Iterator[Case]:
    """All of them."""
    yield equal_arms("equal arms, a noisy judge", by_judge(JUDGE._replace(noise=3.0)))
    yield equal_arms("equal arms, a judge for whom the first wins", by_judge(JUDGE._replace(position=3.0)))
    yield equal_arms("equal arms, a judge of length, as long on average", by_judge(JUDGE._replace(length=3.0)))
    yield equal_arms("equal arms, 60 % ties", random_verdicts(0.5, 0.6))
    for ties in (0.0, 0.3, 0.6):
        yield limit_exactly(f"min_win_rate: -5pp, {100 * ties:g} % ties", ties)
    yield limit_exactly("min_win_rate: -5pp, noise floor", 0.3, floor=True)
    for ties in (0.0, 0.3, 0.6):
        ten_below, even = random_verdicts(0.35, ties), random_verdicts(0.5, ties)
        yield decided(f"a win rate of 35 %, {100 * ties:g} % ties", "min_win_rate: -5pp", 0.45, ten_below, fail=700)
        yield decided(f"equal arms, {100 * ties:g} % ties", "min_win_rate: -10pp", 0.4, even, pass_=450)
    shorter = by_judge(JUDGE._replace(length=1.0), shorter=1.0)
    yield decided("as good, always shorter, a judge of length", "min_win_rate: -5pp", 0.45, shorter, fail=150)
    yield changed
    yield slightly
    yield unchanged
