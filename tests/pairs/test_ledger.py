"""Keeps the promise that the ledger balances: whatever arrives, is lost, dropped, reported late or dies with its worker
or with the controller, the parts sum up to what was sampled and nothing is counted twice."""

from __future__ import annotations

import orjson
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from proxy.model import DROPPED
from proxy.pairs.ledger import ASIDE, PairLedger, WorkerLedger

workers = st.sampled_from(["a", "b"])


class Trade(RuleBasedStateMachine):
    """Workers sample, send and drop; links lose what is on them; controllers and workers die."""

    @initialize()
    def start(self) -> None:
        self.pair_ledger = PairLedger()
        self.saved = self.pair_ledger.dump()
        self.sampled = {"a": 0, "b": 0}
        self.open = {"a": 0, "b": 0}  # sampled, neither sent nor dropped yet
        self.totals = {w: dict.fromkeys((*DROPPED, "sent"), 0) for w in "ab"}
        self.wire: dict[str, int] = {"a": 0, "b": 0}  # sent, not arrived yet
        self.here: dict[str, int] = {"a": 0, "b": 0}  # arrived, waiting for earlier ones
        self.dead_sampled = 0
        self.lives = {"a": 0, "b": 0}

    def name(self, worker: str) -> str:
        """A process that replaces another has a name of its own."""
        return f"{worker}{self.lives[worker]}"

    @rule(worker=workers, count=st.integers(1, 5))
    def sample(self, worker: str, count: int) -> None:
        self.sampled[worker] += count
        self.open[worker] += count

    @rule(worker=workers, how=st.sampled_from([*DROPPED, "sent"]))
    def settle(self, worker: str, how: str) -> None:
        if self.open[worker]:
            self.open[worker] -= 1
            self.totals[worker][how] += 1
            self.wire[worker] += how == "sent"

    @rule(worker=workers)
    def arrive(self, worker: str) -> None:
        if self.wire[worker]:
            self.wire[worker] -= 1
            self.here[worker] += 1
            self.pair_ledger.arrived(self.name(worker), 0.0)

    @rule(worker=workers, result=st.sampled_from(["compared", "live_failed", "unparseable"]))
    def book(self, worker: str, result: str) -> None:
        if self.here[worker]:
            self.here[worker] -= 1
            self.pair_ledger.book(self.name(worker), result)

    @rule(worker=workers)
    def report(self, worker: str) -> None:
        """A report comes behind every pair it counts."""
        while self.wire[worker]:
            self.arrive(worker)
        self.pair_ledger.account(self.name(worker)).report({"sampled": self.sampled[worker], **self.totals[worker]})

    @rule(worker=workers)
    def link_breaks(self, worker: str) -> None:
        self.wire[worker] = 0

    @rule()
    def snapshot(self) -> None:
        self.saved = self.pair_ledger.dump()

    @rule()
    def controller_dies(self) -> None:
        self.pair_ledger = PairLedger.load(orjson.loads(orjson.dumps(self.saved)))
        for worker in "ab":
            self.wire[worker] = self.here[worker] = 0

    @rule(worker=workers)
    def worker_dies(self, worker: str) -> None:
        self.report(worker)
        while self.here[worker]:
            self.book(worker, "compared")
        self.pair_ledger.close(self.name(worker))
        self.lives[worker] += 1
        self.dead_sampled += self.sampled[worker]
        self.sampled[worker] = self.open[worker] = self.wire[worker] = 0
        self.totals[worker] = dict.fromkeys(self.totals[worker], 0)
        self.saved = self.pair_ledger.dump()

    @rule(worker=workers)
    def cut_off(self, worker: str) -> None:
        """It is taken for gone, and is not: whatever it says later counts on."""
        self.wire[worker] = 0
        while self.here[worker]:
            self.book(worker, "compared")
        self.pair_ledger.close(self.name(worker))
        self.saved = self.pair_ledger.dump()

    @invariant()
    def the_parts_sum_up(self) -> None:
        ledger = self.pair_ledger.ledger()
        assert ledger.pending >= 0
        assert ledger.sampled <= self.dead_sampled + sum(self.sampled.values())

    @invariant()
    def after_a_report_only_what_is_under_way_is_pending(self) -> None:
        for worker in "ab":
            self.report(worker)
        ledger = self.pair_ledger.ledger()
        assert ledger.pending == sum(self.open.values()) + sum(self.here.values())
        assert ledger.sampled == self.dead_sampled + sum(self.sampled.values())


TestTrade = Trade.TestCase


@given(st.integers(0, 9), st.integers(0, 9), st.integers(0, 9))
def test_a_closed_account_has_nothing_pending(sampled: int, shed: int, arrived: int) -> None:
    account = WorkerLedger(sampled=sampled, shed=shed, arrived=arrived)
    account.close()
    assert account.sampled == account.known


def test_first_pair_and_first_full_answer_are_remembered_once_and_saved() -> None:
    pair_ledger = PairLedger()
    for time in (5.0, 3.0):
        pair_ledger.arrived("w", time)
        pair_ledger.answered_in_full(time)
    again = PairLedger.load(pair_ledger.dump())
    assert (again.first_pair, again.first_full) == (5.0, 5.0)


def test_accounts_that_were_closed_are_kept_within_bounds() -> None:
    pair_ledger = PairLedger()
    for number in range(ASIDE + 9):
        pair_ledger.account(f"w{number}").report({"sampled": 2, "sent": 1})
        pair_ledger.close(f"w{number}")
    assert len(pair_ledger.dump()["aside"]) == ASIDE
    assert pair_ledger.ledger().link_full == 2 * (ASIDE + 9)


def test_workers_that_are_gone_end_in_the_order_in_which_they_came() -> None:
    """In that of a set, which each process has another of, the same pairs would come to other evidence."""
    ledger, names = PairLedger(), [f"worker {n}" for n in range(40)]
    for name in names:
        ledger.account(name)
    assert list(ledger.others({"another": 1}.keys())) == names
    assert list(ledger.others({names[3]: 1}.keys())) == [*names[:3], *names[4:]]
    assert not ledger.others(dict.fromkeys(names).keys())
