"""Promise: heads travel as RFC 9110, 7.6 wants it: what is for the next hop stays here, what we add is there once."""

from __future__ import annotations

import pytest

from tests.plane.rig import Model, always, ok, parsed, rig
from tests.plane.test_conformance import CONFIG


async def test_hop_by_hop_headers_stay_here() -> None:
    model = Model(
        always(ok(b"x", b"Connection: keep-alive, X-Secret", b"Keep-Alive: timeout=5", b"X-Secret: 1", b"Via: 1.1 m"))
    )
    async with rig(CONFIG, (model,)) as it:
        _, headers, _ = await it.ask(
            b"", b"Connection: X-Hop, Host, Content-Length", b"X-Hop: 1", b"TE: trailers", b"Proxy-Authorization: x",
            b"Keep-Alive: 1", b"Via: 1.0 other",
        )  # fmt: skip
        seen = model.calls[0].headers
        assert not {"x-hop", "te", "proxy-authorization", "keep-alive", "connection"} & set(seen)
        assert seen["host"] == "test"
        assert seen["content-length"] == "0"
        assert "x-secret" not in headers
        assert "keep-alive" not in headers
        assert headers["via"] == "1.1 m"


async def test_forwarding_headers() -> None:
    model = Model()
    async with rig(CONFIG, (model,)) as it:
        await it.ask(b"", b"X-Forwarded-For: 1.2.3.4", b"X-Forwarded-For: 5.6.7.8", b"X-Forwarded-Proto: https")
        seen = model.calls[0].headers
        assert seen["x-forwarded-for"] == "1.2.3.4, 5.6.7.8, 127.0.0.1"
        assert seen["x-forwarded-proto"] == "https"
        assert seen["x-forwarded-host"] == "test"


@pytest.mark.parametrize(
    ("given", "kept"), [(b"abc-1", True), (b"x" * 129, False), (b"a b", False), (b"\xc3\xa9", False)]
)
async def test_request_ids(given: bytes, kept: bool) -> None:
    model = Model()
    async with rig(CONFIG, (model,)) as it:
        _, headers, _ = await it.ask(b"", b"X-Request-Id: " + given)
        assert (headers["x-request-id"] == given.decode("latin-1")) is kept
        assert model.calls[0].headers["x-request-id"] == headers["x-request-id"]
        assert model.calls[0].head.lower().count(b"x-request-id") == 1


@pytest.mark.parametrize("version", [b"HTTP/1.1", b"HTTP/1.0"])
@pytest.mark.parametrize(
    ("theirs", "asked", "told"),
    [
        (b"req_1", b"", {"x-request-id": "req_1", "x-understudy-request-id": "ours"}),
        (b"req_1", b"X-Request-Id: mine\r\n", {"x-request-id": "req_1", "x-understudy-request-id": "mine"}),
        (b"mine", b"X-Request-Id: mine\r\n", {"x-request-id": "mine"}),
        (b"", b"X-Request-Id: mine\r\n", {"x-request-id": "mine"}),
    ],
)
async def test_a_models_own_request_id_reaches_the_client(
    version: bytes, theirs: bytes, asked: bytes, told: dict[str, str]
) -> None:
    """It is what the model's makers ask for when something went wrong."""
    model = Model(always(ok(b"{}", *([b"X-Request-Id: " + theirs] if theirs else []))))
    async with rig(CONFIG, (model,)) as it:
        raw = await it.raw(b"GET / %b\r\nHost: a\r\nConnection: close\r\n%b\r\n" % (version, asked))
        _, headers, _ = parsed(raw)
        ours = model.calls[0].headers["x-request-id"]
        assert {name: value for name, value in headers.items() if "request-id" in name} == {
            name: value.replace("ours", ours) for name, value in told.items()
        }
        assert raw.lower().count(b"request-id: ") == len(told)


async def test_trace_is_continued_with_a_new_span() -> None:
    model = Model()
    trace = "0af7651916cd43dd8448eb211c80319c"
    async with rig(CONFIG, (model,)) as it:
        await it.ask(b"", b"Traceparent: 00-%b-b7ad6b7169203331-01" % trace.encode(), b"Tracestate: a=b")
        await it.ask(b"", b"Traceparent: nonsense", b"Tracestate: a=b")
        first, second = (call.headers for call in model.calls)
        assert first["traceparent"].split("-")[1] == trace
        assert first["traceparent"].split("-")[2] != "b7ad6b7169203331"
        assert first["tracestate"] == "a=b"
        assert second["traceparent"].startswith("00-")
        assert "tracestate" not in second


async def test_own_paths() -> None:
    async with rig(CONFIG, (Model(),)) as it:
        assert (await it.ask(path=b"/-/healthz", method=b"GET"))[0] == 200
        assert (await it.ask(path=b"/-/readyz", method=b"GET"))[0] == 200
        assert (await it.ask(path=b"/-/other", method=b"GET"))[0] == 404
