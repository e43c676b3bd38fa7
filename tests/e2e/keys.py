"""Where a key may have got to: all that the whole program writes, sends and shows, in one place to be searched."""

from __future__ import annotations

import base64
import gzip
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp
import orjson
from aiohttp import web

from tests.e2e.harness import Understudy, served

PATHS = (
    "/metrics", "/api/v1/rollouts", "/api/v1/rollouts/m/v2", "/api/v1/rollouts/m/v2/journal",
    "/api/v1/rollouts/m/v2/exemplars", "/api/v1/rollouts/m/v2/findings", "/api/v1/status", "/",
)  # fmt: skip


@asynccontextmanager
async def receiver(bodies: list[bytes]) -> AsyncIterator[str]:
    """What takes webhooks, and traces."""

    async def take(request: web.Request) -> web.Response:
        bodies.append(request.path.encode() + await request.read() + str(request.headers).encode())
        return web.Response()

    app = web.Application()
    app.router.add_post("/{rest:.*}", take)
    async with served(app) as url:
        yield url


async def shown(understudy: Understudy) -> dict[str, bytes]:
    """What the admin port says, by path."""
    found = {}
    async with aiohttp.ClientSession(understudy.admin_url) as session:
        for path in PATHS:
            async with session.get(path) as said:
                found[path] = await said.read()
    return found


def written(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file() and not path.is_symlink()}


def decoded(lines: bytes) -> bytes:
    """What a recording holds in base64."""
    texts: list[bytes] = []

    def walk(value: Any) -> None:
        if isinstance(value, str):
            with suppress(ValueError, OSError):
                texts.append(base64.b64decode(value, validate=True))
                texts.append(gzip.decompress(texts[-1]))
        for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
            walk(inner)

    for line in lines.splitlines():
        walk(orjson.loads(line))
    return b"\n".join(texts)
