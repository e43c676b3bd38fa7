"""One request as a table: (state, event) → (state, actions). `python -m proxy.request` prints it.

The table decides, `exchange` carries out. Two legs can answer the client: *first*, of the arm that was chosen, and
*live*, asked in the candidate's place as a hedge (the candidate is slow) or as a fallback (it failed, or refused the
request). Copies answer nobody. HTTP/1 requests and gRPC calls run through the same table.

A worker that drains is no event of a request: one that is under way ends as any other, and its client's connection with
it; what is not settled when the time to drain is over is booked by the controller, as `link_full`.

Everything here is pure: no I/O, no clock. Guards are evaluated by whoever raises the event, so each is in its name.

Invariants, checked over all reachable states and over every interleaving of a small world (`tests/request`)
- The client gets one answer: `send_first` or `send_live` happens once, unless the client has left or was refused.
- Whatever is started is ended: no way leads into ANSWERED or CLOSED with a timer, a slot or a sample left behind.
- An event that is missing from a state's rows cannot happen in it. If it does, it is a bug, and changes nothing.
"""

from __future__ import annotations

from collections import deque
from typing import Final

surprises: Final[deque[str]] = deque(maxlen=100)
"""The last events that came in a state in which they cannot."""

READING: Final = 0
WRITING: Final = 1
ASKED: Final = 2
UPLOADING: Final = 3
CALLING: Final = 4
COVERED: Final = 5
OWED: Final = 6
HEDGED: Final = 7
HEDGED_ERR: Final = 8
LAST: Final = 9
FALLBACK: Final = 10
FIRST: Final = 11
LIVE: Final = 12
ANSWERED: Final = 13
PAIRING: Final = 14
LEFT_EARLY: Final = 15
LEFT_LATE: Final = 16
LEFT_PAIRING: Final = 17
CLOSED: Final = 18

STATES: Final = {
    "READING": "the body is read and kept; no arm has been asked",
    "WRITING": "the candidate has a set-up call that live gets next (`dual_write`)",
    "ASKED": "first is asked; nobody can answer in its place",
    "UPLOADING": "the candidate is asked; live can take over once the whole body is here",
    "CALLING": "the candidate is asked; live can take over with what is here of a gRPC call",
    "COVERED": "the candidate is asked with the whole body; live can take over",
    "OWED": "the candidate has failed; live is asked as soon as the body is here",
    "HEDGED": "both are asked, and neither has an answer for the client",
    "HEDGED_ERR": "both are asked, and live's answer, so far, is an error",
    "LAST": "both were asked, and live has ended with an error",
    "FALLBACK": "the candidate has ended without an answer for the client; live is asked",
    "FIRST": "the client is getting first's answer",
    "LIVE": "the client is getting live's answer in the candidate's place",
    "ANSWERED": "the client has all that it will get",
    "PAIRING": "the arms that did not serve are asked, for the pair",
    "LEFT_EARLY": "the client left before the candidate began; both run for the pair",
    "LEFT_LATE": "the client left amid the candidate's answer; the candidate runs for the pair",
    "LEFT_PAIRING": "the client has left and the candidate has ended; live runs for the pair",
    "CLOSED": "nothing runs for the request",
}
"""The states, in the order of their numbers. From ANSWERED on the client waits for nothing."""

ASK: Final = 0
ASK_COVERED: Final = 1
ASK_UPLOAD: Final = 2
ASK_CALL: Final = 3
WRITE: Final = 4
REFUSED: Final = 5
UPGRADED: Final = 6
BODY_END: Final = 7
BODY_LOST: Final = 8
SLOW: Final = 9
FIRST_GIVES: Final = 10
FIRST_ENDS: Final = 11
FIRST_FAILS: Final = 12
LIVE_OBJECTS: Final = 13
LIVE_GIVES: Final = 14
LIVE_AGREES: Final = 15
LIVE_ENDS: Final = 16
LIVE_FAILS: Final = 17
LEAVES: Final = 18
LEAVES_PAIR: Final = 19
LEAVES_FULL: Final = 20
COPIES: Final = 21
COPY_ENDS: Final = 22
SILENT: Final = 23
NO_ROOM: Final = 24
SETTLED: Final = 25

