"""Promise: a worker that comes back with the table of this very leader is one of its own, though its replica's
controller was another one in between; with that of another leader of this term it deposes this one."""

from __future__ import annotations

from pathlib import Path

from proxy.controller.controller import Controller
from proxy.controller.leader_term import MOST_TOLD, LeaderTerm
from tests.controller.controllers import NAME, eventually
from tests.controller.worker import FakeWorker

TERM = 3


async def test_a_worker_that_was_held_for_gone_and_comes_back_deposes_nobody(
    controller: Controller, worker: FakeWorker, tmp_path: Path
) -> None:
    ranks: list[int] = []
    controller.outranked = ranks.append
    controller.lead_in(TERM)
    await worker.until(lambda: worker.table.term == TERM)
    controller.on_gone(worker.name)  # as its replica's goodbye has it, or another process under that name
    worker.disconnect()
    await eventually(lambda: not controller.connections.workers[worker.name].connected)
    heard = len(worker.tables)
    await worker.connect()
    await worker.until(lambda: len(worker.tables) > heard)
    assert (worker.table.term, ranks) == (TERM, [])
    assert worker.lane(NAME) is not None


async def test_a_stranger_with_a_table_of_this_term_does(
    controller: Controller, worker: FakeWorker, tmp_path: Path
) -> None:
    ranks: list[int] = []
    controller.outranked = ranks.append
    controller.lead_in(TERM)
    await worker.until(lambda: worker.table.term == TERM)
    other = FakeWorker(tmp_path, slot=1, name="w1", pid=2)
    other.table = worker.table
    await other.connect()
    await eventually(lambda: ranks == [TERM])
    other.disconnect()


def test_those_who_were_told_are_bounded() -> None:
    term = LeaderTerm()
    for number in range(MOST_TOLD + 10):
        term.tell(str(number))
    assert len(term.told) == MOST_TOLD
    assert str(MOST_TOLD + 9) in term.told
