"""What is kept for the next controller and decides nothing: what is drawn of trials, what judges have spent and said.
Whatever is wrong with it, it begins anew."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from proxy import logs
from proxy.controller.judging.judging import Judging
from proxy.controller.rollout_run import RolloutRun
from proxy.controller.store.interface import RolloutStore
from proxy.errors import StoreError

log = logging.getLogger("understudy.controller")


async def take_up_charts(store: RolloutStore, trials: Iterable[RolloutRun]) -> None:
    """Charts go on where they ended."""
    try:
        drawn = await store.charts()
        for trial in trials:
            if trial.plan.trial in drawn:
                trial.charts.load(drawn[trial.plan.trial])
    except (StoreError, KeyError, TypeError, ValueError) as error:
        logs.event(log, "charts.lost", logging.WARNING, error=str(error))


async def take_up_judges(store: RolloutStore, judging: Judging) -> None:
    """Judges go on with what they have spent and said."""
    try:
        judging.load(await store.judges())
    except (StoreError, TypeError, ValueError) as error:
        logs.event(log, "judges.lost", logging.WARNING, error=str(error))


async def keep_pictures(store: RolloutStore, trials: Iterable[RolloutRun], judging: Judging) -> None:
    """Keep both. Raises `StoreError`."""
    await store.keep_charts({trial.plan.trial: trial.charts.dump() for trial in trials})
    if judges := judging.dump():
        await store.keep_judges(judges)
