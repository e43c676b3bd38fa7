"""Promise: on a route without `prediction` a candidate whose answers are no answers (a redirect, 204, nothing at all, a
page of HTML) is rolled back and never promoted, over HTTP and gRPC; one that answers like live is."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import pytest
from aiohttp import web

from tests.e2e.harness import Understudy, running, served
from tests.worker.grpc.models import Client, GrpcModel, Seen

STAGES = [{"shadow": "100%", "min_pairs": 50}, {"canary": "50%", "min_pairs": 50}]
ERRORS = {"max_extra_errors": "5%"}
Reply = Callable[[], web.StreamResponse]


def good() -> web.StreamResponse:
    return web.json_response({"score": 0.5})


REPLIES: dict[str, tuple[Reply, Reply, str]] = {
    "redirected": (
        good,
        lambda: web.Response(status=307, headers={"location": "http://elsewhere.test/"}),
        "status_class",
    ),
    "no-content": (good, lambda: web.Response(status=204), "empty"),
    "nothing": (good, lambda: web.Response(content_type="application/json"), "empty"),
    "page": (good, lambda: web.Response(text="<html>log in", content_type="text/html"), "media_type"),
    "better": (lambda: web.Response(status=404, text="no such model"), good, "refusal"),
}
"""By route: how live and the candidate answer, and the word for the difference."""


@asynccontextmanager
async def server(at: int, replies: dict[str, tuple[Reply, Reply, str]]) -> AsyncIterator[str]:
    """A model server that answers each route as arm number `at` does; what a route's reply is may be changed."""

    async def handle(request: web.Request) -> web.StreamResponse:
        await request.read()
        return replies[request.match_info["route"]][at]()  # type: ignore[operator]

    app = web.Application()
    app.router.add_post("/{route}", handle)
    async with served(app) as url:
        yield url


def route(name: str, path: str, **guards: str) -> dict[str, Any]:
    # As the models here never stall, each request stands for itself, and an equal candidate climbs within seconds.
    rollouts = [{"candidate": "v2", "stages": STAGES, "guards": {**ERRORS, **guards}, "latency_block": "0s"}]
    return {"name": name, "match": {"path": path}, "live": "v1", "rollouts": rollouts}


async def over(understudy: Understudy, name: str, ask: Callable[[int], Any]) -> dict[str, Any]:
    """Ask numbered questions, two at a time, until the rollout is over or promoted; how it ended."""
    numbers = itertools.count()

    async def client() -> None:
        while True:
            await ask(next(numbers))

    clients = [asyncio.create_task(client()) for _ in range(2)]
    try:
        return await understudy.until(f"{name}/v2", lambda now: now["state"] in ("promoted", "rolled_back"))
    finally:
        for one in clients:
            one.cancel()
        await asyncio.gather(*clients, return_exceptions=True)


def cause(rollout: dict[str, Any]) -> tuple[str, list[str]]:
    return rollout["state"], [one["guard"] for one in rollout["findings"] if one["verdict"] == "fail"]


async def test_answers_that_are_none_are_rolled_back_and_equal_ones_promoted(tmp_path: Path) -> None:
    replies = {
        **REPLIES,
        "equal": (good, good, ""),
        "meant": (good, REPLIES["page"][1], ""),
        "turning": (good, good, ""),
    }
    async with server(0, replies) as live, server(1, replies) as candidate, aiohttp.ClientSession() as session:
        config = {
            "upstreams": {"v1": {"url": live}, "v2": {"url": candidate}},
            "routes": [
                *(route(name, f"/{name}") for name in REPLIES),
                *(route(name, f"/{name}", max_response_mismatch="5%") for name in ("equal", "turning")),
                route("meant", "/meant", max_response_mismatch="off"),
            ],
        }
        async with running(tmp_path, config) as understudy:

            def asking(name: str) -> Callable[[int], Any]:
                async def ask(number: int) -> None:
                    url = f"{understudy.data_url}/{name}"
                    async with session.post(url, data=f"{number}", allow_redirects=False) as answer:
                        await answer.read()
                        if name == "turning" and answer.headers["x-served-by"] == "v2":
                            replies["turning"] = (good, REPLIES["redirected"][1], "")

                return ask

            found = await asyncio.gather(*(over(understudy, name, asking(name)) for name in replies))
            ends = dict(zip(replies, found, strict=True))
            for name, (*_, word) in REPLIES.items():
                end = ends[name]
                assert cause(end) == ("rolled_back", ["max_response_mismatch"]), name
                assert end["response_mismatches"].keys() == {word}
                assert end["stage"]["name"] == "shadow"
                (pair, *_) = (await understudy.api(f"/api/v1/rollouts/{name}/v2/pairs"))["pairs"]
                assert pair["mismatch"] == word
                assert pair["detail"]
            for name in ("equal", "meant"):
                assert cause(ends[name]) == ("promoted", []), name
            end = ends["turning"]
            assert cause(end) == ("rolled_back", ["max_response_mismatch"])
            assert end["stage"]["name"] == "canary-50"
            told = await understudy.metrics()
            assert 'understudy_response_mismatches_total{difference="empty",rollout="equal/v2"} 0.0' in told
            assert 'understudy_response_mismatches_total{difference="status_class",rollout="turning/v2"}' in told


Script = Callable[[grpc.ServicerContext], bytes]


def refused(context: grpc.ServicerContext) -> bytes:
    context.abort(grpc.StatusCode.NOT_FOUND, "no such model")
    raise AssertionError("not reached")


CALLS: dict[str, tuple[Script, Script, str]] = {
    "Nothing": (lambda _: b"\x08\x01", lambda _: b"", "empty"),
    "Better": (refused, lambda _: b"\x08\x01", "refusal"),
}


@pytest.mark.parametrize(
    "name", [next(iter(CALLS)), *(pytest.param(name, marks=pytest.mark.slow) for name in (*list(CALLS)[1:], "Equal"))]
)
async def test_the_same_over_grpc(tmp_path: Path, name: str) -> None:
    scripts = CALLS.get(name, (lambda _: b"\x08\x01", lambda _: b"\x08\x02", ""))

    def model(script: Script) -> GrpcModel:
        def behave(seen: Seen, messages: Iterator[bytes]) -> Iterable[bytes]:
            seen.messages.extend(messages)
            yield script(seen.context)

        return GrpcModel(behave)

    live, candidate = model(scripts[0]), model(scripts[1])
    await live.start()
    await candidate.start()
    config = {
        "server": {"listen": "127.0.0.1:0", "grpc_listen": "127.0.0.1:0", "workers": 2},
        "upstreams": {"v1": {"url": live.url}, "v2": {"url": candidate.url}},
        "routes": [route("m", "/m.Model/Ask", max_response_mismatch="5%")],
    }
    try:
        async with running(tmp_path, config) as understudy:
            with Client(int(understudy.grpc_address.rpartition(":")[2])) as client:
                end = await over(
                    understudy, "m", lambda n: client.ask(f"{n}".encode(), method="/m.Model/Ask", timeout=30)
                )
        if name == "Equal":
            assert cause(end) == ("promoted", [])
        else:
            assert cause(end) == ("rolled_back", ["max_response_mismatch"])
            assert end["response_mismatches"].keys() == {scripts[2]}
    finally:
        await live.stop()
        await candidate.stop()
