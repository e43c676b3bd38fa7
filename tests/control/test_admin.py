"""Promise: the admin port gives data only to those who may have it, changes nothing for another site's page, says what
is wrong in problem+json whatever is sent to it, and a reader that never reads or leaves holds nothing up."""

from __future__ import annotations

import asyncio
import io
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import orjson
import pytest
from aiohttp import ClientResponse, web
from aiohttp.test_utils import TestClient, TestServer

from proxy.control.admin import application, server_log, stream
from proxy.control.admin.openapi import DOCUMENT
from proxy.control.view import ACTIONS
from tests.control.surface import NAME, URL, FakeSender, FakeSurface

TOKEN = "sesame-0123456789"
Client = TestClient[web.Request, web.Application]


@asynccontextmanager
async def serving(surface: FakeSurface) -> AsyncIterator[Client]:
    async with TestClient(TestServer(application(surface, FakeSender()))) as client:
        yield client


@pytest.fixture
def surface() -> FakeSurface:
    return FakeSurface()


@pytest.fixture
async def client(surface: FakeSurface) -> AsyncIterator[Client]:
    async with serving(surface) as found:
        yield found


async def problem(answer: ClientResponse, status: int) -> dict[str, Any]:
    """The body of an error, which must be a problem (RFC 9457) of that status."""
    assert (answer.status, answer.content_type) == (status, "application/problem+json")
    body: dict[str, Any] = orjson.loads(await answer.read())
    assert body["status"] == status
    assert body["title"]
    assert body["detail"]
    return body


# --- what is there ---------------------------------------------------------------------------------------------------


async def test_rollouts_are_as_the_controller_says(client: Client, surface: FakeSurface) -> None:
    assert await (await client.get("/api/v1/rollouts")).json() == {"rollouts": surface.all}
    assert await (await client.get(URL)).json() == surface.all[0]
    found = await (await client.get(URL + "/findings")).json()
    assert found == {"verdict": "watching", "findings": surface.all[0]["findings"]}


@pytest.mark.parametrize("path", [URL + "x", URL + "x/findings", URL + "x/pairs", URL + "x/charts", URL + "x/journal"])
async def test_an_unknown_rollout_is_404(client: Client, path: str) -> None:
    assert "credit/credit-v2x" in (await problem(await client.get(path), 404))["detail"]


async def test_pairs_come_in_the_order_asked_for(client: Client) -> None:
    worst = await (await client.get(URL + "/pairs")).json()
    assert (worst["order"], len(worst["pairs"]), worst["pairs"][0]["id"]) == ("worst", 20, "worst-0")
    latest = await (await client.get(URL + "/pairs?order=latest&limit=3")).json()
    assert [pair["id"] for pair in latest["pairs"]] == ["latest-0", "latest-1", "latest-2"]


async def test_what_can_be_drawn(client: Client) -> None:
    assert (await (await client.get(URL + "/charts")).json())["window"] == 2000
    routes = (await (await client.get("/api/v1/traffic")).json())["routes"]
    assert routes == {"credit": {"credit-v1": {"served": {"exchanges": 9, "errors": 2}}}}


async def test_the_journal_can_be_paged_to_its_end_without_gap_or_repeat(client: Client) -> None:
    seen, before = [], ""
    for _ in range(10):
        page = await (await client.get(f"{URL}/journal?limit=50{before}")).json()
        seen += [entry["number"] for entry in page["journal"]]
        if page["next"] is None:
            break
        before = f"&before={page['next']}"
    assert seen == list(range(120, 0, -1))


async def test_health_is_up_and_ready_says_why_not(client: Client, surface: FakeSurface) -> None:
    assert (await client.get("/healthz")).status == 200
    assert (await client.get("/readyz")).status == 200
    surface.not_ready = ["Worker 1 is not connected.", "The server is draining."]
    assert (await client.get("/healthz")).status == 200
    said = await problem(await client.get("/readyz"), 503)
    assert said["reasons"] == surface.not_ready


async def test_metrics_are_text(client: Client) -> None:
    answer = await client.get("/metrics")
    assert answer.content_type == "text/plain"
    assert 'understudy_pairs_sampled_total{rollout="credit/credit-v2"} 9.0' in await answer.text()
    new = await client.get("/metrics", headers={"accept": "application/openmetrics-text"})
    assert new.content_type == "application/openmetrics-text"


