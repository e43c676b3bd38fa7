"""Promise: what an upstream is given to prove who asks (its headers) is nowhere else: not in pairs, recordings,
journal, store, access log, other logs, traces, metrics, webhooks or the API, though models repeat it in heads and
bodies: as it is, compressed, with escapes, in pieces."""

from __future__ import annotations

import base64
import gzip
import zlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import orjson
from aiohttp import web

from proxy.pairs.key_forms import base64_forms
from tests.e2e.harness import route, running, served
from tests.e2e.keys import decoded, receiver, shown, written
from tests.fakes import Load, answer

KEYS = {arm: f"sk-{arm}-zq9x7vk" for arm in ("live", "candidate", "copies", "written")}


WAYS: tuple[Callable[[str], tuple[str, bytes]], ...] = (
    lambda key: ("identity", b'"%b"' % key.encode()),
    lambda key: ("gzip", b'"%b"' % key.encode()),
    lambda key: ("identity", b'"%b"' % key.replace("-", "\\u002d").encode()),
    lambda key: ("gzip", orjson.dumps([key[:-PIECE], key[-PIECE:]])),
    lambda key: ("identity", orjson.dumps(base64.b64encode(f"{key}.".encode()).decode())),
)
"""How a model repeats its key: content coding, and JSON."""
PIECE = 6


@asynccontextmanager
async def echoing(name: str, told: set[str], wrong: bool = False) -> AsyncIterator[str]:
    """A model that repeats the key that it is given, in the head and in the body of its answer."""

    async def model(request: web.Request) -> web.Response:
        key = request.headers.get("authorization", "") + request.headers.get("x-own-token", "")
        told.add(key)
        asked = await request.read()
        body = answer(name, asked, 0.5 if wrong else 0.0)
        coding, said = WAYS[zlib.crc32(asked) % len(WAYS)](key)
        echoed = body.replace(b"{", b'{"you": %b, ' % said, 1)
        headers = {"x-echo": key, "content-type": "application/json", "content-encoding": coding}
        return web.Response(body=gzip.compress(echoed) if coding == "gzip" else echoed, headers=headers)

    app = web.Application()
    app.router.add_route("*", "/{rest:.*}", model)
    async with served(app) as url:
        yield url


def config(folder: Path, urls: list[str], hook: str) -> dict[str, Any]:
    (folder / "key").write_text(f"{KEYS['candidate']}\n")
    stages = [{"shadow": "100%", "min_pairs": 50}, {"canary": "20%"}]
    guards = {"max_disagreement": "5%"}
    mirror = {"headers": {"set": {"x-own-token": KEYS["copies"]}}}
    record = {"path": str(folder / "pairs.jsonl"), "share": "100%"}
    one = route("m", "v1", "v2", stages, guards=guards, mirror=mirror, record=record)
    dual = {"upstream": "v2", "headers": {"set": {"x-own-token": KEYS["written"]}}}
    other = {"name": "w", "match": {"path": "/w/*"}, "live": "v1", "dual_write": dual}
    headers = {"set": {"authorization": f"Bearer {KEYS['live']}"}}
    return {
        "upstreams": {
            "v1": {"url": urls[0], "headers": headers},
            "v2": {"url": urls[1], "headers": {"set": {"authorization": "Bearer ${file:key}"}}},
        },
        "routes": [one, other],
        "tracing": {"otlp": hook, "share": "100%"},
        "webhooks": [{"url": f"{hook}/hook", "secret": "whsec_c2VjcmV0", "events": ["rollout.rolled_back"]}],
        "log": {"level": "debug", "access": {"share": "100%", "path": str(folder / "access.jsonl")}},
    }


async def test_keys_are_nowhere_but_where_they_are_sent(tmp_path: Path) -> None:
    told: list[set[str]] = [set(), set()]
    bodies: list[bytes] = []
    found: dict[str, bytes] = {}
    async with (
        echoing("v1", told[0]) as live,
        echoing("v2", told[1], wrong=True) as candidate,
        receiver(bodies) as hook,
        running(tmp_path, config(tmp_path, [live, candidate], hook)) as understudy,
        aiohttp.ClientSession() as session,
    ):
        async with session.post(f"{understudy.data_url}/w/x", data=b"{}") as said:
            assert said.status == 200
        async with Load(f"{understudy.data_url}/m/infer", 100.0, models={"v1": "v1", "v2": "v2"}):
            await understudy.until("m/v2", lambda r: r["state"] == "rolled_back")
        await understudy.until("m/v2", lambda r: {b"/h", b"/v"} <= {body[:2] for body in bodies})
        found |= await shown(understudy)
    found |= written(tmp_path) | {"webhooks and traces": b"".join(bodies)}
    assert told == [
        {f"Bearer {KEYS['live']}"},
        {f"Bearer {KEYS['candidate']}{KEYS['copies']}", f"Bearer {KEYS['candidate']}{KEYS['written']}"},
    ]
    found["decoded"] = decoded(found["pairs.jsonl"])
    assert found["decoded"].count(b'"you"') >= 10
    assert b"x-echo" in found["pairs.jsonl"].lower()
    forms = {form for key in KEYS.values() for form in (key, key.replace("-", "\\u002d"), key[-PIECE:])}
    forms |= {form.decode() for key in KEYS.values() for form in base64_forms(key.encode())}
    files = {name for name, content in found.items() for form in forms if form.encode() in content}
    assert files <= {"key", "understudy.yaml", "config.yaml"}, files
