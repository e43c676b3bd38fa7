"""Promise: one replica leads; who is told otherwise stops in time, and no worker ever obeys two leaders of one term.

`scenarios/*.txt` are golden: a line of commands, `----`, and what comes of it. `UPDATE_SCENARIOS=1` writes them anew;
read the difference.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.controller.fleet import election, events
from proxy.controller.fleet.election import Election, step
from proxy.controller.fleet.events import Renewed, Taken, TermSeen, Tick
from tests.controller.fleet.world import World

SCENARIOS = sorted((Path(__file__).parent / "scenarios").glob("*.txt"))


def played(text: str) -> str:
    """A scenario with what really comes of each of its commands."""
    blocks, world = [], World("a")
    for block in text.strip().split("\n\n"):
        commands = block.partition("\n----")[0]
        said: list[str] = []
        for line in commands.splitlines():
            name, _, rest = line.partition(" ")
            words = rest.split()
            if line.startswith("#"):
                continue
            if name == "replicas":
                world = World("".join(words[:-1]), float(words[-1].removesuffix("s")))
            elif name == "run":
                world.run(float(words[0].removesuffix("s")))
            elif name == "store":
                world.store.stop() if words[0] == "down" else setattr(world.store, "up", True)
            elif name == "fail_over":
                world.fail_over(int(words[0]))
            elif name == "show":
                said.append(world.shown())
            else:
                getattr(world, name)(*words)
        said = [*world.log, *said]
        world.log.clear()
        blocks.append("\n".join([commands, "----", *said]))
    return "\n\n".join(blocks) + "\n"


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
def test_scenario(path: Path) -> None:
    found = played(path.read_text())
    if os.environ.get("UPDATE_SCENARIOS"):
        path.write_text(found)
    assert found == path.read_text()


def test_every_row_of_the_table_is_taken_in_a_scenario_or_named_here() -> None:
    """A row that no scenario reaches is one that nobody has thought through."""
    taken = set()
    real = election._word

    def watched(now: Election, event: events.FleetEvent) -> str:
        word = real(now, event)
        taken.add((now.state, word))
        return word

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(election, "_word", watched)
        for path in SCENARIOS:
            played(path.read_text())
    never = {(state, event) for state, event, *_ in election.rows()} - taken
    assert never == NEVER


NEVER = {
    ("LEADING", "refused"), ("RETAKING", "beaten"), ("RETAKING", "taken"), ("RETAKING", "away"),
    ("RETAKING", "outranked"), ("RETAKING", "paused"), ("RETAKING", "drain"), ("LEFT", "taken"), ("TAKING", "away"),
    ("ADRIFT", "outranked"), ("LEADING", "failed"), ("ADRIFT", "failed"), ("RETAKING", "failed"),
}  # fmt: skip
"""Races of a moment; the interleavings below run into them."""


def test_words_of_the_table_are_the_ones_that_are_explained() -> None:
    rows = election.rows()
    assert {state for state, *_ in rows} | {after for *_, after, _ in rows} == set(election.STATES)
    assert {event for _, event, *_ in rows} == set(election.EVENTS)
    assert {action for *_, actions in rows for action in actions} == set(election.ACTIONS)
    cells = [row[:2] for row in rows]
    assert len(cells) == len(set(cells))


def test_a_lease_is_counted_from_before_the_renewal_was_sent() -> None:
    leading = Election("a#1", 10.0, "LEADING", term=1, until=9.0)
    renewed, _ = step(leading, Renewed(8.0, 3.0, True))
    assert renewed.may_act(11.9)
    assert not renewed.may_act(12.0)
    after, actions = step(renewed, Tick(12.0))
    assert (after.state, actions) == ("STANDBY", ("stop",))


def test_whatever_comes_first_after_a_pause_stops_a_leader() -> None:
    leading = Election("a#1", 10.0, "LEADING", term=1, until=9.0)
    for event in (Tick(9.0), Renewed(9.0, 8.9, True), TermSeen(9.0, 1), events.Away(9.0), events.Heard(9.0)):
        after, actions = step(leading, event)
        assert (after.state, actions[0]) == ("STANDBY", "stop"), event


def test_a_controller_goes_on_only_where_nobody_led_in_between() -> None:
    """Who took the term after the next one has not seen what was decided in the one that it left out."""
    asked = Election("a#1", 10.0, "RETAKING", term=3, until=20.0, base=3)
    after, actions = step(asked, Taken(1.2, 1.0, 4))
    assert (after.state, after.term, after.until, actions) == ("LEADING", 4, 10.0, ("go_on",))
    after, actions = step(asked, Taken(1.2, 1.0, 5))
    assert (after.state, after.term, actions) == ("LEADING", 5, ("stop", "lead"))


def test_who_cannot_build_its_controller_lets_others_try() -> None:
    leading = Election("a#1", 10.0, "LEADING", term=1, until=9.0)
    after, actions = step(leading, events.Failed(1.0))
    assert (after.state, after.may_act(1.0), actions) == ("STANDBY", False, ("stop", "release"))
    assert step(after, Tick(1.0))[1] == (), "not at once, or nobody else could"


# --- interleavings ---------------------------------------------------------------------------------------------------

NAMES = "abcd"
names = st.sampled_from(NAMES)
faults = st.one_of(
    st.tuples(st.just("kill"), names),
    st.tuples(st.just("pause"), names),
    st.tuples(st.just("drain"), names),
    st.tuples(st.just("cut"), names, st.sampled_from([*NAMES, "store"])),
    st.tuples(st.just("store")),
    st.tuples(st.just("fail_over"), st.integers(0, 2)),
    st.tuples(st.just("mend")),
)
waits = st.sampled_from([0.05, 0.4, 1.7, 3.0, 5.0, 12.0])


def does(world: World, name: str, *words: str | int) -> None:
    if name == "store":
        world.store.stop()
    elif name == "mend":
        mend(world)
    elif name == "fail_over":
        world.fail_over(min(int(words[0]), world.store.term))
    elif words[0] != words[-1] or len(words) == 1:
        getattr(world, name)(*words)


def mend(world: World) -> None:
    """Everything works again."""
    world.store.up = True
    for pair in list(world.cuts):
        one, other = sorted(pair, key=lambda name: name == "store")
        world.mend(one, other)
    world.store.cut.clear()
    for replica in list(world.replicas.values()):
        world.resume(replica.name)
        if replica.dead or replica.election.state == "LEFT":
            world.start(replica.name)


@given(st.integers(0, 2**32), st.lists(st.tuples(faults, waits), max_size=12))
@settings(max_examples=60, deadline=None)
def test_whatever_happens_one_leads_in_the_end_and_nobody_went_back(
    seed: int, story: list[tuple[tuple[str, ...], float]]
) -> None:
    """That no worker went back, and that no term had two leaders, the world looks at as it happens."""
    world = World(NAMES, lease=4.0, seed=seed)
    world.run(3.0)
    for fault, wait in story:
        does(world, *fault)
        world.run(wait)
        live = [one for one in world.replicas.values() if one.election.leads and not one.paused and not one.dead]
        assert len({one.election.term for one in live}) == len(live) or world.makers is None
    mend(world)
    world.run(4 * world.lease)
    assert len(world.leaders) == 1, world.shown()
    (leader,) = world.leaders
    term = world.replicas[leader].election.term
    assert {one.worker.held.term for one in world.replicas.values()} == {term}, world.shown()


def test_the_world_is_not_blind() -> None:
    """A leader that does not look at its clock is found out."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tests.controller.fleet.world.Table.is_older_than", lambda *_: False)
        world = World("ab", lease=4.0)
        world.run(3.0)
        (first,) = world.leaders
        patch.setattr(election, "_word", lambda *_: "")
        world.replicas["b" if first == "a" else "a"].worker.held = type(world.replicas["a"].worker.held)(9, term=9)
        with pytest.raises(AssertionError, match="went back"):
            world.run(2.0)
