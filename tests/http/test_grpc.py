"""Promise: a head of HTTP/2 is written as one of HTTP/1.1 only if it means the same there (RFC 9113, 8.2, 8.3)."""

from __future__ import annotations

import pytest

from proxy.http.answer_head import id_name
from proxy.http.grpc import Headers, NotGrpcError, request_head
from proxy.http.grpc_answer import close, read_grpc_answer, read_trailers
from proxy.http.grpc_opening import MAX_KNOWN_STARTS, CallOpenings, call_headers
from proxy.http.headers import HeadError
from proxy.http.http2.blocks import KnownBlock
from proxy.http.http2.frames import encoded
from proxy.http.request_head import read_request

CALL: Headers = [(b":method", b"POST"), (b":scheme", b"http"), (b":path", b"/a.B/C"), (b":authority", b"m")]


TYPE = (b"content-type", b"application/grpc")


def without(name: bytes) -> Headers:
    return [one for one in CALL if one[0] != name]


REFUSED: dict[str, Headers] = {
    "another TE than trailers": [*CALL, (b"te", b"trailers, deflate")],
    "a line break in the method": [*without(b":method"), (b":method", b"POST \r\nx: y")],
    "a name in capitals": [*CALL, (b"X-A", b"1")],
    "a space in a name": [*CALL, (b"a b", b"1")],
    "a colon in a name": [*CALL, (b"a:b", b"1")],
    "an empty name": [*CALL, (b"", b"1")],
    "Connection": [*CALL, (b"connection", b"x")],
    "Transfer-Encoding": [*CALL, (b"transfer-encoding", b"chunked")],
    "Upgrade": [*CALL, (b"upgrade", b"x")],
    "a line break in a value": [*CALL, (b"a", b"b\r\ntransfer-encoding: chunked")],
    "bare LF in a value": [*CALL, (b"a", b"b\nc: d")],
    "NUL in a value": [*CALL, (b"a", b"b\0")],
    "a pseudo-header after a header": [*CALL[:3], (b"a", b"b"), CALL[3]],
    "a pseudo-header twice": [*CALL, (b":path", b"/x")],
    "an answer's pseudo-header": [*CALL, (b":status", b"200")],
    "no path": without(b":path"),
    "an empty path": [*without(b":path"), (b":path", b"")],
    "a space in the path": [*without(b":path"), (b":path", b"/a b")],
    "a path that is a URL": [*without(b":path"), (b":path", b"http://x/")],
    "no scheme": without(b":scheme"),
    "a space in the authority": [*without(b":authority"), (b":authority", b"a b")],
    "two hosts": [*without(b":authority"), (b"host", b"a"), (b"host", b"b")],
    "user information": [*without(b":authority"), (b":authority", b"u@a")],
    "an underscore in a header of ours": [*CALL, (b"x_forwarded_for", b"10.0.0.1")],
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_call_is_refused(name: str) -> None:
    with pytest.raises(HeadError) as refused:
        read_request(request_head([*REFUSED[name], TYPE]))
    assert not isinstance(refused.value, NotGrpcError)


def test_a_call_without_an_authority_goes_to_its_host() -> None:
    assert read_request(request_head([*without(b":authority"), (b"host", b"h"), TYPE])).host == b"h"


def test_what_frames_a_call_in_http_1_1_stays_behind() -> None:
    head = request_head([*CALL, (b"content-length", b"5"), (b"te", b"trailers"), TYPE])
    assert head == b"POST /a.B/C HTTP/1.1\r\nhost: m\r\ncontent-type: application/grpc\r\n\r\n"


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [(b"a", b"b")],
        [(b":status", b"20")],
        [(b":status", b"x00")],
        [(b":status", b"101")],
        [(b":status", b"200"), (b"A", b"b")],
        [(b":status", b"200"), (b"a", b"b\r\nc: d")],
        [(b":status", b"200"), (b"connection", b"x")],
    ],
)
def test_what_is_no_answer_is_refused(headers: Headers) -> None:
    with pytest.raises(HeadError):
        read_grpc_answer(headers, False)


# --- heads that come again ---

ANSWERED: Headers = [(b":status", b"200"), (b"content-type", b"application/grpc"), (b"x-request-id", b"a")]


