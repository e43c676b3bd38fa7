"""Promise: another program that rolls out is told what it needs: pass, fail or inconclusive, by a value or by the
status, for the version that it means, with the findings that decided and no others."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

import pytest

from tests.controller.admin.clients import Client, problem, serving
from tests.controller.fake_service import NAME, URL, FakeService, finding, rollout

NEEDS = [{"what": "pairs", "have": 1000, "want": 1000}]
PASSED = {"verdict": "pass", "stage": rollout()["stage"] | {"needs": NEEDS, "waiting_for": "approval"}}
CASES: list[tuple[dict[str, Any], str]] = [
    ({}, "inconclusive"),
    (PASSED, "pass"),
    ({"verdict": "pass"}, "inconclusive"),  # guards pass, and the stage lacks pairs still
    ({"verdict": "fail"}, "fail"),
    ({"state": "rolled_back", "reason": "abort"}, "fail"),
    ({"state": "rolled_back", "reason": "r", "verdict": "pass"}, "fail"),
    ({"state": "promoted"}, "pass"),
    ({"state": "completed"}, "pass"),
    ({"state": "promoted", "verdict": "fail"}, "fail"),
]


@pytest.mark.parametrize(("changes", "verdict"), CASES)
async def test_what_each_state_says(
    client: Client, service: FakeService, changes: dict[str, Any], verdict: str
) -> None:
    service.all = [rollout(reason=None) | changes]
    answer = await client.get(URL + "/gate")
    assert answer.status == 200
    said = await answer.json()
    assert (said["verdict"], said["name"], said["version"]) == (verdict, NAME, "2026-11-20")
    assert said["reason"]
    hook: dict[str, Any] = {"name": "credit", "namespace": "prod", "phase": "Progressing", "checksum": "85d557f47b"}
    hook["metadata"] = {"version": "2026-11-20"}
    for question, wanted in (("promote", "pass"), ("rollback", "fail")):
        answer = await client.post(f"{URL}/gate/{question}", json=hook)
        if verdict == wanted:
            assert answer.status == 200
        else:
            assert verdict in (await problem(answer, 409))["detail"]
    assert service.acts == [], "asking changes nothing"


async def test_the_findings_that_decided_and_no_others(client: Client, service: FakeService) -> None:
    findings = [
        finding("p99_latency", verdict="pass"),
        finding("max_ks", verdict="fail", segment="eu"),
        finding("max_disagreement", verdict="inconclusive"),
    ]
    for verdict, guards in (("fail", ["max_ks"]), ("inconclusive", [])):
        service.all = [rollout(verdict=verdict, reason=None, findings=findings)]
        said = await (await client.get(URL + "/gate")).json()
        assert [one["guard"] for one in said["findings"]] == guards


async def test_another_version_is_another_candidate(client: Client, service: FakeService) -> None:
    service.all = [rollout() | PASSED]
    assert (await client.post(URL + "/gate/promote?version=2026-11-20")).status == 200
    for method, end in (("get", ""), ("post", "/promote"), ("post", "/rollback")):
        answer = await getattr(client, method)(f"{URL}/gate{end}?version=2026-11-21")
        assert "tries version '2026-11-20'; you ask about '2026-11-21'" in (await problem(answer, 409))["detail"]
    await problem(await client.get("/api/v1/rollouts/no/body/gate"), 404)


async def test_a_yes_or_no_is_of_a_version_that_was_said(client: Client, service: FakeService) -> None:
    """Once promoted, a version's verdict stays pass: for the next canary it must not count."""
    service.all = [rollout(state="promoted", reason=None)]
    for body in ({}, {"metadata": {}}, {"metadata": {"version": 7}}, {"metadata": None}, [], None):
        answer = await client.post(f"{URL}/gate/promote", json=body)
        assert "Which version of" in (await problem(answer, 400))["detail"]
    assert (await problem(await client.post(f"{URL}/gate/rollback"), 400))["detail"]
    hook = {"name": "credit", "metadata": {"version": "2026-11-21"}}
    said = await problem(await client.post(f"{URL}/gate/promote", json=hook), 409)
    assert "you ask about '2026-11-21'" in said["detail"]
    assert (await client.post(f"{URL}/gate/promote?version=2026-11-20", json=hook)).status == 200


async def test_what_is_waited_for_is_said_once(client: Client, service: FakeService) -> None:
    service.all = [rollout(stage=rollout()["stage"] | {"waiting_for": "Waits for 3 more pairs."})]
    assert (await (await client.get(URL + "/gate")).json())["reason"].endswith(": Waits for 3 more pairs.")


async def test_a_program_that_knows_a_url_only_gives_name_and_token_in_it() -> None:
    tokens = ", tokens: [{name: flagger, token: a-token, role: view, routes: [credit]}]"

    def basic(text: str) -> dict[str, str]:
        return {"authorization": f"Basic {b64encode(text.encode()).decode()}"}

    async with serving(FakeService(admin=tokens)) as client:
        assert (await client.get(URL + "/gate", headers=basic("flagger:a-token"))).status == 200
        for wrong in ("flagger:another", "other:a-token", ":a-token", "a-token", ""):
            await problem(await client.get(URL + "/gate", headers=basic(wrong)), 401)
        await problem(await client.get(URL + "/gate", headers={"authorization": "Basic ***"}), 401)
        await problem(await client.post(URL + "/abort", headers=basic("flagger:a-token")), 403)
