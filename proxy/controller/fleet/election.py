"""Who leads a fleet: (state, event) → (state, actions). A table and one function; no clock, no network.

    STANDBY ──the lease is free──▶ TAKING ──term──▶ LEADING ◀──the next term── RETAKING
       ▲                                              │ the store is away          ▲ the store is back, and
       └──────────── stop ────────────────────────────┴────────▶ ADRIFT ───────────┘ nobody led meanwhile

What happened is told by events with the replica's own time (`CLOCK_BOOTTIME`, seconds, which goes on while a machine
sleeps); what is to be done comes out as actions, in order. The store is asked one thing at a time (`look`, `take`,
`renew`), and each is answered by exactly one of `Row`, `Taken`, `Renewed`, `Away`.

When a leader must stop
- Its lease is counted from before it sent what took or renewed it, by its own clock, and ends `MARGIN` of it early.
  Who finds itself beyond that was paused: another may lead, so it stops before it does anything else.
- The store refused to renew, or a worker or replica knows another leader of its term or of a higher one.
- Not because the store is away: then nobody can take a term, and the leader goes on (`ADRIFT`). It judges and takes
  weight away; what needs the store (to climb, to save, to announce) waits. This ends when no majority of the replicas
  follows it any more, for the others may follow another: the store may be away for it alone.

Who takes a term
- At once, when the leader's link is gone or silent and the store says that its connection has ended (the lock).
- When the lease has run out: at once if the leader is silent, else after `grace`, so that a leader that speaks is the
  first to go on when a store comes back. It has the evidence in its hands.

Invariants (property tests over interleavings of several replicas)
- A leader acts only while `may_act`; terms only grow; nobody leads in a term that another was given.
- Where store and links work, somebody leads after a lease and `grace`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from proxy.controller.fleet.events import (
    Alone,
    Away,
    Cut,
    Drain,
    Failed,
    FleetEvent,
    Heard,
    Leader,
    Renewed,
    Row,
    Taken,
    TermSeen,
    Tick,
)

STATES: Final = {
    "STANDBY": "another leads, or nobody: the store is looked at",
    "TAKING": "the store has been asked for a term",
    "LEADING": "judges and acts in its term",
    "ADRIFT": "the same while the store is away: nothing climbs, nothing is saved",
    "RETAKING": "adrift, the store is back and names nobody else: it has been asked for the next term",
    "LEFT": "told to drain",
}

EVENTS: Final = {
    "due": "it is time to ask the store",
    "held": "another one leads than the one that is followed",
    "free": "nobody leads any more, or that is to be tried",
    "away": "the store did not answer, or the connection to it has ended",
    "taken": "a term was given",
    "beaten": "none was: another leads",
    "next": "the next term was given, and nobody led in between",
    "renewed": "the lease runs on",
    "refused": "it does not: it has run out, or another term has begun",
    "mine": "the store still names this leader",
    "overtaken": "the store names another",
    "outranked": "a worker or a replica knows another leader of this term or of a higher one",
    "paused": "its time is up, and it did not notice",
    "alone": "no majority of the replicas follows any more",
    "failed": "the controller could not be built",
    "drain": "this replica leaves",
}

ACTIONS: Final = {
    "look": "ask the store who leads",
    "take": "ask it for a term above `seen`",
    "renew": "ask it to let `term` run on",
    "lead": "build the controller in `term`",
    "go_on": "the controller that there is goes on in `term`",
    "stop": "end the controller at once: no more verdict, table, save or webhook",
    "follow": "pass the workers' links on to `leader`",
    "hand_over": "end the controller with all that is in hand judged and saved",
    "release": "tell the store that `term` is over",
}

TABLE: Final = """\
in                       on          becomes   and
STANDBY                  due         =         look
STANDBY                  held        =         follow
STANDBY                  free        TAKING    take
STANDBY                  away        =         -
TAKING                   taken       LEADING   lead
TAKING                   beaten away STANDBY   -

LEADING                  due         =         renew
LEADING                  renewed     =         -
LEADING                  away        ADRIFT    -
LEADING                  refused     STANDBY   stop
LEADING ADRIFT RETAKING  paused      STANDBY   stop
LEADING ADRIFT RETAKING  outranked   STANDBY   stop