def test_what_is_known_of_an_answer_is_no_other_calls() -> None:
    head, good, bad = (KnownBlock(it) for it in (ANSWERED, [(b"grpc-status", b"0")], [(b"grpc-status", b"14")]))
    said = []
    for trailers in (good, bad, good, bad):
        answer = read_grpc_answer(head.headers, False, head)
        assert (answer.status, answer.head, answer.trailers.headers) == (200, b"", [])
        close(answer, read_trailers(trailers.headers, trailers))
        answer.complete()
        said.append((answer.status, answer.head))
        assert answer.block() == encoded(ANSWERED)
        assert answer.trailers.block() == encoded(trailers.headers)
    alone = read_grpc_answer(ANSWERED, False)
    close(alone, read_trailers(bad.headers))
    alone.complete()
    assert said[1] == said[3] == (alone.status, alone.head) == (503, alone.head)
    assert said[0] == said[2]
    assert said[0][0] == 200


def test_an_answer_says_who_served_it_and_the_id_of_its_own_request() -> None:
    """What is kept of the block holds neither another call's id nor another upstream's name."""
    for given in (ANSWERED, ANSWERED[:2]):
        known = KnownBlock(given)
        for served_by, name in ((b"one", b"1"), (b"one", b"2"), (b"two", b"3"), (b"one", b"4"), (b"one", b"a")):
            for block in (known, None):
                answer = read_grpc_answer(given, False, block)
                header = id_name(answer, name)
                ours = [(b"x-served-by", served_by), *([(header, name)] if header else [])]
                assert answer.named_block(served_by, header, name) == encoded([*given, *ours])


def test_a_block_means_what_the_end_of_its_stream_says() -> None:
    """The same bytes with END_STREAM are all of an answer, and the same headers as trailers are none."""
    both = KnownBlock([(b":status", b"200"), (b"grpc-status", b"5")])
    assert read_grpc_answer(both.headers, True, both).status == 404
    assert read_grpc_answer(both.headers, False, both).status == 200
    assert read_grpc_answer(both.headers, True, both).only
    with pytest.raises(HeadError):
        read_trailers(both.headers, both)


def test_an_answer_that_is_refused_is_refused_again() -> None:
    for headers in ([(b":status", b"200"), (b"A", b"b")], [(b":status", b"101")]):
        known = KnownBlock(headers)
        for _ in range(2):
            with pytest.raises(HeadError):
                read_grpc_answer(headers, False, known)


def test_what_a_model_gets_does_not_depend_on_what_is_remembered() -> None:
    openings = CallOpenings(b"https")
    plain = b"POST /a.B/C HTTP/1.1\r\nHost: m\r\nX-A: 1 \r\n"
    named = b"x-forwarded-for: ::1\r\nx-request-id: "
    for rest in (
        b"x-request-id: 1\r\n", b"", b"X-B:2\r\nx-c: \r\n", b"host: other\r\n", b"a: b\r\nHost: o\r\n",
        named + b"1\r\n", named + b"\r\n", named + b" 2 \r\nx-shadow: v2\r\nX-D:\r\n", named + b"3\r\nhost: o\r\n",
        b"host: o\r\n" + named + b"4\r\n", named + b"5\r\nx-request-id: 6\r\n",
    ):  # fmt: skip
        head = plain + rest + b"\r\n"
        for begins in (plain, b"", plain + b"no: 1\r\n", b"POST /o HTTP/1.1\r\n"):
            for _ in range(2):
                assert openings.block(head, begins) == encoded(call_headers(head, b"https"))


def test_no_more_beginnings_are_remembered_than_are_of_use() -> None:
    openings = CallOpenings(b"http")
    for number in range(2 * MAX_KNOWN_STARTS):
        plain = b"POST /a.B/%d HTTP/1.1\r\nhost: m\r\n" % number
        openings.block(plain + b"a: b\r\n\r\n", plain)
    assert 0 < len(openings._known) <= MAX_KNOWN_STARTS
    before = len(openings._known)
    plain = b"POST /a.B/C HTTP/1.1\r\nhost: m\r\nx: %b\r\n" % bytes(4096)
    openings.block(plain + b"a: b\r\n\r\n", plain)
    assert len(openings._known) == before
    for number in range(2 * MAX_KNOWN_STARTS):
        plain = b"POST / HTTP/1.1\r\n"
        openings.block(plain + b"x-forwarded-for: %d\r\nx-request-id: 1\r\n\r\n" % number, plain)
        openings.block(plain + b"a: %b\r\nx-request-id: 1\r\n\r\n" % bytes(4096), plain)
    assert 0 < len(openings._lines) <= MAX_KNOWN_STARTS
