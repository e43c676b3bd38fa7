"""Promise: a worker never takes a table of an older leader than the one it last obeyed, and tells which that is."""

from __future__ import annotations

import time

from proxy.model import Lane, State, Table
from proxy.pairs import link
from proxy.pairs.link import Frame
from tests.request.test_exchange import SHADOW
from tests.worker.rig import Model, Rig, eventually, rig

PATIENT = SHADOW.replace("server: {", "server: {controller_lost: 10s, ")


def lane(it: Rig, weight: int) -> Lane:
    (trial,) = it.worker.trials.values()
    state = State.CANARY if weight else State.ROLLED_BACK
    return Lane(trial.settings.name, trial.settings.trial, state, weight, 10_000, 1)


async def test_a_table_of_a_lower_term_or_an_older_one_of_the_same_is_neither_taken_nor_acknowledged() -> None:
    async with rig(PATIENT, (Model(), Model())) as it:
        await it.controller.publish(lane(it, 500), term=2)
        assert it.controller.acks[-1]["term"] == 2
        told = len(it.controller.acks)
        held = it.worker._table
        it.controller.send(Table(held.number + 7, (lane(it, 9_000),), term=1))
        it.controller.send(Table(held.number + 7, (lane(it, 9_000),), term=0))
        it.controller.send(Table(held.number - 1, (lane(it, 9_000),), term=2))
        await it.controller.publish(lane(it, 0), term=3)
        assert it.trial.weight == 0
        assert [ack["number"] for ack in it.controller.acks[told:]] == [it.worker._table.number]
        await eventually(lambda: it.controller.counts.get("refused_tables") == 3, "a report of them")


async def test_who_sends_only_tables_that_are_too_old_is_no_controller_that_is_there() -> None:
    async with rig(PATIENT, (Model(), Model())) as it:
        await it.controller.publish(lane(it, 500), term=2)
        it.controller.send(Table(99, (lane(it, 500),), term=1))
        await eventually(lambda: it.worker._deposed is not None)
        it.worker._controller_heard = before = time.monotonic() - 100.0
        for channel in it.controller.tables:
            channel.send(link.frame(Frame.ALIVE, b""))
        await eventually(lambda: it.trial.weight == 0, "lost, for all that it says")
        assert it.worker._controller_heard == before
        await eventually(lambda: len(it.controller.hellos) == 2 and it.controller.tables)
        assert it.controller.hellos[-1]["table"]["term"] == 2
        await it.controller.publish(lane(it, 500), term=3)
        assert it.trial.weight == 500