async def test_a_reload_says_what_is_wrong_with_the_file(client: Client, surface: FakeSurface) -> None:
    assert (await client.post("/-/reload")).status == 200
    surface.reload_problem = "routes[0].live: no upstream `credit-v3`"
    assert (await problem(await client.post("/-/reload"), 422))["detail"] == surface.reload_problem


async def test_processes_and_webhooks(client: Client) -> None:
    assert (await (await client.get("/api/v1/processes")).json())["controller"] == 3
    [hook] = (await (await client.get("/api/v1/webhooks")).json())["webhooks"]
    assert hook["deliveries"] == {"delivered": 3}


# --- acting by hand --------------------------------------------------------------------------------------------------


async def test_an_action_carries_reason_and_actor(client: Client, surface: FakeSurface) -> None:
    answer = await client.post(URL + "/promote", json={"reason": "looks good", "actor": "ada", "full": True})
    assert answer.status == 200
    assert (await answer.json())["name"] == NAME
    assert surface.acts == [(NAME, "promote", "looks good", "ada", True)]


async def test_an_action_needs_no_body(client: Client, surface: FakeSurface) -> None:
    assert (await client.post(URL + "/abort")).status == 200
    assert surface.acts == [(NAME, "abort", "", "api", False)]


async def test_what_is_not_possible_now_is_409(client: Client) -> None:
    await client.post(URL + "/abort")
    assert "cannot promote" in (await problem(await client.post(URL + "/promote"), 409))["detail"]


async def test_an_unknown_action_or_method_is_refused(client: Client) -> None:
    await problem(await client.post(URL + "/destroy"), 404)
    answer = await client.delete(URL)
    await problem(answer, 405)
    assert "GET" in answer.headers["allow"]
    await problem(await client.get(URL + "/abort"), 405)


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"[]",
        b"null",
        b'{"reason": 1}',
        b'{"actor": ""}',
        b'{"full": "yes"}',
        b'{"full": 1}',
        b'{"resaon": "typo"}',
        b'{"reason": "%s"}' % (b"x" * 1001),
        b"\xff\xfe",
        b'{"reason": "\\ud800"}',
    ],
)
async def test_a_bad_body_changes_nothing(client: Client, surface: FakeSurface, body: bytes) -> None:
    await problem(await client.post(URL + "/promote", data=body), 400)
    assert surface.acts == []


@pytest.mark.parametrize(
    ("field", "text", "said"),
    [
        ("reason", "fine\x1b[2J", "reason holds the control character U+001B"),
        ("reason", "a\rb", "U+000D"),
        ("reason", "abort\u202etomorp", "U+202E"),
        ("actor", "ada\nTo: everybody", "actor holds the control character U+000A"),
    ],
)
async def test_control_characters_in_a_reason_or_an_actor_are_refused(
    client: Client, surface: FakeSurface, field: str, text: str, said: str
) -> None:
    answer = await client.post(URL + "/pause", json={field: text})
    assert said in (await problem(answer, 400))["detail"]
    assert surface.acts == []


async def test_a_reason_may_have_lines_and_any_script(client: Client, surface: FakeSurface) -> None:
    reason = "first\n\tsecond — größer, 更好, \U0001f468\u200d\U0001f4bb"
    assert (await client.post(URL + "/pause", json={"reason": reason})).status == 200
    assert surface.acts[0][2] == reason


async def test_full_is_for_promote_only(client: Client, surface: FakeSurface) -> None:
    await problem(await client.post(URL + "/abort", json={"full": True}), 400)
    assert surface.acts == []


async def test_a_long_body_is_413(client: Client, surface: FakeSurface) -> None:
    await problem(await client.post(URL + "/abort", data=io.BytesIO(b" " * (1 << 20) + b"{}")), 413)
    assert surface.acts == []


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


async def test_outcomes_are_taken_alone_or_as_a_list(client: Client, surface: FakeSurface) -> None:
    one = {"id": "r1", "label": "fraud"}
    many = [{"id": "r2", "value": 0.5}, {"id": "r3", "reward": 1}]
    assert (await (await client.post("/api/v1/outcomes", json=one)).json())["joined"] == 1
    assert (await (await client.post("/api/v1/outcomes", json=many)).json())["joined"] == 2
    assert surface.given == [one, *many]


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
        "r1",
    ],
)
async def test_a_bad_outcome_spoils_the_batch_and_is_named(client: Client, surface: FakeSurface, entry: Any) -> None:
    said = await problem(await client.post("/api/v1/outcomes", json=[{"id": "r0", "label": "a"}, entry]), 400)
    assert said["detail"].startswith("Outcome 1:")
    assert surface.given == []


