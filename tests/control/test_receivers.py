"""Promise: over real sockets a receiver verifies what it gets by the standard, and whatever it does (redirect, hang,
drop the connection, flood, not be there) is an attempt that failed and is made again."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web
from standardwebhooks.webhooks import Webhook as Receiver

from proxy.control import webhooks
from proxy.control.webhooks import Sender
from tests.control.outbox import SECRET, FakeController


@asynccontextmanager
async def receiver(handler: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> AsyncIterator[str]:
    """A receiver on loopback; yields its URL."""
    server = web.Server(handler)
    runner = web.ServerRunner(server, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def real(controller: FakeController) -> AsyncIterator[Sender]:
    sender = Sender(controller, draw=lambda: 0.0)
    sender.start()
    try:
        yield sender
    finally:
        await sender.stop()


async def test_a_real_receiver_verifies_the_signature_with_the_standard_library() -> None:
    got: list[Any] = []

    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        got.append(Receiver(SECRET).verify(await request.read(), dict(request.headers)))
        return web.Response(status=204)

    async with receiver(handler) as url:
        controller = FakeController(url)
        async with real(controller):
            controller.tell("e1", url, time=time.time())
            await controller.store.until(lambda: controller.store.state(url, "e1") != "waiting")
    assert got[0]["type"] == "rollout.rolled_back"
    assert got[0]["data"] == {"rollout": "r/c"}


async def test_a_redirect_is_not_followed() -> None:
    paths: list[str] = []

    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        paths.append(request.path)
        return web.Response(status=307, headers={"location": "/stolen"})

    async with receiver(handler) as url:
        controller = FakeController(url)
        async with real(controller):
            controller.tell("e1", url, time=time.time())
            await controller.store.until(lambda: bool(controller.store.answers(url, "e1")))
            assert controller.store.answers(url, "e1") == ["307"]
    assert set(paths) == {"/hook"}


async def test_a_receiver_that_hangs_hits_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhooks, "DEADLINE", 0.2)
    release = asyncio.Event()

    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        await release.wait()
        return web.Response()

    async with receiver(handler) as url:
        controller = FakeController(url)
        async with real(controller):
            controller.tell("e1", url, time=time.time())
            await controller.store.until(lambda: bool(controller.store.answers(url, "e1")))
            assert controller.store.answers(url, "e1")[0] == "timeout"
        release.set()


async def test_a_receiver_that_drops_the_connection_or_floods_loses_nothing() -> None:
    behaviour = iter(["drop", "flood"])

    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        if next(behaviour) == "drop":
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        return web.Response(body=b"x" * 5_000_000)

    async with receiver(handler) as url:
        controller = FakeController(url)
        async with real(controller):
            controller.tell("e1", url, time=time.time())
            await controller.store.until(lambda: controller.store.state(url, "e1") == "delivered")
    assert len(controller.store.answers(url, "e1")) == 2


async def test_nobody_listens() -> None:
    url = "http://127.0.0.1:9/"  # discard: nothing listens there
    controller = FakeController(url)
    async with real(controller):
        controller.tell("e1", url, time=time.time())
        await controller.store.until(lambda: bool(controller.store.answers(url, "e1")))
        assert controller.store.answers(url, "e1")[0] == "ClientConnectorError"
