"""Promise: behind understudy, the `openai` client asks two OpenAI-compatible services, each under a base path and with
a key of its own, as shadow, canary and promoted, whole and streamed: no client error, every pair compared, and nobody's
key anywhere but where it is sent, though the services repeat it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiohttp import web

from tests.e2e.harness import Understudy, running, served
from tests.e2e.keys import decoded, receiver, shown, written
from tests.integration.chat_server import Chat, words
from tests.integration.test_servers import client

pytestmark = pytest.mark.servers

KEYS = {"live": "sk-live-q7Zx81mvT2", "candidate": "sk-cand-w3Bk64ndR9", "client": "sk-mine-e5Hj20pcY6"}
BASES = {"live": "/tenant-a/v1", "candidate": "/tenant-b/openai/v1"}
PIECE = 6
ASKED = 25
SCRIPT = """
import json, sys
import openai
client = openai.OpenAI(base_url=sys.argv[1] + "/v1", api_key="KEY", max_retries=0)
said = []
for number in range(ASKED):
    messages = [{"role": "user", "content": f"question {number}"}]
    if STREAM:
        chunks = list(client.chat.completions.create(model="mine", messages=messages, stream=True))
        said.append("".join(chunk.choices[0].delta.content or "" for chunk in chunks))
    else:
        said.append(client.chat.completions.create(model="mine", messages=messages).choices[0].message.content)
