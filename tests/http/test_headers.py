"""Promise: heads mean what RFC 9110 and 9112 say, nothing hop-by-hop travels on, and the rest travels as it came."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.http.answer_head import id_line, read_answer
from proxy.http.forwarding import forwarded, trace
from proxy.http.headers import CHUNKED, UNTIL_CLOSE, HeadError, without
from proxy.http.request_head import may_become_a_head, read_request, request_scanner

TOKEN = st.text("abcdefghijklmnopqrstuvwxyzABCXYZ0123456789-_.!", min_size=1, max_size=12).map(str.encode)
VALUE = st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=20).map(str.encode)
OTHERS = st.lists(st.tuples(TOKEN.map(lambda name: b"q-" + name), VALUE), max_size=6)


def head(first: bytes, headers: list[tuple[bytes, bytes]]) -> bytes:
    return first + b"\r\n" + b"".join(b"%b: %b\r\n" % pair for pair in headers) + b"\r\n"


@given(OTHERS)
def test_what_needs_no_change_is_forwarded_byte_for_byte(others: list[tuple[bytes, bytes]]) -> None:
    raw = head(b"POST /x HTTP/1.1", [(b"Host", b"a"), *others, (b"Content-Length", b"0")])
    out = forwarded(read_request(raw), b"id", b"1.2.3.4", b"http")
    assert out.startswith(raw[:-2])
    added = out[len(raw) - 2 :].split(b"\r\n")
    assert sorted(added) == sorted(
        [b"x-request-id: id", b"x-forwarded-for: 1.2.3.4", b"x-forwarded-proto: http", b"x-forwarded-host: a",
         b"via: 1.1 understudy", b""]
    )  # fmt: skip


@given(OTHERS, st.lists(TOKEN, max_size=3), st.randoms())
def test_nothing_hop_by_hop_travels_on(others: list[tuple[bytes, bytes]], named: list[bytes], random: object) -> None:
    hop = [(b"Connection", b", ".join([b"close", *named])), (b"Keep-Alive", b"1"), (b"TE", b"x"), (b"Upgrade", b"h2c")]
    mixed = [(b"Host", b"a"), *others, *hop, *((name, b"v") for name in named if name.lower() != b"host")]
    random.shuffle(mixed)  # type: ignore[attr-defined]
    request = read_request(head(b"GET / HTTP/1.1", mixed))
    request.upgrade = False
    out = forwarded(request, b"id", b"p", b"http").lower()
    names = [line.partition(b":")[0] for line in out.split(b"\r\n")[1:]]
    banned = {b"connection", b"keep-alive", b"te", b"upgrade", *(name.lower() for name in named)} - {b"host"}
    assert not banned & set(names)
    assert names.count(b"host") == 1
    kept = [name.lower() for name, _ in others if name.lower() not in banned]
    assert sorted(name for name in names if name.startswith(b"q-")) == sorted(kept)
    assert not request.keep


@pytest.mark.parametrize("name", [b"Host", b"Content-Length", b"Transfer-Encoding", b"X-Forwarded-For"])
def test_a_client_cannot_have_framing_removed_by_naming_it(name: bytes) -> None:
    raw = head(b"POST / HTTP/1.1", [(b"Host", b"a"), (b"Connection", name), (b"Content-Length", b"5")])
    out = forwarded(read_request(raw), b"id", b"p", b"http").lower()
    assert b"\r\ncontent-length: 5\r\n" in out
    assert out.count(b"\r\nhost: a\r\n") == 1


@pytest.mark.parametrize(
    ("raw", "length", "keep"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", 5, True),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", CHUNKED, True),
        (b"HTTP/1.1 200 OK\r\n\r\n", UNTIL_CLOSE, False),
        (b"HTTP/1.1 204 No\r\n\r\n", 0, True),
        (b"HTTP/1.1 304 No\r\nContent-Length: 5\r\n\r\n", 0, True),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\n", 5, False),
        (b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 5\r\n\r\n", 5, True),
        (b"HTTP/1.1 200 OK\r\nConnection: Close\r\nContent-Length: 5\r\n\r\n", 5, False),
    ],
)
def test_length_of_answers(raw: bytes, length: int, keep: bool) -> None:
    answer = read_answer(raw)
    assert (answer.length, answer.keep) == (length, keep)
    assert read_answer(raw, to_head=True).length == 0


def test_204_gets_no_transfer_coding() -> None:
    with pytest.raises(HeadError):
        read_answer(b"HTTP/1.1 204 No\r\nTransfer-Encoding: chunked\r\n\r\n")


def test_an_answer_cannot_speak_for_the_proxy() -> None:
    ours = [(b"X-Served-By", b"me"), (b"X-Understudy-Request-Id", b"other"), (b"X-Understudy-Error", b"timeout")]
    raw = head(b"HTTP/1.1 200 OK", [*ours, (b"Content-Length", b"0")])
    assert read_answer(raw).base == b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n"


@pytest.mark.parametrize(
    ("lines", "told", "kept"),
    [
        ([], b"x-request-id: ours\r\n", []),
        ([(b"X-Request-Id", b"Req_1")], b"x-understudy-request-id: ours\r\n", [b"X-Request-Id: Req_1"]),
        ([(b"X-Request-Id", b"ours")], b"", [b"X-Request-Id: ours"]),
        ([(b"X-Request-Id", b"")], b"x-request-id: ours\r\n", []),
        ([(b"X-Request-Id", b"Req_1"), (b"Connection", b"x-request-id")], b"x-request-id: ours\r\n", []),
        ([(b"X-Request-Id", b"Req_1"), (b"Keep-Alive", b"5")], b"x-understudy-request-id: ours\r\n",
         [b"X-Request-Id: Req_1"]),
    ],
)  # fmt: skip
def test_a_models_own_request_id_stays_and_ours_takes_another_name(
    lines: list[tuple[bytes, bytes]], told: bytes, kept: list[bytes]
) -> None:
    answer = read_answer(head(b"HTTP/1.1 200 OK", [*lines, (b"Content-Length", b"0")]))
    assert id_line(answer, b"ours") == told
    assert answer.base.split(b"\r\n")[1:-1] == [*kept, b"Content-Length: 0"]


@given(st.lists(st.tuples(TOKEN, VALUE), max_size=8), st.sets(TOKEN, max_size=3))
def test_without(headers: list[tuple[bytes, bytes]], drop: set[bytes]) -> None:
    lower = {name.lower() for name in drop}
    out = without(head(b"GET / HTTP/1.1", headers), lower)
    assert out + b"\r\n" == head(b"GET / HTTP/1.1", [(n, v) for n, v in headers if n.lower() not in lower])


def test_values_keep_their_case_and_cookies_are_found() -> None:
    raw = head(b"GET / HTTP/1.1", [(b"Host", b"a"), (b"X-User", b"Ann"), (b"Cookie", b"a=1; Session=Xy=; b")])
    request = read_request(raw, request_scanner([b"X-User"]))
    assert request.value(b"x-user") == b"Ann"
    assert (request.cookie(b"session"), request.cookie(b"none")) == (b"Xy=", b"")


def test_trace_changes_the_span_and_nothing_else() -> None:
    given_trace = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    raw = head(b"GET / HTTP/1.1", [(b"Host", b"a"), (b"X", given_trace), (b"Traceparent", given_trace)])
    request = read_request(raw)
    out = trace(request, raw[:-2], b"1234567890abcdef", b"0" * 32)
    assert out == raw[:-2].replace(
        b"Traceparent: " + given_trace, b"Traceparent: " + given_trace.replace(b"b7ad6b7169203331", b"1234567890abcdef")
    )


TRACE = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
SPAN, FRESH = b"1234567890abcdef", b"f" * 32


@pytest.mark.parametrize(
    "value",
    [
        TRACE.upper(),
        TRACE + b"-more",
        b"ff" + TRACE[2:],
        TRACE.replace(b"b7ad6b7169203331", b"0" * 16),
        b"x",
        TRACE[:-1],
    ],
)
def test_an_unreadable_trace_begins_anew(value: bytes) -> None:
    raw = head(b"GET / HTTP/1.1", [(b"Host", b"a"), (b"TraceParent", value), (b"tracestate", b"s=1")])
    out = trace(read_request(raw), raw[:-2], SPAN, FRESH)
    assert out == b"GET / HTTP/1.1\r\nHost: a\r\ntraceparent: 00-%b-%b-01\r\n" % (FRESH, SPAN)


def test_two_traces_are_none() -> None:
    raw = head(b"GET / HTTP/1.1", [(b"Host", b"a"), (b"traceparent", TRACE), (b"Traceparent", TRACE)])
    out = trace(read_request(raw), raw[:-2], SPAN, FRESH)
    assert out == b"GET / HTTP/1.1\r\nHost: a\r\ntraceparent: 00-%b-%b-01\r\n" % (FRESH, SPAN)


def test_a_later_version_of_the_trace_may_go_on() -> None:
    raw = head(b"GET / HTTP/1.1", [(b"Host", b"a"), (b"traceparent", b"01" + TRACE[2:] + b"-what-ever")])
    out = trace(read_request(raw), raw[:-2], SPAN, FRESH)
    assert out == raw[:-2].replace(b"b7ad6b7169203331", SPAN)


@pytest.mark.parametrize("how", ["dropped from the copy", "named in Connection"])
def test_a_trace_that_is_taken_out_stays_out(how: str) -> None:
    named = [(b"Connection", b"traceparent")] if how == "named in Connection" else []
    raw = head(b"GET / HTTP/1.1", [(b"Host", b"a"), *named, (b"traceparent", TRACE)])
    request = read_request(raw)
    base = without(forwarded(request, b"id", b"p", b"http"), {b"traceparent"})
    assert trace(request, base, SPAN, FRESH) == base


@pytest.mark.parametrize("extra", [[(b"Connection", b"x-request-id")], [(b"X-Request-Id", b"two")]])
def test_models_get_the_pairs_name_exactly_once(extra: list[tuple[bytes, bytes]]) -> None:
    raw = head(b"GET / HTTP/1.1", [(b"Host", b"a"), (b"x-request-id", b"one"), *extra])
    out = forwarded(read_request(raw), b"one", b"p", b"http").lower()
    assert out.count(b"x-request-id:") == 1
    assert b"\r\nx-request-id: one\r\n" in out + b"\r\n"


def test_connect_is_refused() -> None:
    with pytest.raises(HeadError, match="CONNECT"):
        read_request(head(b"CONNECT / HTTP/1.1", [(b"Host", b"a")]))


BEGUN = st.lists(
    st.sampled_from((b"GET /", b" ", b"HTTP/1.1", b"\r", b"\n", b"\r\n", b"a: b", b":", b"1")), max_size=12
)


@given(BEGUN, st.integers(0, 60))
def test_half_a_head_that_was_looked_at_is_not_looked_at_again(pieces: list[bytes], known: int) -> None:
    """What is known of its beginning changes nothing about what is said of the whole."""
    begun = b"".join(pieces)
    if may_become_a_head(begun[:known]):
        assert may_become_a_head(begun, min(known, len(begun))) == may_become_a_head(begun)
