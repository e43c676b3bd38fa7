"""Promise: everybody does what their role allows, on their routes, and nothing else; whoever acts is who was proven.

Every endpoint declares what it needs; one that declares nothing is open to nobody.
"""

from __future__ import annotations

from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from proxy.controller.admin import application
from proxy.controller.admin.callers import About, Needs, Role
from proxy.controller.admin.interface import ACTIONS
from tests.controller.admin.clients import problem, serving
from tests.controller.fake_service import NAME, URL, FakeSender, FakeService, rollout

TOKENS = (
    ", tokens: [{name: boss, token: the-boss, role: admin}, {name: ops, token: an-operator, role: operate},"
    " {name: reader, token: a-reader, role: view}, {name: fraud, token: of-fraud, role: operate, routes: [default]},"
    " {name: credit, token: of-credit, role: operate, routes: [credit]}]"
)
BEARERS = {"boss": "the-boss", "ops": "an-operator", "reader": "a-reader", "fraud": "of-fraud", "credit": "of-credit"}
SEES = {"boss", "ops", "reader", "credit"}
OPERATES = {"boss", "ops", "credit"}


def of(name: str) -> dict[str, str]:
    return {"authorization": f"Bearer {BEARERS[name]}"}


def service() -> FakeService:
    return FakeService(admin=TOKENS)


def test_every_endpoint_declares_what_it_needs() -> None:
    app = application(FakeService(), FakeSender())
    undeclared = [
        f"{route.method} {route.resource.canonical if route.resource else ''}"
        for route in app.router.routes()
        if not isinstance(getattr(route.handler, "needs", None), Needs)
    ]
    assert undeclared == []


def test_what_is_about_the_route_in_its_path_has_one_there() -> None:
    for route in application(FakeService(), FakeSender()).router.routes():
        path = route.resource.canonical if route.resource else ""
        assert (route.handler.needs.about is About.PATH) == ("{route}" in path), path


OPEN = {
    "/api/v1/hooks/{kind}",
    "/healthz", "/readyz", "/metrics", "/", "/console/{path}", "/auth/login", "/auth/callback", "/auth/logout",
}  # fmt: skip


def test_what_is_open_to_all_is_listed_here() -> None:
    routes = application(FakeService(), FakeSender()).router.routes()
    assert {one.resource.canonical for one in routes if one.resource and one.handler.needs.role is None} == OPEN


async def test_an_endpoint_that_declares_nothing_is_open_to_nobody() -> None:
    async def forgotten(request: web.Request) -> web.Response:
        return web.Response()

    app = application(service(), FakeSender())
    app.router.add_get("/api/v1/forgotten", forgotten)
    async with TestClient(TestServer(app)) as client:
        said = await problem(await client.get("/api/v1/forgotten", headers=of("boss")), 403)
        assert "does not say which role it needs" in said["detail"]


@pytest.mark.parametrize("name", BEARERS)
async def test_who_may_read_a_rollout(name: str) -> None:
    async with serving(service()) as client:
        for end in ("", "/findings", "/pairs", "/charts", "/journal"):
            status = (await client.get(URL + end, headers=of(name))).status
            assert status == (200 if name in SEES else 403), end


@pytest.mark.parametrize("name", BEARERS)
@pytest.mark.parametrize("action", ACTIONS)
async def test_who_may_act_on_a_rollout(name: str, action: str) -> None:
    fake = service()
    async with serving(fake) as client:
        answer = await client.post(f"{URL}/{action}", json={"reason": "so be it"}, headers=of(name))
        if name not in OPERATES:
            assert (await problem(answer, 403))["needs"] == "operate"
            assert fake.acts == []
        elif answer.status == 200:
            assert fake.acts == [(NAME, action, "so be it", f"token:{name}", False)]
        else:
            await problem(answer, 409)


async def test_a_refusal_says_what_is_needed_and_what_there_is() -> None:
    async with serving(service()) as client:
        said = await problem(await client.post(URL + "/abort", headers=of("reader")), 403)
        assert said["detail"] == "This needs the role operate on the route credit; token:reader has view there."
        assert (said["needs"], said["actor"]) == ("operate", "token:reader")
        said = await problem(await client.post(URL + "/abort", headers=of("fraud")), 403)
        assert said["detail"].endswith("token:fraud has no role there, but operate on default.")
        said = await problem(await client.post("/-/reload", headers=of("ops")), 403)
        assert said["detail"] == "This needs the role admin on all routes; token:ops has operate."


@pytest.mark.parametrize("name", BEARERS)
async def test_only_an_admin_reloads(name: str) -> None:
    async with serving(service()) as client:
        assert (await client.post("/-/reload", headers=of(name))).status == (200 if name == "boss" else 403)


