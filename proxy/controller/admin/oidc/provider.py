"""The provider as it says of itself: its addresses and its keys, asked for when they are needed and kept.

Invariants
- Tokens are checked with the keys that are known; a provider that is away changes nothing for those.
- A key that is not known is asked for at most every 30 s, by one question at a time, with a deadline. Whoever comes
  meanwhile waits for that question, or is answered at once.
- An answer of the provider is bounded. Its addresses are https (http on loopback only), and no redirect is followed.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import orjson
from joserfc.jwk import Key

from proxy import logs
from proxy.aiohttp_client import connector
from proxy.config.identity import Oidc, is_private_url
from proxy.controller.admin.oidc.claims import UnprovenError, asks_again, refreshes
from proxy.controller.admin.oidc.jwts import having, read_keys

log = logging.getLogger("understudy.admin.oidc")

DEADLINE = 5.0
"""Seconds for one question to the provider."""
MOST = 1 << 20
"""Bytes of an answer."""
KNOWN_AS = "/.well-known/openid-configuration"


class ProviderError(Exception):
    """The provider gave no answer that can be used; says why."""


class Provider:
    """The provider of `admin.oidc`."""

    def __init__(self, oidc: Oidc, clock: Callable[[], float] = time.monotonic) -> None:
        self.oidc, self._clock = oidc, clock
        self._keys: tuple[Key, ...] = ()
        self._about: dict[str, Any] = {}
        self._asked: float | None = None
        self._got: float | None = None
        self._why = ""
        self._asking: asyncio.Task[None] | None = None

    def same(self, oidc: Oidc) -> bool:
        """Whether this is the provider of another configuration, too: what is known of it holds."""
        return (oidc.issuer, oidc.ca) == (self.oidc.issuer, self.oidc.ca)

    async def keys_for(self, kid: str | None) -> list[Key]:
        """The keys that a token may have been signed with. Raises `ProviderError` while none is known at all, and
        `UnprovenError` where the provider has no such key."""
        now, found = self._clock(), having(self._keys, kid)
        if self._asking is not None and not found:
            await asyncio.shield(self._asking)
        elif asks_again(now, bool(found), self._asked, self._got):
            await asyncio.shield(self._ask())
        elif refreshes(now, self._asked, self._got):
            self._ask()
        found = having(self._keys, kid)
        if not self._keys:
            raise ProviderError(f"the provider's keys are not known: {self._why}")
        if not found:
            raise UnprovenError("it was signed with a key that the provider does not have")
        return found

    async def about(self) -> Mapping[str, Any]:
        """What the provider says of itself: its addresses. Raises `ProviderError`."""
        if not self._about:
            if self._asking is not None or asks_again(self._clock(), False, self._asked, None):
                await asyncio.shield(self._asking or self._ask())
            if not self._about:
                raise ProviderError(self._why or "it was asked a moment ago")
        return self._about

    def _ask(self) -> asyncio.Task[None]:
        if self._asking is None:
            self._asked = self._clock()
            self._asking = asyncio.create_task(self._renew())
            self._asking.add_done_callback(self._done)
        return self._asking

    def _done(self, task: asyncio.Task[None]) -> None:
        self._asking = None

    async def _renew(self) -> None:
        try:
            about = await self.fetch(self.oidc.issuer.rstrip("/") + KNOWN_AS)
            if about.get("issuer") != self.oidc.issuer:
                raise ProviderError(f"it calls itself {str(about.get('issuer'))[:200]!r}, not `admin.oidc.issuer`")
            keys = read_keys(await self.fetch(str(about.get("jwks_uri"))))
            if not keys:
                raise ProviderError("it has no key that tokens could be signed with")
        except (ProviderError, ValueError) as error:
            self._why = str(error)
            logs.event(log, "oidc.unreachable", logging.WARNING, issuer=self.oidc.issuer, error=self._why)
            return
        if {str(key.as_dict().get("kid")) for key in keys} != {str(key.as_dict().get("kid")) for key in self._keys}:
            logs.event(log, "oidc.keys", issuer=self.oidc.issuer, keys=len(keys))
        self._about, self._keys, self._got, self._why = about, keys, self._clock(), ""

    async def fetch(self, url: str, form: Mapping[str, str] | None = None, auth: str = "") -> Any:
        """The JSON object at an address of the provider, posted to where a form is given. Raises `ProviderError`."""
        if not is_private_url(url):
            raise ProviderError(f"{url[:200]!r} is neither https nor on loopback")
        where, headers = urlsplit(url).netloc, {"accept": "application/json"}
        headers |= {"authorization": auth} if auth else {}
        method = "POST" if form is not None else "GET"
        try:
            context = ssl.create_default_context(cafile=self.oidc.ca) if self.oidc.ca is not None else True
            async with (
                asyncio.timeout(DEADLINE),
                aiohttp.ClientSession(connector=connector(), trust_env=True, headers=headers) as session,
                session.request(method, url, data=form, allow_redirects=False, ssl=context) as answer,
            ):
                body, status = await _bounded(answer.content), answer.status
        except TimeoutError as error:
            raise ProviderError(f"{where} gave no answer within {DEADLINE:g} s") from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise ProviderError(f"{where}: {error or type(error).__name__}") from error
        return _object_in(body, status, where)


async def _bounded(content: aiohttp.StreamReader) -> bytes:
    body = bytearray()
    async for chunk in content.iter_any():
        body += chunk
        if len(body) > MOST:
            raise ValueError(f"its answer is longer than {MOST} bytes")
    return bytes(body)


def _object_in(body: bytes, status: int, where: str) -> dict[str, Any]:
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError:
        found = None
    if status != 200:
        said = found.get("error") if isinstance(found, dict) else None
        raise ProviderError(f"{where} answered {status}" + (f" ({str(said)[:60]})" if said else ""))
    if not isinstance(found, dict):
        raise ProviderError(f"{where} did not answer with a JSON object")
    return found
