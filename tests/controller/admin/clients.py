"""A client of the admin port over a fake controller, and what every error must look like."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import orjson
from aiohttp import ClientResponse, DummyCookieJar, web
from aiohttp.test_utils import TestClient, TestServer

from proxy.controller.admin import application
from tests.controller.fake_service import FakeSender, FakeService

TOKEN = "sesame-0123456789"
Client = TestClient[web.Request, web.Application]


class Served(TestServer):
    """An application that gets bodies as they were sent, as the admin port has them."""

    async def start_server(self, **settings: Any) -> None:
        await super().start_server(**settings, auto_decompress=False)


@asynccontextmanager
async def serving(service: FakeService) -> AsyncIterator[Client]:
    server = Served(application(service, FakeSender()))
    async with TestClient(server, cookie_jar=DummyCookieJar()) as client:  # cookies are a test's own to send
        yield client


async def problem(answer: ClientResponse, status: int) -> dict[str, Any]:
    """The body of an error, which must be a problem (RFC 9457) of that status."""
    assert (answer.status, answer.content_type) == (status, "application/problem+json")
    body: dict[str, Any] = orjson.loads(await answer.read())
    assert body["status"] == status
    assert body["title"]
    assert body["detail"]
    return body
