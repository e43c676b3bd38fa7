"""Promise: whatever goes wrong, and whoever finds it, the answer says what in problem+json, without our insides."""

from __future__ import annotations

import asyncio
import io
import socket

import orjson
import pytest

from proxy.controller.admin import Port, application
from proxy.controller.admin.problems import server_log
from tests.controller.admin.clients import Client, problem
from tests.controller.fake_service import URL, FakeSender, FakeService


async def test_a_body_that_is_not_in_its_coding_is_the_clients_fault(client: Client) -> None:
    head = {"content-encoding": "gzip"}
    await problem(await client.post("/api/v1/outcomes", data=b"no gzip", headers=head), 400)


async def said(service: FakeService, sent: bytes, *, leaves: bool = False) -> bytes:
    """All that the listening port answers to some bytes; `leaves`: nothing more comes after them."""
    listener = socket.create_server(("127.0.0.1", 0))
    port = Port(application(service, FakeSender()), drain=1.0)
    await port.start(listener)
    reader, writer = await asyncio.open_connection(*listener.getsockname())
    writer.write(sent)
    if leaves:
        writer.write_eof()
    answer = await asyncio.wait_for(reader.read(), 10)  # until the server has closed its end
    writer.close()
    await port.close()
    return answer


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"\x16\x03\x01\x02\x00 no HTTP at all\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: x\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nx-long: " + b"a" * 9000 + b"\r\n\r\n", 400),
        (b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", 400),
        (
            b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nContent-Length: 0\r\nExpect: miracles\r\n\r\n",
            417,
        ),
    ],
    ids=["not HTTP", "a bad length", "a long header", "a long target", "an expectation"],
)
async def test_what_no_handler_sees_is_a_problem_too(service: FakeService, sent: bytes, status: int) -> None:
    head, _, body = (await said(service, sent)).partition(b"\r\n\r\n")
    assert int(head.split(b" ", 2)[1]) == status
    assert b"content-type: application/problem+json" in head.lower()
    assert b"content-security-policy: default-src 'none'" in head.lower()
    told = orjson.loads(body)
    assert (told["status"], bool(told["title"]), bool(told["detail"])) == (status, True, True)


@pytest.mark.parametrize(
    "sent",
    [
        b"POST /api/v1/outcomes HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 9999999\r\n\r\n{",
        b"GET /\xff HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    ],
)
async def test_what_only_a_client_did_wrong_is_not_logged(
    service: FakeService, caplog: pytest.LogCaptureFixture, sent: bytes
) -> None:
    await said(service, sent, leaves=True)
    assert not caplog.records
    try:
        raise ValueError
    except ValueError:
        server_log.exception("a fault of ours")
    assert [record.message for record in caplog.records] == ["a fault of ours"]


async def test_a_broken_store_is_503(client: Client, service: FakeService) -> None:
    service.store.broken = True
    assert "disk full" in (await problem(await client.get(URL + "/journal"), 503))["detail"]


async def test_a_bug_is_a_500_without_its_insides(client: Client, service: FakeService) -> None:
    service.rollouts = None  # type: ignore[method-assign, assignment]
    assert "NoneType" not in (await problem(await client.get("/api/v1/rollouts"), 500))["detail"]


@pytest.mark.parametrize("path", [URL + "x", URL + "x/findings", URL + "x/pairs", URL + "x/charts", URL + "x/journal"])
async def test_an_unknown_rollout_is_404(client: Client, path: str) -> None:
    assert "credit/credit-v2x" in (await problem(await client.get(path), 404))["detail"]


async def test_what_is_not_possible_now_is_409(client: Client) -> None:
    await client.post(URL + "/abort")
    assert "cannot promote" in (await problem(await client.post(URL + "/promote"), 409))["detail"]


async def test_an_unknown_action_or_method_is_refused(client: Client) -> None:
    await problem(await client.post(URL + "/destroy"), 404)
    answer = await client.delete(URL)
    await problem(answer, 405)
    assert "GET" in answer.headers["allow"]
    await problem(await client.get(URL + "/abort"), 405)


async def test_a_long_body_is_413(client: Client, service: FakeService) -> None:
    await problem(await client.post(URL + "/abort", data=io.BytesIO(b" " * (1 << 20) + b"{}")), 413)
    assert service.acts == []


@pytest.mark.parametrize(
    "path", ["/console/../handlers.py", "/console/%2e%2e/interface.py", "/console/", "/console/x.css"]
)
async def test_the_console_serves_its_own_files_only(client: Client, path: str) -> None:
    await problem(await client.get(path), 404)
