"""A webhook receiver that believes nothing: it checks the Standard Webhooks signature of every delivery.

Written against the specification, not against our sender (https://www.standardwebhooks.com): the signed content is
`id.timestamp.body`, HMAC-SHA256 with the base64 part of the `whsec_` secret, and the timestamp may be five minutes off.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson
from aiohttp import web

TOLERANCE = 300.0
"""Seconds a delivery's timestamp may differ from our clock, against replays."""


@dataclass(frozen=True, slots=True)
class ReceivedWebhook:
    """One verified webhook: its id (the same on every retry), event type and data."""

    id: str
    type: str
    data: dict[str, Any]


def verify(headers: Mapping[str, str], body: bytes, secret: str, now: float) -> bool:
    """Whether one of the signatures is right and the timestamp is near `now` (epoch seconds).

    >>> sent = {"webhook-id": "m", "webhook-timestamp": "100"}
    >>> sent["webhook-signature"] = "v1,OODJIuvOQnNKiYWuOs7ZGQG5ziy1fhCTWyQDw9d0iu8="
    >>> verify(sent, b"{}", "whsec_c2VjcmV0", 100.0), verify(sent, b"[]", "whsec_c2VjcmV0", 100.0)
    (True, False)
    """
    try:
        sent_at = int(headers["webhook-timestamp"])
        signed = f"{headers['webhook-id']}.{sent_at}.".encode() + body
        given = [part.removeprefix("v1,") for part in headers["webhook-signature"].split(" ") if part.startswith("v1,")]
    except (KeyError, ValueError):
        return False
    key = base64.b64decode(secret.removeprefix("whsec_"))
    right = base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()
    return abs(now - sent_at) <= TOLERANCE and any(hmac.compare_digest(right, signature) for signature in given)


class Receiver:
    """Collects verified deliveries, once per id; counts the forged ones."""

    def __init__(self, secret: str, clock: Callable[[], float] = time.time) -> None:
        self._secret, self._clock = secret, clock
        self._changed = asyncio.Condition()
        self.deliveries: dict[str, ReceivedWebhook] = {}
        self.attempts = 0
        self.forged = 0

    async def handle(self, request: web.Request) -> web.Response:
        """Take one delivery: 204, or 401 when the signature is wrong."""
        body = await request.read()
        self.attempts += 1
        if not verify(request.headers, body, self._secret, self._clock()):
            self.forged += 1
            return web.Response(status=401)
        event = orjson.loads(body)
        name = request.headers["webhook-id"]
        async with self._changed:
            self.deliveries[name] = ReceivedWebhook(name, event["type"], event["data"])
            self._changed.notify_all()
        return web.Response(status=204)

    def of(self, rollout: str) -> list[ReceivedWebhook]:
        """The deliveries about one rollout, in the order they first came."""
        return [delivery for delivery in self.deliveries.values() if delivery.data.get("rollout") == rollout]

    def of_type(self, event: str) -> list[ReceivedWebhook]:
        """The deliveries of one type, in the order they first came."""
        return [delivery for delivery in self.deliveries.values() if delivery.type == event]

    async def wait_for(self, rollout: str, event: str, within: float) -> ReceivedWebhook | None:
        """The first delivery of `event` about `rollout`, or `None` when it does not come within `within` seconds."""

        def found() -> ReceivedWebhook | None:
            return next((d for d in self.of(rollout) if d.type == event), None)

        try:
            async with asyncio.timeout(within), self._changed:
                await self._changed.wait_for(lambda: found() is not None)
        except TimeoutError:
            pass
        return found()

    async def start(self) -> tuple[web.AppRunner, str]:
        """Listen on a free loopback port; gives the runner (to clean up) and the URL."""
        app = web.Application()
        app.router.add_post("/hooks/understudy", self.handle)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        return runner, f"http://127.0.0.1:{runner.addresses[0][1]}/hooks/understudy"