LEADING ADRIFT RETAKING  failed      STANDBY   stop release

ADRIFT                   due         =         look
ADRIFT                   away        =         -
ADRIFT                   mine        RETAKING  take
ADRIFT                   overtaken   STANDBY   stop
ADRIFT                   alone       STANDBY   stop
RETAKING                 next        LEADING   go_on
RETAKING                 taken       LEADING   stop lead
RETAKING                 beaten      STANDBY   stop
RETAKING                 away        ADRIFT    -

STANDBY TAKING           drain       LEFT      -
LEADING ADRIFT RETAKING  drain       LEFT      hand_over release
LEFT                     taken next  =         release
"""
"""The whole of it. `=`: the state stays; `-`: nothing is done. What has no row changes nothing."""
_COLUMNS: Final = ((0, 25), (25, 37), (37, 47), (47, 200))

MARGIN: Final = 0.1
"""Part of the lease by which a leader stops early: clocks of two machines do not run equally fast."""
LOOK: Final = 0.5
"""Seconds between two looks at the store of one that stands by."""
AGAIN: Final = 0.2
"""The same where something is waited for: a lock that is about to be free, a store that is about to come back."""
QUIET: Final = 1.5
"""Seconds without a word from a leader, which says ALIVE four times a second, after which it may be gone."""
LONGEST_GRACE: Final = 3.0
_NEVER: Final = float("-inf")


@dataclass(frozen=True, slots=True)
class Election:
    """One replica's part. `me` is unique to its process, `lease` in seconds.

    `term` is its own while it leads, else 0; `seen` the highest that anybody told it, `base` the store's last. It may
    act before `until`. `heard` is when the followed leader was, `expired` since when the store has shown its lease to
    be over. `asked` while an answer of the store is outstanding, `next` when it is asked again. `why` is the event by
    which it came into its state.
    """

    me: str
    lease: float
    state: str = "STANDBY"
    term: int = 0
    seen: int = 0
    until: float = 0.0
    leader: Leader | None = None
    heard: float = _NEVER
    expired: float | None = None
    base: int = 0
    asked: bool = False
    next: float = _NEVER
    why: str = ""

    @property
    def grace(self) -> float:
        """Seconds for which a leader that speaks is the only one to try for a lease that has run out."""
        return min(self.lease / 3, LONGEST_GRACE)

    @property
    def leads(self) -> bool:
        """Whether its controller is there."""
        return self.state in ("LEADING", "ADRIFT", "RETAKING")

    def may_act(self, now: float) -> bool:
        """Whether it may judge and tell workers: asked before each verdict, for a process may have been stopped."""
        return now < self.until


def rows() -> list[tuple[str, str, str, tuple[str, ...]]]:
    """The table cell by cell: state, event, next state, actions."""
    found = []
    for line in filter(None, TABLE.splitlines()[1:]):
        states, events, after, done = (line[begin:end].split() for begin, end in _COLUMNS)
        actions = tuple(action for action in done if action != "-")
        found += [(s, e, s if after == ["="] else after[0], actions) for s in states for e in events]
    return found


_CELLS: Final = {(state, event): (after, actions) for state, event, after, actions in rows()}


def step(election: Election, event: FleetEvent) -> tuple[Election, tuple[str, ...]]:
    """A replica's part after an event, and the actions in the order in which to carry them out. Never raises.

    >>> step(Election("a", 10.0), Tick(0.0))[1]
    ('look',)
    >>> after, actions = step(Election("a", 10.0, "TAKING"), Taken(0.1, 0.0, 1))
    >>> after.state, after.term, after.until, actions
    ('LEADING', 1, 9.0, ('lead',))
    """
    noted = _noted(election, event)
    word = _word(noted, event)
    cell = _CELLS.get((noted.state, word))
    if cell is None:
        return noted, ()
    after, actions = cell
    moved = replace(_AFTER.get(word, _unchanged)(noted, event), state=after)
    if "stop" in actions and after == "STANDBY":
        pause = LOOK if word == "failed" else 0.0
        moved = replace(moved, term=0, until=0.0, leader=None, heard=_NEVER, expired=None, next=event.now + pause)
    if after != election.state:
        moved = replace(moved, why=word)
    return replace(moved, asked=moved.asked or bool({"look", "take", "renew"} & set(actions))), actions


def _noted(election: Election, event: FleetEvent) -> Election:
    """What an event says whatever the state."""
    match event:
        case Row() | Away() | Taken() | Renewed():
            pause = LOOK if isinstance(event, Row | Renewed) else AGAIN
            election = replace(election, asked=False, next=event.now + pause)
        case Tick(now) if election.state in ("ADRIFT", "RETAKING") and now < election.until:
            return replace(election, until=now + election.lease)  # its own turning shows that it was not paused
        case Heard(now):
            return replace(election, heard=now)
        case Cut(now):
            return replace(election, heard=_NEVER, next=now if election.heard > _NEVER else election.next)
        case TermSeen():
            return replace(election, seen=max(election.seen, event.term))
    if isinstance(event, Row):
        since = event.now if election.expired is None else election.expired
        seen = max(election.seen, event.term)
        return replace(election, expired=since if event.left <= 0 else None, base=event.term, seen=seen)
    return election


def _word(election: Election, event: FleetEvent) -> str:
    """What an event means now; empty for nothing."""
    if election.leads and event.now >= election.until and not isinstance(event, Drain):
        return "paused"
    match event:
        case Tick(now):
            return "due" if not election.asked and now >= election.next else ""
        case Row():
            return _seen_row(election, event)
        case Taken(term=term):
            if term is None:
                return "beaten"
            return "next" if election.state in ("RETAKING", "LEFT") and term == election.base + 1 else "taken"
        case Renewed(ok=ok):
            return "renewed" if ok else "refused"
        case TermSeen(term=term):
            return "outranked" if election.leads and term >= election.term else ""
    return {Away: "away", Alone: "alone", Failed: "failed", Drain: "drain"}.get(type(event), "")


def _seen_row(election: Election, row: Row) -> str:
    if election.state == "ADRIFT":
        return "mine" if row.holder == election.me or row.term == election.term else "overtaken"
    if _is_free(election, row):
        return "free"
    followed = election.leader
    return "" if followed is not None and (followed.holder, followed.term) == (row.holder, row.term) else "held"


def _is_free(election: Election, row: Row) -> bool:
    """Whether to try for a term. Where the lease runs only the lock can give it: its holder's connection has ended."""
    followed = election.leader
    earlier = row.holder.partition("#")[0] == election.me.partition("#")[0]  # this process, or its dead predecessor
    if earlier or not (row.holder and row.address):  # nobody, or `understudy store copy`, which takes no links
        return True
    if followed is None or (followed.holder, followed.term) != (row.holder, row.term):
        return False  # it is followed first: it may be there, though the store was away for longer than its lease
    silent = row.now - election.heard >= QUIET
    return silent or (election.expired is not None and row.now - election.expired >= election.grace)


