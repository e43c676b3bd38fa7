"""Promise: a certified OpenID Connect provider (oidc-provider) and Understudy understand each other: its access tokens
act, somebody signs in to the console through its pages, its keys change in between, and it may be away."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import re
import shutil
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from joserfc.jwk import ECKey, Key, RSAKey

from tests.e2e.harness import Understudy, route, running
from tests.integration.servers import server
from tests.ports import free_port

FOLDER = Path(os.environ.get("OIDC_FOLDER", ".venv-oidc")).absolute()
pytestmark = [
    pytest.mark.servers,
    pytest.mark.skipif(
        not (FOLDER / "node_modules").exists() or shutil.which("node") is None,
        reason="needs oidc-provider in OIDC_FOLDER (`make test-oidc`)",
    ),
]


class RealProvider:
    """oidc-provider with keys that the test chooses."""

    def __init__(self, folder: Path, redirect: str) -> None:
        self.port = free_port()
        self.issuer = f"http://127.0.0.1:{self.port}"
        self._keys = folder / "keys.json"
        self._redirect = redirect

    def show(self, *keys: Key) -> None:
        """These are its keys when it starts, or is told of it; the first one signs."""
        self._keys.write_text(json.dumps({"keys": [key.as_dict(private=True) for key in keys]}))

    def rotate(self, *keys: Key) -> None:
        self.show(*keys)
        with urllib.request.urlopen(f"{self.issuer}/rotate", timeout=10) as answer:
            assert answer.status == 200

    @contextmanager
    def up(self) -> Iterator[None]:
        command = ["node", "serve.js", str(self.port), str(self._keys), self._redirect]
        log = self._keys.with_name("provider.log")
        with server(command, FOLDER, f"{self.issuer}/.well-known/openid-configuration", log):
            yield

    def access_token(self) -> str:
        """What a program gets with its own secret (client credentials): a JWT for Understudy."""
        form = urllib.parse.urlencode({"grant_type": "client_credentials", "resource": "urn:understudy"}).encode()
        request = urllib.request.Request(f"{self.issuer}/token", form)
        request.add_header("authorization", "Basic cm9ib3Q6cm9ib3RzLXNlY3JldA==")  # robot:robots-secret
        with urllib.request.urlopen(request, timeout=10) as answer:
            return str(json.loads(answer.read())["access_token"])


def rsa(kid: str) -> Key:
    return RSAKey.generate_key(2048, {"kid": kid, "use": "sig", "alg": "RS256"}, private=True)


def configuration(provider: RealProvider, admin_port: int) -> dict[str, Any]:
    grants = [{"value": "ml", "role": "operate"}]
    oidc = {
        "issuer": provider.issuer,
        "audience": "understudy",
        "roles": {"claim": "groups", "grants": grants},
        "login": {"client_id": "console", "client_secret": "not:plain"},
    }
    listen = f"127.0.0.1:{admin_port}"
    admin = {"listen": listen, "url": f"http://{listen}", "oidc": oidc, "tokens": [TESTS]}
    dead = {"url": f"http://127.0.0.1:{free_port()}"}
    stages = [{"shadow": "100%"}]
    return {"admin": admin, "upstreams": {"a": dead, "b": dead}, "routes": [route("r", "a", "b", stages)]}


TESTS = {"name": "tests", "token": "of-the-test-itself", "role": "admin"}


async def act(understudy: Understudy, action: str, token: str) -> tuple[int, dict[str, Any]]:
    head = {"authorization": f"Bearer {token}"}
    url = f"{understudy.admin_url}/api/v1/rollouts/r/b/{action}"
    async with (
        aiohttp.ClientSession() as session,
        session.post(url, json={"reason": "so be it"}, headers=head) as answer,
    ):
        return answer.status, await answer.json(content_type=None)


async def journal(understudy: Understudy) -> list[tuple[str, str]]:
    head = {"authorization": f"Bearer {TESTS['token']}"}
    url = f"{understudy.admin_url}/api/v1/rollouts/r/b/journal"
    async with aiohttp.ClientSession() as session, session.get(url, headers=head) as answer:
        return [(entry["kind"], entry["actor"]) for entry in (await answer.json())["journal"]]


async def page(session: aiohttp.ClientSession, url: str, form: dict[str, str] | None = None) -> tuple[str, str]:
    """Where a browser comes to, redirects followed, and what it sees there."""
    async with session.request("POST" if form else "GET", url, data=form) as answer:
        return str(answer.url), await answer.text()


async def signed_in(session: aiohttp.ClientSession, understudy: Understudy, name: str) -> str:
    """Through the provider's own pages: name and password, then consent; where the browser is then."""
    where, text = await page(session, f"{understudy.admin_url}/auth/login")
    for form in ({"prompt": "login", "login": name, "password": "any"}, {"prompt": "consent"}):
        action = re.search(r'action="([^"]+)"', text)
        assert action, (where, text)
        where, text = await page(session, urllib.parse.urljoin(where, action[1]), form)
    return where


async def test_tokens_sign_in_and_keys_that_change(tmp_path: Path) -> None:
    port = free_port()
    provider = RealProvider(tmp_path, f"http://127.0.0.1:{port}/auth/callback")
    first, second = rsa("first"), rsa("second")
    provider.show(first)
    with provider.up():
        async with running(tmp_path, configuration(provider, port)) as understudy:
            old = provider.access_token()
            status, said = await act(understudy, "pause", old)
            assert (status, said["paused"]) == (200, True), said
            status, said = await act(understudy, "resume", old[:-6] + "AAAAAA")
            assert (status, said["detail"]) == (401, "This token proves nothing: it was not signed by the provider.")
            assert (await journal(understudy))[0] == ("paused", "oidc:robot")

            async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as browser:
                assert await signed_in(browser, understudy, "ada") == f"{understudy.admin_url}/"
                async with browser.get(f"{understudy.admin_url}/api/v1/me") as answer:
                    assert (await answer.json())["actor"] == "oidc:ada"
            async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as browser:
                assert await signed_in(browser, understudy, "eve") == f"{understudy.admin_url}/?sign_in=role"

            provider.rotate(second, first)  # as it is done: the new one signs, the old one is shown for a while
            new = provider.access_token()
            assert _kid(new) == "second"
            await _until_accepted(understudy, new)
            assert (await act(understudy, "pause", old))[0] == 200, "the old key's tokens are good, too"


async def _until_accepted(understudy: Understudy, token: str) -> None:
    """A key is asked for at most every 30 s, and the provider was asked at the start."""
    async with asyncio.timeout(60):
        while (await act(understudy, "resume", token))[0] == 401:  # noqa: ASYNC110 - in another process
            await asyncio.sleep(0.5)


def _kid(token: str) -> str:
    head = token.partition(".")[0]
    return str(json.loads(base64.urlsafe_b64decode(head + "=="))["kid"])


async def test_the_provider_may_be_away(tmp_path: Path) -> None:
    port = free_port()
    provider = RealProvider(tmp_path, f"http://127.0.0.1:{port}/auth/callback")
    key = ECKey.generate_key("P-256", {"kid": "only", "use": "sig", "alg": "ES256"}, private=True)
    provider.show(key, rsa("for identity tokens"))
    async with running(tmp_path, configuration(provider, port)) as understudy:
        with provider.up():
            token = provider.access_token()
            assert (await act(understudy, "pause", token))[0] == 200
        assert (await act(understudy, "resume", token))[0] == 200
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"{understudy.admin_url}/auth/login", allow_redirects=False) as answer,
        ):
            assert answer.status == 303, "where the provider's pages are is known"
