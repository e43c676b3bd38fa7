"""A change on its way into the store."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from proxy.controller.rollout_run import RolloutRun
from proxy.controller.store.interface import Change


@dataclass(slots=True, eq=False)
class SavingTurn:
    """A change that waits to be saved; for a decrease it is `ready` when the workers have acknowledged. `doubted` is
    there while it may have been saved and nobody can tell, and set when that has been found out."""

    trial: RolloutRun
    change: Change
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    doubted: asyncio.Event | None = None

    def known(self) -> None:
        """It is known whether the change was saved."""
        if self.doubted is not None:
            self.doubted.set()
            self.doubted = None
