"""Promise: equal requests have equal hashes, fields under `ignore` do not count, and no request raises."""

from __future__ import annotations

import gzip

from hypothesis import given
from hypothesis import strategies as st

from proxy.model import Segments
from proxy.predictions.request import MAX_NAME, request_facts

HEAD = b"POST /infer HTTP/1.1\r\nX-Tenant:  acme \r\nx-user: 42\r\n\r\n"


def hash_of(body: bytes, *ignore: str, head: bytes = HEAD) -> int:
    return request_facts(head, body, ignore).hash


def test_the_hash_is_the_same_in_every_process() -> None:
    assert hash_of(b'{"x":1}') == int.from_bytes(bytes.fromhex("e9a986caf601b7f4"), "little")  # b2sum -l 64


@given(st.binary(), st.binary())
def test_without_ignore_bodies_are_equal_when_their_bytes_are(a: bytes, b: bytes) -> None:
    assert (hash_of(a) == hash_of(b)) == (a == b)


def test_ignored_fields_do_not_count() -> None:
    first = b'{"id": "a", "inputs": [{"data": [1, 2], "at": 5}]}'
    same = b'{"inputs":[{"at":6,"data":[1,2]}],"id":"b"}'
    other = b'{"id": "a", "inputs": [{"data": [1, 3], "at": 5}]}'
    assert hash_of(first, "/id", "/inputs/0/at") == hash_of(same, "/id", "/inputs/0/at")
    assert hash_of(first, "/id", "/inputs/0/at") != hash_of(other, "/id", "/inputs/0/at")
    assert hash_of(first, "/id") != hash_of(same, "/id")


def test_a_body_that_is_no_json_counts_whole() -> None:
    assert hash_of(b"a,b", "/id") != hash_of(b"a,c", "/id")


def test_what_can_be_read_but_not_written_again_counts_whole() -> None:
    value = b"[" * 300 + b"]" * 300
    one, two = (b'{"id": ' + name + b', "x": ' + value + b"}" for name in (b"1", b"2"))
    assert hash_of(one, "/id") == hash_of(one)
    assert hash_of(one, "/id") != hash_of(two, "/id")


def test_compressed_requests_are_compared_uncompressed() -> None:
    head = HEAD[:-2] + b"content-encoding: gzip\r\n\r\n"
    one, two = (gzip.compress(b'{"x":1}', mtime=time) for time in (1, 2))
    assert one != two
    assert hash_of(one, head=head) == hash_of(two, head=head) == hash_of(b'{"x":1}')
    assert hash_of(b"not gzip", head=head) != hash_of(b"not gzip either", head=head)


def test_of_a_request_with_binary_tensors_the_json_head_is_thinned() -> None:
    def body(name: bytes, tail: bytes) -> bytes:
        return b'{"id":"' + name + b'"}' + tail

    head = HEAD[:-2] + b"Inference-Header-Content-Length: 10\r\n\r\n"
    assert hash_of(body(b"a", b"\x00\x01"), "/id", head=head) == hash_of(body(b"b", b"\x00\x01"), "/id", head=head)
    assert hash_of(body(b"a", b"\x00\x01"), "/id", head=head) != hash_of(body(b"a", b"\x00\x02"), "/id", head=head)


def test_a_length_that_is_none_is_not_believed() -> None:
    for length in (b"0" * 9999, b"-1", b"x", b"99", "²".encode()):
        head = HEAD[:-2] + b"Inference-Header-Content-Length: " + length + b"\r\n\r\n"
        assert hash_of(b'{"id":"a"}', "/id", head=head) == hash_of(b"{}", "/id")


def test_a_request_without_body_is_known_by_its_target() -> None:
    assert hash_of(b"", head=b"GET /a HTTP/1.1\r\nx: 1\r\n\r\n") == hash_of(b"", head=b"GET /a HTTP/1.1\r\n\r\n")
    assert hash_of(b"", head=b"GET /a HTTP/1.1\r\n\r\n") != hash_of(b"", head=b"GET /b HTTP/1.1\r\n\r\n")


def test_segment_and_cluster() -> None:
    facts = request_facts(HEAD, b"{}", (), Segments(header="x-tenant"), "X-User")
    assert (facts.segment, facts.cluster) == ("acme", "42")
    by_field = Segments(request_field="/user/tier")
    for value, segment in ((b'"gold"', "gold"), (b"3", "3"), (b"true", "true"), (b"null", ""), (b"[1]", "")):
        assert request_facts(HEAD, b'{"user": {"tier": ' + value + b"}}", (), by_field).segment == segment
    assert request_facts(HEAD, b"{}", (), by_field).segment == ""
    assert request_facts(HEAD, b"nonsense", (), by_field).segment == ""
    long = request_facts(b"GET / HTTP/1.1\r\nt: " + b"x" * 999 + b"\r\n\r\n", b"", (), Segments(header="t"))
    assert long.segment == "x" * MAX_NAME


@given(st.binary(), st.binary(), st.sampled_from(["", "/a", "/0"]), st.sampled_from(["", "x", "content-length"]))
def test_no_request_raises(head: bytes, body: bytes, pointer: str, name: str) -> None:
    request_facts(head, body, [pointer], Segments(name, pointer), name)
