"""Promise: the admin port says what the controller says, does what it is told with reason and actor, and takes no
input that it does not understand."""

from __future__ import annotations

from typing import Any

import pytest

from tests.controller.admin.clients import Client, problem
from tests.controller.fake_service import NAME, URL, FakeService


async def test_rollouts_are_as_the_controller_says(client: Client, service: FakeService) -> None:
    assert await (await client.get("/api/v1/rollouts")).json() == {"rollouts": service.all}
    assert await (await client.get(URL)).json() == service.all[0]
    found = await (await client.get(URL + "/findings")).json()
    assert found == {"verdict": "inconclusive", "findings": service.all[0]["findings"]}


async def test_pairs_come_in_the_order_asked_for(client: Client) -> None:
    worst = await (await client.get(URL + "/pairs")).json()
    assert (worst["order"], len(worst["pairs"]), worst["pairs"][0]["id"]) == ("worst", 20, "worst-0")
    latest = await (await client.get(URL + "/pairs?order=latest&limit=3")).json()
    assert [pair["id"] for pair in latest["pairs"]] == ["latest-0", "latest-1", "latest-2"]


async def test_what_can_be_drawn(client: Client) -> None:
    assert (await (await client.get(URL + "/charts")).json())["window"] == 2000
    traffic = await (await client.get("/api/v1/traffic")).json()
    assert traffic["routes"] == {"credit": {"credit-v1": {"served": {"exchanges": 9, "errors": 2}}}}
    one, other = traffic["replicas"]
    assert one == {"name": "host-1", "connected": True, "age_seconds": 0.5, "routes": traffic["routes"]}
    assert other == {"name": "host-2", "connected": False, "age_seconds": None, "routes": {}}


async def test_the_journal_can_be_paged_to_its_end_without_gap_or_repeat(client: Client) -> None:
    seen, before = [], ""
    for _ in range(10):
        page = await (await client.get(f"{URL}/journal?limit=50{before}")).json()
        seen += [entry["number"] for entry in page["journal"]]
        if page["next"] is None:
            break
        before = f"&before={page['next']}"
    assert seen == list(range(120, 0, -1))


async def test_health_is_up_and_ready_says_why_not(client: Client, service: FakeService) -> None:
    assert (await client.get("/healthz")).status == 200
    assert (await client.get("/readyz")).status == 200
    service.not_ready = ["Worker 1 is not connected.", "The server is draining."]
    assert (await client.get("/healthz")).status == 200
    said = await problem(await client.get("/readyz"), 503)
    assert said["reasons"] == service.not_ready


async def test_metrics_are_text(client: Client) -> None:
    answer = await client.get("/metrics")
    assert answer.content_type == "text/plain"
    assert 'understudy_pairs_sampled_total{rollout="credit/credit-v2"} 9.0' in await answer.text()
    new = await client.get("/metrics", headers={"accept": "application/openmetrics-text"})
    assert new.content_type == "application/openmetrics-text"


async def test_a_reload_says_what_is_wrong_with_the_file(client: Client, service: FakeService) -> None:
    assert (await client.post("/-/reload")).status == 200
    service.reload_problem = "routes[0].live: no upstream `credit-v3`"
    assert (await problem(await client.post("/-/reload"), 422))["detail"] == service.reload_problem


async def test_processes_and_webhooks(client: Client) -> None:
    assert (await (await client.get("/api/v1/processes")).json())["controller"] == 3
    [hook] = (await (await client.get("/api/v1/webhooks")).json())["webhooks"]
    assert hook["deliveries"] == {"delivered": 3}


async def test_an_action_carries_its_reason(client: Client, service: FakeService) -> None:
    answer = await client.post(URL + "/promote", json={"reason": "looks good", "full": True})
    assert answer.status == 200
    assert (await answer.json())["name"] == NAME
    assert service.acts == [(NAME, "promote", "looks good", "anonymous", True)]