# --- what follows of a word ------------------------------------------------------------------------------------------


def _unchanged(election: Election, event: FleetEvent) -> Election:
    return election


def _on_held(election: Election, event: FleetEvent) -> Election:
    assert isinstance(event, Row)
    leader = Leader(event.holder, event.address, event.term, event.now)
    return replace(election, leader=leader, heard=event.now)


def _on_taken(election: Election, event: FleetEvent) -> Election:
    assert isinstance(event, Taken)
    assert event.term is not None
    if election.state == "LEFT":
        return replace(election, term=event.term)
    held = replace(election, term=event.term, seen=max(election.seen, event.term), leader=None, expired=None)
    return _held_from(held, event.sent)


def _on_renewed(election: Election, event: FleetEvent) -> Election:
    assert isinstance(event, Renewed)
    return _held_from(election, event.sent)


def _held_from(election: Election, sent: float) -> Election:
    return replace(election, until=sent + election.lease * (1 - MARGIN), next=sent + election.lease / 3)


def _on_away(election: Election, event: FleetEvent) -> Election:
    if election.leads:
        return replace(election, until=event.now + election.lease, next=event.now)
    return election


_AFTER: Final[dict[str, Callable[[Election, FleetEvent], Election]]] = {
    "held": _on_held,
    "taken": _on_taken,
    "next": _on_taken,
    "renewed": _on_renewed,
    "away": _on_away,
}
