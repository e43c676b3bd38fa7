"""What was found, what became of every sample, and what workers are told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from operator import attrgetter
from typing import Final

from proxy.model.plans import guard_key
from proxy.model.words import BUCKETS, State, Verdict


@dataclass(frozen=True, slots=True)
class Finding:
    """A guard's verdict with what a person needs to judge it.

    `evidence` is the share of what is needed to fail (0..1, 1 is decided); `low` and `high` a 95 % interval valid at
    any time; `eta_seconds` the forecast until a pass, `None` when there is none. `burst_size` is how many differences
    come together, at least 1: evidence to fail counts the `burst_size`-th part. `value` is over pairs whose body had
    not been seen a moment ago, `value_with_repeats` over all (`None` for a segment).
    """

    guard: str
    segment: str | None
    verdict: Verdict
    value: float | None
    low: float | None
    high: float | None
    limit: float
    evidence: float
    pairs: int
    eta_seconds: float | None
    reason: str
    burst_size: float = 1.0
    value_with_repeats: float | None = None
    pairs_with_repeats: int = 0
    aspect: str = ""

    @property
    def key(self) -> str:
        """The key of its guard."""
        return guard_key(self.guard, self.aspect)


@dataclass(frozen=True, slots=True)
class Assessment:
    """All findings at one look, the pooled verdict, and the guards named as its cause."""

    verdict: Verdict
    findings: tuple[Finding, ...] = ()
    causes: tuple[str, ...] = ()
    budget_used: float = 0.0


@dataclass(frozen=True, slots=True)
class Ledger:
    """What happened to every request that should have become a pair; the parts are exclusive and sum to `sampled`.

    Its fields are the parts there are, in the order in which they are shown; `PARTS` and what stands behind it follow.
    `late` came after its rollout had ended: it is no evidence.
    """

    sampled: int = 0
    compared: int = 0
    shed: int = 0
    too_large: int = 0
    too_long: int = 0
    not_ready: int = 0
    client_gone: int = 0
    live_failed: int = 0
    unparseable: int = 0
    link_full: int = 0
    late: int = 0

    @property
    def pending(self) -> int:
        """Sampled requests whose pair is still under way.

        >>> Ledger(sampled=5, compared=3, shed=1).pending
        1
        """
        return self.sampled - sum(_parts(self))


PARTS: Final[tuple[str, ...]] = tuple(part.name for part in fields(Ledger) if part.name != "sampled")
"""What may become of a sampled request: the closed set, as metrics, API, webhooks and console show it."""
BOOKED: Final[tuple[str, ...]] = ("compared", "live_failed", "unparseable", "late")
"""Parts that the controller books, once it has read the pair."""
DROPPED: Final[tuple[str, ...]] = tuple(part for part in PARTS if part not in BOOKED)
"""Parts that workers report: why there was no pair."""
REPORTED: Final[tuple[str, ...]] = ("sampled", *DROPPED, "sent")
"""What a worker reports of one trial, as totals."""
_parts: Callable[[Ledger], tuple[int, ...]] = attrgetter(*PARTS)


@dataclass(frozen=True, slots=True)
class Lane:
    """One rollout's line in a routing table: all that a worker needs to know of a decision.

    `weight` and `share` in basis points; `stage` the stage's entry number (see `Pair.stage`). `affords` is the part of
    `share`, and of what the candidate serves, that the token budget affords, basis points. `why` is not for the worker:
    it says of a decrease of weight what a controller that dies before it is saved cannot tell the next one. `again` is
    `Plan.again`, which no file says. `asked` stands for what is asked of users, 0 for nothing: where it changes, all
    users are told anew.
    """

    rollout: str
    trial: str
    state: State
    weight: int
    share: int
    stage: int
    affords: int = BUCKETS
    why: str = ""
    again: int = 0
    asked: int = 0

    @property
    def tried(self) -> str:
        """What is tried, as the file says it (`Plan.tried`)."""
        return self.trial.removesuffix(f"|again {self.again}") if self.again else self.trial


@dataclass(frozen=True, slots=True)
class Table:
    """A numbered routing table. A worker acknowledges the number after it has taken effect.

    `secret` (hex) keys the salts by which requests are put on arms and into samples. It is the store's, so the split is
    the same in every worker and after every restart. `term` is that of the leader who made it; 0 where one controller
    has a store of its own. `versions` are those of the upstreams that a registry names them of, which no file says.
    `whole_requests` names the trials whose requests the controller reads, whatever a reload of the file says since they
    began. (Not in `Lane`: an older worker refuses a line with a word that it does not know.)
    """

    number: int
    lanes: tuple[Lane, ...] = ()
    secret: str = ""
    term: int = 0
    versions: dict[str, str] = field(default_factory=dict)
    whole_requests: tuple[str, ...] = ()

    @property
    def again(self) -> dict[str, int]:
        """How often what is tried was begun anew, where it was."""
        return {lane.tried: lane.again for lane in self.lanes if lane.again}

    def is_older_than(self, held: Table) -> bool:
        """Whether a worker that holds `held` must not take this one: it is of a leader that was followed by another, or
        of the same one from before. Without terms what comes last holds.

        >>> Table(9, term=1).is_older_than(Table(3, term=2)), Table(3, term=2).is_older_than(Table(9, term=1))
        (True, False)
        >>> Table(2, term=1).is_older_than(Table(3, term=1)), Table(2).is_older_than(Table(3))
        (True, False)
        """
        return self.term < held.term or (self.term == held.term > 0 and self.number < held.number)
