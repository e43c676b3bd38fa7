"""`max_extra_errors`: does the candidate fail more often than live, on the same requests?

`process.discordance` has the bets.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from proxy.evidence.families.effort import Effort, discordance_pairs
from proxy.evidence.families.guard import GuardType, Question, below_one
from proxy.evidence.families.unit import SHARE
from proxy.evidence.input.batch import Batch, Placed
from proxy.evidence.process.discordance import (
    WEIGHTS,
    discordance_fail_bets,
    discordance_intervals,
    discordance_pass_bets,
)
from proxy.evidence.process.estimate import NOTHING, Estimate
from proxy.evidence.process.wealth import Counts, Floats, Ints, Numbers, block_gains, mixed, weakest
from proxy.model import Guard

NEITHER, WORSE, BETTER, SHED = range(4)


@dataclass(frozen=True, slots=True)
class ExtraErrors:
    """The rule of `max_extra_errors`. Categories: [both or neither failed, only the candidate, only live, shed].

    Both failed is n⁰. A copy that was shed followed earlier slowness of the candidate: the worst for PASS, absent for
    FAIL.
    """

    width: int = 4
    shed_at: int | None = SHED
    worst_at: int | None = WORSE

    @property
    def measures(self) -> tuple[str, ...]:
        """What it reads of a batch."""
        return ()

    def place(self, batch: Batch, salt: int) -> Placed:
        """Category of each pair with a fresh body whose live side is known."""
        if len(batch.valued) == batch.size:  # nobody failed: the usual case
            return batch.valued, np.zeros(batch.size, np.int64)
        who = np.flatnonzero(batch.fresh & (batch.answered | batch.live_broke))
        failed, broke = batch.failed[who], batch.live_broke[who]
        return who, np.where(failed & ~broke, WORSE, np.where(broke & ~failed, BETTER, NEITHER)).astype(np.int64)

    def log_fail(self, counts: Numbers, limit: float) -> Floats:
        """Log e-value against "the candidate fails at most `limit` more often"; counts (…, 4) → (…)."""
        return mixed(counts[..., :3], [discordance_fail_bets(limit)], WEIGHTS)

    def log_pass(self, counts: Numbers, limit: float) -> Floats:
        """Log e-value against "the candidate fails at least `limit` more often"; counts (…, 4) → (…)."""
        worst = counts[..., :3] + counts[..., 3:] * np.array([0, 1, 0])
        return weakest(worst, [discordance_pass_bets(limit)], WEIGHTS)

    def log_bets(self, counts: Counts, limit: float) -> Floats:
        """Log-wealth of every FAIL bet, (1, 1, bets); see `e_detector`."""
        return np.asarray(counts[:3] @ discordance_fail_bets(limit))[None, None]

    def pass_gains(self, limit: float) -> Floats:
        """Gains of a block for a PASS, (4, 2): a shed copy is as one that fails; see `pass_blocks`."""
        return block_gains(np.array([[0.0], [1.0], [-1.0], [1.0]]), np.ones(4), limit, 1.0)

    def burst_values(self) -> Ints:
        """A failure of the candidate alone is 1, of live alone −1, (4, 1); see `bursts`."""
        return np.array([[0], [1], [-1], [0]])

    def estimates(self, counts: Counts, limit: float) -> list[Estimate]:
        """Differences of the failure rates, candidate minus live, with their intervals; counts (n, 4)."""
        cells = counts[:, :3].astype(np.float64)
        low, high = discordance_intervals(cells)
        found = []
        for (neither, worse, better, shed), a, b in zip(counts.tolist(), low, high, strict=True):
            total = neither + worse + better
            note = f"{shed} shed copies count as failures for a pass" if shed else ""
            value = (worse - better) / max(1, total)
            found.append(Estimate(value, a, b, total, worse, note) if total else NOTHING)
        return found


GUARDS = (
    GuardType(
        name="max_extra_errors",
        place=130,
        title="extra errors",
        about="Failures of the candidate beyond live's, as a share of pairs.",
        question=Question.RELIABLE,
        unit=SHARE,
        rule=lambda _guard, _context: ExtraErrors(),
        effort=Effort(discordance_pairs, events=True, at_least=True),
        default="1%",
        check=below_one,
        least=0.002,
        most=1.0,
        generous=lambda _kind: Guard("max_extra_errors", 0.5),
    ),
)
