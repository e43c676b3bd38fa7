"""A sender of webhooks with a clock and a net of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager

from proxy.controller.webhooks.outbox import Sender
from proxy.controller.webhooks.policy import AttemptAnswer
from tests.controller.outbox import FakeController


class Clock:
    """A clock that jumps to whenever the sender wants to sleep until, so that a day passes in a moment."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


async def passed_on(controller: FakeController) -> None:
    """Wait until the sender has taken notice of what was added."""
    async with asyncio.timeout(5):
        while controller.outbox_added.is_set():  # noqa: ASYNC110 - the sender only clears it
            await asyncio.sleep(0)


Script = Callable[[str, str], Awaitable[AttemptAnswer]]


class Net:
    """Receivers as a script: `(url, event id) -> AttemptAnswer`."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.sent: list[tuple[str, str]] = []

    async def __call__(self, url: str, head: Mapping[str, str], content: bytes, proxy: str) -> AttemptAnswer:
        self.sent.append((url, head["webhook-id"]))
        return await self.script(url, head["webhook-id"])


@asynccontextmanager
async def sending(controller: FakeController, script: Script, clock: Clock | None = None) -> AsyncIterator[Sender]:
    sender = Sender(controller, post=Net(script), clock=clock or Clock(), draw=lambda: 0.0)
    sender.start()
    try:
        yield sender
    finally:
        await sender.stop()


def answering(*answers: AttemptAnswer) -> Script:
    """Each attempt gets the next answer, the last one for ever."""
    left = list(answers)

    async def script(url: str, event_id: str) -> AttemptAnswer:
        return left.pop(0) if len(left) > 1 else left[0]

    return script
