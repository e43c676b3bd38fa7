"""What the largest question that there can be costs: what is set aside for each pair, whatever it says."""

from __future__ import annotations

from collections.abc import Sequence

from proxy.judges.anchor_lines import AnchorPair
from proxy.judges.anchors import ROUND
from proxy.judges.question import ANSWER_TOKENS, BYTES_PER_TOKEN, Asking, largest_question, question_in_order
from proxy.model.price import Price, TokenUsage


def reckoned_cost(price: Price, size: int, seconds: float = 0.0) -> float:
    """What a question of `size` bytes and its answer come to, tokens counted from above.

    >>> reckoned_cost(Price(input=3.0, output=10.0), 300_000)
    304003.0
    """
    return price.of(TokenUsage(int(size / BYTES_PER_TOKEN) + 1, ANSWER_TOKENS), seconds)


class LargestCosts:
    """What the largest question on a pair and on an anchor cost in a period of so many seconds: what was reckoned, or
    more where an answer of the present period has come to more. `timeout` is how long one can take, seconds."""

    def __init__(
        self, asking: Asking, anchors: Sequence[AnchorPair], price: Price, timeout: float, period: float
    ) -> None:
        self._anchored, self._period, self._of = bool(anchors), period, -1
        sizes = [len(question_in_order(asking, one.request, one.first, one.second)) for one in anchors]
        pair = reckoned_cost(price, largest_question(asking), timeout)
        anchor = reckoned_cost(price, max(sizes, default=0), timeout)
        self._reckoned = {False: pair, True: anchor}
        self._dearest = dict(self._reckoned)

    def cost(self, now: float, *, anchor: bool) -> float:
        """Of one question on a pair, or of one `anchor`."""
        if int(now // self._period) != self._of:
            self._of, self._dearest = int(now // self._period), dict(self._reckoned)
        return self._dearest[anchor]

    def wanted(self, now: float, *, anchor: bool) -> float:
        """What must be left for one to be asked: a round of anchors beside what a pair costs, since without one
        verdicts that are paid for cannot count."""
        kept = ROUND * self.cost(now, anchor=True) if self._anchored and not anchor else 0.0
        return self.cost(now, anchor=anchor) + kept

    def came_to(self, cost: float, now: float, *, anchor: bool) -> None:
        """One has come to so much."""
        self._dearest[anchor] = max(self.cost(now, anchor=anchor), cost)