EVENTS: Final = {
    "ask": "what is waited for of the request is here; only first can answer",
    "ask_covered": "the same, with the whole body, and live can answer in the candidate's place",
    "ask_upload": "the same, while the body is still coming",
    "ask_call": "the same of a gRPC call, which live can be given in part",
    "write": "the call is here that both arms get before the answer",
    "refused": "the client asked for an arm that does not exist",
    "upgraded": "the model has switched protocols (101)",
    "body_end": "the last byte of the request",
    "body_lost": "the body is no longer kept: too long, or no memory",
    "slow": "the candidate has not answered within `fallback.after`",
    "first_gives": "a meaningful first piece of first: an answer that may be sent as it comes",
    "first_ends": "first has ended with an answer for the client",
    "first_fails": "first broke or timed out, or has ended with an error or a refusal that live does not share",
    "live_objects": "live's answer has begun, with the status of a failure, while the candidate still runs",
    "live_gives": "a meaningful first piece of live",
    "live_agrees": "live says the same as the candidate's refusal, or has no answer to set against it",
    "live_ends": "live has ended with an answer for the client",
    "live_fails": "live broke or timed out, or has ended with an error",
    "leaves": "the client is gone or cut off, and no pair can be made: not sampled, or the body is not whole",
    "leaves_pair": "the client is gone, and a pair can be made",
    "leaves_full": "the same, but `max_in_flight` is used up",
    "copies": "the end of the turn of the loop: what clients wait for has been written",
    "copy_ends": "a copy has ended, well or not",
    "silent": "live has had as long to begin as the client gave the candidate, and has not",
    "no_room": "live's copy finds no room",
    "settled": "no sample waits for anything, and first and live have ended",
}
"""The events, in the order of their numbers."""

START_FIRST: Final = 0
START_LIVE: Final = 1
START_WRITE: Final = 2
START_COPIES: Final = 3
TIME_HEDGE: Final = 4
SEND_FIRST: Final = 5
SEND_LIVE: Final = 6
ABORT: Final = 7
RESUME: Final = 8
FINISH: Final = 9
PLAN_COPIES: Final = 10
SETTLE: Final = 11
FORGET_BODY: Final = 12
KEEP_OWN: Final = 13
TAKE_SLOT: Final = 14
FREE_SLOT: Final = 15
WATCH_LIVE: Final = 16
UNWATCH: Final = 17
DROP_GONE: Final = 18
DROP_SHED: Final = 19

ACTIONS: Final = {
    "start_first": "start the leg of the arm that was chosen",
    "start_live": "start live's leg in the candidate's place",
    "start_write": "start the candidate's leg of a call that both get",
    "start_copies": "start a copy to each arm that did not serve, within the budget",
    "time_hedge": "raise `slow` after `fallback.after`",
    "send_first": "send first's answer to the client as far as it is here, or refuse with first's error",
    "send_live": "the same of live",
    "abort": "cut the client's answer off: the rest of it will not come",
    "resume": "read the rest of the body from the client",
    "finish": "stop the client's timers, give back memory; a leg that lost runs on as long as a copy may",
    "plan_copies": "raise `copies` at the end of this turn, if the request is sampled",
    "settle": "publish the pairs that are complete, at the end of this turn, or drop them (too_long, not_ready, …)",
    "forget_body": "give back what was kept of the body",
    "keep_own": "drop the samples of other candidates (client_gone); what runs on lasts as long as a copy may",
    "take_slot": "count first against `max_in_flight`",
    "free_slot": "count it no more",
    "watch_live": "raise `silent` when live has had as long as the client gave the candidate",
    "unwatch": "raise it no more",
    "drop_gone": "cancel every leg and drop the samples (client_gone)",
    "drop_shed": "cancel every leg and drop the samples (shed)",
}
"""The actions, in the order of their numbers. A row's are carried out from left to right, in its new state."""

