"""The states of a client's HTTP/1.1 connection as a table: (state, event) → state. Pure; `http1` carries it out.

One request is in hand at a time, so one state tells both directions: how much of the request is here (RFC 9112, 6) and
how far its answer is. A client that shuts down its sending side may still take the answers it waits for.

Invariants, checked by tests that drive a real connection through bytes, cuts and ends in any order
- An event that has no row for a state cannot happen in it. If one does, it is a bug, it is logged, and the state stays.
- Each row can be reached.
"""

from __future__ import annotations

from collections import deque
from typing import Final

IDLE: Final = 0
HEAD: Final = 1
UPLOAD: Final = 2
EARLY: Final = 3
WAITING: Final = 4
ANSWERING: Final = 5
LAST: Final = 6
LINGERING: Final = 7
CLOSING: Final = 8
TUNNEL: Final = 9
CLOSED: Final = 10

STATES: Final = {
    "IDLE": "no byte of a request is looked at",
    "HEAD": "the head of a request is here in part",
    "UPLOAD": "the body is coming; no answer has begun",
    "EARLY": "the body is coming, and the answer as well: the connection ends with it",
    "WAITING": "the request is here whole; no answer has begun",
    "ANSWERING": "the answer has begun; the next request may follow",
    "LAST": "the answer has begun; the connection ends with it",
    "LINGERING": "the last answer is written, and what the client still sends is thrown away, so that it is not reset",
    "CLOSING": "the transport was told to close",
    "TUNNEL": "the connection belongs to a tunnel",
    "CLOSED": "the connection has ended",
}
"""The states, in the order of their numbers. Up to HEAD there is no request; from LINGERING on none follows."""

PART: Final = 0
UPLOADS: Final = 1
REQUEST: Final = 2
BODY_END: Final = 3
REFUSED: Final = 4
ANSWERS: Final = 5
ANSWERS_LAST: Final = 6
ANSWERED: Final = 7
SURPLUS: Final = 8
UPGRADED: Final = 9
SHUTDOWN: Final = 10
SPENT: Final = 11
LEAVES: Final = 12
ABORTED: Final = 13
LOST: Final = 14

EVENTS: Final = {
    "part": "bytes that may become a head",
    "uploads": "a whole head, and a body that is not here whole",
    "request": "a whole request",
    "body_end": "the last byte of the body",
    "refused": "what came is no request, is too long or late, or the connection is one too many: an error was written",
    "answers": "the answer begins, a model's or ours",
    "answers_last": "the same, and it says `connection: close` or ends with the connection",
    "answered": "the answer is written whole",
    "surplus": "the same, and the client has sent more than its last request",
    "upgraded": "the model has taken up the client's offer of another protocol (101)",
    "shutdown": "the client has shut down its sending side",
    "spent": "the client sends no more, and all that it has sent is answered",
    "leaves": "the worker is about to stop, and the connection has been idle for long enough",
    "aborted": "the connection is cut: an answer cannot be completed, the client is late, or the worker stops",
    "lost": "the transport has ended",
}
"""The events, in the order of their numbers."""

TABLE: Final = """\
in                            on            becomes
IDLE                          part          HEAD
IDLE HEAD                     uploads       UPLOAD
IDLE HEAD                     request       WAITING
IDLE HEAD                     refused       LINGERING
IDLE HEAD                     spent leaves  CLOSING

UPLOAD                        body_end      WAITING
UPLOAD                        answers_last  EARLY
EARLY                         body_end      LAST
EARLY                         answered      LINGERING
WAITING                       answers       ANSWERING
WAITING                       answers_last  LAST
WAITING                       upgraded      TUNNEL
ANSWERING                     answered      IDLE
LAST                          answered      CLOSING
LAST                          surplus       LINGERING

IDLE HEAD UPLOAD EARLY        shutdown      CLOSING
WAITING ANSWERING LAST        shutdown      =
LINGERING                     shutdown      CLOSING
IDLE HEAD UPLOAD EARLY        aborted       CLOSING
WAITING ANSWERING LAST        aborted       CLOSING
LINGERING TUNNEL              aborted       CLOSING
IDLE HEAD UPLOAD EARLY        lost          CLOSED
WAITING ANSWERING LAST        lost          CLOSED
LINGERING CLOSING TUNNEL      lost          CLOSED
CLOSING                       shutdown      =
CLOSING                       aborted       =
"""
"""The whole of it. `=`: the state stays."""

_WIDTH: Final = len(EVENTS)

surprises: Final[deque[str]] = deque(maxlen=100)
"""The last events that came in a state in which they cannot."""


def rows() -> list[tuple[str, str, str]]:
    """The table cell by cell: state, event, next state."""
    found = []
    for line in filter(None, TABLE.splitlines()[1:]):
        states, events, after = line[:30].split(), line[30:44].split(), line[44:]
        found += [(state, event, state if after == "=" else after) for state in states for event in events]
    return found


def _compiled() -> list[int]:
    """The next state by state and event; -1: cannot happen."""
    states, events = ({name: number for number, name in enumerate(names)} for names in (STATES, EVENTS))
    become = [-1] * (len(states) * len(events))
    for state, event, after in rows():
        cell = states[state] * len(events) + events[event]
        assert become[cell] < 0, f"{event} in {state} has two rows"
        become[cell] = states[after]
    return become


_BECOME: Final[list[int]] = _compiled()


def becomes(state: int, event: int) -> int:
    """The next state; -1 if the event cannot happen in this one.

    >>> becomes(WAITING, ANSWERS) == ANSWERING, becomes(IDLE, ANSWERED)
    (True, -1)
    """
    return _BECOME[state * _WIDTH + event]


def surprise(state: int, event: int) -> str:
    """What to say of an event that cannot happen in this state and has."""
    said = f"{tuple(EVENTS)[event]} in {tuple(STATES)[state]}"
    surprises.append(said)
    return f"the table of a client's connection has no row for {said}"
