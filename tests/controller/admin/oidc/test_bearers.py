"""Promise: a provider's token is believed when it was signed by the provider, for us, and now; whatever else it is, is
refused with the reason. Keys may change, and the provider may be away."""

from __future__ import annotations

import base64
import hmac
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web
from joserfc.jwk import OctKey, RSAKey

from proxy.controller.admin.identity import IDENTITIES
from proxy.controller.admin.oidc import provider as provider_module
from proxy.controller.admin.oidc.claims import asks_again
from tests.controller.admin.clients import Client, problem, serving
from tests.controller.admin.oidc.fake_provider import FakeProvider, provided
from tests.controller.fake_service import NAME, URL, FakeService

SYMMETRIC = OctKey.import_key("0" * 40)
OTHER = RSAKey.generate_key(2048, {"kid": "first"}, private=True)
GRANTS = (
    "grants: [{value: ml, role: operate}, {value: audit, role: view, routes: [credit]}, {value: root, role: admin}]"
)


def admin(issuer: str, more: str = "") -> str:
    return f", oidc: {{issuer: '{issuer}', audience: understudy, roles: {{claim: groups, {GRANTS}}}{more}}}"


@asynccontextmanager
async def both(more: str = "") -> AsyncIterator[tuple[FakeProvider, Client, FakeService]]:
    async with provided() as provider:
        service = FakeService(admin=admin(provider.issuer, more))
        async with serving(service) as client:
            yield provider, client, service


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


async def test_a_user_acts_by_the_roles_of_their_groups() -> None:
    async with both() as (provider, client, service):
        assert (await client.post(URL + "/pause", headers=bearer(provider.token()))).status == 200
        assert service.acts == [(NAME, "pause", "", "oidc:ada", False)]
        some = bearer(provider.token(groups=["audit", "else"]))
        assert (await client.get(URL, headers=some)).status == 200
        said = await problem(await client.post(URL + "/abort", headers=some), 403)
        assert said["detail"] == "This needs the role operate on the route credit; oidc:ada has view there."
        said = await problem(await client.get(URL, headers=bearer(provider.token(groups=["else"]))), 403)
        assert said["detail"] == "This needs the role view on the route credit; oidc:ada has no role."
        me = await (await client.get("/api/v1/me", headers=bearer(provider.token()))).json()
        assert me["grants"] == [{"role": "operate", "routes": None}]
        assert me["until"] > time.time()
        assert provider.asked["/keys"] == 1, "keys are kept"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"exp": 1}, "it has expired"),
        ({"exp": None}, "exp"),
        ({"exp": "soon"}, "exp"),
        ({"nbf": time.time() + 3600}, "not yet valid"),
        ({"iss": "https://elsewhere.example"}, "iss"),
        ({"iss": None}, "iss"),
        ({"aud": "another"}, "aud"),
        ({"aud": None}, "aud"),
        ({"aud": ["another", 3]}, "aud"),
        ({"sub": None}, "sub"),
        ({"sub": ""}, "sub"),
        ({"sub": "a\nb"}, "it names nobody"),
        ({"sub": "a" * 201}, "it names nobody"),
        ({"header": {"kid": "nobody's"}}, "a key that the provider does not have"),
        ({"header": {"typ": "logout+jwt"}}, "which proves nothing here"),
        ({"key": OTHER}, "it was not signed by the provider"),
        ({"key": SYMMETRIC, "header": {"alg": "HS256", "kid": "first"}}, "'HS256', which is not accepted"),
    ],
)  # fmt: skip
async def test_a_token_that_proves_nothing_says_why(changes: dict[str, Any], said: str) -> None:
    async with both() as (provider, client, service):
        refused = await problem(await client.post(URL + "/abort", headers=bearer(provider.token(**changes))), 401)
        assert said in refused["detail"]
        assert refused["detail"].startswith("This token proves nothing: ")
        assert service.acts == []


