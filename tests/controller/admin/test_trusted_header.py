"""Promise: what a proxy says of a user is believed of the proxies that are named and of nobody else, in a fleet too."""

from __future__ import annotations

import pytest

from proxy.config.identity import TrustedUserHeader
from proxy.controller.admin.identity import SESSION, is_proxy
from proxy.controller.admin.oidc import jwts
from tests.controller.admin.clients import problem, serving
from tests.controller.admin.test_passing_on import _fleet
from tests.controller.fake_service import NAME, URL, FakeService


def admin(proxies: str = "127.0.0.1") -> str:
    return (
        f", trusted_user_header: {{header: x-forwarded-user, groups: x-forwarded-groups, proxies: [{proxies}],"
        " grants: [{role: view}, {value: ml, role: operate}]}"
    )


ADA = {"x-forwarded-user": "ada@bank.example", "x-forwarded-groups": "audit, ml"}


async def test_a_user_of_a_proxy_that_is_named_acts() -> None:
    service = FakeService(admin=admin())
    async with serving(service) as client:
        assert (await client.post(URL + "/pause", headers=ADA)).status == 200
        assert service.acts == [(NAME, "pause", "", "proxy:ada@bank.example", False)]
        bob = {"x-forwarded-user": "bob"}
        assert (await client.get(URL, headers=bob)).status == 200
        await problem(await client.post(URL + "/abort", headers=bob), 403)


async def test_a_name_in_other_letters_is_the_same_person() -> None:
    service = FakeService(admin=admin())
    async with serving(service) as client:
        for name in ("eve", "Eve", "EVE", "\uff45ve"):
            assert (await client.post(URL + "/pause", headers=ADA | {"x-forwarded-user": name})).status == 200
        assert (await client.post(URL + "/pause", headers=ADA | {"x-forwarded-user": "bob"})).status == 200
    assert service.persons == ["proxy:eve"] * 4 + ["proxy:bob"]


async def test_from_anybody_else_the_header_says_nothing() -> None:
    service = FakeService(admin=admin("10.0.0.0/8"))
    async with serving(service) as client:
        await problem(await client.get(URL, headers=ADA), 401)
        await problem(await client.post(URL + "/abort", headers=ADA), 401)
    assert service.acts == []


@pytest.mark.parametrize(
    "names", [[""], ["a", "b"], ["x" * 201], ["a\tb"], ["ada\u200b"], ["a\u00adda"], ["ada\ufe0f"]]
)
async def test_a_name_that_is_none_is_refused(names: list[str]) -> None:
    async with serving(FakeService(admin=admin())) as client:
        head = [("x-forwarded-user", name) for name in names]
        await problem(await client.get(URL, headers=head), 401)


async def test_without_the_header_the_proxy_is_nobody() -> None:
    async with serving(FakeService(admin=admin())) as client:
        await problem(await client.get(URL), 401)


async def test_another_sites_page_uses_no_proxys_proof() -> None:
    service = FakeService(admin=admin())
    async with serving(service) as client:
        await problem(await client.post(URL + "/abort", headers=ADA | {"origin": "https://evil.example"}), 403)
    assert service.acts == []


async def test_a_standby_passes_a_proven_user_on_and_no_other() -> None:
    async with _fleet(admin=admin()) as fleet:
        answer = await fleet.client.post(f"/api/v1/rollouts/{NAME}/pause", headers=ADA)
        assert answer.status == 200
        assert fleet.leader.acts == [(NAME, "pause", "", "proxy:ada@bank.example", False)]
    tokens = ", tokens: [{name: ops, token: an-operator, role: operate}]"
    async with _fleet(admin=admin("10.0.0.0/8") + tokens) as fleet:
        act = f"/api/v1/rollouts/{NAME}/abort"
        await problem(await fleet.client.post(act, headers=ADA), 401)
        answer = await fleet.client.post(act, headers=ADA | {"authorization": "Bearer an-operator"})
        assert answer.status == 200
        assert [one[3] for one in fleet.leader.acts] == ["token:ops"]


@pytest.mark.parametrize("standby", [admin("10.0.0.0/8") + ", tokens: [{name: a, token: b, role: view}]", ""])
@pytest.mark.parametrize("more", [{}, {"x-understudy-believed": "x-forwarded-user"}])
async def test_what_a_standby_has_not_believed_is_nothing_to_the_leader(standby: str, more: dict[str, str]) -> None:
    """While the files of the replicas differ, too: this one knows of other proxies, or asks nobody who they are."""
    async with _fleet(admin=admin("127.0.0.1")) as fleet:
        fleet.standby.config = FakeService(admin=standby).config
        await problem(await fleet.client.post(f"/api/v1/rollouts/{NAME}/abort", headers=ADA | more), 401)
        assert fleet.leader.acts == []


async def test_who_is_known_to_the_standby_otherwise_is_no_proxys_user() -> None:
    """Signed in at a standby, with a header of their own making, and the leader's file knows of no sign-in."""
    key = "a key for sessions, long enough to be one"
    login = f"login: {{client_id: c, session_key: '{key}'}}"
    oidc = f"issuer: 'https://login.example', audience: u, roles: {{grants: [{{role: operate}}]}}, {login}"
    async with _fleet(admin=admin("127.0.0.1")) as fleet:
        url = "http://127.0.0.1:9090"
        fleet.standby.config = FakeService(url=url, admin=admin("10.0.0.0/8") + f", oidc: {{{oidc}}}").config
        claims = {"actor": "oidc:eve", "values": [], "iss": "https://login.example", "exp": 4_000_000_000}
        cookie = {"cookie": f"{SESSION}={jwts.sealed(SESSION, claims, key)}"}
        await problem(await fleet.client.post(f"/api/v1/rollouts/{NAME}/abort", headers=ADA | cookie), 401)
        assert fleet.leader.acts == []


async def test_a_client_of_the_leader_itself_believes_nothing_of_its_own() -> None:
    service = FakeService(admin=admin("10.0.0.0/8"))
    async with serving(service) as client:
        head = ADA | {"x-understudy-believed": "x-forwarded-user"}
        await problem(await client.post(URL + "/abort", headers=head), 401)
    assert service.acts == []


@pytest.mark.parametrize(
    ("peer", "believed"),
    [("10.1.2.3", True), ("11.0.0.1", False), ("::1", True), ("::ffff:10.0.0.1", True), ("", False), ("nobody", False)],
)
def test_networks(peer: str, believed: bool) -> None:
    rule = TrustedUserHeader(header="x", proxies=("10.0.0.0/8", "::1"), grants=({"role": "view"},))  # type: ignore[arg-type]
    assert is_proxy(peer, rule) == believed