async def test_an_action_needs_no_body(client: Client, service: FakeService) -> None:
    assert (await client.post(URL + "/abort")).status == 200
    assert service.acts == [(NAME, "abort", "", "anonymous", False)]


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"[]",
        b"null",
        b'{"reason": 1}',
        b'{"actor": "ada"}',
        b'{"full": "yes"}',
        b'{"full": 1}',
        b'{"resaon": "typo"}',
        b'{"reason": "%s"}' % (b"x" * 1001),
        b"\xff\xfe",
        b'{"reason": "\\ud800"}',
    ],
)
async def test_a_bad_body_changes_nothing(client: Client, service: FakeService, body: bytes) -> None:
    await problem(await client.post(URL + "/promote", data=body), 400)
    assert service.acts == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("fine\x1b[2J", "reason holds the control character U+001B"),
        ("a\rb", "U+000D"),
        ("abort\u202etomorp", "U+202E"),
    ],
)
async def test_control_characters_in_a_reason_are_refused(
    client: Client, service: FakeService, text: str, said: str
) -> None:
    answer = await client.post(URL + "/pause", json={"reason": text})
    assert said in (await problem(answer, 400))["detail"]
    assert service.acts == []


async def test_a_reason_may_have_lines_and_any_script(client: Client, service: FakeService) -> None:
    reason = "first\n\tsecond — größer, 更好, \U0001f468\u200d\U0001f4bb"
    assert (await client.post(URL + "/pause", json={"reason": reason})).status == 200
    assert service.acts[0][2] == reason


async def test_full_is_for_promote_only(client: Client, service: FakeService) -> None:
    await problem(await client.post(URL + "/abort", json={"full": True}), 400)
    assert service.acts == []


@pytest.mark.parametrize(
    "path",
    [
        "/pairs?order=best",
        "/pairs?limit=0",
        "/pairs?limit=201",
        "/pairs?limit=-1",
        "/pairs?limit=1e1",
        "/pairs?limit=%D9%A3",
        "/pairs?limits=3",
        "/pairs?limit=3&limit=4",
        "/journal?before=99999999999999999999",
        "/findings?x=1",
        "?x=1",
    ],
)
async def test_a_bad_query_is_400(client: Client, path: str) -> None:
    await problem(await client.get(URL + path), 400)


async def test_outcomes_are_taken_alone_or_as_a_list(client: Client, service: FakeService) -> None:
    one = {"id": "r1", "label": "fraud"}
    many = [{"id": "r2", "value": 0.5}, {"id": "r3", "reward": 1}]
    assert (await (await client.post("/api/v1/outcomes", json=one)).json())["joined"] == 1
    assert (await (await client.post("/api/v1/outcomes", json=many)).json())["joined"] == 2
    assert service.given == [one, *many]
    users = [{"key": "u", "name": "conversion", "value": 1}, {"id": "r4", "name": "revenue", "value": -0.5}]
    assert (await client.post("/api/v1/outcomes", json=users)).status == 200
    assert service.given == [one, *many, *users]


@pytest.mark.parametrize(
    "entry",
    [
        {},
        {"id": "a"},
        {"id": 1, "label": "x"},
        {"id": "", "label": "x"},
        {"id": "a", "label": "x", "value": 1},
        {"id": "a", "value": "x"},
        {"id": "a", "value": True},
        {"id": "a", "label": 0.5},
        {"id": "a", "lable": "x"},
        {"key": "u", "name": "conversion"},
        {"key": "u", "value": 1},
        {"key": "u", "id": "r", "name": "conversion", "value": 1},
        {"key": "", "name": "conversion", "value": 1},
        {"key": 7, "name": "conversion", "value": 1},
        {"key": "u", "name": "1st", "value": 1},
        {"key": "u", "name": "conversion", "value": True},
        {"key": "u", "name": "conversion", "value": 1e13},
        {"key": "u", "name": "conversion", "value": 1, "label": "x"},
        "r1",
    ],
)
async def test_a_bad_outcome_spoils_the_batch_and_is_named(client: Client, service: FakeService, entry: Any) -> None:
    said = await problem(await client.post("/api/v1/outcomes", json=[{"id": "r0", "label": "a"}, entry]), 400)
    assert said["detail"].startswith("Outcome 1:")
    assert service.given == []


async def test_a_label_of_any_size_keeps_its_digits(client: Client, service: FakeService) -> None:
    body = b'[{"id": "r1", "label": 123456789012345678901}, {"id": "r2", "label": 1790000000000000001}]'
    assert (await (await client.post("/api/v1/outcomes", data=body)).json())["joined"] == 2
    assert [entry["label"] for entry in service.given] == ["123456789012345678901", 1790000000000000001]
    await problem(await client.post("/api/v1/outcomes", data=b'{"id": "r1", "label": 1e30}'), 400)
