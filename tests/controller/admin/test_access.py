"""Promise: the admin port gives data only to those who may have it, and changes nothing for another site's page."""

from __future__ import annotations

import pytest

from proxy.controller.admin.interface import ACTIONS
from tests.controller.admin.clients import TOKEN, Client, problem, serving
from tests.controller.fake_service import URL, FakeService

READS = ["/api/v1/rollouts", URL, URL + "/pairs", "/api/v1/events", "/api/v1/processes", "/api/v1/openapi.json", "/no"]


@pytest.mark.parametrize("path", READS)
@pytest.mark.parametrize("given", [None, "Bearer wrong", f"Basic {TOKEN}", TOKEN, "Bearer", f"Bearer {TOKEN}x"])
async def test_without_the_token_nothing_is_read(path: str, given: str | None) -> None:
    async with serving(FakeService(TOKEN)) as client:
        answer = await client.get(path, headers={"authorization": given} if given else {})
        await problem(answer, 401)
        assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("action", ACTIONS)
async def test_without_the_token_nothing_is_changed(action: str) -> None:
    service = FakeService(TOKEN)
    async with serving(service) as client:
        await problem(await client.post(f"{URL}/{action}"), 401)
        await problem(await client.post("/-/reload"), 401)
        assert service.acts == []


async def test_with_the_token_everything_is() -> None:
    service = FakeService(TOKEN)
    async with serving(service) as client:
        for scheme in ("Bearer", "bearer"):
            head = {"authorization": f"{scheme} {TOKEN}"}
            assert (await client.get(URL, headers=head)).status == 200
        assert (await client.post(URL + "/pause", headers=head)).status == 200
        # A token is not something a browser adds by itself, so the name of the host does not matter.
        assert (await client.get(URL, headers=head | {"host": "understudy.prod.svc"})).status == 200


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics"])
async def test_health_and_metrics_need_neither_token_nor_name(path: str) -> None:
    async with serving(FakeService(TOKEN)) as client:
        assert (await client.get(path, headers={"host": "10.0.0.7.example"})).status == 200
    async with serving(FakeService()) as client:
        assert (await client.get(path, headers={"host": "understudy.example"})).status == 200


@pytest.mark.parametrize("host", ["evil.example", "evil.example:9090", "127.0.0.1.evil.example", "[::1", ""])
async def test_a_rebound_name_reads_and_changes_nothing(client: Client, service: FakeService, host: str) -> None:
    await problem(await client.get(URL + "/pairs", headers={"host": host}), 403)
    await problem(await client.post(URL + "/abort", headers={"host": host}), 403)
    assert service.acts == []


@pytest.mark.parametrize("host", ["localhost:9090", "127.0.0.1:1234", "[::1]:9090", "10.0.0.7:9090"])
async def test_addresses_and_localhost_are_fine(client: Client, host: str) -> None:
    assert (await client.get(URL, headers={"host": host})).status == 200


@pytest.mark.parametrize("token", [None, TOKEN])
@pytest.mark.parametrize(
    "head",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:1"},
        {"origin": "https://127.0.0.1:8000", "host": "127.0.0.1:8000"},
        {"origin": "http://models.example", "host": "models.example"},
        {"origin": "http://models.example"},
        {"origin": "http://[::1"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
async def test_another_sites_page_changes_nothing(token: str | None, head: dict[str, str]) -> None:
    service = FakeService(token, url="https://models.example/understudy/")
    async with serving(service) as client:
        own = {"authorization": f"Bearer {token}"} if token else {}
        await problem(await client.post(URL + "/abort", headers=head | own), 403)
        assert service.acts == []


async def test_our_own_page_may_behind_a_proxy_that_speaks_tls() -> None:
    """Whatever name the proxy asks by."""
    service = FakeService(TOKEN, url="https://models.example/understudy/")
    head = {"authorization": f"Bearer {TOKEN}", "origin": "https://models.example", "sec-fetch-site": "same-origin"}
    async with serving(service) as client:
        for host in ("models.example", "10.0.0.7:9090"):
            assert (await client.post(URL + "/pause", headers=head | {"host": host})).status == 200


async def test_our_own_page_may(client: Client, service: FakeService) -> None:
    head = {"origin": f"http://{client.host}:{client.port}", "sec-fetch-site": "same-origin"}
    assert (await client.post(URL + "/abort", headers=head)).status == 200
    assert service.acts


@pytest.mark.parametrize("path", ["/", "/api/v1/rollouts", "/no", "/metrics", "/healthz"])
async def test_every_answer_protects_itself(client: Client, path: str) -> None:
    head = (await client.get(path)).headers
    assert "unsafe" not in head["content-security-policy"]
    assert "default-src 'none'" in head["content-security-policy"]
    assert head["x-content-type-options"] == "nosniff"
    assert head["cache-control"] in ("no-store", "no-cache")
