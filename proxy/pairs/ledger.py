"""The ledger of one trial: what became of every request that should have become a pair.

Workers report totals of what they sampled, dropped and sent; the controller books what arrived. Each worker incarnation
has an account of its own, so that a frame that is lost, a link that breaks and a process that dies are each made good
by the next report, and nothing is counted twice.

What was sent and never arrived is found without guessing: a report travels on the same stream behind the pairs it
counts, so whatever it says was sent and is not here by then will not come. It is booked as `link_full`.

Pairs that come after the end of their rollout are booked as `late`; `ended` keeps the decision.

An account is closed when its worker is gone, or has been cut off for so long that it is taken for gone. Should such a
one report after all, its account is opened again as it was.

Invariant: `sampled` is the sum of the parts and `pending`, and `pending` is never negative; an account that is closed
has nothing pending.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import asdict, dataclass, field, replace
from operator import attrgetter
from typing import Any

from proxy.evidence.outcomes import Outcomes
from proxy.model import BOOKED, DROPPED, REPORTED, Ledger

OURS = ("arrived", "booked", "lost")
ASIDE = 64
"""Accounts that were closed, the last ones, which can be opened again."""
_dropped: Callable[[Any], tuple[int, ...]] = attrgetter(*DROPPED)


@dataclass(slots=True)
class WorkerLedger:
    """One worker incarnation's part. Those of `REPORTED` are its last report less `before`, the others are ours.

    `arrived` pairs came over the link, `booked` of them have entered the evidence; `lost` were sent and will not come.
    """

    sampled: int = 0
    shed: int = 0
    too_large: int = 0
    too_long: int = 0
    not_ready: int = 0
    client_gone: int = 0
    link_full: int = 0
    sent: int = 0
    arrived: int = 0
    booked: int = 0
    lost: int = 0
    before: dict[str, int] = field(default_factory=dict)

    def report(self, counts: Mapping[str, int]) -> int:
        """Take a report (totals); how many more were shed since the last one.

        >>> account = WorkerLedger(arrived=3, booked=3)
        >>> account.report({"sampled": 9, "shed": 2, "sent": 5}), account.lost
        (2, 2)
        """
        before = self.shed
        for name in REPORTED:
            setattr(self, name, max(0, int(counts.get(name, 0)) - self.before.get(name, 0)))
        self.lost = max(0, self.sent - self.arrived)
        return max(0, self.shed - before)

    @property
    def known(self) -> int:
        """Requests whose fate is known or that have arrived."""
        return sum(_dropped(self)) + self.arrived + self.lost

    def begin_at(self, counts: Mapping[str, int]) -> None:
        """The totals so far are those of an earlier trial of the same name, which is over."""
        self.before = dict(counts)

    def close(self) -> None:
        """The worker is gone: what is pending will not come."""
        self.sampled = max(self.sampled, self.known)
        self.lost += self.sampled - self.known


class PairLedger:
    """Accounts by incarnation, those of dead workers in one sum, and what the pairs turned out to be."""

    def __init__(self) -> None:
        self._accounts: dict[str, WorkerLedger] = {}
        self._aside: dict[str, WorkerLedger] = {}  # accounts that are closed, as they were before
        self._closed = WorkerLedger()
        self._results = dict.fromkeys(BOOKED, 0)
        self._unparseable: dict[str, int] = {}
        self.first_pair: float | None = None
        self.first_full: float | None = None
        self.ended: Mapping[str, Any] | None = None
        """Verdict and findings of the end of the rollout, as they are shown since (`report.ended_json`)."""
        self.outcomes = Outcomes()
        self._sums: Ledger | None = None  # since nothing was booked

    def account(self, worker: str) -> WorkerLedger:
        """The account of an incarnation, opened when it is new. Whoever asks may change it, and does so at once."""
        self._sums = None
        found = self._accounts.get(worker)
        if found is None:
            found = self._accounts[worker] = self._reopened(worker) or WorkerLedger()
        return found

    def _reopened(self, worker: str) -> WorkerLedger | None:
        """The account of a worker that was taken for gone and is not, out of the sum of those that are closed."""
        account = self._aside.pop(worker, None)
        if account is not None:
            self._add_closed(account, -1)
        return account

    def _add_closed(self, account: WorkerLedger, times: int) -> None:
        as_closed = replace(account)
        as_closed.close()
        for name in (*REPORTED, *OURS):
            setattr(self._closed, name, getattr(self._closed, name) + times * getattr(as_closed, name))

    @property
    def workers(self) -> tuple[str, ...]:
        """Incarnations with an open account."""
        return tuple(self._accounts)

    def others(self, here: Set[str]) -> Sequence[str]:
        """Of these those that are not here, in the order in which they came: in another order their ends would come to
        other evidence (`input.blocks`)."""
        accounts = self._accounts
        return () if accounts.keys() <= here else [worker for worker in accounts if worker not in here]

    @property
    def compared(self) -> int:
        """Compared pairs."""
        return self._results["compared"]

    @property
    def unparseable(self) -> dict[str, int]:
        """Unparseable pairs by the reason word why live's answer could not be read."""
        return dict(self._unparseable)

    def answered_in_full(self, time: float) -> None:
        """Remember when the candidate first answered at weight 100 (epoch seconds)."""
        if self.first_full is None:
            self.first_full = time

    def arrived(self, worker: str, time: float) -> None:
        """A pair came over the link, whose request came at `time` (epoch seconds)."""
        if self.first_pair is None:
            self.first_pair = time
        self.account(worker).arrived += 1

    def book(self, worker: str, result: str, pairs: int = 1, reason: str = "") -> None:
        """So many pairs entered the evidence as `compared`, `live_failed` or, for a `reason`, `unparseable`; or came
        too `late` to."""
        account = self.account(worker)
        account.booked += pairs  # `account` has forgotten the sums
        account.arrived = max(account.arrived, account.booked)
        self._results[result] += pairs
        if result == "unparseable":
            self._unparseable[reason] = self._unparseable.get(reason, 0) + pairs

    def close(self, worker: str) -> None:
        """A worker is gone and will never report again: its account is settled and added to the closed ones."""
        account = self._accounts.pop(worker, None)
        if account is None:
            return
        self._sums = None
        self._add_closed(account, 1)
        self._aside[worker] = account
        for oldest in list(self._aside)[:-ASIDE]:
            del self._aside[oldest]

    def ledger(self) -> Ledger:
        """The ledger now: the same one as long as nothing changes.

        >>> ledger = PairLedger()
        >>> _ = ledger.account("w").report({"sampled": 3, "shed": 1, "sent": 0})
        >>> ledger.arrived("w", 0.0); ledger.book("w", "compared")
        >>> sums = ledger.ledger()
        >>> sums.sampled, sums.shed, sums.compared, sums.pending
        (3, 1, 1, 1)
        """
        if self._sums is None:
            self._sums = self._summed()
        return self._sums

    def _summed(self) -> Ledger:
        sampled = lost = 0
        rows = []
        for account in (*self._accounts.values(), self._closed):
            row = _dropped(account)
            sampled += max(account.sampled, sum(row) + account.arrived + account.lost)
            lost += account.lost
            rows.append(row)
        sums = dict(zip(DROPPED, map(sum, zip(*rows, strict=True)), strict=True))
        sums["link_full"] += lost
        return Ledger(sampled, **sums, **{part: self._results[part] for part in BOOKED})

    def dump(self) -> dict[str, Any]:
        """As JSON values, to go with the evidence of the same moment."""
        accounts, aside = (
            {worker: asdict(account) for worker, account in each.items()} for each in (self._accounts, self._aside)
        )
        parts = {"accounts": accounts, "aside": aside, "closed": asdict(self._closed), "results": dict(self._results)}
        parts["unparseable"] = self.unparseable
        return {**parts, "first_pair": self.first_pair, "first_full": self.first_full, "ended": self.ended,
                "outcomes": self.outcomes.dump()}  # fmt: skip

    @classmethod
    def load(cls, value: Mapping[str, Any]) -> PairLedger:
        """The ledger of a controller that is gone: what had arrived but was not yet in the evidence is lost with it."""
        ledger = cls()
        if value:
            ledger._accounts = {worker: WorkerLedger(**account) for worker, account in value["accounts"].items()}
            aside = value.get("aside", {})  # not there in what earlier versions saved
            ledger._aside = {worker: WorkerLedger(**account) for worker, account in aside.items()}
            ledger._closed = WorkerLedger(**value["closed"])
            ledger._results |= value["results"]
            ledger._unparseable = dict(value.get("unparseable", {}))  # not there in what earlier versions saved
            ledger.first_pair, ledger.first_full = value["first_pair"], value["first_full"]
            ledger.ended = value.get("ended")
            ledger.outcomes = Outcomes(value.get("outcomes"))
        for account in ledger._accounts.values():
            account.arrived = account.booked
        return ledger
