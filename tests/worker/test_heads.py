"""Promise: heads travel as RFC 9110, 7.6 wants it: what is for the next hop stays here, what we add is there once."""

from __future__ import annotations

import time
from email.utils import parsedate_to_datetime

import pytest

from tests.worker.rig import Model, always, eventually, ok, parsed, read_answer, rig
from tests.worker.test_conformance import CONFIG


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


CLAIMS = (
    b"X-Forwarded-For: 1.2.3.4", b"X-Forwarded-For: 5.6.7.8", b"X-Forwarded-Proto: https", b"X-Forwarded-Host: evil",
    b"X-Forwarded-User: root", b"Forwarded: for=9.9.9.9", b"X-Real-IP: 9.9.9.9", b"X-Forwarded_User: root",
)  # fmt: skip


def trusting(*proxies: str) -> str:
    return CONFIG.replace("  limits:", f"  trusted_proxies: {list(proxies)}\n  limits:")


@pytest.mark.parametrize("config", [CONFIG, trusting("10.0.0.0/8", "::1")], ids=["by default", "from others"])
@pytest.mark.parametrize("more", [b"X: y", b"Connection: x-forwarded-for, x-shadow", b"TE: a"])
async def test_what_a_client_says_of_itself_is_not_believed(config: str, more: bytes) -> None:
    model = Model()
    async with rig(config, (model,)) as it:
        for claims in (CLAIMS, CLAIMS[2:3], CLAIMS[4:5], CLAIMS[5:6], CLAIMS[6:7], CLAIMS[7:]):
            await it.ask(b"", *claims, more)
            call = model.calls[-1]
            told = {name: value for name, value in call.headers.items() if "orwarded" in name}
            assert told == {"x-forwarded-for": "127.0.0.1", "x-forwarded-proto": "http", "x-forwarded-host": "test"}
            assert call.head.lower().count(b"forwarded") == 3
            assert "x-real-ip" not in call.headers


@pytest.mark.parametrize("more", [b"X: y", b"Connection: x-forwarded-user, forwarded, x-real-ip"])
async def test_what_a_trusted_proxy_says_of_its_client_is_passed_on(more: bytes) -> None:
    model = Model()
    async with rig(trusting("127.0.0.0/8"), (model,)) as it:
        await it.ask(b"", *CLAIMS, more)
        seen = model.calls[0].headers
        assert seen["x-forwarded-for"] == "1.2.3.4, 5.6.7.8, 127.0.0.1"
        assert (seen["x-forwarded-proto"], seen["x-forwarded-host"], seen["x-forwarded-user"]) == (
            "https",
            "evil",
            "root",
        )
        assert (seen["forwarded"], seen["x-real-ip"]) == ("for=9.9.9.9", "9.9.9.9")
        await it.ask(b"", b"X-Forwarded-Proto: https")
        seen = model.calls[1].headers
        assert (seen["x-forwarded-for"], seen["x-forwarded-proto"]) == ("127.0.0.1", "https")


@pytest.mark.parametrize("config", [CONFIG, trusting("127.0.0.1")], ids=["anybody", "a trusted proxy"])
async def test_nobody_but_us_says_that_a_request_is_a_copy(config: str) -> None:
    model = Model()
    async with rig(config, (model,)) as it:
        for more in (b"X: y", b"Connection: x-shadow", b"X-Forwarded-For: 1.2.3.4"):
            status, _, _ = await it.ask(b"", b"X-Shadow: m", b"x-shadow: again", more)
            assert (status, "x-shadow" in model.calls[-1].headers) == (200, False)
        status, _, _ = await it.ask(b"", b"X_Shadow: m")
        assert status == 400


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


