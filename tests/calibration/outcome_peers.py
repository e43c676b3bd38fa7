"""How many users a verdict takes, beside tests that experimentation platforms use on the same users: the third table of
docs/power.md (`python -m tests.calibration.outcome_peers [RUNS]` prints it).

- *Fixed horizon*: the difference of two means over users (clusters; each is one value), Welch's normal test at 1 %, one
  sided, looked at once, at the number of users that it was planned for.
- *Looked at repeatedly*: the same test at each 1,000 users until its horizon: what dashboards do.

- *mSPRT*: a normal mixture over the mean of the same difference, the variance so far plugged in, from 1,000 users on.

All test a drop beyond the limit at 1 %, and look every 1,000 users.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass

import numpy as np

from proxy.evidence.process.normal import log_cdf
from tests.calibration.outcomes import LOOK, Trial, first, looks, points, spending
from tests.calibration.truths import Rng

HORIZON = 20_000
"""Users for which the fixed test is planned."""
CRITICAL = 2.3263
"""The normal quantile of 99 %."""


@dataclass(frozen=True)
class Users:
    """Values and arms of the users of one run, and live's limit."""

    on: np.ndarray
    value: np.ndarray
    kept: float
    """The candidate's mean that is allowed is this times live's, less `drop`."""
    drop: float

    def z(self, n: int) -> float:
        """Welch's statistic of the first n users, against "the candidate is within its limit"."""
        live, candidate = self.value[:n][~self.on[:n]], self.value[:n][self.on[:n]]
        lower = self.kept * live.mean() - self.drop - candidate.mean()
        spread = self.kept**2 * live.var() / len(live) + candidate.var() / len(candidate)
        return float(lower / np.sqrt(spread)) if spread > 0.0 else 0.0

    def mixture(self, n: int, prior: float) -> float:
        """Log of the mixture's evidence: half a normal of deviation `prior` (in deviations of one user) above 0."""
        z = self.z(n)
        v = 1.0 + n * prior**2
        a = np.sqrt(n) * prior / np.sqrt(v)
        return float(-0.5 * np.log(v) + 0.5 * (a * z) ** 2 + np.log(2.0) + log_cdf(np.array([a * z]))[0])


@dataclass(frozen=True)
class Duel:
    """A truth, and whether failing is an error."""

    what: str
    trial: Trial
    is_error: bool
    prior: float = 0.02


def drawn(trial: Trial, seed: tuple[int, int]) -> Users:
    """The same users that `looks` draws from this seed."""
    rng: Rng = np.random.default_rng(seed)
    on = rng.random(trial.users) < trial.share
    live, candidate = trial.values(rng, trial.users)
    relative = trial.rule.relative
    return Users(
        on, np.where(on, candidate, live), 1.0 - trial.limit if relative else 1.0, 0.0 if relative else trial.limit
    )


def duels() -> list[Duel]:
    """At the limit, and beyond it."""
    return [
        Duel("conversions at the limit, 5 % and 4 %", points(0.05, 0.04, users=60_000), True),
        Duel("conversions 5 % and 3 %", points(0.05, 0.03, users=60_000), False),
        Duel("conversions 5 % and 2 %", points(0.05, 0.02, users=60_000), False),
        Duel("Pareto 1.5 revenue at the limit, × 0.95", spending(0.95, users=60_000), True),
        Duel("Pareto 1.5 revenue × 0.8", spending(0.8, users=60_000), False),
        Duel("Pareto 1.5 revenue × 0.5", spending(0.5, users=60_000), False),
    ]


def fought(duel: Duel, runs: int) -> dict[str, np.ndarray]:
    """Users until each test fails, (runs,); infinite where it never does."""
    found: dict[str, list[float]] = {name: [] for name in ("bets", "fixed", "repeated", "mixture")}
    steps = range(LOOK, duel.trial.users + 1, LOOK)
    for run in range(runs):
        seed = (53, run)
        found["bets"].append(first(looks(duel.trial, np.random.default_rng(seed))[0], 0.01))
        users = drawn(duel.trial, seed)
        found["fixed"].append(float(HORIZON) if users.z(HORIZON) > CRITICAL else np.inf)
        repeated = (n for n in steps if n <= HORIZON and users.z(n) > CRITICAL)
        found["repeated"].append(float(next(repeated, np.inf)))
        mixed = (n for n in steps if users.mixture(n, duel.prior) >= np.log(100.0))
        found["mixture"].append(float(next(mixed, np.inf)))
    return {name: np.array(each) for name, each in found.items()}


def line(duel: Duel, runs: int) -> str:
    """One line of the table: rates of errors, else medians and power."""
    found = fought(duel, 5 * runs if duel.is_error else runs)

    def cell(name: str) -> str:
        failed = np.isfinite(found[name])
        if duel.is_error:
            return f"{failed.mean():.1%}"
        median = float(np.median(found[name]))
        if name == "fixed":
            return f"{HORIZON:,} (power {failed.mean():.0%})"
        return f"{median:,.0f}" if np.isfinite(median) else f"> {duel.trial.users:,}"

    cells = " | ".join(cell(name) for name in ("bets", "fixed", "repeated", "mixture"))
    kind = "fails, an error" if duel.is_error else "fail"
    return f"| {duel.what} | `{duel.trial.guard}` | {kind} | {cells} |"


HEAD = """
## Users until a verdict

`max_outcome_drop` compared with tests of two means over the same users, half of them on the candidate, with 20 requests
each; a look every 1,000 users, fail at 1 %. Written by `tests/calibration/outcome_peers.py`; {runs} runs (five times as
many in the rows on errors), {users:,} users each.

*Fixed* is Welch's test over users, once, at {horizon:,} users. *Repeated* is the same test at each look until then.
*mSPRT* is a normal mixture with the variance estimated so far.

| truth | guard | verdict | bets | fixed | repeated | mSPRT |
|---|---|---|---|---|---|---|
"""


TAIL = """
- The rows on errors give the share of runs that fail a candidate exactly at its limit; 1 % is allowed. A test designed
  for one look fails several times as many if it is repeated every 1,000 users. The others are consistent with 1 %.
- The fixed test must be planned for an effect size, and gives its answer at its horizon (a day or a month later),
  however bad the candidate is. Bets answer as early as the effect allows. For a small effect they need about as many
  users as a fixed test that was planned for it.
- The mSPRT depends on the estimated variance. With conversions it takes about as long as bets. With a tail of 1.5 the
  variance is infinite, and the mSPRT takes 1.8 times as many users to detect that a fifth of the revenue is missing.
  Bets cut the values, and the finding says so.
"""


def outcome_table(runs: int) -> str:
    """The table."""
    lines = []
    for duel in duels():
        lines.append(line(duel, runs))
        print(lines[-1], file=sys.stderr, flush=True)  # noqa: T201
    return HEAD.format(runs=runs, horizon=HORIZON, users=duels()[0].trial.users) + "\n".join(lines) + "\n" + TAIL


if __name__ == "__main__":
    print(outcome_table(int(sys.argv[1]) if len(sys.argv) > 1 else 60))  # noqa: T201
