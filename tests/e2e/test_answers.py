"""Promise: through the whole program, the same answer is the same whatever its form (a stream cut elsewhere, NaN beside
an id, a score before a class), another answer is another, and a mistyped `prediction` is nobody's failure and is
named."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import orjson
from aiohttp import web

from tests.e2e.harness import running, served

PAIRS = 40
ITEM = 1_790_000_000_000_000_001
Reply = Callable[[int], tuple[str, list[bytes]]]
"""From the number of a request to a media type and the pieces of an answer."""


def stream(*texts: str) -> Reply:
    return lambda _: ("text/event-stream", [b"data: %b\n\n" % orjson.dumps({"text_output": text}) for text in texts])


def lines(*texts: str) -> Reply:
    return lambda _: ("application/x-ndjson", [orjson.dumps({"text_output": text}) + b"\n" for text in texts])


def item(more: int) -> Reply:
    return lambda number: ("application/json", [b'{"item": %d, "score": NaN}' % (ITEM + 256 * number + more)])


def scored(factor: float, label: str) -> Reply:
    def reply(number: int) -> tuple[str, list[bytes]]:
        data = [f"{(0.6 + number / 1000) * factor:.6f}:0:{label}"]
        return "application/json", [
            orjson.dumps({"outputs": [{"name": "y", "datatype": "BYTES", "shape": [1, 1], "data": data}]})
        ]

    return reply


def failing(_number: int) -> tuple[str, list[bytes]]:
    return "text/event-stream", [b'data: {"text_output": "Hel"}\n\n', b'data: {"error": "out of memory"}\n\n']


TEXT = {"protocol": "json", "pointer": "/text_output", "kind": "text"}
ITEMS = {"protocol": "json", "pointer": "/item", "kind": "label"}
CLASSES = {"protocol": "v2", "output": "y", "kind": "label"}
ASKED = {"inputs": [], "outputs": [{"name": "y", "parameters": {"classification": 1}}]}
SAME: dict[str, tuple[dict[str, Any], Reply, Reply]] = {
    "stream": (TEXT, stream("Hel", "lo"), stream("H", "", "ello")),
    "lines": (TEXT, stream("Hel", "lo"), lines("Hello")),
    "item": (ITEMS, item(0), item(0)),
    "class": (CLASSES, scored(1.0, "cat"), scored(1.00001, "cat")),
}
OTHER: dict[str, tuple[dict[str, Any], Reply, Reply]] = {
    "other-text": (TEXT, stream("Hel", "lo"), stream("By", "e")),
    "other-item": (ITEMS, item(0), item(100)),
    "other-class": (CLASSES, scored(1.0, "cat"), scored(1.0, "dog")),
    "error": (TEXT, stream("Hel", "lo"), failing),
}
MISTYPED = {"mistyped": ({**TEXT, "pointer": "/text_outpt"}, stream("Hello"), stream("Hello"))}
ROUTES = {**SAME, **OTHER, **MISTYPED}


@asynccontextmanager
async def server(arm: int) -> AsyncIterator[str]:
    """A model server that answers each route as arm number `arm` (1: live, 2: the candidate) does."""

    async def handle(request: web.Request) -> web.StreamResponse:
        await request.read()
        kind, pieces = ROUTES[request.match_info["route"]][arm](int(request.headers["x-number"]))
        answer = web.StreamResponse(headers={"content-type": kind})
        await answer.prepare(request)
        for piece in pieces:
            await answer.write(piece)
        await answer.write_eof()
        return answer

    app = web.Application()
    app.router.add_post("/{route}", handle)
    async with served(app) as url:
        yield url


def route(name: str) -> dict[str, Any]:
    stages = [{"shadow": "100%", "min_pairs": 1000}]
    rollout = {"candidate": "v2", "stages": stages, "guards": {"max_disagreement": "2%", "max_extra_errors": "5%"}}
    return {
        "name": name, "match": {"path": f"/{name}"}, "live": "v1", "prediction": ROUTES[name][0], "rollouts": [rollout]
    }  # fmt: skip


def differing(rollout: dict[str, Any]) -> float | None:
    """The share of pairs that differ, once all have been compared and looked at: a look comes up to a second later."""
    found = next(one for one in rollout["findings"] if one["guard"] == "max_disagreement")
    return found["value"] if found["pairs"] == PAIRS else None


async def test_the_same_is_the_same_and_another_is_another_in_every_form(tmp_path: Path) -> None:
    async with server(1) as live, server(2) as candidate, aiohttp.ClientSession() as session:
        config = {"upstreams": {"v1": {"url": live}, "v2": {"url": candidate}}, "routes": [*map(route, ROUTES)]}
        async with running(tmp_path, config) as understudy:

            async def ask(name: str, number: int) -> None:
                headers = {"x-number": str(number), "content-type": "application/json"}
                body = orjson.dumps({"id": str(number)} | (ASKED if "class" in name else {}))
                async with session.post(f"{understudy.data_url}/{name}", data=body, headers=headers) as answer:
                    assert answer.status == 200
                    await answer.read()

            for number in range(PAIRS):
                await asyncio.gather(*(ask(name, number) for name in ROUTES))
            for name in OTHER:
                await understudy.until(f"{name}/v2", lambda now: now["state"] == "rolled_back")
            for name in SAME:
                shown = await understudy.until(f"{name}/v2", lambda now: differing(now) is not None)
                assert shown["ledger"]["compared"] == PAIRS
                assert shown["state"] == "shadow"
                assert shown["candidate_failures"] == {}
                assert differing(shown) == 0
            shown = await understudy.until("mistyped/v2", lambda now: now["ledger"]["unparseable"] == PAIRS)
            assert (shown["state"], shown["candidate_failures"]) == ("shadow", {})
            assert shown["unparseable"] == {"missing_output": PAIRS}
            assert "at /text_outpt: 40 of 40 pairs; check `prediction.pointer`" in shown["why_unparseable"]
            told = await understudy.metrics()
            assert 'understudy_unparseable_pairs_total{reason="missing_output",rollout="mistyped/v2"} 40.0' in told
            assert 'understudy_candidate_failures_total{reason="missing_output"' not in told
