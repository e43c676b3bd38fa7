"""What one rollout's budgets afford: tokens a minute, money an hour or a day, pairs a second. The least share is what
workers are told."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from operator import is_
from typing import Literal

from proxy.config import Mirror
from proxy.model import BUCKETS, Ledger, Pair, Reading
from proxy.money import MoneyBudget
from proxy.predictions import copies_cost
from proxy.predictions.bounds import Bounds
from proxy.rollout.pair_budget import START, PairPace, at_most, turns
from proxy.rollout.spending import MINUTE, Spending, Spent, begin_spending, spend, worth_telling

PairLimit = int | Literal["auto"] | None


@dataclass(slots=True)
class CopyBudget:
    """What copies may cost in each `period`, seconds, in one unit; no `most`: as much as they do. `paid` pairs cost
    `total` since this controller began."""

    period: float = MINUTE
    most: float | None = None
    paid: int = 0
    total: float = 0.0
    spending: Spending = field(default_factory=Spending)
    told: int = Spending().affords
    _spent: tuple[float, ...] = (0, 0, 0, 0)  # pairs, amount, sampled and lost requests at the last step

    def limit(self, most: float | None, period: float = MINUTE) -> None:
        """What the file says now."""
        if period != self.period:
            self.period = period
            self.renew()
        self.most = most

    def pay(self, amount: float) -> None:
        """A pair has come whose copies cost so much."""
        self.total += amount
        self.paid += 1

    @property
    def affords(self) -> int:
        """Basis points of the requests that may become pairs."""
        return BUCKETS if self.most is None else self.told

    def turn(self, now: float, ledger: Ledger) -> bool:
        """A step at `now` (monotonic seconds); whether workers are to be told."""
        if self.most is None:
            return False
        lost = ledger.too_large + ledger.too_long + ledger.link_full
        before, self._spent = self._spent, (self.paid, self.total, ledger.sampled, lost)
        pairs, amount, asked, gone = (max(0, new - old) for new, old in zip(self._spent, before, strict=True))
        spent = Spent(int(pairs), amount, int(asked), max(0, ledger.pending), int(gone))
        self.spending = spend(self.spending, self.most, now, spent, self.period)
        if not worth_telling(self.told, self.spending.affords):
            return False
        self.told = self.spending.affords
        return True

    def renew(self) -> None:
        """Another trial begins: what its answers cost is not known. What the last one's cost in this period is."""
        window = self.spending.window
        self.spending = replace(begin_spending(self.period), window=window)
        self.told = self.spending.affords
        self._spent = (self.paid, self.total, 0, 0)


