"""Rollouts at work, by name and by route: which one is blocked by another of its route is asked of each, many times a
second."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from time import perf_counter

from proxy.controller.rollout_run import RolloutRun

SLICE = 0.001
"""Seconds for which rollouts are seen to one after the other."""


class RolloutsAtWork(dict[str, RolloutRun]):
    """By name. Only what is set and deleted one by one is found by its route; a rollout keeps its route for life."""

    def __init__(self) -> None:
        super().__init__()
        self._of: dict[str, tuple[RolloutRun, ...]] = {}

    def __setitem__(self, name: str, trial: RolloutRun) -> None:
        before = self.get(name)
        super().__setitem__(name, trial)
        if before is not trial:
            self._leaves(before)
            self._of[trial.plan.route] = (*self.of_route(trial.plan.route), trial)

    def __delitem__(self, name: str) -> None:
        self._leaves(self.get(name))
        super().__delitem__(name)

    def _leaves(self, gone: RolloutRun | None) -> None:
        if gone is None:
            return
        left = tuple(one for one in self.of_route(gone.plan.route) if one is not gone)
        if left:
            self._of[gone.plan.route] = left
        else:
            del self._of[gone.plan.route]

    async def in_turns(self) -> AsyncIterator[RolloutRun]:
        """All that there are now, with a turn of the loop for others whenever `SLICE` has passed."""
        until = perf_counter() + SLICE
        for trial in list(self.values()):
            yield trial
            if perf_counter() >= until:
                await asyncio.sleep(0)
                until = perf_counter() + SLICE

    def of_route(self, route: str) -> Sequence[RolloutRun]:
        """Those of one route."""
        return self._of.get(route, ())
