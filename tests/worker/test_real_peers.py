"""Promise: real clients and real servers, none of them ours, get along with the proxy between them.

Clients: curl, requests, httpx, aiohttp, websockets, wrk. Servers: nginx, uvicorn. A tool that is not installed is
skipped and named.
"""

from __future__ import annotations

import asyncio
import io
import os
import shutil
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import httpx
import pytest
import requests
import uvicorn
import websockets

from tests.ports import free_port
from tests.worker.rig import PATIENCE, eventually, rig

CONFIG = """
server: {listen: '127.0.0.1:0', limits: {max_body: 64MB}}
upstreams: {m: {url: 'URL', timeout: 5s}}
routes: [{name: all, live: m}]
"""
BIG = os.urandom(3 << 20)


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Echo: the body backwards, /stream in ten pieces, websocket messages in upper case."""
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        while (message := await receive())["type"] == "websocket.receive":
            await send({"type": "websocket.send", "text": message["text"].upper()})
        return
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/x-test")]})
    pieces = [b"piece %d\n" % n for n in range(10)] if scope["path"] == "/stream" else [body[::-1]]
    for piece in pieces:
        await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


@asynccontextmanager
async def uvicorn_model() -> AsyncIterator[str]:
    sock = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off", ws="websockets-sansio"))
    server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
    task = asyncio.create_task(server.serve(sockets=[sock]))
    try:
        await eventually(lambda: server.started)
        yield f"http://127.0.0.1:{sock.getsockname()[1]}"
    finally:
        server.should_exit = True
        server.force_exit = True
        await task
        sock.close()


@asynccontextmanager
async def proxied() -> AsyncIterator[str]:
    async with uvicorn_model() as url, rig(CONFIG.replace("URL", url)) as it:
        yield f"http://127.0.0.1:{it.port}"
        await it.settled()


async def run(*command: str) -> bytes:
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    out, _ = await asyncio.wait_for(process.communicate(), 20)
    assert process.returncode == 0
    return out


@pytest.mark.parametrize(
    "extra", [[], ["-H", "Transfer-Encoding: chunked"], ["--http1.0"], ["-H", "Expect: 100-continue"]]
)
async def test_curl(tmp_path: Path, extra: list[str]) -> None:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    (tmp_path / "big").write_bytes(BIG)
    async with proxied() as url:
        out = await run("curl", "-sS", "--fail", "--data-binary", f"@{tmp_path}/big", *extra, url + "/echo")
        assert out == BIG[::-1]


async def test_requests() -> None:
    def ask(url: str) -> None:
        with requests.Session() as session:
            for size in (0, 10, len(BIG)):
                assert session.post(url + "/echo", data=BIG[:size], timeout=10).content == BIG[:size][::-1]
            assert session.post(url + "/echo", data=iter([b"ab", b"cd"]), timeout=10).content == b"dcba"
            assert session.head(url + "/echo", timeout=10).status_code == 200

    async with proxied() as url:
        await asyncio.to_thread(ask, url)


async def test_httpx() -> None:
    async with proxied() as url, httpx.AsyncClient(timeout=10) as client:
        answers = await asyncio.gather(*(client.post(url + "/echo", content=b"%d" % n) for n in range(100, 150)))
        assert [answer.content for answer in answers] == [(b"%d" % n)[::-1] for n in range(100, 150)]
        async with client.stream("GET", url + "/stream") as answer:
            assert [line async for line in answer.aiter_lines()] == [f"piece {n}" for n in range(10)]


async def test_aiohttp() -> None:
    async with proxied() as url, aiohttp.ClientSession() as session:
        async with session.post(url + "/echo", data=io.BytesIO(BIG)) as answer:
            assert await answer.read() == BIG[::-1]

        async def pieces() -> AsyncIterator[bytes]:
            for at in range(0, len(BIG), 100_000):
                yield BIG[at : at + 100_000]

        async with session.post(url + "/echo", data=pieces()) as answer:
            assert await answer.read() == BIG[::-1]


async def test_websocket() -> None:
    async with proxied() as url, websockets.connect(url.replace("http", "ws") + "/socket") as socket_:
        for word in ("one", "two"):
            await socket_.send(word)
            assert await asyncio.wait_for(socket_.recv(), PATIENCE) == word.upper()


async def test_wrk() -> None:
    if shutil.which("wrk") is None:
        pytest.skip("wrk is not installed")
    async with proxied() as url:
        out = await run("wrk", "-t1", "-c20", "-d1s", url + "/echo")
        assert b"Non-2xx" not in out
        assert b"Socket errors" not in out


def listens(port: int) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0


async def test_nginx_as_model(tmp_path: Path) -> None:
    if shutil.which("nginx") is None:
        pytest.skip("nginx is not installed")
    port = free_port()
    (tmp_path / "file.bin").write_bytes(BIG)
    config = tmp_path / "nginx.conf"
    config.write_text(
        f"daemon off; master_process off; pid {tmp_path}/pid; error_log {tmp_path}/log;\nevents {{}}\n"
        f"http {{ access_log off; keepalive_requests 2; server {{ listen 127.0.0.1:{port}; root {tmp_path}; "
        "location /moved { return 301 /file.bin; } } }\n"
    )
    nginx = await asyncio.create_subprocess_exec("nginx", "-c", str(config), stderr=asyncio.subprocess.DEVNULL)
    try:
        async with rig(CONFIG.replace("URL", f"http://127.0.0.1:{port}")) as it:
            url = f"http://127.0.0.1:{it.port}"
            await eventually(lambda: listens(port), "nginx")
            async with httpx.AsyncClient(timeout=10) as client:
                for _ in range(5):  # nginx closes every second connection
                    answer = await client.get(url + "/file.bin")
                    assert answer.content == BIG
                part = await client.get(url + "/file.bin", headers={"Range": "bytes=5-9"})
                assert (part.status_code, part.content) == (206, BIG[5:10])
                same = await client.get(url + "/file.bin", headers={"If-None-Match": answer.headers["etag"]})
                assert (same.status_code, same.content) == (304, b"")
                assert (await client.get(url + "/moved")).status_code == 301
                assert (await client.head(url + "/file.bin")).headers["content-length"] == str(len(BIG))
            await it.settled()
    finally:
        nginx.send_signal(signal.SIGTERM)
        await nginx.wait()
