"""Promise: over real sockets a receiver verifies what it gets by the standard, and whatever it does (redirect, hang,
drop the connection, flood, not be there) is an attempt that failed and is made again."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from standardwebhooks.webhooks import Webhook as Receiver

from proxy.controller.webhooks import posting
from proxy.controller.webhooks.outbox import Sender, WebhookEndpoint
from tests.controller.outbox import SECRET, FakeController
from tests.fakes import certificate


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
    monkeypatch.setattr(posting, "DEADLINE", 0.2)
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


# --- through a proxy -------------------------------------------------------------------------------------------------


class Tunnel:
    """An HTTP proxy: notes what it is asked and answers it, or carries a CONNECT to `target`."""

    def __init__(self, target: int = 0, refuse: int = 0) -> None:
        self.target, self.refuse = target, refuse
        self.heads: list[str] = []
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        self.heads.append(head)
        if self.refuse:
            writer.write(b"HTTP/1.1 %d No\r\ncontent-length: 0\r\nconnection: close\r\n\r\n" % self.refuse)
        elif head.startswith("CONNECT"):
            writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
            behind, before = await asyncio.open_connection("127.0.0.1", self.target)
            await asyncio.gather(_carry(reader, before), _carry(behind, writer))
        else:
            writer.write(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n")
        writer.close()


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
    writer.close()


@asynccontextmanager
async def tunnel(target: int = 0, refuse: int = 0) -> AsyncIterator[Tunnel]:
    proxy = Tunnel(target, refuse)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield proxy
    finally:
        server.close()


def through(url: str, proxy: str) -> FakeController:
    """A controller whose one receiver is reached through `proxy`."""
    controller = FakeController(url)
    (hook,) = controller.config.webhooks
    hooks = (hook.model_copy(update={"proxy": proxy}),)
    controller.config = controller.config.model_copy(update={"webhooks": hooks})
    return controller


async def delivered(controller: FakeController, url: str) -> list[str]:
    """The first answer to an event for `url`."""
    async with real(controller):
        controller.tell("e1", url, time=time.time())
        await controller.store.until(lambda: bool(controller.store.answers(url, "e1")))
    return controller.store.answers(url, "e1")[:1]


FAR = "http://hooks.example.test/far"


async def test_the_proxy_of_the_environment_is_asked_and_no_proxy_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    near_asked: list[str] = []

    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        near_asked.append(request.path)
        return web.Response(status=204)

    async with tunnel() as proxy, receiver(handler) as near:
        monkeypatch.setenv("http_proxy", proxy.url)
        monkeypatch.setenv("no_proxy", "localhost, 127.0.0.0/8")
        assert await delivered(FakeController(FAR), FAR) == ["204"]
        assert await delivered(FakeController(near), near) == ["204"]
        assert await delivered(through(FAR, "off"), FAR) == ["ClientConnectorDNSError"]
    assert [head.split("\r\n")[0] for head in proxy.heads] == [f"POST {FAR} HTTP/1.1"]
    assert near_asked == ["/hook"]


async def test_a_proxy_of_the_file_goes_before_the_environment_and_gets_its_credentials_alone(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    async with tunnel() as proxy:
        controller = through(FAR, proxy.url.replace("http://", "http://me:p%40ss@"))
        assert await delivered(controller, FAR) == ["204"]
        assert await delivered(through(FAR, "http://me:hush@127.0.0.1:9"), FAR) == ["ClientProxyConnectionError"]
    assert "Proxy-Authorization: Basic bWU6cEBzcw==" in _titled(proxy.heads[0])
    assert "hush" not in caplog.text
    assert "p%40ss" not in repr(WebhookEndpoint.of(controller.config.webhooks[0])) + repr(controller.config.webhooks)


def _titled(head: str) -> str:
    return "\r\n".join(": ".join((n.title(), v)) for n, _, v in (line.partition(": ") for line in head.split("\r\n")))


async def test_https_goes_through_connect_and_a_refusal_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    certificate(tmp_path, "ca")
    certificate(tmp_path, "localhost", "ca")
    seen: list[str] = []

    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        seen.append(str(request.headers.get("proxy-authorization")))
        return web.Response(status=204)

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "localhost.pem", tmp_path / "localhost.key")
    runner = web.ServerRunner(web.Server(handler), shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
    await site.start()
    port = runner.addresses[0][1]
    trusting = ssl.create_default_context(cafile=tmp_path / "ca.pem")
    monkeypatch.setattr("proxy.aiohttp_client.this_machines_trust", lambda: trusting)
    url = "https://localhost:4430/x"
    async with tunnel(port) as proxy, tunnel(refuse=407) as closed:
        assert await delivered(through(url, proxy.url.replace("http://", "http://me:pw@")), url) == ["204"]
        assert await delivered(through(url, closed.url), url) == ["the proxy answered 407"]
    await runner.cleanup()
    assert proxy.heads[0].startswith("CONNECT localhost:4430 HTTP/1.1")
    assert "Proxy-Authorization: Basic bWU6cHc=" in _titled(proxy.heads[0])
    assert seen == ["None"], "a proxy's credentials are nothing to a receiver"