print(json.dumps(said))
"""


class Service(Chat):
    """One arm, that wants its key and says it: in the head of an answer, and in front of what it has to say."""

    def __init__(self, arm: str) -> None:
        super().__init__(arm)
        self.arm, self.key = arm, KEYS[arm]
        self.refused: list[str] = []
        self.asked: Counter[str] = Counter()

    @web.middleware
    async def checks(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        given = request.headers.get("authorization")
        if given != f"Bearer {self.key}" or not request.path.startswith(BASES[self.arm]):
            self.refused.append(f"{request.path} {given}")
            raise web.HTTPUnauthorized
        self.asked["copy" if "x-shadow" in request.headers else "served"] += 1
        return await handler(request)

    async def repeats(self, request: web.Request, response: web.StreamResponse) -> None:
        response.headers["x-echo"] = request.headers["authorization"]

    async def chat(self, request: web.Request) -> web.StreamResponse:
        if (await request.json())["model"] != f"model-{self.arm}":
            raise web.HTTPNotFound
        answer = await super().chat(request)
        if isinstance(answer, web.Response):
            said = orjson.loads(answer.body or b"")
            said["you"] = [self.key[:-PIECE], self.key[-PIECE:]]
            answer.body = orjson.dumps(said)
        return answer

    async def _stream(self, request: web.Request, said: list[str]) -> web.StreamResponse:
        return await super()._stream(request, [self.key[:-PIECE], self.key[-PIECE:], *said])

    async def _chunk(self, answer: web.StreamResponse, delta: dict[str, str], finish: str | None) -> None:
        if delta.get("content") == f" {self.key[-PIECE:]}":
            delta = {"content": self.key[-PIECE:]}
        await super()._chunk(answer, delta, finish)


@asynccontextmanager
async def service(arm: str) -> AsyncIterator[tuple[Service, str]]:
    one = Service(arm)
    app = web.Application(middlewares=[one.checks])
    app.router.add_post(f"{BASES[arm]}/chat/completions", one.chat)
    app.on_response_prepare.append(one.repeats)
    async with served(app) as url:
        yield one, url


def upstreams(folder: Path, live: str, candidate: str) -> dict[str, Any]:
    (folder / "key").write_text(KEYS["candidate"] + "\n")
    return {
        "v1": {
            "url": f"{live}/tenant-a",
            "set_json": {"/model": "model-live"},
            "headers": {"set": {"authorization": f"Bearer {KEYS['live']}"}},
        },
        "v2": {
            "url": f"{candidate}/tenant-b",
            "host": "url",
            "path": {"from": "/v1/*", "to": "/openai/v1/*"},
            "set_json": {"/model": "model-candidate"},
            "headers": {"set": {"authorization": "Bearer ${file:key}"}},
        },
    }


def config(folder: Path, live: str, candidate: str, hook: str) -> dict[str, Any]:
    rollout = {
        "candidate": "v2",
        "stages": [{"shadow": "100%", "min_pairs": 100_000}, {"canary": "50%", "min_pairs": 100_000}],
        "guards": {"max_disagreement": "90%", "max_extra_errors": "50%"},
        "mirror": {"idle_pairs_per_second": "all"},
        "record": {"path": str(folder / "pairs.jsonl"), "share": "100%"},
    }
    prediction = {"protocol": "openai", "kind": "text"}
    match = {"path": "/v1/chat/completions"}
    return {
        "upstreams": upstreams(folder, live, candidate),
        "routes": [{"name": "m", "match": match, "live": "v1", "prediction": prediction, "rollouts": [rollout]}],
        "tracing": {"otlp": hook, "share": "100%"},
        "webhooks": [{"url": f"{hook}/hook", "secret": "whsec_c2VjcmV0", "events": ["rollout.promoted"]}],
        "log": {"level": "debug", "access": {"share": "100%", "path": str(folder / "access.jsonl")}},
    }


async def asks(understudy: Understudy, stream: bool, pairs: int) -> list[str]:
    """What the client is told by `ASKED` calls, once they are compared too, `pairs` in all; it raises at any error."""

    script = SCRIPT.replace("ASKED", str(ASKED)).replace("STREAM", str(stream)).replace("KEY", KEYS["client"])
    said: list[str] = await asyncio.to_thread(client, script, understudy.data_url, None)
    # A controller that gets no turn on a busy machine lets a pair go, and says so: it is no other way to lose one.
    rollout = await understudy.until("m/v2", lambda r: r["ledger"]["compared"] + r["ledger"]["link_full"] == pairs)
    assert rollout["ledger"]["sampled"] == pairs
    assert rollout["ledger"]["compared"] > 0.9 * pairs
    assert sum(rollout["candidate_failures"].values()) == 0
    return said


async def climbs(understudy: Understudy, right: dict[str, list[str]]) -> None:
    """Ask in shadow, as canary and when it is promoted, whole and streamed."""
    pairs = 0
    for state, after in (("shadow", "canary"), ("canary", "promoted"), ("promoted", "")):
        for stream in (False, True):
            pairs += ASKED
            said = await asks(understudy, stream, pairs)
            texts = sorted(one.removeprefix(KEYS["live"]).removeprefix(KEYS["candidate"]).strip() for one in said)
            if state == "canary":
                assert set(texts) <= {*right["live"], *right["candidate"]}
            else:
                assert texts == sorted(right["candidate" if state == "promoted" else "live"])
        if after:
            full = {"full": True} if after == "promoted" else {}
            await understudy.api("/api/v1/rollouts/m/v2/promote", {"reason": "it is well", **full})
            await understudy.until("m/v2", lambda r, after=after: r["state"] == after)  # type: ignore[misc] # its default


async def test_the_openai_client_with_keys_and_base_paths(tmp_path: Path) -> None:
    bodies: list[bytes] = []
    right = {arm: [" ".join(words(f"question {n}", arm)) for n in range(ASKED)] for arm in ("live", "candidate")}
    async with (
        service("live") as (live, live_url),
        service("candidate") as (candidate, candidate_url),
        receiver(bodies) as hook,
        running(tmp_path, config(tmp_path, live_url, candidate_url, hook)) as understudy,
    ):
        await climbs(understudy, right)
        await understudy.until("m/v2", lambda r: {b"/h", b"/v"} <= {body[:2] for body in bodies})
        found = await shown(understudy)
    assert (live.refused, candidate.refused) == ([], [])
    assert candidate.asked["served"] > 2 * ASKED
    assert candidate.asked["copy"] > 2 * ASKED
    found |= written(tmp_path) | {"webhooks and traces": b"".join(bodies)}
    found["decoded"] = decoded(found["pairs.jsonl"])
    assert found["decoded"].count(b'"you"') >= 5 * ASKED
    forms = {form for key in KEYS.values() for form in (key, key[-PIECE:])}
    files = {name for name, content in found.items() for form in forms if form.encode() in content}
    assert files == {"key", "understudy.yaml"}, files
