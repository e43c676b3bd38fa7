"""Promise: the `openai` and `anthropic` clients get behind understudy what they get without it, byte for byte, whole
and streamed, text and tools; and a stream means to us what their own accumulation makes of it, however it was cut."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest
from aiohttp import web

from proxy.model import Kind
from tests.e2e.harness import running, served
from tests.integration.test_servers import PYTHON
from tests.predictions import language_examples as examples
from tests.predictions.pairs import said

pytestmark = pytest.mark.servers

CASES = 120
QUESTIONS = ("say", "call", "refuse", "think")
STREAM = "text/event-stream"


def clients(cases: list[dict[str, Any]], url: str = "") -> list[Any]:
    """What the official clients make of these cases."""
    script = Path(__file__).parent / "language_client.py"
    done = subprocess.run(
        [PYTHON, script, url], input=json.dumps(cases), capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    answers: list[Any] = json.loads(done.stdout)
    return answers


# --- a stream is what the clients make of it -------------------------------------------------------------------------


def _cut(text: str, dice: random.Random) -> list[str]:
    at = sorted({0, len(text), *(dice.randint(0, len(text)) for _ in range(dice.randint(0, 6)))})
    return [text[a:b] for a, b in itertools.pairwise(at)]


def _words(dice: random.Random, most: int = 30) -> str:
    return "".join(dice.choice('ab é\n"\\{}:') for _ in range(dice.randint(0, most)))


def _calls(dice: random.Random) -> list[tuple[str, dict[str, Any]]]:
    def value() -> Any:
        return dice.choice([1, 1.5, True, None, _words(dice, 5), [1, {"a": "b"}]])

    return [
        (dice.choice("fgh"), {key: value() for key in "xyz"[: dice.randint(0, 3)]}) for _ in range(dice.randint(0, 3))
    ]


def _stream(api: str, dice: random.Random) -> bytes:
    text, calls = _words(dice), _calls(dice)

    cut = partial(_cut, dice=dice)
    if api == "chat":
        called = [
            {"id": f"c{n}", "type": "function", "function": {"name": name, "arguments": orjson.dumps(value).decode()}}
            for n, (name, value) in enumerate(calls)
        ]
        message = {"content": text, "refusal": _words(dice) if dice.random() < 0.2 else ""}
        more = {"tool_calls": called} if called else {}
        finish = dice.choice(["stop", "length", "tool_calls", "content_filter"])
        return examples.sse(examples.chat_stream({**message, **more}, cut, finish))
    if api == "anthropic":
        content: list[dict[str, Any]] = [{"type": "thinking", "thinking": _words(dice), "signature": "s"}]
        content += [{"type": "text", "text": text}]
        content += [
            {"type": "tool_use", "id": f"t{n}", "name": name, "input": value} for n, (name, value) in enumerate(calls)
        ]
        stop = dice.choice(["end_turn", "refusal", "tool_use"])
        return examples.sse(examples.message_stream(*content, cut=cut, stop=stop), named=True)
    part = {"type": "output_text", "text": text, "annotations": []}
    output: list[dict[str, Any]] = [
        {"id": "m", "type": "message", "role": "assistant", "status": "completed", "content": [part]}
    ]
    for n, (name, value) in enumerate(calls):
        arguments = orjson.dumps(value).decode()
        ids = {"id": f"f{n}", "call_id": f"c{n}", "status": "completed"}
        output.append({"type": "function_call", **ids, "name": name, "arguments": arguments})
    return examples.sse(examples.response_stream(*output, cut=cut), named=True)


@pytest.mark.parametrize("api", ["chat", "anthropic", "responses"])
def test_a_stream_means_what_the_official_client_makes_of_it(api: str) -> None:
    dice = random.Random(17)
    streams = [_stream(api, dice) for _ in range(CASES)]
    cases = [{"api": api, "pieces": _cut(stream.decode("latin-1"), dice)} for stream in streams]
    protocol = "anthropic" if api == "anthropic" else "openai"
    outputs = {"text": Kind.TEXT, "tool_calls": Kind.CALLS, "refusal": Kind.LABEL, "finish_reason": Kind.LABEL}
    for stream, whole in zip(streams, clients(cases), strict=True):
        for output, kind in outputs.items():
            ours = said(protocol, stream, media_type=STREAM, output=output, kind=kind).rows
            theirs = said(protocol, whole, output=output, kind=kind).rows
            assert ours == theirs, (output, stream)


# --- behind the proxy ------------------------------------------------------------------------------------------------


def _content(question: str) -> tuple[list[dict[str, Any]], str]:
    """Blocks of a message for a question, and why it ends."""
    called = {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Ulm", "days": 2}}
    text = {"type": "text", "text": f"You asked: {question}"}
    thinking = {"type": "thinking", "thinking": "Hm.", "signature": "s"}
    known = {"call": ([text, called], "tool_use"), "refuse": ([], "refusal"), "think": ([thinking, text], "end_turn")}
    return known.get(question, ([text], "end_turn"))


def _answer(api: str, question: str, stream: bool) -> tuple[str, bytes]:
    content, stop = _content(question)
    text = "".join(block.get("text", "") for block in content)
    call = {"name": "weather", "arguments": '{"city": "Ulm", "days": 2}'}
    events: list[dict[str, Any] | bytes] = []
    if api == "embeddings":
        entry = {"object": "embedding", "index": 0, "embedding": [0.5, -0.25]}
        whole: Any = {"object": "list", "data": [entry], "model": "m", "usage": {"prompt_tokens": 1, "total_tokens": 1}}
    elif api == "anthropic":
        whole, events = (
            examples.message_whole(*content, stop=stop),
            examples.message_stream(*content, cut=list, stop=stop),
        )
    elif api == "chat":
        message: dict[str, Any] = {"content": text or None, "refusal": None if text else "No."}
        if question == "call":
            message["tool_calls"] = [{"id": "c1", "type": "function", "function": call}]
        whole, events = examples.chat_whole(message), examples.chat_stream(message, list)
    else:
        items: list[dict[str, Any]] = [
            {"id": "m1", "type": "message", "role": "assistant", "status": "completed",
             "content": [{"type": "output_text", "text": text, "annotations": []}]}
        ]  # fmt: skip
        if question == "call":
            items.append({"id": "f1", "type": "function_call", "call_id": "c1", "status": "completed", **call})
        whole, events = examples.response_whole(*items), examples.response_stream(*items, cut=list)
    if not stream:
        return "application/json", orjson.dumps(whole)
    return STREAM, examples.sse(events, named=api != "chat")


PATHS = {
    "/v1/chat/completions": "chat", "/v1/responses": "responses", "/v1/embeddings": "embeddings",
    "/v1/messages": "anthropic",
}  # fmt: skip


@asynccontextmanager
async def stand_in(split: int) -> AsyncIterator[str]:
    """A server of all four endpoints that writes `split` bytes at a time."""

    async def answers(request: web.Request) -> web.StreamResponse:
        asked = await request.json()
        question = asked.get("input") or asked["messages"][-1]["content"]
        kind, body = _answer(PATHS[request.path], question, bool(asked.get("stream")))
        answer = web.StreamResponse(headers={"content-type": kind})
        await answer.prepare(request)
        for at in range(0, len(body), split):
            await answer.write(body[at : at + split])
        await answer.write_eof()
        return answer

    app = web.Application()
    for path in PATHS:
        app.router.add_post(path, answers)
    async with served(app) as url:
        yield url


def config(live: str, candidate: str) -> dict[str, Any]:
    read: dict[str, dict[str, str]] = {
        "chat": {"protocol": "openai", "output": "tool_calls", "kind": "calls"},
        "responses": {"protocol": "openai", "kind": "text"},
        "embeddings": {"protocol": "openai", "kind": "vector"},
        "anthropic": {"protocol": "anthropic", "output": "tool_calls", "kind": "calls"},
    }
    rollout = {"candidate": "v2", "shadow": "100%", "guards": {"min_similarity": 0.9}}
    routes = [
        {"name": api, "match": {"path": path}, "live": "v1", "prediction": read[api], "rollouts": [rollout]}
        for path, api in PATHS.items()
    ]
    return {"upstreams": {"v1": {"url": live}, "v2": {"url": candidate}}, "routes": routes}


async def _bytes(url: str, path: str, question: str, stream: bool) -> tuple[int, str, bytes]:
    messages = [{"role": "user", "content": question}]
    asked = {"model": "m", "messages": messages, "stream": stream}
    if PATHS[path] in ("responses", "embeddings"):
        asked = {"model": "m", "input": question, "stream": stream}
    async with aiohttp.ClientSession() as session, session.post(url + path, json=asked) as answer:
        return answer.status, answer.headers["content-type"], await answer.read()


async def test_the_clients_get_what_they_get_without_the_proxy(tmp_path: Path) -> None:
    cases: list[dict[str, Any]] = [
        {"api": api, "question": question, "stream": stream}
        for api in PATHS.values() for question in QUESTIONS for stream in (False, True)
        if not (api == "embeddings" and stream)
    ]  # fmt: skip
    async with (
        stand_in(23) as live,
        stand_in(61) as candidate,
        running(tmp_path, config(live, candidate)) as understudy,
    ):
        direct = await asyncio.to_thread(clients, cases, live)
        assert await asyncio.to_thread(clients, cases, understudy.data_url) == direct
        for path, api in PATHS.items():
            for stream in (False, True)[: 2 - (api == "embeddings")]:
                ours = await _bytes(understudy.data_url, path, "call", stream)
                assert ours == await _bytes(live, path, "call", stream)
        for api in PATHS.values():
            asked = sum(case["api"] == api for case in cases) + 2 - (api == "embeddings")
            rollout = await understudy.until(f"{api}/v2", lambda r, n=asked: r["ledger"]["compared"] == n)  # type: ignore[misc]
            assert rollout["candidate_failures"] == dict.fromkeys(rollout["candidate_failures"], 0)
            found = await understudy.api(f"/api/v1/rollouts/{api}/v2/pairs?order=worst&limit=1")
            assert found["pairs"] == [] or found["pairs"][0]["difference"] == 0
