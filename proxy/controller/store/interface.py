"""What the controller must not forget: rollouts with their evidence, the journal, the outbox, what routes are
like. The one interface of it.

`sqlite/` keeps it in one file, `postgres/` in a database that the replicas of a fleet share; nothing that uses it may
know which one it has. `tests/controller/store/test_store.py` holds both to the same promises.

Invariants
- `save` is one transaction: rollout, evidence, ledger, table number, journal entry and outbox rows, or none of them.
- The journal only grows; `retain` and `let_go` alone take its oldest entries away. It is a chain (`chain`), and what
  they take away is signed off in it.
- Whatever goes wrong (a disk, a server, a network) is a `StoreError`; the next call tries again by itself.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import orjson
from typing_extensions import TypedDict

from proxy.controller.store.chain import ChainedEntry, ChainHead, digest_of
from proxy.controller.webhooks.outbox import Outbox
from proxy.controller.webhooks.policy import WebhookEvent
from proxy.errors import StoreError
from proxy.json_types import Whole
from proxy.model import Plan
from proxy.rollout.events import RolloutState
from proxy.rollout.serialization import plan_from, rollout_from

KEEP_ENDED = 50
"""Rollouts, the last that ended, that are kept whole though the file names them no more."""


class EntryJson(TypedDict):
    """An entry of the journal, as it is shown."""

    number: Whole
    time: float
    """Epoch seconds."""
    kind: str
    actor: str
    hash: str
    reason: str
    detail: dict[str, Any]
    """What it was decided on, the evidence aside."""
    evidence_bytes: Whole


class HeadJson(TypedDict):
    """An entry of the journal, and the hash of all up to it."""

    number: Whole
    hash: str


@dataclass(frozen=True, slots=True)
class Retention:
    """How much is kept of what is over."""

    entries: int = 1000
    """Journal entries of each rollout."""
    journal: int = 32 << 20
    """Bytes of evidence in the journal of each rollout, but for its last entry."""
    trials: int = 50
    """Ended trials of each rollout, so that a version that comes back is known."""
    past: int = 16 << 20
    """Bytes of evidence of the ended trials of each rollout; what is older is known by its end alone."""
    ended: int = KEEP_ENDED
    """Rollouts, the last that ended, that are kept whole though the file names them no more."""
    let_go: int = 20
    """Rollouts that are let go in one transaction."""
    names: int = 1000
    """Rollouts beyond those, the last ones, of which state and plan are kept, so that one that comes back is known."""
    deliveries: float = 30 * 86400.0
    """Seconds that a finished delivery is kept to be looked at."""
    drift: float = 30 * 86400.0
    """Seconds that what is known of a route for `drift` is kept once nothing is added to it."""


KEPT = Retention()


@dataclass(frozen=True, slots=True)
class Saved:
    """One rollout as the store holds it. `ledger` is what `ledger.PairLedger.dump` gave."""

    rollout: RolloutState
    plan: Plan
    evidence: bytes
    ledger: dict[str, Any]

    @property
    def archived(self) -> bool:
        """Whether it ended because the file names it no more."""
        return self.rollout.cause == "removed"


def read_saved(row: Any) -> Saved:
    """A rollout from (state, plan, evidence, ledger). Raises `StoreError`."""
    state, plan, evidence, pair_ledger = row
    try:
        rollout, kept = rollout_from(orjson.loads(state)), plan_from(orjson.loads(plan))
        return Saved(rollout, kept, bytes(evidence), orjson.loads(pair_ledger))
    except (TypeError, ValueError, KeyError) as error:
        raise StoreError(f"a saved rollout cannot be read: {error!r}") from error


@dataclass(frozen=True, slots=True)
class Change:
    """One transaction: a rollout after a change, and why. `table` is the routing table number that goes with it.

    `saved.evidence` is what was decided on; it becomes part of the journal entry. `event` goes to each of `endpoints`.
    `token` makes it safe to save a change again when it is not known whether the first time went through.
    """

    saved: Saved
    table: int
    time: float
    kind: str
    actor: str
    reason: str
    detail: Mapping[str, Any]
    event: WebhookEvent | None = None
    endpoints: tuple[str, ...] = ()
    token: str = field(default_factory=lambda: os.urandom(12).hex())


@dataclass(frozen=True, slots=True)
class SavedDrift:
    """What is known of one route for `drift`; `data` is the controller's own (`controller.drift`)."""

    route: str
    data: bytes


@dataclass(frozen=True, slots=True)
class DriftChange:
    """One transaction: what is known of a route, the entry in the journal of that route, and if there is an `event` its
    deliveries. `token` as in `Change`."""

    saved: SavedDrift
    time: float
    kind: str
    actor: str
    reason: str
    detail: Mapping[str, Any]
    event: WebhookEvent | None = None
    endpoints: tuple[str, ...] = ()
    token: str = field(default_factory=lambda: os.urandom(12).hex())


def entry_of(change: Change | DriftChange) -> ChainedEntry:
    """A change as an entry of the journal that has no number yet; what drifts is entered under its route."""
    saved = change.saved
    name, evidence = (saved.route, b"") if isinstance(saved, SavedDrift) else (saved.rollout.name, saved.evidence)
    words = (change.kind, change.actor, change.reason, orjson.dumps(change.detail).decode(), change.token)
    return ChainedEntry(0, name, float(change.time), *words, digest_of(evidence))


