"""An outbox in memory, and as much of a controller as the sender of webhooks sees."""

from __future__ import annotations

import asyncio
import base64
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from pydantic import SecretStr

from proxy import config
from proxy.controller.webhooks.outbox import Delivery
from proxy.controller.webhooks.policy import URGENT, WebhookEvent
from proxy.errors import StoreError

SECRET = "whsec_" + base64.b64encode(b"0123456789abcdef01234567").decode()
A, B = "http://a.example/hook", "http://b.example/hook"


class FakeOutbox:
    """The store's outbox in memory, with the same contract; `broken` fails altogether, `full` takes no writes."""

    def __init__(self) -> None:
        self.rows: dict[tuple[str, str], dict[str, Any]] = {}
        self.ended: dict[str, str] = {}
        self.broken = self.full = False
        self.refused = 0
        self.settled = asyncio.Condition()

    def add(self, endpoint: str, event: WebhookEvent) -> None:
        row = {"delivery": Delivery(event, endpoint, 0, event.time), "state": "waiting", "answers": []}
        self.rows[endpoint, event.id] = row

    async def _fail_if_broken(self) -> None:
        if self.broken:
            self.refused += 1
            async with self.settled:
                self.settled.notify_all()
            raise StoreError("disk full")

    async def next_delivery(self, endpoint: str, now: float, *, urgent: bool) -> Delivery | None:
        await self._fail_if_broken()
        waiting = [r["delivery"] for (url, _), r in self.rows.items() if url == endpoint and r["state"] == "waiting"]
        waiting = [delivery for delivery in waiting if (delivery.event.type in URGENT) is urgent]
        due = sorted((d for d in waiting if d.due <= now), key=lambda d: (d.attempts, d.event.time))
        return due[0] if due else min(waiting, key=lambda d: d.due, default=None)

    async def record_attempt(self, delivery: Delivery, now: float, answer: str, result: str, due: float | None) -> None:
        if self.full:
            raise StoreError("disk full")
        row = self.rows[delivery.endpoint, delivery.event.id]
        row["answers"].append(answer)
        row["state"] = "waiting" if result == "retry" else result
        row["delivery"] = replace(delivery, attempts=delivery.attempts + 1, due=due or delivery.due)
        async with self.settled:
            self.settled.notify_all()

    async def keep_endpoints(self, terms: Mapping[str, str], now: float) -> Mapping[str, int]:
        await self._fail_if_broken()
        self.ended = {url: then for url, then in self.ended.items() if terms.get(url) == then}
        gone = [r for (url, _), r in self.rows.items() if url not in terms and r["state"] == "waiting"]
        for row in gone:
            row["state"] = "removed"
        async with self.settled:
            self.settled.notify_all()
        return Counter(row["delivery"].endpoint for row in gone)

    async def end_subscription(self, endpoint: str, terms: str, now: float) -> None:
        self.ended[endpoint] = terms
        async with self.settled:
            self.settled.notify_all()

    async def is_ended(self, endpoint: str) -> bool:
        return endpoint in self.ended

    async def delivery_counts(self, endpoint: str) -> Mapping[str, int]:
        states = [row["state"] for (url, _), row in self.rows.items() if url == endpoint]
        return {state: states.count(state) for state in ("waiting", "delivered", "gave_up", "ended", "removed")}

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(5), self.settled:
            await self.settled.wait_for(condition)

    def state(self, endpoint: str, event_id: str) -> str:
        return str(self.rows[endpoint, event_id]["state"])

    def answers(self, endpoint: str, event_id: str) -> list[str]:
        return list(self.rows[endpoint, event_id]["answers"])


class FakeController:
    """As much of `interface.AdminService` as the sender uses."""

    def __init__(self, *urls: str) -> None:
        self.store = FakeOutbox()
        self.outbox_added = asyncio.Event()
        self.generation = 1
        self.config = settings(*urls)

    def tell(self, event_id: str, *urls: str, time: float = 0.0, kind: str = "rollout.rolled_back") -> None:
        for url in urls:
            self.store.add(url, WebhookEvent(event_id, kind, time, {"rollout": "r/c"}))
        self.outbox_added.set()


def settings(*urls: str) -> config.Config:
    hooks = tuple(config.Webhook(url=url, secrets=(SecretStr(SECRET),)) for url in urls)
    return config.Config.model_construct(webhooks=hooks)