TABLE: Final = """\
in                              on                       becomes       and
READING WRITING                 ask                      ASKED         start_first
READING WRITING                 ask_covered              COVERED       time_hedge start_first
READING                         ask_upload               UPLOADING     start_first
READING                         ask_call                 CALLING       start_first
READING                         write                    WRITING       start_write
READING                         refused                  CLOSED        -
READING WRITING                 leaves                   CLOSED        forget_body
ASKED                           upgraded                 CLOSED        -

UPLOADING CALLING               body_end                 COVERED       time_hedge
UPLOADING CALLING               body_lost                ASKED         -
OWED                            body_end                 FALLBACK      start_live
OWED                            body_lost                ANSWERED      send_first finish plan_copies
ASKED FALLBACK FIRST LIVE       body_end body_lost       =             -
ANSWERED                        body_end                 =             -
COVERED                         slow                     HEDGED        start_live
FIRST                           slow                     =             -

ASKED UPLOADING CALLING COVERED first_gives              FIRST         send_first
HEDGED HEDGED_ERR LAST          first_gives              FIRST         send_first
ASKED UPLOADING CALLING COVERED first_ends               ANSWERED      send_first finish plan_copies
HEDGED HEDGED_ERR LAST          first_ends               ANSWERED      send_first finish plan_copies
ASKED                           first_fails              ANSWERED      send_first finish plan_copies
UPLOADING                       first_fails              OWED          resume
CALLING                         first_fails              FALLBACK      resume start_live
COVERED                         first_fails              FALLBACK      start_live
HEDGED                          first_fails              FALLBACK      -
HEDGED_ERR                      first_fails              LIVE          send_live
LAST                            first_fails              ANSWERED      send_live finish plan_copies
FIRST                           first_ends               ANSWERED      finish plan_copies
FIRST                           first_fails              ANSWERED      abort finish plan_copies
LIVE                            first_ends first_fails   =             -

HEDGED                          live_objects             HEDGED_ERR    -
HEDGED FALLBACK                 live_gives               LIVE          send_live
HEDGED FALLBACK                 live_ends                ANSWERED      send_live finish plan_copies
HEDGED HEDGED_ERR               live_fails               LAST          -
FALLBACK                        live_fails               ANSWERED      send_live finish plan_copies
FALLBACK                        live_agrees              ANSWERED      send_first finish plan_copies
LIVE                            live_ends                ANSWERED      finish plan_copies
LIVE                            live_fails               ANSWERED      abort finish plan_copies
FIRST LEFT_LATE                 live_ends live_fails     =             -

ANSWERED                        copies                   PAIRING       start_copies
ANSWERED PAIRING                first_ends first_fails   =             settle
ANSWERED PAIRING                live_ends live_fails     =             settle
PAIRING LEFT_EARLY LEFT_PAIRING copy_ends                =             settle
ANSWERED PAIRING                settled                  CLOSED        -
CLOSED                          copy_ends                =             -

ASKED UPLOADING CALLING COVERED leaves                   CLOSED        drop_gone
OWED HEDGED HEDGED_ERR LAST     leaves                   CLOSED        drop_gone
FALLBACK FIRST                  leaves                   CLOSED        drop_gone
LIVE                            leaves leaves_pair       CLOSED        drop_gone
LIVE                            leaves_full              CLOSED        drop_gone
ASKED COVERED HEDGED HEDGED_ERR leaves_full              CLOSED        drop_shed
LAST FALLBACK FIRST             leaves_full              CLOSED        drop_shed
ASKED COVERED HEDGED HEDGED_ERR leaves_pair              LEFT_EARLY    keep_own take_slot start_copies watch_live
LAST                            leaves_pair              LEFT_EARLY    keep_own take_slot start_copies watch_live
FALLBACK                        leaves_pair              LEFT_PAIRING  keep_own start_copies watch_live
FIRST                           leaves_pair              LEFT_LATE     keep_own take_slot
LEFT_EARLY                      first_ends first_fails   LEFT_PAIRING  free_slot settle
LEFT_EARLY LEFT_PAIRING         live_ends live_fails     =             settle
LEFT_EARLY                      silent                   CLOSED        free_slot drop_gone
LEFT_EARLY                      no_room                  CLOSED        free_slot drop_shed
LEFT_LATE                       first_gives              CLOSED        free_slot drop_gone
LEFT_LATE                       first_ends first_fails   LEFT_PAIRING  free_slot plan_copies settle
LEFT_PAIRING                    settled                  CLOSED        unwatch
LEFT_PAIRING                    copies                   =             start_copies
LEFT_PAIRING                    silent                   CLOSED        drop_gone
"""
"""The whole of it. `=`: the state stays; `-`: nothing is done."""
_COLUMNS: Final = ((0, 32), (32, 57), (57, 71), (71, 200))

