"""What one rollout's budgets afford: tokens a minute, pairs a second. The lesser share is what workers are told."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

from proxy.model import BUCKETS, Ledger
from proxy.rollout.pair_budget import START, PairPace, at_most, turns
from proxy.rollout.token_budget import Spending, Spent, spend, worth_telling

PairLimit = int | Literal["auto"] | None


@dataclass(slots=True)
class SampleBudget:
    """`token_limit` and `pair_limit` are those of the file; `auto` is the controller's pace, which all its rollouts
    share. `paid` pairs cost `tokens` since this controller began."""

    token_limit: int | None = None
    pair_limit: PairLimit = None
    paid: int = 0
    tokens: int = 0
    spending: Spending = field(default_factory=Spending)
    pace: PairPace = field(default_factory=lambda: PairPace(share=START))
    told_tokens: int = Spending().affords
    told_pairs: int = 0
    _spent: tuple[int, int, int] = (0, 0, 0)  # pairs, tokens and sampled requests at the last step
    _sampled: int = 0

    def limit(self, tokens: int | None, pairs: PairLimit) -> None:
        """What the file says now."""
        if pairs != self.pair_limit:
            self.pace = PairPace(share=START)
            self.told_pairs = BUCKETS if pairs == "auto" else self.pace.affords
        self.token_limit, self.pair_limit = tokens, pairs

    def cost(self, tokens: int) -> None:
        """A pair has come whose copies cost so many tokens."""
        self.tokens += tokens
        self.paid += 1

    @property
    def affords(self) -> int:
        """Basis points of the requests that may become pairs."""
        tokens = BUCKETS if self.token_limit is None else self.told_tokens
        return min(tokens, BUCKETS if self.pair_limit is None else self.told_pairs)

    def turn(self, now: float, ledger: Ledger, auto: PairPace) -> bool:
        """A step of both, at `now` (monotonic seconds); whether workers are to be told."""
        return sum((self._turn_tokens(now, ledger), self._turn_pairs(now, ledger, auto))) > 0

    def _turn_tokens(self, now: float, ledger: Ledger) -> bool:
        if self.token_limit is None:
            return False
        before, self._spent = self._spent, (self.paid, self.tokens, ledger.sampled)
        pairs, tokens, sampled = (max(0, new - old) for new, old in zip(self._spent, before, strict=True))
        self.spending = spend(
            self.spending, self.token_limit, now, Spent(pairs, tokens, sampled, max(0, ledger.pending))
        )
        if not worth_telling(self.told_tokens, self.spending.affords):
            return False
        self.told_tokens = self.spending.affords
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
        self.spending = Spending()
        self.told_tokens = self.spending.affords
        self._spent, self._sampled = (self.paid, self.tokens, 0), 0
