"""One attempt to post an event: aiohttp, the proxy that leads to the receiver, and the deadline.

Invariants
- An attempt ends within `DEADLINE` and is an `AttemptAnswer`, whatever the network does; no redirect is followed.
- Nothing of a proxy's credentials is in an `AttemptAnswer`, nor in what aiohttp is asked to say of an error.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import aiohttp
from yarl import URL

from proxy.aiohttp_client import connector
from proxy.aiohttp_resolver import OwnResolver
from proxy.controller.webhooks.policy import AttemptAnswer
from proxy.http.proxies import proxy_of

DEADLINE = 15.0
"""Seconds that one attempt may take, connecting included (Standard Webhooks recommends 15 to 30)."""

MAX_ANSWER = 64 * 1024


class Poster:
    """Posts over one session, made at the first attempt."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        self._environment = environment
        self._session: aiohttp.ClientSession | None = None

    async def __call__(
        self, url: str, head: Mapping[str, str], content: bytes, proxy: str, method: str = "POST"
    ) -> AttemptAnswer:
        """Send one attempt; `proxy` as the file has it (`environment`, `off`, or a URL)."""
        if self._session is None:
            pool = connector(resolver=OwnResolver())
            self._session = aiohttp.ClientSession(connector=pool, timeout=aiohttp.ClientTimeout(total=DEADLINE))
        try:
            through: dict[str, Any] = through_proxy(url, chosen_proxy(url, proxy, self._environment))
            through["headers"] = {**head, **through.get("headers", {})}
            async with self._session.request(method, url, data=content, allow_redirects=False, **through) as answer:
                retry_after = answer.headers.get("retry-after", "")
                with suppress(aiohttp.ClientError, TimeoutError):
                    await answer.content.read(MAX_ANSWER)  # what is said after the status changes nothing
                return AttemptAnswer(answer.status, retry_after)
        except TimeoutError:
            return AttemptAnswer(0, error="timeout")
        except aiohttp.ClientHttpProxyError as refusal:
            return AttemptAnswer(0, error=f"the proxy answered {refusal.status}")
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return AttemptAnswer(0, error=type(error).__name__)

    async def close(self) -> None:
        """Let go of all connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None


def chosen_proxy(url: str, proxy: str, environment: Mapping[str, str]) -> str | None:
    """The URL of the proxy for `url`, by what the file says: `environment`, `off` or a URL."""
    if proxy == "environment":
        return proxy_of(url, environment)
    return None if proxy == "off" else proxy


def through_proxy(url: str, proxy: str | None) -> dict[str, dict[str, str] | URL]:
    """What aiohttp is told of a proxy: credentials go into a header, so that no error of its own can quote them. With
    TLS it is CONNECT's, else the request's own (aiohttp would send `proxy_headers` with CONNECT only)."""
    if proxy is None:
        return {}
    where = URL(proxy)
    if where.user is None:
        return {"proxy": where}
    credentials = {"proxy-authorization": aiohttp.encode_basic_auth(where.user, where.password or "")}
    return {"proxy": where.with_user(None), "proxy_headers" if URL(url).scheme == "https" else "headers": credentials}
