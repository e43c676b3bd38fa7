"""One question to a judge over HTTP: attempts with pauses between them, until an answer or the deadline.

Invariants
- It ends within its deadline and is a `JudgeReply`, whatever the network does; no redirect is followed.
- No more than `most` bytes of an answer are read, inflated ones counted.
- No header, and nothing of an answer that is no verdict, leaves this file: neither in a value nor in a log.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

import aiohttp

from proxy.aiohttp_client import connector
from proxy.aiohttp_resolver import OwnResolver
from proxy.config.judges import JudgeConfig
from proxy.controller.webhooks.posting import chosen_proxy, through_proxy
from proxy.judges.verdict import MAX_ANSWER, NotJudged

TRY_AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504, 529})
"""Statuses that say nothing of the question: busy, or broken for now (529: overloaded, as some providers say)."""
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 8.0
"""Seconds between attempts: half a second, doubled each time, of which a random half is left out."""
_PIECE = 16 * 1024


class JudgeReply(NamedTuple):
    """What came of a question: status and body of an answer, or why there is none. `sent` says whether the last attempt
    may have reached the judge, which then may be paid for though it did not answer."""

    status: int = 0
    body: bytes = b""
    why: NotJudged | None = None
    sent: bool = False


class JudgeClient:
    """Asks at one endpoint, over one session, which is made at the first question."""

    def __init__(
        self,
        config: JudgeConfig,
        environment: Mapping[str, str] = os.environ,
        most: int = MAX_ANSWER,
        again: frozenset[int] = TRY_AGAIN,
    ) -> None:
        self._most, self._again = most, again
        self._url, self._headers = config.endpoint, {**config.headers, "content-type": "application/json"}
        self._connections = config.concurrency
        through: dict[str, Any] = through_proxy(self._url, chosen_proxy(self._url, config.proxy, environment))
        self._through = {**through, "headers": {**self._headers, **through.get("headers", {})}}
        self._session: aiohttp.ClientSession | None = None

    async def ask(self, body: bytes, within: float) -> JudgeReply:
        """Send a question, again and again where that may help, `within` seconds."""
        until, pause, reply = time.monotonic() + within, FIRST_PAUSE, JudgeReply(why=NotJudged.TIMEOUT)
        while (left := until - time.monotonic()) > 0:
            reply, wanted = await self._attempt(body, left)
            again = reply.why is NotJudged.CONNECT or reply.status in self._again
            wait = max(wanted, pause * random.uniform(0.5, 1.0))  # noqa: S311 - no secret: to come apart from others
            if not again or time.monotonic() + wait >= until:
                break
            await asyncio.sleep(wait)
            pause = min(2 * pause, LONGEST_PAUSE)
        return reply

    async def _attempt(self, body: bytes, within: float) -> tuple[JudgeReply, float]:
        """One attempt, and the seconds that the judge asks to be left alone."""
        try:
            async with (
                asyncio.timeout(within),
                self._opened().post(self._url, data=body, allow_redirects=False, **self._through) as answer,
            ):
                content = await _bounded(answer.content, self._most) if answer.status == 200 else b""
                if content is None:
                    return JudgeReply(answer.status, why=NotJudged.TOO_LARGE, sent=True), 0.0
                return JudgeReply(answer.status, content, sent=True), _seconds(answer.headers.get("retry-after", ""))
        except TimeoutError:
            return JudgeReply(why=NotJudged.TIMEOUT, sent=True), 0.0
        except (aiohttp.ClientError, OSError, ValueError):
            return JudgeReply(why=NotJudged.CONNECT), 0.0

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            pool = connector(resolver=OwnResolver(), limit=self._connections)
            self._session = aiohttp.ClientSession(
                connector=pool, timeout=aiohttp.ClientTimeout(total=None), cookie_jar=aiohttp.DummyCookieJar()
            )
        return self._session

    async def close(self) -> None:
        """Let go of all connections."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()


async def _bounded(content: aiohttp.StreamReader, most: int) -> bytes | None:
    """All of an answer, `None` where it is longer than is read."""
    pieces, size = [], 0
    while piece := await content.read(_PIECE):
        size += len(piece)
        if size > most:
            return None
        pieces.append(piece)
    return b"".join(pieces)


def _seconds(text: str) -> float:
    """`Retry-After` in seconds; 0 for anything else.

    >>> _seconds("3"), _seconds("Wed, 21 Oct 2026 07:28:00 GMT"), _seconds("")
    (3.0, 0.0, 0.0)
    """
    return float(text) if text.isascii() and text.isdigit() and len(text) < 6 else 0.0
