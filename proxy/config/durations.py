"""What is wrong between the lines of times that belong together: how long an answer may be silent, and last."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from proxy.units import duration

if TYPE_CHECKING:
    from proxy.config.tree import Config

_Blame = Callable[..., None]


def check_durations(config: Config, blame: _Blame) -> None:
    """A copy that is silent for too long fails, one that lasts too long does not: the first must be seen before."""
    for n, route in enumerate(config.routes):
        for m, rollout in enumerate(route.rollouts):
            mirror, candidate = rollout.mirror, config.upstreams.get(rollout.candidate)
            timeout = mirror.timeout if mirror.timeout is not None or candidate is None else candidate.timeout
            if mirror.max_duration is not None and timeout is not None and mirror.max_duration <= timeout:
                problem = f"{duration(mirror.max_duration)} is not more than the timeout ({duration(timeout)})"
                where = ("routes", n, "rollouts", m, "mirror", "max_duration")
                blame(where, f"{problem}: no copy could ever time out", "raise it, or lower `mirror.timeout`")