@dataclass(slots=True)
class SampleBudget:
    """`pair_limit` is that of the file; `auto` is the controller's pace, which all its rollouts share."""

    tokens: CopyBudget = field(default_factory=CopyBudget)
    money: CopyBudget = field(default_factory=CopyBudget)
    pair_limit: PairLimit = None
    pace: PairPace = field(default_factory=lambda: PairPace(share=START))
    told_pairs: int = 0
    idle_limit: int | None = None
    idle: str = ""  # why no guard needs more pairs
    told_idle: int = BUCKETS
    _sampled: int = 0
    _idle_pace: PairPace = field(default_factory=PairPace)
    _seen: int = 0
    _given: tuple[object, ...] = ()
    _rested_at: float = 0.0

    def limit(self, tokens: int | None, pairs: PairLimit, money: MoneyBudget | None = None) -> None:
        """What the file says now."""
        self._given = ()
        if pairs != self.pair_limit:
            self.pace = PairPace(share=START)
            self.told_pairs = BUCKETS if pairs == "auto" else self.pace.affords
        self.pair_limit = pairs
        self.tokens.limit(tokens)
        self.money.limit(*((None,) if money is None else (money.amount, money.period)))

    def follow(self, mirror: Mirror) -> None:
        """The same, of a rollout's `mirror`."""
        self.idle_limit = None if mirror.idle_pairs_per_second == "all" else mirror.idle_pairs_per_second
        self.limit(mirror.max_tokens_per_minute, mirror.max_pairs_per_second, mirror.max_cost)

    def pay(self, pair: Pair, reading: Reading, bounds: Bounds) -> None:
        """A pair has come, and this was read of it."""
        if self.tokens.most is not None:
            self.tokens.pay(copies_cost(pair, bounds))
        if self.money.most is not None:
            self.money.pay(reading.copies_cost)

    @property
    def affords(self) -> int:
        """Basis points of the requests that may become pairs."""
        pairs = BUCKETS if self.pair_limit is None else self.told_pairs
        return min(self.tokens.affords, self.money.affords, pairs, self.told_idle)

    def rests(self, now: float, auto: PairPace, *given: object) -> bool:
        """Whether a step at `now`, with what was `given` to the last one, would change nothing but its time; then it is
        as if taken."""
        if len(self._given) != len(given) or not all(map(is_, self._given, given)):
            return False
        if self.tokens.most is not None or self.money.most is not None:
            return False
        if self.pair_limit == "auto":
            if turns(self.told_pairs, auto.affords):
                return False
            self.pace = auto
        elif self.pair_limit is not None and self.pace.rate:
            return False
        if self.idle_limit is not None and self._idle_pace.rate:
            return False
        self._rested_at = now
        return True

    def _wake(self) -> None:
        """The last of the steps that were as if taken: none came in between, so only its time is another."""
        at, self._rested_at = self._rested_at, 0.0
        if at > self._idle_pace.at:
            self._idle_pace = replace(self._idle_pace, at=at)
        if self.pair_limit != "auto" and at > self.pace.at:
            self.pace = replace(self.pace, at=at)

    def turn(self, now: float, ledger: Ledger, auto: PairPace, idle: str = "", *given: object) -> bool:
        """A step of all, at `now` (monotonic seconds); whether workers are to be told. `idle` says why no guard needs
        more pairs, if none does. `given` is what all this follows from, beside the time and `auto`."""
        if self._rested_at:
            self._wake()
        self._given = given
        spared = self._turn_idle(now, ledger, idle)
        turned = [self.tokens.turn(now, ledger), self.money.turn(now, ledger), self._turn_pairs(now, ledger, auto)]
        return any(turned) or spared

    def _turn_idle(self, now: float, ledger: Ledger, idle: str) -> bool:
        """While guards need pairs, measure how many requests could be some; then make as few as the file says. The
        share rises again at once."""
        self.idle = idle if self.idle_limit is not None else ""
        sampled, self._seen = max(0, ledger.sampled - self._seen), ledger.sampled
        if self.idle_limit is None or not self.affords:
            affords = BUCKETS if self.idle_limit is None else self.told_idle
        else:
            self._idle_pace = at_most(
                replace(self._idle_pace, share=self.affords / BUCKETS), self.idle_limit, now, sampled
            )
            known = self._idle_pace.rate > 0.0
            affords = self._idle_pace.affords if self.idle and known else BUCKETS
        if affords == self.told_idle or (affords < BUCKETS and not turns(self.told_idle, affords)):
            return False
        self.told_idle = affords
        return True

    def _turn_pairs(self, now: float, ledger: Ledger, auto: PairPace) -> bool:
        if self.pair_limit is None:
            return False
        if self.pair_limit == "auto":
            self.pace = auto
        else:
            sampled, self._sampled = max(0, ledger.sampled - self._sampled), ledger.sampled
            self.pace = at_most(replace(self.pace, share=self.told_pairs / BUCKETS), self.pair_limit, now, sampled)
        if not turns(self.told_pairs, self.pace.affords):
            return False
        self.told_pairs = self.pace.affords
        return True

    def renew(self) -> None:
        """Another trial begins: what its answers cost is not known, how many requests come is."""
        self.tokens.renew()
        self.money.renew()
        self._sampled = self._seen = 0
        self._given = ()
        self.told_idle = BUCKETS
