"""What the answers of a pair cost: a reading with its costs.

An arm's cost is that of its answer to this request, whoever got it. `copies_cost` of a reading is what only copies
cost: it is what a trial costs beyond the traffic itself. Tokens are those that the engines say. Where two arms are paid
by tokens and one of them does not say them, both are counted in the same way, so that a difference between two ways of
counting is not taken for one between two models.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import isnan, nan
from typing import Protocol

from proxy.model import Arm, Outcome, Pair, Reading
from proxy.model.price import Price, TokenUsage
from proxy.predictions.bounds import Bounds
from proxy.predictions.usage import NOTHING_USED, copies_of, usage_of, was_asked


class ReadsPairs(Protocol):
    """What reads pairs, at once or in steps."""

    bounds: Bounds

    def is_short(self, pair: Pair) -> bool: ...
    def steps(self, pair: Pair) -> Iterator[Reading | None]: ...
    def read(self, pair: Pair) -> Reading: ...


class PricedReader:
    """Reads pairs as `reader` does, and says what they cost; `None` is a price that nobody gave."""

    __slots__ = ("_candidate", "_live", "_reader", "bounds")

    def __init__(self, reader: ReadsPairs, live: Price | None, candidate: Price | None) -> None:
        self._reader, self._live, self._candidate = reader, live, candidate
        self.bounds = reader.bounds

    def is_short(self, pair: Pair) -> bool:
        """Whether a pair takes no time worth counting to read."""
        return self._reader.is_short(pair)

    def read(self, pair: Pair) -> Reading:
        """The reading of a pair; never raises."""
        return self._priced(pair, self._reader.read(pair))

    def steps(self, pair: Pair) -> Iterator[Reading | None]:
        """What `read` gives, last, after a step for each answer."""
        for reading in self._reader.steps(pair):
            if reading is not None:
                yield None
            yield self._priced(pair, reading) if reading is not None else None

    def _priced(self, pair: Pair, reading: Reading) -> Reading:
        live, candidate = self._usages(pair)
        counted = live.counted or candidate.counted
        costs = {
            Arm.LIVE: _cost(self._live, pair.live, live),
            Arm.CANDIDATE: _cost(self._candidate, pair.candidate, candidate),
        }
        extra = 0.0
        for arm, outcome in copies_of(pair):
            spent = self._again(pair, outcome) if outcome is pair.again else costs[arm]
            extra += 0.0 if isnan(spent) else spent
        return reading._replace(
            live_cost=costs[Arm.LIVE], cost=costs[Arm.CANDIDATE], counted=counted, copies_cost=extra
        )

    def _usages(self, pair: Pair) -> tuple[TokenUsage, TokenUsage]:
        by_tokens = [price is not None and price.by_tokens for price in (self._live, self._candidate)]
        outcomes = (pair.live, pair.candidate)
        live, candidate = (
            usage_of(pair.request_size, outcome, self.bounds) if counts else NOTHING_USED
            for outcome, counts in zip(outcomes, by_tokens, strict=True)
        )
        if all(by_tokens) and live.counted != candidate.counted and live.total and candidate.total:
            live, candidate = (usage_of(pair.request_size, one, self.bounds, count=True) for one in outcomes)
        return live, candidate

    def _again(self, pair: Pair, outcome: Outcome) -> float:
        """What live's second answer cost."""
        by_tokens = self._live is not None and self._live.by_tokens
        usage = usage_of(pair.request_size, outcome, self.bounds) if by_tokens else NOTHING_USED
        return _cost(self._live, outcome, usage)


def _cost(price: Price | None, outcome: Outcome, usage: TokenUsage) -> float:
    """Money; nan where there is no price, or the time that is paid for is not known."""
    if price is None:
        return nan
    return price.of(usage, outcome.seconds) if was_asked(outcome) else 0.0