async def test_the_body_does_not_say_who_acts() -> None:
    fake = service()
    async with serving(fake) as client:
        answer = await client.post(URL + "/abort", json={"reason": "r", "actor": "boss"}, headers=of("ops"))
        assert "Unknown field 'actor'" in (await problem(answer, 400))["detail"]
        assert fake.acts == []


async def test_lists_hold_what_their_reader_may_see() -> None:
    fake = service()
    fake.all.append(rollout(name="fraud/v2", route="fraud", live="f1", candidate="v2"))

    async def asked(path: str, name: str) -> dict[str, Any]:
        async with serving(fake) as client:
            answer = await client.get(path, headers=of(name))
            assert answer.status == 200
            body: dict[str, Any] = await answer.json()
            return body

    names = [one["name"] for one in (await asked("/api/v1/rollouts", "credit"))["rollouts"]]
    assert names == [NAME]
    assert len((await asked("/api/v1/rollouts", "reader"))["rollouts"]) == 2
    assert (await asked("/api/v1/rollouts", "fraud"))["rollouts"] == []
    assert list((await asked("/api/v1/traffic", "credit"))["routes"]) == ["credit"]
    assert (await asked("/api/v1/traffic", "fraud"))["routes"] == {}
    assert all(one["routes"] == {} for one in (await asked("/api/v1/traffic", "fraud"))["replicas"])


async def test_what_concerns_all_routes_is_for_those_who_see_them_all() -> None:
    async with serving(service()) as client:
        assert (await client.get("/api/v1/webhooks", headers=of("reader"))).status == 200
        await problem(await client.get("/api/v1/webhooks", headers=of("credit")), 403)


async def test_the_configuration_is_told_without_what_others_wrote() -> None:
    fake = service()
    fake.refused = {"error": "teams/credit.yaml, line 3: a secret plan", "at": "2025-11-29T07:06:41Z", "by": "watch"}

    async def asked(name: str) -> dict[str, Any]:
        async with serving(fake) as client:
            found: dict[str, Any] = await (await client.get("/api/v1/config", headers=of(name))).json()
            return found

    whole, some = await asked("reader"), await asked("fraud")
    assert whole == fake.config_in_force()
    assert some["files"] == [{"name": "understudy.yaml", "owner": None}]
    assert "credit" not in str(some)
    assert {
        **some,
        "files": whole["files"],
        "refused": {**some["refused"], "error": whole["refused"]["error"]},
    } == whole
    owned = [route.model_copy(update={"owner": "credit"}) for route in fake.config.routes if route.name == "credit"]
    rest = [route for route in fake.config.routes if route.name != "credit"]
    fake.config = fake.config.model_copy(update={"routes": (*owned, *rest)})
    assert (await asked("credit"))["files"] == whole["files"]
    assert (await asked("fraud"))["files"] == some["files"]


async def test_events_are_those_of_the_readers_routes() -> None:
    fake = service()
    async with serving(fake) as client:
        answer = await client.get("/api/v1/events", headers=of("credit"))
        await answer.content.readuntil(b"\n\n")
        fake.emit("rollout.promoted", {"rollout": "fraud/v2"})
        fake.emit("config.changed", {})
        fake.emit("rollout.changed", {"rollout": NAME})
        assert b"rollout.changed" in await answer.content.readuntil(b"\n\n")
        answer.close()


@pytest.mark.parametrize(("name", "routes"), [("ops", None), ("credit", {"credit"}), ("fraud", {"default"})])
async def test_labels_reach_the_rollouts_of_their_senders_routes(name: str, routes: set[str] | None) -> None:
    fake = service()
    async with serving(fake) as client:
        answer = await client.post("/api/v1/outcomes", json={"id": "a", "label": 1}, headers=of(name))
        assert answer.status == 200
    assert fake.given_for == routes


async def test_labels_are_not_a_readers_to_post() -> None:
    fake = service()
    async with serving(fake) as client:
        await problem(await client.post("/api/v1/outcomes", json={"id": "a", "label": 1}, headers=of("reader")), 403)
    assert fake.given == []


async def test_one_is_told_who_one_is() -> None:
    async with serving(service()) as client:
        said = await (await client.get("/api/v1/me", headers=of("credit"))).json()
        assert said["actor"] == "token:credit"
        assert said["grants"] == [{"role": "operate", "routes": ["credit"]}]
        await problem(await client.get("/api/v1/me"), 401)
    async with serving(FakeService()) as client:
        assert (await (await client.get("/api/v1/me")).json())["proven"] is False


def test_roles_are_ordered() -> None:
    assert Role.VIEW < Role.OPERATE < Role.ADMIN
