"""Promise: in whatever order models answer, timers fire, the body comes and the client leaves, every request takes only
rows of its table, its client gets one answer, and every sample ends once, for the reason that the rules give.

Searched to the end, not sampled: from each setup every step that is possible in each world is taken (`world`), and two
worlds that cannot be told apart are one. The rules are written a second time here, from the documents and not from the
table: who left when, and what had been said by then.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from functools import cache

import pytest

from proxy.request import machine
from tests.request.world import Setup, World

SETUPS = {
    "shadow": Setup(candidate=False, live_says=("ok", "error")),
    "shadow, upload": Setup(candidate=False, upload=True),
    "shadow, upload that is too long": Setup(candidate=False, upload=True, rest=200),
    "shadow, upload that is waited for": Setup(candidate=False, upload=True, buffer=9),
    "shadow, two rollouts, asked again": Setup(candidate=False, others=1, again=True, long=False),
    "shadow, no room": Setup(candidate=False, slots=0),
    "shadow, set-up call": Setup(candidate=False, dual_write=True),
    "forward": Setup(candidate=False, sampled=False),
    "observed": Setup(candidate=False, sampled=False, observed=True, live_says=("ok", "error", "events")),
    "observed, upload": Setup(candidate=False, sampled=False, observed=True, upload=True),
    "observed, upload that is too long": Setup(candidate=False, sampled=False, observed=True, upload=True, rest=200),
    "observed, shadow": Setup(candidate=False, observed=True, long=False),
    "observed, canary": Setup(observed=True, says=("ok",), long=False),
    "observed, call": Setup(candidate=False, sampled=False, observed=True, grpc=1, upload=True, long=False),
    "observed, call, stream": Setup(candidate=False, sampled=False, observed=True, grpc=2, upload=True, long=False),
    "canary": Setup(live_says=("ok", "error"), long=False),
    "canary, refusals": Setup(says=("refusal",), live_says=("ok", "refusal", "error"), long=False),
    "canary, what lasts too long": Setup(says=("ok",)),
    "canary, stream": Setup(says=("events", "error"), long=False),
    "canary, upload": Setup(upload=True, says=("ok", "refusal"), long=False),
    "canary, upload that is waited for": Setup(upload=True, buffer=9, says=("ok",), long=False),
    "canary, upload that is too long": Setup(upload=True, rest=200, says=("ok", "refusal"), long=False),
    "canary, no room": Setup(slots=0, live_says=("ok", "error")),
    "canary, no fallback, no room": Setup(slots=0, fallback=False),
    "canary, room for one": Setup(slots=1, says=("ok",)),
    "canary, two rollouts": Setup(others=1, says=("ok",), long=False),
    "canary, no fallback": Setup(fallback=False),
    "canary, no memory for its upload": Setup(upload=True, memory=1),
    "canary, little memory for its answers": Setup(memory=4, others=1, says=("ok", "error"), long=False),
    "canary, candidate down": Setup(dead="candidate"),
    "canary, live down": Setup(dead="live", says=("ok", "refusal", "error")),
    "canary, not sampled": Setup(sampled=False),
    "canary, set-up call": Setup(dual_write=True, says=("ok",), sampled=False),
    "promoted": Setup(held=False, long=False),
    "call": Setup(grpc=1, upload=True, long=False),
    "call, stream": Setup(grpc=2, upload=True, long=False),
    "call, too long": Setup(grpc=1, upload=True, rest=200, long=False),
    "call, no memory": Setup(grpc=1, upload=True, memory=1),
}


ELSEWHERE = {("READING", "refused"), ("ASKED", "upgraded")}
"""Rows that other tests take: a caller who asks for an arm (`test_samples`), and a tunnel (`test_tunnels`)."""


def worlds(setup: Setup) -> Iterator[World]:
    """Every world that can come of a setup; what follows it is tried once."""
    seen, paths = set(), [((), World(setup))]
    while paths:
        path, world = paths.pop()
        yield world
        if (key := world.key()) in seen:
            continue
        seen.add(key)
        for number, step in enumerate(steps := world.steps()):
            last = number == len(steps) - 1
            other = world if last else again(setup, path)  # the last goes on in this world, which nobody needs any more
            other.do(step)
            paths.append(((*path, step), other))


def again(setup: Setup, path: tuple[str, ...]) -> World:
    """The world to which these steps lead."""
    world = World(setup)
    for step in path:
        world.do(step)
    return world


# --- the rules, a second time ----------------------------------------------------------------------------------------


def is_sampled(world: World) -> bool:
    """Whether the request must have been booked: once an arm is asked that serves, and a call once it is known to be
    unary, unless it was answered before."""
    setup, steps = world.setup, world.history
    if not setup.sampled or setup.grpc == 2 or not hasattr(world.exchange, "first"):
        return False
    if not setup.grpc or setup.memory == 1:
        return True
    return "sends the rest" in steps and "answered" not in steps[: steps.index("sends the rest")]


def expected(world: World) -> str:
    """How the sample of the candidate must end."""
    setup, steps, log = world.setup, world.history, world.client.log
    left = next((n for n, step in enumerate(steps) if step in ("leaves", "is cut off")), None)
    if setup.rest > 100 and "sends the rest" in steps:
        return "too_large"
    needs_copy = world.exchange.hedge is None
    if left is None:
        if setup.upload and "sends the rest" not in steps:
            return "shed"
        return "shed" if setup.slots == 0 and needs_copy else by_length(steps)
    if steps[left] == "is cut off" or not setup.candidate or (setup.upload and "sends the rest" not in steps[:left]):
        return "client_gone"
    if any(word.startswith("live") for word in log):
        return "client_gone"
    if setup.slots == 0:
        return "shed"
    if any(word.startswith("candidate") for word in log):  # it had begun: well, if it says more
        says = next(step for step in steps[left:] if step.startswith("first"))
        return "client_gone" if says == "first goes on" else by_length(steps)
    if setup.slots == 1 and needs_copy:  # the candidate, which runs on, has the only place
        return "shed"
    return "client_gone" if live_was_silent(steps) else by_length(steps)


def live_was_silent(steps: list[str]) -> bool:
    """Whether live had not begun when it had had as long as the client gave the candidate."""
    if "time is up" not in steps:
        return False
    before = steps[: steps.index("time is up")]
    return not any(step.startswith(("hedge begins", "hedge answers", "copy of live answers")) for step in before)


def by_length(steps: list[str]) -> str:
    """A pair, unless one of its legs lasted too long."""
    pair = ("first", "hedge", "copy of live", "copy of candidate")
    return "too_long" if any(f"{leg} lasts too long" in steps for leg in pair) else "sent"


def answer(world: World) -> None:
    """The client has one answer, whole or broken off, or an error in its place; none once it has left."""
    log = world.client.log
    begun = [word for word in log if word[-1].isdigit()]
    refused = [word for word in log if word.startswith("refused")]
    ended = [word for word in log if word in ("end", "aborted")]
    left = bool({"leaves", "is cut off"} & set(world.history))
    assert len(begun) + len(refused) <= 1
    assert len(ended) <= len(begun)
    if not left:
        assert len(begun) + len(refused) == 1
        assert len(ended) == len(begun)
    if refused or begun == ["candidate 500"]:  # only if nobody had anything better
        better = [leg for leg, word in world.said.items() if word == "ok" and leg is world.exchange.hedge]
        assert all(leg.reason for leg in better)


def alive(world: World) -> None:
    """It ends without the client's doing; a candidate that live covers for is timed, and whatever nobody waits for."""
    exchange, steps = world.exchange, world.history
    running = [leg for leg in world.legs if not leg.ended]
    gone = next((steps[n:] for n, step in enumerate(steps) if step in ("leaves", "is cut off")), [])
    assert "answered" not in gone
    assert exchange.write is None or exchange.write in world.legs
    if not exchange.answered:
        assert set(world.steps()) - {"leaves", "is cut off"}
        assert exchange.state != machine.COVERED or exchange in world.context.timed
        return
    assert all(leg.longest for leg in running)
    if gone and exchange.samples and "answered" not in steps and "time is up" not in steps:
        assert exchange in world.context.watched


