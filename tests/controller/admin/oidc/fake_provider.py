"""An OpenID Connect provider for tests: real keys and signatures, and everything that one may do wrong."""

from __future__ import annotations

import hashlib
import time
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qs, urlsplit

from aiohttp import encode_basic_auth, web
from aiohttp.test_utils import TestServer
from joserfc import jwt
from joserfc.jwk import ECKey, Key, RSAKey

CLIENT, AUDIENCE = "console", "understudy"


class FakeProvider:
    """`user` signs in without being asked; `asked` counts requests by path."""

    def __init__(self) -> None:
        self.keys: list[Key] = [RSAKey.generate_key(2048, {"kid": "first", "use": "sig"}, private=True)]
        self.user: dict[str, Any] = {"sub": "ada", "groups": ["ml"]}
        self.asked: dict[str, int] = {}
        self.down = False
        self.denies = False
        self.codes: dict[str, dict[str, str]] = {}
        self.changes: dict[str, Any] = {}
        self.answer: web.Response | None = None
        self.issuer = ""

    def rotate(self, kid: str) -> None:
        """Sign with a new key from now on, of another kind; the old one is not shown any more."""
        self.keys = [ECKey.generate_key("P-256", {"kid": kid, "use": "sig"}, private=True)]

    def token(self, key: Key | None = None, header: dict[str, Any] | None = None, **changes: Any) -> str:
        """A signed token; a claim that is `None` is left out."""
        key = key or self.keys[0]
        now = int(time.time())
        claims = {"iss": self.issuer, "aud": AUDIENCE, "iat": now, "exp": now + 300, **self.user, **changes}
        shown = {name: value for name, value in claims.items() if value is not None}
        algorithm = "ES256" if isinstance(key, ECKey) else "RS256"
        head = {"alg": algorithm, "kid": key.kid} | (header or {})
        return jwt.encode({name: value for name, value in head.items() if value is not None}, shown, key, [head["alg"]])

    @web.middleware
    async def _count(self, request: web.Request, handler: Any) -> web.StreamResponse:
        self.asked[request.path] = self.asked.get(request.path, 0) + 1
        if self.down:
            return web.Response(status=503)
        return self.answer or await handler(request)

    async def _about(self, request: web.Request) -> web.Response:
        ends = {"jwks_uri": "/keys", "authorization_endpoint": "/authorize", "token_endpoint": "/token"}
        return web.json_response({"issuer": self.issuer, **{name: self.issuer + end for name, end in ends.items()}})

    async def _keys(self, request: web.Request) -> web.Response:
        shown = [key.as_dict(private=False) for key in self.keys]
        return web.json_response({"keys": [{"kty": "oct", "k": "AA"}, {"kty": "RSA"}, "rubbish", *shown]})

    async def _authorize(self, request: web.Request) -> web.Response:
        query = dict(request.query)
        assert query["code_challenge_method"] == "S256"
        back = f"{query['redirect_uri']}?state={query['state']}&iss={self.issuer}"
        if self.denies:
            return web.Response(status=302, headers={"location": f"{back}&error=access_denied"})
        code = f"code{len(self.codes)}"
        self.codes[code] = query
        return web.Response(status=302, headers={"location": f"{back}&code={code}"})

    async def _token(self, request: web.Request) -> web.Response:
        form = parse_qs(await request.text())
        assert request.headers["authorization"] == encode_basic_auth(CLIENT, "not%3Aplain")
        began = self.codes.pop(form["code"][0], None)
        if began is None:
            return web.json_response({"error": "invalid_grant"}, status=400)
        digest = hashlib.sha256(form["code_verifier"][0].encode()).digest()
        assert urlsafe_b64encode(digest).rstrip(b"=").decode() == began["code_challenge"]
        assert form["redirect_uri"] == [began["redirect_uri"]]
        claims = {"aud": CLIENT, "nonce": began["nonce"], **self.changes}
        return web.json_response({"id_token": self.token(**claims), "access_token": "x", "token_type": "Bearer"})

    def application(self) -> web.Application:
        """The provider as an application."""
        app = web.Application(middlewares=[self._count])
        app.router.add_get("/.well-known/openid-configuration", self._about)
        app.router.add_get("/keys", self._keys)
        app.router.add_get("/authorize", self._authorize)
        app.router.add_post("/token", self._token)
        return app


@asynccontextmanager
async def provided() -> AsyncIterator[FakeProvider]:
    """A provider that listens."""
    provider = FakeProvider()
    async with TestServer(provider.application()) as server:
        provider.issuer = str(server.make_url("")).rstrip("/")
        yield provider


def query_of(location: str) -> dict[str, str]:
    """The query of an address."""
    return {name: values[0] for name, values in parse_qs(urlsplit(location).query).items()}
