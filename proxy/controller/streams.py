"""Subscriptions to what happens. Each has a bounded queue; a slow reader loses the oldest (counted); nobody waits."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from proxy.rfc3339 import rfc3339

MAX_EVENTS = 256
"""Events that may wait in one subscription."""


class Subscriptions:
    """Everyone who listens."""

    def __init__(self) -> None:
        self._queues: set[asyncio.Queue[dict[str, Any]]] = set()
        self.dropped = 0

    def tell(self, kind: str, at: float, data: Mapping[str, Any]) -> None:
        """Give everyone an event `{"type", "timestamp", "data"}`; `at` in epoch seconds."""
        for queue in self._queues:
            if queue.full():
                queue.get_nowait()
                self.dropped += 1
            queue.put_nowait({"type": kind, "timestamp": rfc3339(at), "data": data})

    def subscribe(self) -> asyncio.Queue[dict[str, Any]]:
        """A new subscription."""
        queue: asyncio.Queue[dict[str, Any]] = asyncio.Queue(MAX_EVENTS)
        self._queues.add(queue)
        return queue

    def unsubscribe(self, queue: asyncio.Queue[dict[str, Any]]) -> None:
        """End a subscription."""
        self._queues.discard(queue)
