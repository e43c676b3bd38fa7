"""The nouns of the machine in `rollout`: its state, what happens to it, and what is to be done about it.

All are frozen values. Times are epoch seconds, given by the caller. Invariant: an event holds everything that the
machine may know of the outside at that moment, so that the same events give the same end.
"""

from __future__ import annotations

from dataclasses import dataclass

from proxy.model import Assessment, Plan, State

MACHINE = "understudy"
"""The actor of what the machine does by itself."""


_OVER = (State.ROLLED_BACK, State.COMPLETED)  # looking up a member of an enum costs 0.1 µs in Python 3.11


@dataclass(frozen=True, slots=True)
class RolloutState:
    """Where one rollout is. Times are epoch seconds; `weight` in basis points.

    `trial` is empty when the trial's evidence is lost: the next reload then begins a fresh one. `stage` indexes
    `Plan.stages` and stays where it was after the end. `entry` numbers stage entries within a trial, `change` all saved
    changes of the rollout. `held` says that the stage passed and waits for a person, `stalled` that its `max_time` ran
    out; both are told once. `cause` is the word for the last end: `fail`, `tripwire`, `abort`, `timeout`, `unfinished`,
    `lost`, `stalled` (not ready for too long), `removed`. `ended_at` is when that was, `ended_in` the name of the stage
    it was in (`promoted` is one). `unready_since` is when the candidate's health check began to say that it is not
    ready, 0 while it is; `waited` how many seconds of the present stage that took: the stage's clock stood still.
    `asked_by` has asked for 100 %, and another person has to confirm that until `asked_until`; empty where nobody has.
    `asked_as` is that person as `Promote.person` has it.
    """

    name: str
    trial: str
    began_at: float
    state: State = State.SHADOW
    stage: int = 0
    entry: int = 0
    entered_at: float = 0.0
    weight: int = 0
    change: int = 0
    paused: bool = False
    held: bool = False
    stalled: bool = False
    blocked_by: str | None = None
    cause: str = ""
    reason: str = ""
    ended_at: float = 0.0
    ended_in: str = ""
    unready_since: float = 0.0
    waited: float = 0.0
    asked_by: str = ""
    asked_until: float = 0.0
    asked_as: str = ""

    def in_stage(self, now: float) -> float:
        """Seconds in the present stage, without those in which the candidate was not ready."""
        return (self.unready_since or now) - self.entered_at - self.waited

    @property
    def since(self) -> float:
        """When its present state began: the end, else the stage it is in."""
        return self.ended_at or self.entered_at

    @property
    def over(self) -> bool:
        """Whether the candidate neither serves nor is copied to any more."""
        return self.state in _OVER


# --- events ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Looked:
    """A look at the evidence. Pairs are compared pairs of the present stage; `blocked_by` names a rollout of the same
    route that has weight now; `rate` is compared pairs per second, for the forecast. `ready` is what the workers'
    health checks say of the candidate, `None` when they have said nothing yet. `srm` is what must end before a climb
    where a sample ratio mismatch holds it, in words."""

    now: float
    assessment: Assessment
    stage_pairs: int
    stage_candidate_pairs: int
    blocked_by: str | None = None
    rate: float = 0.0
    ready: bool | None = None
    srm: str = ""


@dataclass(frozen=True, slots=True)
class Tripped:
    """`count` candidate failures in a row where live succeeded; `detail` says of what sort."""

    now: float
    count: int
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Unfinished:
    """A worker has less weight than was saved, from a table that was never saved: a crash interrupted a decrease.

    `why` is what that table said of it (`Lane.why`)."""

    now: float
    why: str = ""


@dataclass(frozen=True, slots=True)
class Restored:
    """Workers had taken the weight away because no controller was there; now one is."""

    now: float


@dataclass(frozen=True, slots=True)
class Promote:
    """By hand: to the next stage, or with `full` to 100 %. `confirm_within` is how many seconds a second person has to
    confirm the latter, `None` where one is enough. `person` is who asks, however the journal calls them: two promotions
    by one person have the same. The actor when empty."""

    now: float
    actor: str
    reason: str = ""
    full: bool = False
    blocked_by: str | None = None
    confirm_within: float | None = None
    person: str = ""


@dataclass(frozen=True, slots=True)
class Abort:
    """By hand: roll back."""

    now: float
    actor: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Pause:
    """By hand: stop climbing."""

    now: float
    actor: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Resume:
    """By hand: climb again."""

    now: float
    actor: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Retry:
    """By hand: begin again at the first stage with the evidence kept, unless that still says fail."""

    now: float
    actor: str
    assessment: Assessment
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Restart:
    """By hand: what has ended is tried anew, with nothing of its evidence. The plan that goes with it names the new
    trial."""

    now: float
    actor: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Reloaded:
    """The file was read again; `previous` is the plan in force until now.

    `earlier` is where the trial that the file names ended, if it is not the present one and was tried before.
    """

    now: float
    previous: Plan
    earlier: RolloutState | None = None


@dataclass(frozen=True, slots=True)
class Removed:
    """The rollout is not in the file any more; `became_live` says that its candidate is now the route's live."""

    now: float
    became_live: bool = False


RolloutEvent = (
    Looked | Tripped | Unfinished | Restored | Promote | Abort | Pause | Resume | Retry | Restart | Reloaded | Removed
)


# --- effects ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Publish:
    """Give every worker the routing table and wait until each has acknowledged it."""


@dataclass(frozen=True, slots=True)
class Save:
    """One transaction: state, evidence, this journal entry and, if `announce` is an event's name, its deliveries.
    `replaces` is the plan of the trial in whose place this one begins."""

    kind: str
    reason: str
    actor: str = MACHINE
    announce: str = ""
    replaces: Plan | None = None


@dataclass(frozen=True, slots=True)
class Refuse:
    """An action by hand that is not possible now (409); nothing changed."""

    reason: str


Effect = Publish | Save | Refuse
Effects = tuple[Effect, ...]


def lowers_first(effects: Effects) -> bool:
    """Whether this is a decrease of weight: published before it is saved.

    >>> lowers_first((Publish(), Save("rolled_back", "why"))), lowers_first((Save("advanced", "why"), Publish()))
    (True, False)
    """
    return bool(effects) and isinstance(effects[0], Publish)
