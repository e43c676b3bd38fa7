"""Promise: the table of a request is whole, leaves nothing behind on any way through it, and is printed as it is."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from proxy.request import machine

ROOT = Path(__file__).resolve().parents[2]
WORDS = {"STATES": machine.STATES, "EVENTS": machine.EVENTS, "ACTIONS": machine.ACTIONS}


@pytest.mark.parametrize("title", WORDS)
def test_every_word_has_its_number(title: str) -> None:
    for number, name in enumerate(WORDS[title]):
        assert getattr(machine, name.upper()) == number


def test_every_word_is_used() -> None:
    rows = machine.rows()
    assert {state for state, *_ in rows} == set(machine.STATES)
    assert {event for _, event, *_ in rows} == set(machine.EVENTS)
    assert {action for *_, actions in rows for action in actions} == set(machine.ACTIONS)


def test_a_client_may_leave_at_any_time() -> None:
    for state in list(machine.STATES)[: machine.ANSWERED]:
        assert machine.step(state, "leaves")[0] == "CLOSED"


# --- every way through the table -------------------------------------------------------------------------------------

STARTED = {
    "time_hedge": "hedge timer",
    "take_slot": "slot",
    "watch_live": "watch",
    "start_first": "first",
    "start_live": "live",
}
ENDED_BY = {
    "hedge timer": {"start_live", "finish", "keep_own", "drop_gone", "drop_shed"},
    "slot": {"free_slot"},
    "watch": {"unwatch"},
}
BY_EVENT = {
    "slow": {"hedge timer"},
    "silent": {"watch"},
    "no_room": {"watch"},
    "first_ends": {"first"},
    "first_fails": {"first"},
    "live_ends": {"live"},
    "live_fails": {"live"},
}
DROPS = {"drop_gone", "drop_shed"}


def possible(event: str, held: frozenset[str]) -> bool:
    """Whether what raises the event is there."""
    if event.startswith(("first_", "live_")):
        return event.partition("_")[0] in held
    if event == "settled":
        return not held & {"first", "live"}
    return event not in BY_EVENT or BY_EVENT[event] <= held


def after(held: frozenset[str], event: str, actions: tuple[str, ...]) -> frozenset[str]:
    """What is started and not ended."""
    now = set(held) - BY_EVENT.get(event, set())
    for action in actions:
        assert STARTED.get(action) not in now, f"{action} twice"
        now -= {what for what, enders in ENDED_BY.items() if action in enders}
        if action in DROPS:
            now -= {"first", "live"}
        if action.startswith("send") or action == "abort":
            assert action == "abort" or "answer" not in now, "two answers"
            assert action != "abort" or "answer" in now, "nothing to cut off"
            now.add("answer")
        if action in STARTED:
            now.add(STARTED[action])
    return frozenset(now)


def ways() -> dict[tuple[str, frozenset[str]], list[str]]:
    """Every state with what is held in it, and the events that lead there."""
    found: dict[tuple[str, frozenset[str]], list[str]] = {}
    todo = [("READING", frozenset[str](), list[str]())]
    while todo:
        state, held, way = todo.pop(0)
        if (state, held) in found:
            continue
        found[state, held] = way
        for here, event, becomes, actions in machine.rows():
            if here == state and possible(event, held):
                todo.append((becomes, after(held, event, actions), [*way, event]))
    return found


def test_nothing_is_started_twice_or_left_behind_and_there_is_one_answer() -> None:
    found = ways()
    assert {state for state, _ in found} == set(machine.STATES)
    for (state, held), way in found.items():
        if state in ("ANSWERED", "PAIRING", "CLOSED"):
            assert not held & {"hedge timer", "slot", "watch"}, way
        if state in ("ANSWERED", "PAIRING"):
            assert "answer" in held, way
        if state == "CLOSED":
            assert not held & {"first", "live"} or way[-1] == "upgraded", way  # then it is a tunnel's
        if state == "LEFT_EARLY":
            assert "answer" not in held, way


def test_from_everywhere_a_request_can_end() -> None:
    good = {"ANSWERED", "CLOSED"}
    rows = machine.rows()
    for _ in machine.STATES:
        good |= {state for state, _, becomes, _ in rows if becomes in good}
    assert good == set(machine.STATES)


# --- what cannot happen ----------------------------------------------------------------------------------------------


def test_what_cannot_happen_is_said() -> None:
    with pytest.raises(KeyError, match="slow cannot happen in CLOSED"):
        machine.step("CLOSED", "slow")
    assert "no row for slow in CLOSED" in machine.surprise(machine.CLOSED, machine.SLOW)
    assert list(machine.surprises) == ["slow in CLOSED"]
    machine.surprises.clear()


# --- for people ------------------------------------------------------------------------------------------------------


def test_it_is_printed_with_all_its_words() -> None:
    printed = subprocess.run(
        [sys.executable, "-m", "proxy.request"], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert printed.stdout == machine.described()
    for word in (*machine.STATES, *machine.EVENTS, *machine.ACTIONS, *machine.OUTCOMES):
        assert f"\n  {word} " in printed.stdout


def test_the_architecture_shows_it() -> None:
    assert f"```\n{machine.TABLE}```" in (ROOT / "ARCHITECTURE.md").read_text("utf-8")
