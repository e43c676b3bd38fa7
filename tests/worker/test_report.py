"""Promise: what a worker tells the controller each second costs its clients nothing, however many routes there are, and
leaves nothing out: what changed is told at once, and what was lost on the way again."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from types import SimpleNamespace
from typing import Any, cast

from hypothesis import given
from hypothesis import strategies as st

from proxy.model import Lane, State
from proxy.model.config_pieces import finish
from proxy.request.counts import Counts, Meters
from proxy.worker.books import TURNS, TrialBooks
from proxy.worker.publisher import Publisher
from proxy.worker.report import AT_ONCE, WorkerReports, figures
from proxy.worker.upstream.pool import Pool
from tests.request.test_exchange import SHADOW
from tests.worker.rig import Model, eventually, rig
from tests.worker.test_publisher import trial as some_trial

NAMES = tuple(f"t{n}" for n in range(2 * TURNS + 3))
Happens = st.lists(
    st.tuples(
        st.sets(st.sampled_from(NAMES), max_size=4),  # whose totals grow
        st.sets(st.sampled_from(NAMES), max_size=2),  # whose candidate becomes ready, or is no more
        st.sampled_from(["taken", "taken", "taken", "lost", "another controller"]),
    ),
    max_size=4 * TURNS,
)


@given(Happens)
def test_the_controller_knows_all_after_each_report(happens: Any) -> None:
    """It is told of changes only, and knows what it would if it were told everything each time."""

    async def told() -> None:
        books, ready = TrialBooks(Publisher(asyncio.get_running_loop())), dict.fromkeys(NAMES, False)
        books.open = {name: some_trial() for name in NAMES}
        heard = dict[str, Any]()
        for grown, turned, becomes in happens:
            for name in grown:
                books.open[name].settle_sent(books.open[name].begin())
            ready |= {name: not ready[name] for name in turned}
            if becomes == "another controller":
                heard = {}
                books.tell_all()
            said = {name: (ledger, ready[name]) for name, ledger in books.ledger(ready).items()}
            if becomes != "lost":
                books.told(NAMES)
                heard |= said
                assert heard == {name: (trial.ledger, ready[name]) for name, trial in books.open.items()}

    asyncio.run(told())


async def test_of_idle_trials_only_a_few_are_told_again() -> None:
    books = TrialBooks(Publisher(asyncio.get_running_loop()))
    books.open = {name: some_trial() for name in NAMES}
    told = []
    for _ in range(TURNS + 1):
        told.append(set(books.ledger({})))
        books.told(NAMES)
    assert told[0] == set(NAMES)
    assert all(len(some) <= len(NAMES) / TURNS + 1 for some in told[1:])
    assert set().union(*told[1:]) == set(NAMES)


async def test_a_trial_is_told_to_a_controller_that_begins_to_know_it() -> None:
    """What a worker said of it may have come earlier: of whoever it does not know, the controller keeps nothing."""
    async with rig(SHADOW, (Model(), Model())) as it:
        name = it.trial.settings.trial
        it.worker._timers["report"].cancel()
        await it.controller.publish()
        it.worker._send_report()
        while name in it.worker._books.ledger({}):  # until it would be silent for a while
            it.worker._books.told([name])
        await it.lane()
        assert name in it.worker._books.ledger({})


class Slow:
    """Counts of one total, which take until they are told to end."""

    def __init__(self) -> None:
        self.total, self.ends = 1, False

    def report_in_steps(self) -> Generator[None, None, dict[str, Any]]:
        total = self.total
        while not self.ends:
            yield
        return {"requests": total}


async def test_a_report_that_another_overtakes_is_not_sent() -> None:
    """A counter that falls is taken for one that began anew; and the last report of a worker's life stands for ever."""
    async with rig(SHADOW, (Model(), Model())) as it:
        sent, lives, counts = list[int](), list[None](), Slow()
        publisher = SimpleNamespace(
            exposed=lambda trials: None, flush=lambda: None, counts=lambda said: sent.append(said["requests"])
        )
        context = SimpleNamespace(counts=counts, publisher=publisher, request_log=it.worker.context.request_log)
        reports = WorkerReports(cast(Any, context), it.worker._books, it.worker._in_force, dict)
        earlier = asyncio.ensure_future(reports.send_in_slices(lambda: lives.append(None)))
        await asyncio.sleep(0)
        counts.total, counts.ends = 2, True
        reports.send()
        await earlier
        assert (sent, len(lives)) == ([2], 1)
        counts.total = 3
        await reports.send_in_slices(lambda: None)
        assert sent == [2, 3]


def upstream(number: int) -> Pool:
    """What a report asks of one."""
    settings = SimpleNamespace(hash_key=None, path=None)
    rows = [[f"127.0.0.1:{number}", "up", number, 0, 0]]
    return cast(Pool, SimpleNamespace(settings=settings, rows=rows, counts=(number, 0, 0)))


def test_figures_of_many_routes_are_gathered_a_few_at_a_time() -> None:
    counts, pools = Counts(), {f"u{n}": upstream(n) for n in range(20 * AT_ONCE)}
    for name in pools:
        Meters(counts, "r", name).served.add(200, 0.01)
    steps = list(figures(counts, pools, {}))
    assert len(steps) >= 20 + len(pools) // 128
    found = finish(figures(counts, pools, {}))
    assert len(cast(list[Any], found["requests"])) == len(pools)


async def test_the_table_that_is_in_force_is_acknowledged_and_costs_nothing() -> None:
    """After a reload the controller sends it again. Any other would put right what is put into a trial by hand."""
    async with rig(SHADOW, (Model(), Model())) as it:
        lane = Lane("r/v2", it.trial.settings.trial, State.SHADOW, 0, 10_000, 1)
        await it.controller.publish(lane)
        it.trial.share = 1
        acks, again = len(it.controller.acks), it.worker._table
        it.controller.send(again)
        await eventually(lambda: len(it.controller.acks) == acks + 1, "ACK")
        assert it.trial.share == 1
        it.worker._lost = True
        it.controller.send(again)
        await eventually(lambda: len(it.controller.acks) == acks + 2, "ACK")
        assert it.trial.share == 10_000