def told_in(event: WebhookEvent, head: ChainHead) -> str:
    """An event's data as its receivers get them: with the entry of the journal that they come from, and its hash."""
    return orjson.dumps({**event.data, "journal": {"number": head.number, "hash": head.hash}}).decode()


@dataclass(slots=True)
class Contents:
    """All that a controller needs to go on where the last one was; of the rollouts the one changed last comes last.
    `lost` says why what was saved before is not known; empty at a first start."""

    identity: str
    table: int
    rollouts: list[Saved] = field(default_factory=list)
    secret: str = ""
    lost: str = ""


class Deposed(StoreError):  # noqa: N818 - reads as what it says of a leader
    """Another replica leads: nothing of this one is written any more."""


class CommitDoubtError(StoreError):
    """It is not known whether a change was saved. Saving it again finds out; until then nothing else may be decided
    of that rollout, but for a decrease of weight."""


class RolloutStore(Outbox, Protocol):
    """A store as the controller knows it. Every coroutine may raise `StoreError`."""

    where: str
    """What the store is called: a path, or a URL without what is secret in it."""
    failures: int
    """Writes that failed."""
    error: str
    """Why the last write failed; empty when it did not."""
    renewed: int
    """New files that were begun since the first one was opened, into which everything must be written anew; 0 where
    there is no file."""

    @property
    def snapshot_every(self) -> float:
        """Seconds between two snapshots of evidence that changes, at least; decisions bring their own."""

    @property
    def synchronous(self) -> bool | None:
        """Whether what was saved is on a second machine too; `None` where there can be none, or it is not known."""

    @property
    def set_aside(self) -> int:
        """Unsound files that were found in the store's place; 0 where there is no file."""

    @property
    def trouble(self) -> str:
        """What is wrong with the store now, in words; empty when nothing is."""

    async def load(self, named: Collection[str] = ()) -> Contents:
        """What is at work, what the file names, and the last `KEEP_ENDED` that ended."""

    async def save(self, *changes: Change) -> None:
        """One change, or those of several rollouts, all of it or nothing; once, however often it is tried. Raises
        `CommitDoubtError` and `Deposed`."""

    async def snapshot(self, saved: list[Saved], now: float, secret: str = "") -> None:
        """Evidence and ledgers as they are now; `saved.rollout` must be as it was last saved. `secret` is written where
        the store was begun under way, so that the split goes on after the next start too."""

    async def rollouts(self, names: Collection[str]) -> dict[str, Saved]:
        """Those of these rollouts that are known, as they were last saved."""

    async def past(self, name: str, tried: str) -> Saved | None:
        """How the last trial of what was tried (`Plan.tried`) had ended before another one replaced it."""

    async def trials(self, name: str, limit: int) -> list[Saved]:
        """Earlier trials of a rollout, which others have replaced: newest first, without their evidence."""

    async def journal(self, name: str, limit: int, before: int | None = None) -> list[EntryJson]:
        """Entries of a rollout, newest first, with numbers below `before`, without the evidence itself."""

    async def head(self) -> ChainHead:
        """Where the journal's chain ends: the last entry's number and hash."""

    async def keep_charts(self, charts: dict[str, Any]) -> None:
        """Keep what is drawn of each trial (`charts.Charts.dump`) for the next controller; no decision needs it."""

    async def charts(self) -> dict[str, Any]:
        """What was drawn of each trial."""

    async def keep_judges(self, judges: dict[str, Any]) -> None:
        """Keep what each judge has spent and said (`JudgeAsker.dump`) for the next controller."""

    async def judges(self) -> dict[str, Any]:
        """What each judge had spent and said; empty before anything was kept."""

    async def save_drift(self, change: DriftChange) -> None:
        """One change of what is known of a route, whole or not at all; once, however often it is tried."""

    async def keep_drift(self, saved: SavedDrift, now: float) -> None:
        """Keep what is known of a route for the next controller."""

    async def drift(self) -> dict[str, SavedDrift]:
        """What was known of each route."""

    async def put_exposures(self, trial: str, number: int, data: bytes) -> None:
        """Keep what has become known of a trial's users, under this number: one that is there is replaced."""

    async def exposures(self, trial: str) -> list[tuple[int, bytes]]:
        """All that was kept of a trial's users, in the order of their numbers."""

    async def sum_up_exposures(self, trial: str, number: int, data: bytes) -> None:
        """Keep this in place of all that was kept of a trial's users."""

    async def keep_registry(self, said: dict[str, Any]) -> None:
        """Keep what model registries have said (`versions.dump_versions`), before anything comes of it."""

    async def registry(self) -> dict[str, Any]:
        """What model registries had said; empty before anything was kept."""

    async def retain(self, now: float, named: Collection[str]) -> int:
        """Take away what is beyond the retention while the file names these rollouts; how many rows."""

    async def let_go(self, name: str) -> None:
        """Keep of a rollout that ended long ago no more than how it, and each of its trials, ended."""

    async def check(self) -> None:
        """See whether the store is still there."""

    async def close(self) -> None:
        """Finish what waits and release it, for good."""
