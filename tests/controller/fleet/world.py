"""Several replicas in one process, in time that is made: a store that can be away, links that can be cut, processes
that can be paused and killed. Each replica is the real `election`; what carries its actions out is as simple as can be.

What must never happen fails where it happens (`AssertionError`): a worker that goes back, two leaders whose tables are
taken in one term, a term that shrinks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from random import Random

from proxy.controller.fleet.election import QUIET, Election, step
from proxy.controller.fleet.events import (
    Alone,
    Away,
    Cut,
    Drain,
    FleetEvent,
    Heard,
    Renewed,
    Row,
    Taken,
    TermSeen,
    Tick,
)
from proxy.model import Table

STEP = 0.05
"""Seconds between two turns of the world."""
KEEPALIVE = 3.0
"""Seconds after which the server ends the session of who cannot be reached any more."""
DEAF = 4.0
"""Seconds after which a replica ends a session whose server does not answer."""


@dataclass
class Store:
    """The lease, and whose session holds the lock. `away` is down; `cut` are replicas that cannot reach it."""

    term: int = 0
    holder: str = ""
    expires: float = float("-inf")
    lock: int = 0
    up: bool = True
    cut: set[str] = field(default_factory=set)
    sessions: dict[int, float] = field(default_factory=dict)  # when the server ends them
    count: int = 0

    def connect(self, name: str) -> int:
        if not self.up or name in self.cut:
            return 0
        self.count += 1
        self.sessions[self.count] = float("inf")
        return self.count

    def turn(self, now: float) -> None:
        for session in [one for one, end in self.sessions.items() if end <= now]:
            self.end(session)

    def end(self, session: int) -> None:
        self.sessions.pop(session, None)
        self.lock = 0 if self.lock == session else self.lock

    def stop(self) -> None:
        self.up, self.lock = False, 0
        self.sessions.clear()

    def take(self, session: int, seen: int, holder: str, lease: float, now: float) -> int | None:
        if self.lock not in (0, session) and self.expires < now:
            self.end(self.lock)
        if self.lock not in (0, session):
            return None
        before, self.lock = self.term, session
        self.term, self.holder, self.expires = max(self.term, seen) + 1, holder, now + lease
        assert self.term > before, "a term that does not grow"
        return self.term

    def renew(self, term: int, lease: float, now: float) -> bool:
        if self.term != term or self.expires <= now:
            return False
        self.expires = now + lease
        return True


@dataclass
class Worker:
    """What it holds, by the rule of real ones, and whose tables it took."""

    held: Table = field(default_factory=lambda: Table(0))
    maker: str = ""

    def take(self, table: Table, maker: str, makers: dict[int, str] | None) -> None:
        if table.is_older_than(self.held):
            return
        assert (table.term, table.number) >= (self.held.term, self.held.number), "a worker went back"
        assert table.term > self.held.term or maker == self.maker, f"two leaders in term {table.term}"
        if makers is not None:
            assert makers.setdefault(table.term, maker) == maker, f"two leaders in term {table.term}"
        self.held, self.maker = table, maker


@dataclass
class Ask:
    """A question to the store under way: when the store does it, when the answer is here."""

    action: str
    sent: float
    done_at: float
    here_at: float
    event: Callable[[float], FleetEvent] | None = None


@dataclass
class Replica:
    name: str
    election: Election
    worker: Worker = field(default_factory=Worker)
    session: int = 0
    ask: Ask | None = None
    paused: bool = False
    dead: bool = False
    controller: int = 0  # the term its controller is in, 0 without one
    linked: str = ""  # the process that its links go to
    again_at: float = 0.0
    known: set[str] = field(default_factory=set)
    short_since: float | None = None
    number: int = 0


class World:
    """`names` are the replicas; `latency` gives seconds for one way to the store."""

    def __init__(self, names: str, lease: float = 10.0, seed: int | None = None) -> None:
        self.now, self.lease = 0.0, lease
        self.store = Store()
        self.replicas = {name: Replica(name, Election(f"{name}#1", lease)) for name in names}
        self.cuts: set[frozenset[str]] = set()
        self.makers: dict[int, str] | None = {}
        self.log: list[str] = []
        self._births = 1
        self._random = Random(seed) if seed is not None else None

    # --- what may be done to it --------------------------------------------------------------------------------------

    def kill(self, name: str) -> None:
        replica = self.replicas[name]
        replica.dead, replica.controller, replica.linked, replica.ask = True, 0, "", None
        if replica.session in self.store.sessions and name not in self.store.cut:
            self.store.sessions[replica.session] = self.now + STEP

    def start(self, name: str) -> None:
        """Its controller is started again; its worker never ended."""
        self._births += 1
        worker = self.replicas[name].worker
        self.replicas[name] = Replica(name, Election(f"{name}#{self._births}", self.lease), worker)
        self._happens(self.replicas[name], TermSeen(self.now, worker.held.term))

    def pause(self, name: str) -> None:
        self.replicas[name].paused = True

    def resume(self, name: str) -> None:
        self.replicas[name].paused = False

    def cut(self, one: str, other: str) -> None:
        """No byte goes between two replicas, or between one and the `store`."""
        self.cuts.add(frozenset((one, other)))
        if other == "store":
            self.store.cut.add(one)
            session = self.replicas[one].session
            if session in self.store.sessions:
                self.store.sessions[session] = self.now + KEEPALIVE

    def mend(self, one: str, other: str) -> None:
        self.cuts.discard(frozenset((one, other)))
        self.store.cut.discard(one)

    def fail_over(self, lost: int) -> None:
        """Another server goes on, which has not heard of the last `lost` terms."""
        self.store.stop()
        self.store.up = True
        self.store.term -= lost
        self.store.holder, self.store.expires = "somebody#0", float("-inf")
        self.makers = None  # a term that no worker tells of may come twice; no worker takes both for all that

    def drain(self, name: str) -> None:
        replica = self.replicas[name]
        if not replica.dead:
            self._happens(replica, Drain(self.now))

    # --- time --------------------------------------------------------------------------------------------------------

    def run(self, seconds: float) -> None:
        for _ in range(round(seconds / STEP)):
            self.now = round(self.now + STEP, 6)
            self.store.turn(self.now)
            for replica in self.replicas.values():
                if not (replica.dead or replica.paused):
                    self._turn(replica)

    def _turn(self, replica: Replica) -> None:
        self._answers(replica)
        self._links(replica)
        self._counts_followers(replica)
        self._publishes(replica)
        self._happens(replica, Tick(self.now))

    def _answers(self, replica: Replica) -> None:
        ask = replica.ask
        gone = replica.session not in self.store.sessions
        if ask is None:
            if replica.session and gone:
                replica.session = 0
                self._happens(replica, Away(self.now))
            return
        if ask.event is None and not gone and self.now >= ask.done_at and replica.name not in self.store.cut:
            ask.event = self._done(replica, ask)
        late = self.now - ask.sent >= DEAF or gone
        if ask.event is not None and self.now >= ask.here_at and not gone:
            replica.ask = None
            self._happens(replica, ask.event(self.now))
        elif late:
            if not gone and replica.name not in self.store.cut:
                self.store.end(replica.session)
            replica.ask, replica.session = None, 0
            self._happens(replica, Away(self.now))

    def _done(self, replica: Replica, ask: Ask) -> Callable[[float], FleetEvent]:
        """The store does what it was asked, now; what will be told of it."""
        store, election, sent = self.store, replica.election, ask.sent
        if ask.action == "look":
            row = (store.term, store.holder, store.holder.partition("#")[0], store.expires - self.now)
            return lambda now: Row(now, *row)
        if ask.action == "take":
            term = store.take(replica.session, election.seen, election.me, self.lease, self.now)
            return lambda now: Taken(now, sent, term)
        ok = store.renew(election.term, self.lease, self.now)
        return lambda now: Renewed(now, sent, ok)

    def _links(self, replica: Replica) -> None:
        """The relay: one link to who is followed. It ends with that process, or when nothing comes through."""
        leader = replica.election.leader
        target = self.replicas.get(leader.name) if leader is not None else None
        here = target is not None and leader is not None and target.election.me == leader.holder
        up = here and target is not None and target.controller > 0 and not self._is_cut(replica.name, target.name)
        if leader is None or (replica.linked and replica.linked != leader.holder):
            replica.linked = ""
        if replica.linked and not up:
            replica.linked = ""
            self._happens(replica, Cut(self.now))
        elif not replica.linked and leader is not None and self.now >= replica.again_at:
            replica.again_at = self.now + 0.2
            if up and target is not None and not target.paused:
                replica.linked = target.election.me
                self._greet(target, replica.worker)
            elif not up:
                self._happens(replica, Cut(self.now))

    def _greet(self, leader: Replica, worker: Worker) -> None:
        """HELLO: a leader knows its own tables when it sees them."""
        if worker.maker != leader.election.me:
            self._happens(leader, TermSeen(self.now, worker.held.term))

    def _is_cut(self, one: str, other: str) -> bool:
        return frozenset((one, other)) in self.cuts

    def _counts_followers(self, replica: Replica) -> None:
        follow = {one.name for one in self.replicas.values() if one.linked == replica.election.me}
        if replica.election.state != "ADRIFT":
            replica.known, replica.short_since = follow, None
        elif 2 * (len(follow & replica.known) + 1) > len(replica.known) + 1:
            replica.short_since = None
        else:
            replica.short_since = self.now if replica.short_since is None else replica.short_since
            if self.now - replica.short_since >= QUIET:
                self._happens(replica, Alone(self.now))

    def _publishes(self, replica: Replica) -> None:
        if not replica.controller or not replica.election.may_act(self.now):
            return
        replica.number += 1
        for other in self._reached(replica):
            other.worker.take(Table(replica.number, term=replica.controller), replica.election.me, self.makers)
            if other is not replica and not other.paused:
                self._happens(other, Heard(self.now))

    def _reached(self, replica: Replica) -> Iterator[Replica]:
        yield replica
        yield from (one for one in self.replicas.values() if one.linked == replica.election.me and not one.paused)

    # --- one replica -------------------------------------------------------------------------------------------------

    def _happens(self, replica: Replica, event: FleetEvent) -> None:
        before = replica.election
        replica.election, actions = step(before, event)
        said = [action for action in actions if action not in ("look", "renew")]
        after = replica.election.state
        tries = {before.state, after} == {"STANDBY", "TAKING"}  # most in vain
        if (said or after != before.state) and not tries:
            way = f"{before.state} → {after}" if after != before.state else after
            self.log.append(f"{self.now:6.2f}  {replica.name}  {way}  {' '.join(said)}".rstrip())
        for action in actions:
            self._act(replica, action)

    def _act(self, replica: Replica, action: str) -> None:
        if action in ("look", "take", "renew"):
            assert replica.ask is None, "two questions at once"
            if replica.session not in self.store.sessions:
                replica.session = self.store.connect(replica.name)
            there, back = (self._random.uniform(0, 0.4), self._random.uniform(0, 0.4)) if self._random else (0.0, 0.0)
            replica.ask = Ask(action, self.now, self.now + there, self.now + there + back)
        elif action in ("lead", "go_on"):
            term = replica.election.term
            assert term > replica.controller, "a controller's term that does not grow"
            replica.controller = term
            self._greet(replica, replica.worker)
        elif action in ("stop", "hand_over"):
            assert replica.controller
            replica.controller = 0
        elif action == "release" and replica.session == self.store.lock and self.store.term == replica.election.term:
            self.store.expires, self.store.lock = self.now, 0

    # --- what it looks like ------------------------------------------------------------------------------------------

    def shown(self) -> str:
        """A line for each replica: its state and term, whether it may act, whom it follows; what its worker holds."""
        return "\n".join(self._shown(replica) for replica in self.replicas.values())

    def _shown(self, replica: Replica) -> str:
        election = replica.election
        if replica.dead:
            words = "dead"
        elif election.leads:
            words = f"{election.state} {election.term}{' acts' if election.may_act(self.now) else ''}"
        else:
            words = f"{election.state}{f' follows {election.leader.name}' if election.leader else ''}"
        return f"{replica.name}  {words}{' (paused)' if replica.paused else ''}; worker in {replica.worker.held.term}"

    @property
    def leaders(self) -> list[str]:
        """Who leads and may act."""
        here = [one for one in self.replicas.values() if not (one.dead or one.paused)]
        return [one.name for one in here if one.election.state == "LEADING" and one.election.may_act(self.now)]