def closed(world: World) -> None:
    """Nothing is left of it."""
    exchange, context = world.exchange, world.context
    left = bool({"leaves", "is cut off"} & set(world.history))
    assert exchange.state == machine.CLOSED if left else exchange.answered
    assert not exchange.samples
    assert all(leg.ended for leg in world.legs)
    assert context.charged == 0
    assert [trial.in_flight for trial in world.trials] == [0] * len(world.trials)
    assert [trial.memory for trial in world.trials] == [0] * len(world.trials)
    assert not context.timed
    assert not context.watched
    assert all(not trial.pending for trial in (*world.trials, world.observer))
    assert world.observer.memory == 0
    observed(world)


def observed(world: World) -> None:
    """What is observed of a request for `drift` is sent once the client has its answer; nothing else decides."""
    setup, steps, ended = world.setup, world.history, world.ledger(world.observer)
    whole = not setup.upload or "sends the rest" in steps
    if not setup.observed or setup.grpc == 2 or (setup.grpc and not (ended or whole)):
        assert not ended
    elif setup.rest > 100 and "sends the rest" in steps:
        assert ended == ["too_large"]
    elif {"leaves", "is cut off"} & set(steps):
        assert ended == ["client_gone"] or (setup.grpc and not ended)
    elif setup.grpc and "answered" in steps[: steps.index("sends the rest")]:
        assert not ended
    else:
        assert ended == ["sent" if whole else "shed"]


# --- the search ------------------------------------------------------------------------------------------------------


@cache
def searched(name: str) -> tuple[frozenset[tuple[str, str]], Counter[str]]:
    """Look at every world of a setup; the rows that were taken, and how samples ended."""
    setup, rows, outcomes = SETUPS[name], set(), Counter[str]()
    for world in worlds(setup):
        rows |= set(world.rows)
        assert not machine.surprises, world.history
        assert all(
            sum(trial.ledger.values()) - trial.sampled + len(trial.pending) == trial.sampled for trial in world.trials
        )
        alive(world)
        if world.steps():
            continue
        answer(world)
        closed(world)
        for trial in world.trials:
            ended = world.ledger(trial)
            assert len(ended) == is_sampled(world), (world.history, ended)
            if trial is world.trial and ended and not (setup.memory < 100 and ended == ["shed"]):
                assert ended == [expected(world)], (world.history, world.client.log)
            outcomes.update(ended)
    return frozenset(rows), outcomes


@pytest.mark.parametrize("name", SETUPS)
def test_every_order_ends_as_the_rules_say(name: str) -> None:
    rows, _ = searched(name)
    assert rows


def test_every_row_is_taken_and_every_outcome_seen() -> None:
    """Neither the table nor this search has a row that is for show; a full link is the publisher's own test."""
    found = [searched(name) for name in SETUPS]
    assert {(state, event) for state, event, _, _ in machine.rows()} - set().union(
        *(rows for rows, _ in found)
    ) == ELSEWHERE
    assert set().union(*(outcomes for _, outcomes in found)) == machine.OUTCOMES.keys() - {
        "link_full",
        "not_ready",
    }  # by link and pool
