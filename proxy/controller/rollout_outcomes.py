"""What becomes known of a rollout's requests and users later: truths of requests, and what users do.

The part of `RolloutRun` that is told from outside the link.
"""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING, Any

from proxy.evidence.rules.registry import GUARDS
from proxy.evidence.sample_ratio import SampleRatio
from proxy.model import BUCKETS, State

if TYPE_CHECKING:
    from proxy.controller.admin.outcome_view import ArmUsersJson, UsersJson
    from proxy.controller.exposure_log import ExposureLog
    from proxy.evidence import Evidence
    from proxy.evidence.input.exposures import ArmCounts
    from proxy.evidence.input.labels import LabelsJson
    from proxy.evidence.input.units import ArmUnits, UnitBatch
    from proxy.model import Guard, Lane, Plan
    from proxy.pairs.ledger import PairLedger
    from proxy.rollout.events import RolloutState


def outcome_guard(plan: Plan) -> Guard | None:
    """The guard that counts users, if there is one."""
    return next((guard for guard in plan.guards if GUARDS[guard.name].by_users), None)


class KnownLater:
    """Truths and outcomes of a rollout at work."""

    plan: Plan
    rollout: RolloutState
    lane: Lane
    evidence: Evidence
    pair_ledger: PairLedger
    added_at: float
    unsnapshot: bool
    _changed: bool
    exposures: ExposureLog | None = None
    """Its users, where a guard counts them."""

    def flush(self) -> None:
        """Add the waiting readings to the evidence."""
        raise NotImplementedError

    @property
    def _judges_quality(self) -> bool:
        """Whether a guard has a limit for what outcomes say; else they are joined to be shown."""
        return any(GUARDS[guard.name].labelled for guard in self.plan.guards)

    @property
    def labels(self) -> LabelsJson | None:
        """What became of requests and their later truths; `None` before the first truth."""
        return self.evidence.labels if self._judges_quality else self.pair_ledger.outcomes.labels

    def outcome(self, name: str, truth: Any) -> bool:
        """The truth of a request has come; whether it was waited for."""
        self.flush()
        if self.rollout.over:
            return False
        if not self._judges_quality:
            joined = self.pair_ledger.outcomes.join(name, truth, self.plan.aspects[0], self.evidence.scale)
            self.unsnapshot |= joined
            return joined
        joined = self.evidence.outcome(name, truth)
        if joined:
            self._grown()
        return joined

    def _grown(self) -> None:
        self.added_at = time.perf_counter()
        self._changed = self.unsnapshot = True

    # --- users -------------------------------------------------------------------------------------------------------

    @property
    def serving(self) -> bool:
        """Whether the candidate answers some users, and live the others."""
        return self.rollout.state is State.CANARY and 0 < self.rollout.weight < BUCKETS

    def count_users(self, units: UnitBatch) -> None:
        """Users whose time has come."""
        if len(units) and not self.rollout.over:
            self.evidence.count_units(units)
            self._grown()

    @property
    def sample_ratio(self) -> SampleRatio | None:
        """How many users, or where nobody counts them pairs, of this stage are the candidate's; `None` outside
        canary, and where somebody counts users before the first of the stage."""
        weight, share = self.rollout.weight / BUCKETS, self.lane.share / BUCKETS
        if not self.serving:
            return None
        if outcome_guard(self.plan) is not None:
            if self.exposures is None or self.exposures.book.entry != self.rollout.entry:
                return None
            live, candidate = self.exposures.book.new_users
            return SampleRatio(candidate, live + candidate, weight, "users")
        if not share:
            return None
        expected = weight / (weight + (1.0 - weight) * share)
        candidate, pairs = self.evidence.stage_candidate_pairs, self.evidence.stage_pairs
        return SampleRatio(candidate, pairs, expected, "pairs")

    @property
    def srm(self) -> str:
        """The sample ratio mismatch that is proven, in words; empty when none is, or it may not hold a climb."""
        if self.plan.on_srm != "hold" or (found := self.sample_ratio) is None:
            return ""
        return found.mismatch


def users_json(trial: KnownLater) -> UsersJson | None:
    """What became of the users of each arm, and of what was posted; `None` where no guard counts users.

    `counted` are those whose time has come and that count, `mean` is that of their values, nothing cut. `bound` is the
    most that one counts for, `null` while it is `learning`, from so many; `share` of the users are kept.
    """
    if trial.exposures is None or (guard := outcome_guard(trial.plan)) is None:
        return None
    book, totals = trial.exposures.book, trial.evidence.units
    waiting = Counter(unit.candidate for unit in book.open.values())

    def arm(counts: ArmCounts, units: ArmUnits, *, candidate: bool) -> ArmUsersJson:
        return {
            "exposed": counts.exposed,
            "counted": units.units,
            "with_value": units.with_value,
            "waiting": waiting[candidate],
            "switched": counts.switched,
            "outcomes": counts.outcomes,
            "late": counts.late,
            "mean": units.mean,
        }

    return {
        "outcome": guard.outcome,
        "within_seconds": guard.within,
        "bound": guard.tolerance or totals.bound or None,
        "learning": 0 if guard.tolerance or totals.bound else totals.learning_units,
        "live": arm(book.live, totals.live, candidate=False),
        "candidate": arm(book.candidate, totals.candidate, candidate=True),
        "unknown": book.unknown,
        "unfit": book.unfit,
        "left_out": book.left_out,
        "lost": book.lost,
        "share": 0.5**book.halvings,
    }