async def test_an_unsigned_token_and_one_signed_with_the_public_key_are_refused() -> None:
    """The two oldest attacks: `none`, and the provider's public key taken for an HMAC key."""
    async with both() as (provider, client, _):
        head, body, _signature = provider.token().split(".")
        none = base64.urlsafe_b64encode(b'{"alg":"none"}').rstrip(b"=").decode()
        await problem(await client.get(URL, headers=bearer(f"{none}.{body}.")), 401)
        symmetric = base64.urlsafe_b64encode(b'{"alg":"HS256","kid":"first"}').rstrip(b"=").decode()
        pem = provider.keys[0].as_pem(private=False)
        digest = hmac.digest(pem, f"{symmetric}.{body}".encode(), "sha256")
        forged = f"{symmetric}.{body}.{base64.urlsafe_b64encode(digest).rstrip(b'=').decode()}"
        await problem(await client.get(URL, headers=bearer(forged)), 401)
        await problem(await client.get(URL, headers=bearer(f"{head}.{body}.{'A' * 342}")), 401)
        assert (await client.get(URL, headers=bearer(provider.token()))).status == 200


async def test_a_little_skew_is_allowed_and_no_more() -> None:
    async with both(", clock_skew: 10s") as (provider, client, _):
        assert (await client.get(URL, headers=bearer(provider.token(exp=int(time.time()) - 5)))).status == 200
        await problem(await client.get(URL, headers=bearer(provider.token(exp=int(time.time()) - 15))), 401)


async def test_a_token_for_several_and_one_issued_to_another_client() -> None:
    async with both(", authorized_parties: [cli]") as (provider, client, _):
        good = provider.token(aud=["other", "understudy"], azp="cli")
        assert (await client.get(URL, headers=bearer(good))).status == 200
        said = await problem(await client.get(URL, headers=bearer(provider.token(azp="web"))), 401)
        assert "'web' (azp)" in said["detail"]
        await problem(await client.get(URL, headers=bearer(provider.token())), 401)


async def test_what_roles_depend_on_may_lie_deeper_and_be_another_claim() -> None:
    async with provided() as provider:
        text = admin(provider.issuer, ", actor: email").replace("claim: groups", "claim: /realm_access/roles")
        service = FakeService(admin=text)
        async with serving(service) as client:
            said = {"realm_access": {"roles": ["root"]}, "email": "ada@bank.example"}
            token = provider.token(**said, email_verified=True)
            assert (await client.post("/-/reload", headers=bearer(token))).status == 200
            me = await (await client.get("/api/v1/me", headers=bearer(token))).json()
            assert me["actor"] == "oidc:ada@bank.example (ada)"
            for verified in (False, "true", None):
                token = provider.token(**said, email_verified=verified)
                me = await (await client.get("/api/v1/me", headers=bearer(token))).json()
                assert me["actor"] == "oidc:ada"
            broken = provider.token(email="ada\u200b@bank.example", email_verified=True)
            assert "its claim email" in (await problem(await client.get(URL, headers=bearer(broken)), 401))["detail"]


async def test_a_person_is_the_subject_whatever_they_call_themselves() -> None:
    async with provided() as provider:
        service = FakeService(admin=admin(provider.issuer, ", actor: nick"))
        async with serving(service) as client:
            for nick, subject in (("ada", "u1"), ("bob", "u1"), ("ada", "u2")):
                token = provider.token(groups=["root"], nick=nick, sub=subject)
                assert (await client.post(URL + "/pause", headers=bearer(token))).status == 200
            said = await problem(await client.get(URL, headers=bearer(provider.token())), 401)
            assert "its claim nick" in said["detail"]
    assert [one[3] for one in service.acts] == ["oidc:ada (u1)", "oidc:bob (u1)", "oidc:ada (u2)"]
    assert service.persons == [f"oidc:{provider.issuer} {one}" for one in ("u1", "u1", "u2")]


# --- keys that change, a provider that is away -----------------------------------------------------------------------


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def clocked(client: Client) -> Clock:
    """A clock of ours for what is known of the provider."""
    clock = Clock()
    app = client.server.app
    assert isinstance(app, web.Application)
    identities = app[IDENTITIES]
    oidc = app[_surface()].config.admin.oidc
    assert oidc is not None
    identities._provider = provider_module.Provider(oidc, clock)
    return clock


def _surface() -> Any:
    from proxy.controller.admin.handlers import SURFACE

    return SURFACE