OUTCOMES: Final = {
    "sent": "both arms have ended: the pair is on the link",
    "too_long": "an arm that nobody waited for outlasted `mirror.max_duration`",
    "not_ready": "the candidate's connection was refused or lost, and its health check says that it is away",
    "too_large": "the request or live's answer is beyond `mirror.max_body`; or the candidate's is, with live's near it",
    "shed": "no room (`max_memory`, `max_in_flight`), or the body was not here whole when copies were due",
    "client_gone": "the client left, and it says nothing of the candidate",
    "link_full": "the controller did not take the pair",
}
"""How a sample can end, by its part of the ledger. Each ends in exactly one."""

_WIDTH: Final = len(EVENTS)
_STATE: Final = {name: number for number, name in enumerate(STATES)}
_EVENT: Final = {name: number for number, name in enumerate(EVENTS)}
_ACTION: Final = {name: number for number, name in enumerate(ACTIONS)}


def rows() -> list[tuple[str, str, str, tuple[str, ...]]]:
    """The table cell by cell: state, event, next state, actions."""
    found = []
    for line in TABLE.splitlines()[1:]:
        states, events, after, done = (line[begin:end].split() for begin, end in _COLUMNS)
        for state in states:
            for event in events:
                actions = tuple(action for action in done if action != "-")
                found.append((state, event, state if after == ["="] else after[0], actions))
    return found


def _compiled() -> tuple[list[int], list[tuple[int, ...]]]:
    """The table as two lists by state and event: the next state (-1: cannot happen) and the actions."""
    become = [-1] * (len(STATES) * _WIDTH)
    act: list[tuple[int, ...]] = [()] * len(become)
    for state, event, after, done in rows():
        cell = _STATE[state] * _WIDTH + _EVENT[event]
        assert become[cell] < 0, f"{event} in {state} has two rows"
        become[cell] = _STATE[after]
        act[cell] = tuple(_ACTION[action] for action in done)
    return become, act


_TABLES: Final = _compiled()
_BECOME: Final[list[int]] = _TABLES[0]
_ACT: Final[list[tuple[int, ...]]] = _TABLES[1]


def becomes(state: int, event: int) -> int:
    """The next state, -1 if the event cannot happen in this one.

    >>> becomes(ASKED, FIRST_ENDS) == ANSWERED, becomes(CLOSED, SLOW)
    (True, -1)
    """
    return _BECOME[state * _WIDTH + event]


def actions(state: int, event: int) -> tuple[int, ...]:
    """What is done, in this order.

    >>> actions(COVERED, SLOW) == (START_LIVE,)
    True
    """
    return _ACT[state * _WIDTH + event]


def surprise(state: int, event: int) -> str:
    """What to say of an event that cannot happen in this state and has. Tests fail if there is any."""
    said = f"{tuple(EVENTS)[event]} in {tuple(STATES)[state]}"
    surprises.append(said)
    return f"a request's table has no row for {said} (python -m proxy.request)"


def first_may_fail(state: int) -> bool:
    """Whether first may fail without the client noticing: live can still answer, or is being asked."""
    return UPLOADING <= state <= COVERED or state in (HEDGED, HEDGED_ERR)


def live_may_fail(state: int) -> bool:
    """The same of live: the candidate is still running."""
    return state in (HEDGED, HEDGED_ERR)


def is_open(state: int) -> bool:
    """Whether the client still waits, and nobody's answer has begun."""
    return ASKED <= state <= FALLBACK


def step(state: str, event: str) -> tuple[str, tuple[str, ...]]:
    """The same by name, for people and tests. Raises `KeyError` for what cannot happen.

    >>> step("UPLOADING", "first_fails")
    ('OWED', ('resume',))
    """
    found = becomes(_STATE[state], _EVENT[event])
    if found < 0:
        raise KeyError(f"{event} cannot happen in {state}")
    names = tuple(ACTIONS)
    return tuple(STATES)[found], tuple(names[action] for action in actions(_STATE[state], _EVENT[event]))


def described() -> str:
    """The table and its words, as `python -m proxy.request` prints them."""
    parts = [TABLE]
    for title, words in (
        ("States", STATES),
        ("Events", EVENTS),
        ("Actions", ACTIONS),
        ("Outcomes of a sample", OUTCOMES),
    ):
        parts.append("\n".join([title, *(f"  {name:14}{meaning}" for name, meaning in words.items()), ""]))
    return "\n".join(parts)
