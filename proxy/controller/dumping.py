"""A trial as the store takes it. One that cannot be written, which is a bug, keeps no other from being saved."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from proxy import logs
from proxy.controller.store.interface import Saved

if TYPE_CHECKING:
    from proxy.controller.rollout_run import RolloutRun

log = logging.getLogger("understudy.controller")

BROKE = "controller.dump_broke"


def dumped(trial: RolloutRun) -> Saved | None:
    """Its evidence and ledger of this moment; `None` where they cannot be written. That is counted each time, logged
    once, and readiness says it until they can."""
    try:
        saved = Saved(trial.saved, trial.plan, trial.evidence.dump(), trial.pair_ledger.dump())
    except Exception as error:
        why = f"{type(error).__name__}: {error}"
        if why == trial.unwritable:
            logs.UNEXPECTED[BROKE] += 1
        else:
            logs.unexpected(log, BROKE, rollout=trial.name)
        trial.unwritable = why
        return None
    trial.unwritable = ""
    return saved