async def test_an_answer_that_does_not_say_when_it_was_made_gets_a_date() -> None:
    """RFC 9110, 6.6.1; the model's own stays as it is."""
    model = Model(always(ok(b"x")))
    async with rig(CONFIG, (model,)) as it:
        for version in (b"1.1", b"1.0"):
            _, headers, _ = parsed(await it.raw(b"GET / HTTP/%b\r\nHost: a\r\nConnection: close\r\n\r\n" % version))
            assert abs(parsedate_to_datetime(headers["date"]).timestamp() - time.time()) < 60
        model.script = always(ok(b"x", b"Date: Tue, 15 Nov 1994 08:12:31 GMT"))
        answer = await it.raw(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        assert b"\r\nDate: Tue, 15 Nov 1994 08:12:31 GMT\r\n" in answer
        assert answer.lower().count(b"\r\ndate:") == 1


@pytest.mark.parametrize(
    "sent", [b"GET /-/healthz HTTP/1.1\r\nHost: a\r\n", b"GET /-/other HTTP/1.0\r\n", b"nonsense\r\n"]
)
async def test_answers_of_our_own_have_a_date(sent: bytes) -> None:
    async with rig(CONFIG, (Model(),)) as it:
        _, headers, _ = parsed(await it.raw(sent + b"Connection: close\r\n\r\n"))
        assert abs(parsedate_to_datetime(headers["date"]).timestamp() - time.time()) < 60


async def test_the_date_goes_with_the_clock() -> None:
    async with rig(CONFIG, (Model(),)) as it:
        context, long_ago = it.worker.context, b"date: Tue, 15 Nov 1994 08:12:31 GMT\r\n"
        context._dated, context.date = 784887151, long_ago
        await eventually(lambda: context.date != long_ago, "a look at the clock")


async def test_spaces_before_a_models_chunked_are_written_anew() -> None:
    said = b"HTTP/1.1 200 OK\r\nTransfer-Encoding:  chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n"
    async with rig(CONFIG, (Model(always(said)),)) as it:
        answer = await it.raw(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        assert b"\r\ntransfer-encoding: chunked\r\n" in answer
        assert answer.lower().count(b"transfer-encoding") == 1


POST_TO = b"POST /m HTTP/1.1\r\nHost: t\r\nX-Tenant: TENANT\r\nAuthorization: TOKEN\r\nContent-Length: 2\r\n\r\n{}"
BY_TENANT = """
server: {listen: '127.0.0.1:0', limits: {max_header: 1KiB}}
upstreams: {a: {url: '{0}'}, b: {url: '{1}'}}
routes: [{name: of-a, match: {headers: {x-tenant: a}}, live: a}, {name: other, live: b}]
"""


async def test_requests_of_one_connection_differ_in_what_their_heads_say() -> None:
    """One after the other, as if each came first: where it belongs, what the model is told, and what is refused."""
    models = Model(), Model()
    async with rig(BY_TENANT, models) as it:
        reader, writer = await it.connect()
        for tenant, token in ((b"a", b"1"), (b"a", b"2"), (b"b", b"2"), (b"b", b"\xc3\xa9"), (b"a", b"3"), (b"a", b"")):
            writer.write(POST_TO.replace(b"TENANT", tenant).replace(b"TOKEN", token))
            status, headers, _ = await read_answer(reader)
            call = models[tenant == b"b"].calls[-1]
            assert (status, headers["x-served-by"]) == (200, tenant.decode())
            assert b"\r\nAuthorization: %b\r\n" % token in call.head
            assert call.head.count(b"uthorization") == 1
            assert call.headers["x-request-id"] == headers["x-request-id"]
        writer.write(POST_TO.replace(b"TENANT", b"a").replace(b"TOKEN", b"x\x00"))
        status, headers, _ = await read_answer(reader)
        assert (status, headers["x-understudy-error"]) == (400, "bad_request")
        writer.close()


async def test_a_head_like_another_has_the_same_limit() -> None:
    async with rig(BY_TENANT, (Model(), Model())) as it:
        reader, writer = await it.connect()
        for size, expected in ((10, 200), (11, 200), (1000, 431)):
            writer.write(POST_TO.replace(b"TOKEN", b"x" * size))
            assert (await read_answer(reader))[0] == expected
        writer.close()
