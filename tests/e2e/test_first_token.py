"""Promise: a candidate whose role comes at once and whose first word comes 15 times later than live's is rolled back by
`time_to_first_token`, over the asyncio server and the threaded one of its model; clients get the bytes as they were."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from tests.e2e.harness import route, running, served
from tests.predictions import language_examples as examples

LIVE, SLOW = 0.02, 0.3
"""Seconds from the role to the first word."""
WORDS = [*examples.chat_stream({"content": "Hello there"}, lambda text: text.split(" "))]
EVENTS = [examples.sse([event]) for event in WORDS]
ROLE, REST = EVENTS[0], b"".join(EVENTS[1:])


@asynccontextmanager
async def with_asyncio(wait: float) -> AsyncIterator[str]:
    """A model that writes the role, and the rest after `wait` seconds."""

    async def chat(request: web.Request) -> web.StreamResponse:
        await request.read()
        answer = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await answer.prepare(request)
        await answer.write(ROLE)
        await asyncio.sleep(wait)
        await answer.write(REST)
        await answer.write_eof()
        return answer

    app = web.Application()
    app.router.add_post("/m/infer", chat)
    async with served(app) as url:
        yield url


class Chat(BaseHTTPRequestHandler):
    """The same of a server with threads."""

    protocol_version = "HTTP/1.1"
    wait = 0.0

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        for wait, piece in ((0.0, ROLE), (self.wait, REST)):
            time.sleep(wait)
            self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
            self.wfile.flush()
        self.wfile.write(b"0\r\n\r\n")

    def log_message(self, *_said: Any) -> None:
        """Nothing."""


@contextmanager
def in_threads(wait: float) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Waiting", (Chat,), {"wait": wait}))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@asynccontextmanager
async def model(threads: bool, wait: float) -> AsyncIterator[str]:
    if threads:
        with in_threads(wait) as url:
            yield url
    else:
        async with with_asyncio(wait) as url:
            yield url


def config(live: str, candidate: str) -> dict[str, Any]:
    guards = {"time_to_first_token": "1.5x", "max_extra_errors": "50%"}
    one = route("m", "v1", "v2", [{"shadow": "100%"}], guards=guards, warmup=0, latency_block="0s")
    one["prediction"] = {"protocol": "openai", "kind": "text"}
    return {"upstreams": {"v1": {"url": live}, "v2": {"url": candidate}}, "routes": [one]}


async def asks(url: str, until: asyncio.Event) -> None:
    """Ask as two clients would, one question after the other, each another one."""

    async def client(name: int) -> None:
        number = 0
        while not until.is_set():
            number += 1
            question = {"messages": [{"role": "user", "content": f"{name}-{number}"}], "stream": True}
            async with session.post(f"{url}/m/infer", json=question) as reply:
                assert await reply.read() == ROLE + REST

    async with aiohttp.ClientSession() as session:
        await asyncio.gather(*map(client, range(2)))


@pytest.mark.parametrize("threads", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["asyncio", "threads"])
async def test_a_late_first_word_is_found_behind_a_role_that_comes_at_once(tmp_path: Path, threads: bool) -> None:
    found = asyncio.Event()
    async with (
        model(threads, LIVE) as live,
        model(threads, SLOW) as candidate,
        running(tmp_path, config(live, candidate)) as understudy,
    ):
        asking = asyncio.create_task(asks(understudy.data_url, found))
        rollout = await understudy.until("m/v2", lambda r: r["state"] == "rolled_back", within=60.0)
        found.set()
        await asking
    assert "time_to_first_token" in rollout["reason"] or "first token" in rollout["reason"]
    (finding,) = [one for one in rollout["findings"] if one["guard"] == "time_to_first_token" and not one["segment"]]
    assert finding["value"] is None or finding["value"] > 1.5
