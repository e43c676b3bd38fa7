"""A judge of the tests' own: an OpenAI-compatible server that gives verdicts by a function, or misbehaves."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import orjson
from aiohttp import web

from tests.e2e.harness import served

Verdict = Callable[[str, str, str], str]
"""From the request and the two answers, as they stand, to what is said."""
_PART = re.compile(r"<<<[A-Z ]+ [0-9a-f]{16}>>>\n(.*?)\n<<<END [0-9a-f]{16}>>>", re.DOTALL)


def longer(_request: str, first: str, second: str) -> str:
    """The longer answer wins."""
    return "tie" if len(first) == len(second) else "first" if len(first) > len(second) else "second"


@dataclass
class StandInJudge:
    """What it says is `verdict`'s. `mood`: `honest`, `slow` (answers when `released`), `nonsense` (prose), `busy`
    (`status`), `first` (whatever stands first wins). `asked` are the questions (request, first, second) in the order in
    which they came, `keys` the credentials that came with them."""

    verdict: Verdict = longer
    mood: str = "honest"
    usage: dict[str, int] | None = field(default_factory=lambda: {"prompt_tokens": 1000, "completion_tokens": 50})
    asked: list[tuple[str, str, str]] = field(default_factory=list)
    bodies: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    status: int = 429
    released: asyncio.Event = field(default_factory=asyncio.Event)
    under_way: int = 0
    most_under_way: int = 0

    async def handle(self, request: web.Request) -> web.Response:
        """One question."""
        body = await request.json()
        parts: tuple[str, str, str] = tuple(_PART.findall(body["messages"][1]["content"]))  # type: ignore[assignment]
        self.asked.append(parts)
        self.bodies.append(body)
        self.keys.append(request.headers.get("authorization", ""))
        self.under_way += 1
        self.most_under_way = max(self.under_way, self.most_under_way)
        try:
            if self.mood == "slow":
                await self.released.wait()
            return self._answer(parts)
        finally:
            self.under_way -= 1

    def _answer(self, parts: tuple[str, str, str]) -> web.Response:
        if self.mood == "busy":
            return web.json_response({"error": {"message": "invalid key sk-judge-0123456789"}}, status=self.status)
        word = "first" if self.mood == "first" else self.verdict(*parts)
        said: str = orjson.dumps({"reason": f"{word} it is", "verdict": word}).decode()
        content = "I would say the first one." if self.mood == "nonsense" else said
        message = {"role": "assistant", "content": content}
        answer: dict[str, Any] = {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}
        return web.json_response(answer | ({"usage": self.usage} if self.usage is not None else {}))

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[str]:
        """Where it listens."""
        app = web.Application(client_max_size=1 << 24)
        app.router.add_post("/v1/chat/completions", self.handle)
        async with served(app) as url:
            try:
                yield url
            finally:
                self.released.set()  # aiohttp waits for those that are under way
