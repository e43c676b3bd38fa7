"""Promise: somebody signs in to the console by the provider, in the browser where they began and nowhere else; the
session is theirs, ends, and is nothing that another site or a script can use."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http.cookies import Morsel, SimpleCookie
from typing import Any

import aiohttp
import pytest
import yarl
from aiohttp import ClientResponse

from proxy.controller.admin.oidc import jwts, login
from tests.controller.admin.clients import Client, problem, serving
from tests.controller.admin.oidc.fake_provider import CLIENT, FakeProvider, provided, query_of
from tests.controller.admin.oidc.test_bearers import GRANTS
from tests.controller.fake_service import NAME, URL, FakeService

KEY = "a key for sessions, long enough to be one"
ME = "/api/v1/me"


def service(issuer: str, url: str = "http://127.0.0.1:9090", key: str = KEY) -> FakeService:
    client = f"login: {{client_id: {CLIENT}, client_secret: 'not:plain', session_key: '{key}'}}"
    oidc = f"issuer: '{issuer}', audience: understudy, roles: {{claim: groups, {GRANTS}}}, {client}"
    return FakeService(url=url, admin=f", oidc: {{{oidc}}}")


@asynccontextmanager
async def both(**more: str) -> AsyncIterator[tuple[FakeProvider, Client, FakeService]]:
    async with provided() as provider:
        fake = service(provider.issuer, **more)
        async with serving(fake) as client:
            yield provider, client, fake


class Browser:
    """Keeps cookies as one does, by hand: the test's ports are not the ones that cookies are for."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.cookies: dict[str, Morsel[str]] = {}

    async def get(self, path: str, **more: Any) -> ClientResponse:
        return self._took(await self.client.get(path, allow_redirects=False, headers=self._head(), **more))

    async def post(self, path: str, head: dict[str, str] | None = None) -> ClientResponse:
        return self._took(await self.client.post(path, headers=self._head() | (head or {})))

    def _head(self) -> dict[str, str]:
        held = "; ".join(f"{name}={one.value}" for name, one in self.cookies.items())
        return {"cookie": held} if held else {}

    def _took(self, answer: ClientResponse) -> ClientResponse:
        for line in answer.headers.getall("set-cookie", ()):
            for name, one in SimpleCookie(line).items():
                self.cookies[name] = one
                if one["max-age"] == "0":
                    del self.cookies[name]
        return answer

    async def begin(self) -> str:
        """Where the provider sends the browser back to, with a code."""
        to = (await self.get("/auth/login")).headers["location"]
        async with (
            aiohttp.ClientSession() as session,
            session.get(yarl.URL(to, encoded=True), allow_redirects=False) as at,
        ):
            return at.headers["location"]

    async def back(self, location: str) -> ClientResponse:
        return await self.get("/auth/callback?" + location.partition("?")[2])

    async def signs_in(self) -> ClientResponse:
        return await self.back(await self.begin())


async def test_one_signs_in_is_known_acts_and_signs_out() -> None:
    async with both() as (_, client, fake):
        browser = Browser(client)
        assert (await problem(await browser.get(ME), 401))["sign_in"] == ["oidc"]
        answer = await browser.signs_in()
        assert (answer.status, answer.headers["location"]) == (303, "/")
        me = await (await browser.get(ME)).json()
        assert (me["actor"], me["grants"]) == ("oidc:ada", [{"role": "operate", "routes": None}])
        assert (await browser.post(URL + "/pause", {"sec-fetch-site": "same-origin"})).status == 200
        assert fake.acts == [(NAME, "pause", "", "oidc:ada", False)]
        [person] = fake.persons
        assert person.startswith("oidc:http")
        assert person.endswith(" ada")
        assert (await browser.post("/auth/logout", {"sec-fetch-site": "same-origin"})).status == 204
        await problem(await browser.get(ME), 401)


async def test_what_the_provider_is_asked_for() -> None:
    async with both() as (_, client, _):
        query = query_of((await Browser(client).get("/auth/login")).headers["location"])
        fixed = {"response_type": "code", "client_id": CLIENT, "code_challenge_method": "S256"}
        assert fixed.items() <= query.items()
        assert query["redirect_uri"] == "http://127.0.0.1:9090/auth/callback"
        assert query["scope"] == "openid profile email"
        again = query_of((await Browser(client).get("/auth/login")).headers["location"])
        assert all(query[name] != again[name] for name in ("state", "nonce", "code_challenge"))


@pytest.mark.parametrize(("url", "secure"), [("https://models.example", True), ("http://127.0.0.1:9090", False)])
async def test_cookies_are_out_of_reach(url: str, secure: bool) -> None:
    async with both(url=url) as (_, client, _):
        browser = Browser(client)
        await browser.get("/auth/login")
        [pending] = browser.cookies.values()
        await browser.signs_in()
        [session] = browser.cookies.values()
        for one, site in ((pending, "Lax"), (session, "Strict")):
            assert one["httponly"]
            assert one["samesite"] == site
            assert bool(one["secure"]) == secure
            assert one.key.startswith("__Host-") == secure
            assert (one["path"], one["domain"]) == ("/", "")
        assert int(session["max-age"]) == 3600


async def test_another_sites_page_uses_no_session() -> None:
    async with both() as (_, client, fake):
        browser = Browser(client)
        await browser.signs_in()
        for head in ({"origin": "https://evil.example"}, {"sec-fetch-site": "cross-site"}):
            await problem(await browser.post(URL + "/abort", head), 403)
            await problem(await browser.post("/auth/logout", head), 403)
        assert fake.acts == []
        assert (await browser.get(ME)).status == 200


