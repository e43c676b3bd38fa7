"""Promise: events arrive as they happen, and a reader that never reads or leaves holds nothing up."""

from __future__ import annotations

import asyncio

import orjson
import pytest
from aiohttp import ClientResponse

from proxy.controller.admin import stream
from tests.controller.admin.clients import Client, problem, serving
from tests.controller.fake_service import FakeService


async def line(answer: ClientResponse, start: bytes) -> bytes:
    async with asyncio.timeout(5):
        async for found in answer.content:
            if found.startswith(start):
                return found
    raise AssertionError(f"the stream ended without {start!r}")


async def test_events_arrive_as_they_happen(client: Client, service: FakeService) -> None:
    async with client.get("/api/v1/events") as answer:
        assert answer.content_type == "text/event-stream"
        service.emit("rollout.rolled_back", {"rollout": "<script>\n</script>"})
        assert await line(answer, b"event:") == b"event: rollout.rolled_back\n"
        data = orjson.loads((await line(answer, b"data:"))[6:])
        assert data["data"]["rollout"] == "<script>\n</script>"


async def test_a_silent_stream_has_a_heartbeat(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "HEARTBEAT", 0.01)
    async with client.get("/api/v1/events") as answer:
        assert await line(answer, b":")


async def test_a_reader_that_leaves_is_forgotten(
    client: Client, service: FakeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "HEARTBEAT", 0.01)
    answer = await client.get("/api/v1/events")
    assert len(service.queues) == 1
    answer.close()
    async with asyncio.timeout(5):
        while service.queues:  # noqa: ASYNC110 - the server notices at its next write
            await asyncio.sleep(0.005)


async def test_there_are_only_so_many_readers(
    client: Client, service: FakeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "MAX_READERS", 2)
    held = [await client.get("/api/v1/events") for _ in range(2)]
    await problem(await client.get("/api/v1/events"), 503)
    assert len(service.queues) == 2
    for answer in held:
        answer.close()


async def test_a_shutdown_ends_the_streams(service: FakeService) -> None:
    async with serving(service) as client:
        answer = await client.get("/api/v1/events")
        async with asyncio.timeout(5):
            await client.server.close()
            assert (await answer.content.read()).startswith(b"retry:")
    assert service.queues == []
