"""A small server that speaks the OpenAI protocol: `python -m tests.integration.chat_server ARM PORT`.

What it says is a pure function of the question; the candidate words every fourth answer differently. Ids and times
differ on every call, as they do in real engines.
"""

from __future__ import annotations

import asyncio
import itertools
import sys
import time
import zlib
from typing import Any

import orjson
from aiohttp import web

WORDS = ("the", "lead", "steps", "back", "and", "its", "understudy", "goes", "on", "stage")


def words(question: str, arm: str) -> list[str]:
    """The answer's tokens."""
    dice = zlib.crc32(question.encode())
    said = [WORDS[(dice >> shift) % len(WORDS)] for shift in range(0, 12, 2)]
    return ["perhaps", *said[1:]] if arm == "candidate" and dice % 4 == 0 else said


class Chat:
    """One arm."""

    def __init__(self, arm: str) -> None:
        self._arm = arm
        self._calls = itertools.count()

    def _envelope(self, kind: str, **fields: Any) -> dict[str, Any]:
        stamp = {"id": f"{kind}-{self._arm}-{next(self._calls)}", "object": kind, "created": time.time_ns() // 10**9}
        return {**stamp, "model": "tiny", **fields}

    async def chat(self, request: web.Request) -> web.StreamResponse:
        asked = await request.json()
        said = words(asked["messages"][-1]["content"], self._arm)
        if asked.get("stream"):
            return await self._stream(request, said)
        message = {"role": "assistant", "content": " ".join(said)}
        choice = {"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}
        usage = {"prompt_tokens": 1, "completion_tokens": len(said), "total_tokens": 1 + len(said)}
        return web.json_response(self._envelope("chat.completion", choices=[choice], usage=usage))

    async def _stream(self, request: web.Request, said: list[str]) -> web.StreamResponse:
        answer = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await answer.prepare(request)
        for at, word in enumerate(said):
            await self._chunk(answer, {"content": word if at == 0 else f" {word}"}, None)
        await self._chunk(answer, {}, "stop")
        await answer.write(b"data: [DONE]\n\n")
        await answer.write_eof()
        return answer

    async def _chunk(self, answer: web.StreamResponse, delta: dict[str, str], finish: str | None) -> None:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        event = self._envelope("chat.completion.chunk", choices=[choice])
        await answer.write(b"data: " + orjson.dumps(event) + b"\n\n")

    async def embeddings(self, request: web.Request) -> web.Response:
        asked = await request.json()
        vector = [len(word) / 10 for word in words(str(asked["input"]), self._arm)]
        entry = {"object": "embedding", "index": 0, "embedding": vector}
        return web.json_response({"object": "list", "data": [entry], "model": "tiny", "usage": {"prompt_tokens": 1}})

    async def health(self, _request: web.Request) -> web.Response:
        return web.Response()


async def main() -> None:
    arm, port = sys.argv[1:]
    chat = Chat(arm)
    app = web.Application()
    app.router.add_post("/v1/chat/completions", chat.chat)
    app.router.add_post("/v1/embeddings", chat.embeddings)
    app.router.add_get("/health", chat.health)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", int(port)).start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