async def test_a_callback_counts_only_where_the_sign_in_began() -> None:
    """Whoever is sent to a callback by somebody else (to be signed in as them) is not signed in."""
    async with both() as (_, client, _):
        one, other = Browser(client), Browser(client)
        location = await one.begin()
        assert (await other.back(location)).headers["location"] == "/?sign_in=state"
        await other.get("/auth/login")
        assert (await other.back(location)).headers["location"] == "/?sign_in=state"
        await problem(await other.get(ME), 401)


async def test_a_code_counts_once() -> None:
    async with both() as (_, client, _):
        one = Browser(client)
        location = await one.begin()
        kept = dict(one.cookies)
        await one.back(location)
        one.cookies = kept
        assert (await one.back(location)).headers["location"] == "/?sign_in=provider"
        await problem(await one.get(ME), 401)


@pytest.mark.parametrize(
    "changes",
    [
        {"nonce": "another"},
        {"nonce": None},
        {"aud": "another-client"},
        {"aud": [CLIENT, "other"]},
        {"aud": [CLIENT, "other"], "azp": "other"},
        {"azp": "other"},
        {"exp": 1},
        {"iss": "https://elsewhere.example"},
    ],
)
async def test_an_identity_token_of_another_sign_in_or_client_is_refused(changes: dict[str, Any]) -> None:
    async with both() as (provider, client, _):
        provider.changes = changes
        browser = Browser(client)
        assert (await browser.signs_in()).headers["location"] == "/?sign_in=provider"
        await problem(await browser.get(ME), 401)


async def test_an_identity_token_for_several_that_was_issued_to_us_is_fine() -> None:
    async with both() as (provider, client, _):
        provider.changes = {"aud": [CLIENT, "other"], "azp": CLIENT}
        browser = Browser(client)
        await browser.signs_in()
        assert (await browser.get(ME)).status == 200


async def test_who_is_refused_or_has_no_role_is_told() -> None:
    async with both() as (provider, client, _):
        provider.denies = True
        assert (await Browser(client).signs_in()).headers["location"] == "/?sign_in=denied"
        provider.denies, provider.user = False, {"sub": "eve", "groups": []}
        assert (await Browser(client).signs_in()).headers["location"] == "/?sign_in=role"


async def test_an_answer_of_another_issuer_is_refused() -> None:
    """RFC 9207: a mix-up of providers."""
    async with both() as (provider, client, _):
        browser = Browser(client)
        location = (await browser.begin()).replace(f"iss={provider.issuer}", "iss=https://evil.example")
        assert (await browser.back(location)).headers["location"] == "/?sign_in=provider"


async def test_a_session_is_made_by_us_alone_and_ends() -> None:
    async with both() as (provider, client, _):
        browser = Browser(client)
        await browser.signs_in()
        [name] = browser.cookies
        good = {"actor": "oidc:ada", "values": ["root"], "iss": provider.issuer, "exp": 4_000_000_000}
        unsure, good = good, good | {"person": f"oidc:{provider.issuer} ada"}
        for forged in (
            jwts.sealed(name, good, "another key, which is as long as that"),
            jwts.sealed(login.PENDING, good, KEY),
            jwts.sealed(name, good | {"exp": 1}, KEY),
            jwts.sealed(name, good | {"iss": "https://elsewhere.example"}, KEY),
            jwts.sealed(name, unsure, KEY),  # of a version that kept no subject
            "rubbish",
            "a.b.c",
        ):
            answer = await client.get(ME, headers={"cookie": f"{name}={forged}"})
            assert (await problem(answer, 401))["detail"] == "You are not signed in any more."
        answer = await client.get(ME, headers={"cookie": f"{name}={jwts.sealed(name, good, KEY)}"})
        assert answer.status == 200


async def test_a_session_is_not_a_bearer_and_a_bearer_is_no_session() -> None:
    async with both() as (provider, client, _):
        browser = Browser(client)
        await browser.signs_in()
        [[name, cookie]] = browser.cookies.items()
        await problem(await client.get(ME, headers={"authorization": f"Bearer {cookie.value}"}), 401)
        await problem(await client.get(ME, headers={"cookie": f"{name}={provider.token()}"}), 401)


async def test_any_replica_with_the_same_key_goes_on_with_a_sign_in() -> None:
    async with both() as (provider, client, _):
        browser = Browser(client)
        location = await browser.begin()
        async with serving(service(provider.issuer)) as another:
            browser.client = another
            await browser.back(location)
            assert (await browser.get(ME)).status == 200
        browser.client = client
        assert (await browser.get(ME)).status == 200
        async with serving(service(provider.issuer, key=KEY[::-1])) as stranger:
            browser.client = stranger
            await problem(await browser.get(ME), 401)


async def test_a_role_that_is_taken_away_is_gone_at_the_next_request() -> None:
    async with both() as (provider, client, fake):
        browser = Browser(client)
        await browser.signs_in()
        assert (await browser.get(URL)).status == 200
        text = service(provider.issuer)
        fake.config = text.config.model_copy(
            update={"admin": text.config.admin.model_copy(update={"oidc": _without(text, "ml")})}
        )
        await problem(await browser.get(URL), 403)


def _without(fake: FakeService, value: str) -> Any:
    oidc = fake.config.admin.oidc
    assert oidc is not None
    grants = tuple(one for one in oidc.roles.grants if one.value != value)
    return oidc.model_copy(update={"roles": oidc.roles.model_copy(update={"grants": grants})})


async def test_without_a_login_there_is_none() -> None:
    async with serving(FakeService("a-token")) as client:
        await problem(await client.get("/auth/login"), 404)
        assert (await problem(await client.get(ME), 401))["sign_in"] == ["token"]


async def test_a_provider_that_is_away_is_told() -> None:
    async with both() as (provider, client, _):
        provider.down = True
        await problem(await Browser(client).get("/auth/login"), 503)
