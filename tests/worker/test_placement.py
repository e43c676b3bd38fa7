"""Promise: an upstream is asked under its own base path, its own paths and with its own headers, whatever asks:
serving, copies, hedges, a live that stands in, dual writes and health checks, over HTTP/1.1 and gRPC. The pair holds
the request as the client wrote it."""

from __future__ import annotations

import grpc
import pytest

from proxy.http.placement import PathRule
from tests.config.files import mistakes
from tests.worker.grpc.models import Client, GrpcModel
from tests.worker.rig import Model, always, eventually, hang, ok, rig

TWO = """
server: {listen: '127.0.0.1:0'}
upstreams:
  v1:
    url: '{0}/live/'
    path: {from: /v1/*, to: /l/*}
    headers: {set: {Authorization: Bearer live}, drop: [x-internal]}
  v2:
    url: '{1}/tenant-b'
    path: {from: /v1/chat, to: /chat}
    headers: {set: {authorization: Bearer theirs, x-shared: '2'}, drop: [x-internal]}
    MORE
routes: [{name: m, live: v1, rollouts: [{candidate: v2, shadow: 100%, fallback: {after: 20ms}}]}]
"""
REQUEST = (
    b"POST /v1/chat?a=/v1/b HTTP/1.1\r\nHost: t\r\nAUTHORIZATION: mine\r\nX-Internal: a\r\nx_internal: b\r\n"
    b"x-kept: c\r\n"
    b"Connection: close\r\nContent-Length: 20\r\n\r\nPOST /v1/chat?a HTTP"
)


def first_line(call_head: bytes) -> bytes:
    return call_head.split(b"\r\n", 1)[0]


def seen(model: Model) -> set[tuple[bytes | str | None, ...]]:
    """Request line, key, what is to be left out and what is not."""
    return {
        (
            first_line(call.head),
            call.headers["authorization"],
            call.headers.get("x-internal"),
            call.headers.get("x-kept"),
        )
        for call in model.calls
        if call.head.startswith(b"POST")
    }


AT_LIVE = (b"POST /live/l/chat?a=/v1/b HTTP/1.1", "Bearer live", None, "c")
AT_CANDIDATE = (b"POST /tenant-b/chat?a=/v1/b HTTP/1.1", "Bearer theirs", None, "c")


async def test_requests_that_a_path_does_not_name_are_counted_and_checks_are_not() -> None:
    live, candidate = Model(), Model()
    async with rig(TWO.replace("MORE", "health: {path: /ready, interval: 10ms}"), (live, candidate)) as it:
        await it.lane()
        await eventually(lambda: it.trial.ready)
        for path in (b"/v1/chat", b"/v1/other", b"/v2/x"):
            assert (await it.ask(path=path))[0] == 200
        await it.settled("v2")
        await eventually(lambda: it.controller.counts.get("paths") == [["v1", 1], ["v2", 2]])


async def test_copies_and_pairs() -> None:
    live, candidate = Model(), Model()
    async with rig(TWO.replace("MORE", ""), (live, candidate)) as it:
        await it.lane()
        assert (await it.raw(REQUEST)).startswith(b"HTTP/1.1 200")
        await eventually(lambda: it.controller.pairs)
        assert (seen(live), seen(candidate)) == ({AT_LIVE}, {AT_CANDIDATE})
        assert all(b"internal" not in call.head.lower() for call in (*live.calls, *candidate.calls))
        assert all(call.body == b"POST /v1/chat?a HTTP" for call in (*live.calls, *candidate.calls))
        (pair,) = it.controller.pairs
        assert pair.request_head.startswith(b"POST /v1/chat?a=/v1/b HTTP/1.1\r\nHost: t\r\n")
        assert b"Bearer" not in pair.request_head


async def test_a_candidate_that_serves_and_live_in_its_place_and_behind_it() -> None:
    for script in (hang, always(ok(status=b"500 No")), always(ok())):
        live, candidate = Model(), Model(script)
        async with rig(TWO.replace("MORE", ""), (live, candidate)) as it:
            await it.lane(10_000 if script is hang else 5_000)
            for _ in range(12):
                assert (await it.raw(REQUEST)).startswith(b"HTTP/1.1 200")
            await eventually(lambda live=live: live.calls)
            assert (seen(live), seen(candidate)) == ({AT_LIVE}, {AT_CANDIDATE})
            assert any("x-shadow" not in call.headers for call in candidate.calls)


async def test_health_checks() -> None:
    candidate = Model()
    more = "health: {path: /v1/chat, interval: 20ms}"
    async with rig(TWO.replace("MORE", more), (Model(), candidate)) as it:
        await it.lane()
        await eventually(lambda: it.trial.ready)
        (check, *_) = candidate.calls
        assert first_line(check.head) == b"GET /tenant-b/chat HTTP/1.1"
        assert check.headers["authorization"] == "Bearer theirs"