async def test_a_broken_store_is_503(client: Client, surface: FakeSurface) -> None:
    surface.store.broken = True
    assert "disk full" in (await problem(await client.get(URL + "/journal"), 503))["detail"]


async def test_a_bug_is_a_500_without_its_insides(client: Client, surface: FakeSurface) -> None:
    surface.rollouts = None  # type: ignore[method-assign, assignment]
    assert "NoneType" not in (await problem(await client.get("/api/v1/rollouts"), 500))["detail"]


# --- who may ---------------------------------------------------------------------------------------------------------

READS = ["/api/v1/rollouts", URL, URL + "/pairs", "/api/v1/events", "/api/v1/processes", "/api/v1/openapi.json", "/no"]


@pytest.mark.parametrize("path", READS)
@pytest.mark.parametrize("given", [None, "Bearer wrong", f"Basic {TOKEN}", TOKEN, "Bearer", f"Bearer {TOKEN}x"])
async def test_without_the_token_nothing_is_read(path: str, given: str | None) -> None:
    async with serving(FakeSurface(TOKEN)) as client:
        answer = await client.get(path, headers={"authorization": given} if given else {})
        await problem(answer, 401)
        assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("action", ACTIONS)
async def test_without_the_token_nothing_is_changed(action: str) -> None:
    surface = FakeSurface(TOKEN)
    async with serving(surface) as client:
        await problem(await client.post(f"{URL}/{action}"), 401)
        await problem(await client.post("/-/reload"), 401)
        assert surface.acts == []


async def test_with_the_token_everything_is() -> None:
    surface = FakeSurface(TOKEN)
    async with serving(surface) as client:
        for scheme in ("Bearer", "bearer"):
            head = {"authorization": f"{scheme} {TOKEN}"}
            assert (await client.get(URL, headers=head)).status == 200
        assert (await client.post(URL + "/pause", headers=head)).status == 200
        # A token is not something a browser adds by itself, so the name of the host does not matter.
        assert (await client.get(URL, headers=head | {"host": "understudy.prod.svc"})).status == 200


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics"])
async def test_health_and_metrics_need_neither_token_nor_name(path: str) -> None:
    async with serving(FakeSurface(TOKEN)) as client:
        assert (await client.get(path, headers={"host": "10.0.0.7.example"})).status == 200
    async with serving(FakeSurface()) as client:
        assert (await client.get(path, headers={"host": "understudy.example"})).status == 200


