"""A few of live's requests each second, with their answers, for `drift`: no candidate is needed.

Which ones is drawn when a request begins, before anything is known of it but that it came: each with the same chance,
which is turned once a second so that `rate` are drawn of the traffic of the second before. Nothing of a request or of
its answer has a say, so what is observed is a sample of all.

Invariants
- An observation is a `Sample` whose trial has no candidate: what is kept of it is charged, given up and counted like
  that of any other (`memory`, `samples`), against limits of its own.
- At most `BURST` times the rate are drawn in a second, whatever came in the second before; those beyond are counted.
- Where a candidate answers the client, the request alone is sent: what a candidate says is not what live says.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from proxy.request.fork import DEFAULT_MAX_BODY
from proxy.request.rollouts import RolloutSettings, Trial

if TYPE_CHECKING:
    from proxy.request.legs import Upstream

BURST: Final = 2.0
"""How many times the rate may be drawn in a second."""
MAX_MEMORY: Final = 16 * 1024 * 1024
"""Bytes that one worker keeps for the observations of one route, and may have waiting for the controller."""
NEVER: Final = 1 << 62
"""More requests than ever come."""


@dataclass(eq=False)
class Observer(Trial):
    """What one worker observes of one route. `rate` is its part of `observations_per_second`."""

    rate: float = 0.0
    over_rate: int = 0
    """Requests that were drawn and given up: more than `BURST` times the rate had been by then."""
    seen: int = 0
    taken: int = 0
    skip: int = 0
    chance: float = 1.0

    def pace(self, rate: float) -> None:
        """From now on so many requests are observed a second."""
        self.rate = rate

    def draws(self) -> bool:
        """Whether the request that begins now is observed."""
        self.seen += 1
        self.skip -= 1
        if self.skip >= 0:
            return False
        self.skip = gap(self.chance, random.random())  # noqa: S311 - no secret: who could guess it gains nothing
        if self.taken >= max(1.0, BURST * self.rate):
            self.over_rate += 1
            return False
        self.taken += 1
        return True

    def turn(self) -> None:
        """A second has passed: draw by what came in it. Waiting times without memory may be drawn anew at any time."""
        self.chance = min(1.0, self.rate / self.seen) if self.seen else 1.0
        self.seen = self.taken = 0
        self.skip = gap(self.chance, random.random())  # noqa: S311

    @property
    def totals(self) -> dict[str, int]:
        """This observer's part of COUNTS."""
        found = self.ledger
        names = ("sampled", "sent", "shed", "too_large", "client_gone", "link_full")
        return {name: found[name] for name in names} | {"over_rate": self.over_rate}


def gap(chance: float, drawn: float) -> int:
    """How many requests are passed over until the next is drawn, each with this chance; `drawn` is uniform in [0, 1).

    >>> gap(1.0, 0.5), gap(0.01, 0.5), gap(0.0, 0.5) == NEVER
    (0, 68, True)
    """
    if chance >= 1.0:
        return 0
    if chance <= 0.0:
        return NEVER
    return min(NEVER, int(math.log(1.0 - drawn) / math.log1p(-chance)))


def observer(route: str, pool: Upstream, max_body: int = DEFAULT_MAX_BODY) -> Observer:
    """One that has observed nothing yet. On the link it is named by its route; a trial's name has a `/`, this none."""
    settings = RolloutSettings(
        name=route, trial=route, version="", route=route, max_in_flight=0, max_body=max_body,
        max_memory=MAX_MEMORY, timeout=0.0, max_duration=0.0, drop=frozenset(), set_lines=b"", fallback=False,
        fallback_after=None, hold=0.0, noise_floor=0,
    )  # fmt: skip
    return Observer(settings, pool)
