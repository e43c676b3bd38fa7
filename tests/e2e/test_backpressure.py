"""Promise: a gigabyte passes through a worker whose memory stays flat, whichever side is slow."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.e2e.harness import running
from tests.worker.rig import Call, Model, ok

pytestmark = pytest.mark.slow

GIGABYTE = 1 << 30
PIECE = bytes(1 << 20)
FLAT = 24 << 20
"""Bytes that the worker's largest resident size may grow by, whatever passes: a fortieth of one body."""
WITHIN = 120.0

Ends = tuple[asyncio.StreamReader, asyncio.StreamWriter]


def peak(pid: int) -> int:
    """The largest resident size of a process so far, bytes."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM"))


async def push(writer: asyncio.StreamWriter) -> None:
    for _ in range(GIGABYTE // len(PIECE)):
        writer.write(PIECE)
        await writer.drain()


async def pull(reader: asyncio.StreamReader, size: int) -> None:
    """Read slowly at first: nothing until the other side can push no more."""
    await asyncio.sleep(1.0)
    while size > 0:
        data = await reader.read(1 << 20)
        assert data
        size -= len(data)


async def down(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"GET /down HTTP/1.1\r\nHost: a\r\n\r\n")
    assert b" 200 " in await reader.readuntil(b"\r\n\r\n")
    await pull(reader, GIGABYTE)


async def up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"POST /up HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % GIGABYTE)
    await push(writer)
    assert b" 200 " in await reader.readuntil(b"\r\n\r\n")


async def model(call: Call) -> None:
    if call.head.startswith(b"GET"):
        await call.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % GIGABYTE)
        await push(call.writer)
    else:
        await pull(call.reader, GIGABYTE)
        await call.send(ok())


@pytest.mark.parametrize("way", [down, up], ids=["a slow client", "a slow model"])
@pytest.mark.parametrize("mirrored", [False, True], ids=["plain", "sampled"])
async def test_a_gigabyte_does_not_grow_the_worker(
    tmp_path: Path, way: Callable[..., Awaitable[None]], mirrored: bool
) -> None:
    """A body that is too long for a pair is kept only so far, and its request counted as such."""
    live, candidate = Model(model), Model()
    for one in (live, candidate):
        await one.start()
    rollouts = [{"candidate": "v2", "mirror": {"max_body": "1MiB"}, "shadow": "100%"}] if mirrored else []
    config = {
        "server": {"listen": "127.0.0.1:0", "workers": 1, "limits": {"max_body": "2GiB"}},
        "upstreams": {"v1": {"url": live.url}, "v2": {"url": candidate.url}},
        "routes": [{"name": "r", "live": "v1", "rollouts": rollouts}],
    }
    try:
        async with running(tmp_path, config) as understudy:
            pid = (await understudy.processes())["workers"][0]["pid"]
            address = urlsplit(understudy.data_url)
            before = peak(pid)
            reader, writer = await asyncio.open_connection(address.hostname, address.port)
            await asyncio.wait_for(way(reader, writer), WITHIN)
            writer.close()
            assert peak(pid) - before < FLAT
            if mirrored:
                await understudy.until("r/v2", lambda rollout: rollout["ledger"]["too_large"] == 1)
                assert not candidate.calls
    finally:
        await live.stop()
        await candidate.stop()