async def test_dual_writes() -> None:
    live, candidate = Model(), Model()
    config = TWO.replace("MORE", "").replace(
        "rollouts: [{candidate: v2, shadow: 100%, fallback: {after: 20ms}}]", "DUAL"
    )
    async with rig(config.replace("DUAL", "dual_write: {upstream: v2}"), (live, candidate)) as it:
        assert (await it.raw(REQUEST)).startswith(b"HTTP/1.1 200")
        assert (seen(live), seen(candidate)) == ({AT_LIVE}, {AT_CANDIDATE})


async def test_each_url_has_its_own_base_and_a_leg_that_goes_on_is_changed_anew() -> None:
    model = Model()
    config = "upstreams: {m: {urls: ['http://127.0.0.1:1/a', '{0}/b']}}\nroutes: [{name: all, live: m}]"
    async with rig("server: {listen: '127.0.0.1:0'}\n" + config, (model,)) as it:
        for _ in range(8):
            assert (await it.raw(REQUEST)).startswith(b"HTTP/1.1 200")
        assert {first_line(call.head) for call in model.calls} == {b"POST /b/v1/chat?a=/v1/b HTTP/1.1"}


async def test_options_of_the_whole_server_stays() -> None:
    model = Model()
    config = "upstreams: {m: {url: '{0}/b', path: {from: /*, to: /c/*}}}\nroutes: [{name: all, live: m}]"
    async with rig("server: {listen: '127.0.0.1:0'}\n" + config, (model,)) as it:
        await it.raw(b"OPTIONS * HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n")
        assert first_line(model.calls[0].head) == b"OPTIONS * HTTP/1.1"


async def test_grpc_in_path_and_metadata() -> None:
    found: list[tuple[str, list[object]]] = []

    def script(call, messages):  # type: ignore[no-untyped-def]
        details = call.context._rpc_event.call_details
        metadata = dict(call.context.invocation_metadata())
        found.append((details.method.decode(), [metadata.get("authorization"), metadata.get("x-internal")]))
        yield from messages

    config = """
server: {listen: '127.0.0.1:0', grpc_listen: '127.0.0.1:0'}
upstreams: {m: {url: '{0}', path: {from: /inference.Old/*, to: /inference.GRPCInferenceService/*},
                headers: {set: {authorization: Bearer theirs}, drop: [x-internal]}}}
routes: [{name: all, live: m}]
"""
    async with rig(config, [GrpcModel(script)], grpc=True) as it:
        with Client(it.grpc_port) as client:
            metadata = (("x-internal", "a"), ("authorization", "mine"))
            said = await client.ask(b"x", method="/inference.Old/ModelInfer", metadata=metadata)
            assert said.code == grpc.StatusCode.OK
    assert found == [("/inference.GRPCInferenceService/ModelInfer", ["Bearer theirs", None])]


@pytest.mark.parametrize(
    ("start", "to", "path", "asked"),
    [
        ("/a", "/b", b"/a", b"/b"),
        ("/a", "/b", b"/a/", b"/a/"),
        ("/a*", "/b*", b"/a", b"/b"),
        ("/a/*", "/*", b"/a/c", b"/c"),
        ("/*", "/x/*", b"/", b"/x/"),
        ("/a/*", "/b/*", b"/a", b"/a"),
    ],
)
def test_a_rule_is_exact_or_a_prefix(start: str, to: str, path: bytes, asked: bytes) -> None:
    assert PathRule(start, to).apply(path) == asked


@pytest.mark.parametrize(
    ("upstream", "path", "said"),
    [
        ("path: {from: /a*, to: /b}", "path", "the same rest in both"),
        ("path: {from: /a*c, to: /b*c}", "path", "the same rest in both"),
        ("path: {from: '/a?x', to: /b}", "path", "without query"),
        ("path: {from: a, to: /b}", "path", "begins with a slash"),
        ("path: {from: /a}", "path", "expected `{from: /v1/*, to: /openai/*}`"),
        ("path: /a", "path", "expected `{from: /v1/*, to: /openai/*}`"),
        ("headers: {set: {Host: a}}", "headers.set", "`host` is set by the proxy"),
        ("headers: {drop: [Content-Length]}", "headers.drop", "`content-length` is set by the proxy"),
        ('headers: {set: {x: "a\\n"}}', "headers.set.x", "expected the value of a header"),
    ],
)
def test_what_cannot_be_is_refused(upstream: str, path: str, said: str) -> None:
    text = f"upstreams: {{m: {{url: 'http://a', {upstream}}}}}\nroutes: [{{name: all, live: m}}]"
    assert said in mistakes(text)[f"upstreams.m.{path}"]