async def test_a_new_key_is_asked_for_once_it_is_met_and_the_old_one_is_forgotten() -> None:
    async with both() as (provider, client, _):
        clock = clocked(client)
        old = provider.token()
        assert (await client.get(URL, headers=bearer(old))).status == 200
        provider.rotate("second")
        clock.now += 31
        assert (await client.get(URL, headers=bearer(provider.token()))).status == 200
        assert provider.asked["/keys"] == 2
        await problem(await client.get(URL, headers=bearer(old)), 401)


async def test_made_up_keys_do_not_make_us_ask_all_the_time() -> None:
    async with both() as (provider, client, _):
        clock = clocked(client)
        for n in range(50):
            made_up = provider.token(header={"kid": f"made up {n}"})
            await problem(await client.get(URL, headers=bearer(made_up)), 401)
        assert provider.asked["/keys"] == 1
        clock.now += 31
        await problem(await client.get(URL, headers=bearer(provider.token(header={"kid": "x"}))), 401)
        assert provider.asked["/keys"] == 2
        assert (await client.get(URL, headers=bearer(provider.token()))).status == 200


async def test_keys_that_are_known_go_on_while_the_provider_is_away() -> None:
    async with both() as (provider, client, _):
        clock = clocked(client)
        assert (await client.get(URL, headers=bearer(provider.token()))).status == 200
        provider.down = True
        clock.now += 7200
        assert (await client.get(URL, headers=bearer(provider.token()))).status == 200
        await problem(await client.get(URL, headers=bearer(provider.token(header={"kid": "new"}))), 401)
        assert (await client.get(URL, headers=bearer(provider.token()))).status == 200


async def test_without_any_key_nobody_is_proven_and_that_is_our_trouble() -> None:
    async with both() as (provider, client, _):
        clock = clocked(client)
        provider.down = True
        said = await problem(await client.get(URL, headers=bearer(provider.token())), 503)
        assert "answered 503" in said["detail"]
        provider.down = False
        await problem(await client.get(URL, headers=bearer(provider.token())), 503)  # it was asked a moment ago
        clock.now += 6
        assert (await client.get(URL, headers=bearer(provider.token()))).status == 200


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda: web.Response(text="<html>"), "did not answer with a JSON object"),
        (lambda: web.json_response({"issuer": "https://other.example"}), "it calls itself 'https://other.example'"),
        (lambda: web.Response(status=302, headers={"location": "http://127.0.0.1:1/"}), "answered 302"),
        (lambda: web.Response(text="[" * (2 << 20)), "its answer is longer than"),
    ],
)
async def test_a_provider_that_is_none_is_told(answer: Any, said: str) -> None:
    async with both() as (provider, client, _):
        provider.answer = answer()
        assert said in (await problem(await client.get(URL, headers=bearer(provider.token())), 503))["detail"]


async def test_keys_over_plain_http_elsewhere_are_never_asked_for() -> None:
    async with both() as (provider, client, _):
        said = json.dumps({"issuer": provider.issuer, "jwks_uri": "http://keys.example/"})
        provider.answer = web.Response(text=said, content_type="application/json")
        refused = await problem(await client.get(URL, headers=bearer(provider.token())), 503)
        assert "neither https nor on loopback" in refused["detail"]


def test_a_known_key_asks_nobody() -> None:
    assert not asks_again(1e9, True, None, None)


async def test_tokens_of_the_file_stand_beside_those_of_the_provider() -> None:
    async with provided() as provider:
        more = ", tokens: [{name: ci, token: 'a.b.c', role: view}]"
        async with serving(FakeService(admin=admin(provider.issuer) + more)) as client:
            assert (await client.get(URL, headers=bearer("a.b.c"))).status == 200
            await problem(await client.get(URL, headers=bearer("a.b.d")), 401)
            assert (await client.get(URL, headers=bearer(provider.token()))).status == 200


def test_who_configures_no_provider_imports_nothing_for_it() -> None:
    program = "import sys, proxy.controller.process; print({'joserfc', 'cryptography'} & sys.modules.keys())"
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert said == "set()\n"