@pytest.mark.parametrize("host", ["evil.example", "evil.example:9090", "127.0.0.1.evil.example", "[::1", ""])
async def test_a_rebound_name_reads_and_changes_nothing(client: Client, surface: FakeSurface, host: str) -> None:
    await problem(await client.get(URL + "/pairs", headers={"host": host}), 403)
    await problem(await client.post(URL + "/abort", headers={"host": host}), 403)
    assert surface.acts == []


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
        {"origin": "http://[::1"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
async def test_another_sites_page_changes_nothing(token: str | None, head: dict[str, str]) -> None:
    surface = FakeSurface(token)
    async with serving(surface) as client:
        own = {"authorization": f"Bearer {token}"} if token else {}
        await problem(await client.post(URL + "/abort", headers=head | own), 403)
        assert surface.acts == []


async def test_a_body_that_is_not_in_its_coding_is_the_clients_fault(client: Client) -> None:
    head = {"content-encoding": "gzip"}
    await problem(await client.post("/api/v1/outcomes", data=b"no gzip", headers=head), 400)


@pytest.mark.parametrize(
    "sent",
    [
        b"POST /api/v1/outcomes HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 9999999\r\n\r\n{",
        b"GET /\xff HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    ],
)
async def test_what_only_a_client_did_wrong_is_not_logged(
    surface: FakeSurface, caplog: pytest.LogCaptureFixture, sent: bytes
) -> None:
    runner = web.AppRunner(application(surface, FakeSender()), access_log=None, logger=server_log)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    reader, writer = await asyncio.open_connection(*runner.addresses[0][:2])
    writer.write(sent)
    writer.write_eof()
    await asyncio.wait_for(reader.read(), 10)  # the server has seen the end, and closed its own
    writer.close()
    await runner.cleanup()
    assert not caplog.records
    try:
        raise ValueError
    except ValueError:
        server_log.exception("a fault of ours")
    assert [record.message for record in caplog.records] == ["a fault of ours"]


async def test_our_own_page_may(client: Client, surface: FakeSurface) -> None:
    head = {"origin": f"http://{client.host}:{client.port}", "sec-fetch-site": "same-origin"}
    assert (await client.post(URL + "/abort", headers=head)).status == 200
    assert surface.acts


@pytest.mark.parametrize("path", ["/", "/api/v1/rollouts", "/no", "/metrics", "/healthz"])
async def test_every_answer_protects_itself(client: Client, path: str) -> None:
    head = (await client.get(path)).headers
    assert "unsafe" not in head["content-security-policy"]
    assert "default-src 'none'" in head["content-security-policy"]
    assert head["x-content-type-options"] == "nosniff"
    assert head["cache-control"] in ("no-store", "no-cache")


@pytest.mark.parametrize("path", ["/console/../handlers.py", "/console/%2e%2e/view.py", "/console/", "/console/x.css"])
async def test_the_console_serves_its_own_files_only(client: Client, path: str) -> None:
    await problem(await client.get(path), 404)


# --- events ----------------------------------------------------------------------------------------------------------


async def line(answer: ClientResponse, start: bytes) -> bytes:
    async with asyncio.timeout(5):
        async for found in answer.content:
            if found.startswith(start):
                return found
    raise AssertionError(f"the stream ended without {start!r}")


async def test_events_arrive_as_they_happen(client: Client, surface: FakeSurface) -> None:
    async with client.get("/api/v1/events") as answer:
        assert answer.content_type == "text/event-stream"
        surface.emit("rollout.rolled_back", {"rollout": "<script>\n</script>"})
        assert await line(answer, b"event:") == b"event: rollout.rolled_back\n"
        data = orjson.loads((await line(answer, b"data:"))[6:])
        assert data["data"]["rollout"] == "<script>\n</script>"


async def test_a_silent_stream_has_a_heartbeat(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "HEARTBEAT", 0.01)
    async with client.get("/api/v1/events") as answer:
        assert await line(answer, b":")


async def test_a_reader_that_leaves_is_forgotten(
    client: Client, surface: FakeSurface, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "HEARTBEAT", 0.01)
    answer = await client.get("/api/v1/events")
    assert len(surface.queues) == 1
    answer.close()
    async with asyncio.timeout(5):
        while surface.queues:  # noqa: ASYNC110 - the server notices at its next write
            await asyncio.sleep(0.005)


async def test_there_are_only_so_many_readers(
    client: Client, surface: FakeSurface, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "MAX_READERS", 2)
    held = [await client.get("/api/v1/events") for _ in range(2)]
    await problem(await client.get("/api/v1/events"), 503)
    assert len(surface.queues) == 2
    for answer in held:
        answer.close()


async def test_a_shutdown_ends_the_streams(surface: FakeSurface) -> None:
    async with serving(surface) as client:
        answer = await client.get("/api/v1/events")
        async with asyncio.timeout(5):
            await client.server.close()
            assert (await answer.content.read()).startswith(b"retry:")
    assert surface.queues == []


# --- the description -------------------------------------------------------------------------------------------------


async def test_every_route_is_described_and_every_description_is_a_route(client: Client) -> None:
    served = set()
    for route in client.server.app.router.routes():  # type: ignore[attr-defined]
        path = route.resource.canonical if route.resource else ""
        if route.method == "HEAD" or path in ("/", "/console/{path}"):
            continue
        actions = ACTIONS if "{action}" in path else ("",)
        served |= {(re.sub(r"\{action\}", action, path), route.method.lower()) for action in actions}
    described = {
        (path, method) for path, item in DOCUMENT["paths"].items() for method in item if method != "parameters"
    }
    assert served == described


async def test_the_description_is_served(client: Client) -> None:
    assert await (await client.get("/api/v1/openapi.json")).json() == DOCUMENT
