"""Keeps the promises of recorded files: a pair comes back as it was but for what was redacted, no credential and no
redacted value is in the file, and what is not a recorded file is refused in words."""

from __future__ import annotations

import base64

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.http.credentials import HEADERS
from proxy.model import Arm, Mismatch, Outcome, Pair
from proxy.model.reasons import Reason
from proxy.pairs.recording import Recorded, RecordError, header_line, is_chosen, line_of, pair_of, read_lines
from proxy.pairs.redaction import MASK, redact, redact_query
from proxy.predictions import read_pair

HEAD = b"POST /v2/models/m/infer?x=1 HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer secret\r\nX-Tenant: t\r\n\r\n"
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nset-cookie: secret\r\n\r\n"

bodies = st.binary(max_size=50)
seconds = st.floats(0, 100) | st.just(float("nan"))
outcomes = st.builds(
    Outcome, st.sampled_from([0, 200, 404, 599]), st.sampled_from(Reason), st.just(b""), bodies, seconds, seconds
)
pairs = st.builds(
    Pair,
    request_rest=st.just(b""),  # what is recorded is whole
    trial=st.text(max_size=5),
    stage=st.integers(0, 100),
    worker=st.text(max_size=5),
    sequence=st.integers(0, 2**53),
    id=st.text(max_size=5),
    time=st.floats(0, 2e9),
    served=st.sampled_from(Arm),
    request_head=st.just(HEAD),
    request_body=bodies,
    live=outcomes,
    candidate=outcomes,
    again=st.none() | outcomes,
    hedged=st.booleans(),
    fell_back=st.booleans(),
    latency_slot=st.booleans(),
)


@given(pairs, st.integers(0, 2**64 - 1))
def test_a_pair_comes_back_as_it_was(pair: Pair, request_hash: int) -> None:
    back = pair_of(orjson.loads(line_of(Recorded(pair, request_hash))))
    assert back.request_hash == request_hash
    bare = {name: _bare(getattr(back.pair, name)) for name in ("live", "candidate", "again")}
    assert repr(back.pair._replace(request_head=b"", **bare)) == repr(pair._replace(request_head=b""))
    assert back.pair.request_head.startswith(b"POST /v2/models/m/infer?x=1 HTTP/1.1\r\nHost: a\r\n")


def _bare(outcome: Outcome | None) -> Outcome | None:
    return None if outcome is None else outcome._replace(head=b"")


def test_credentials_and_redacted_values_are_not_in_the_file() -> None:
    body = orjson.dumps({"inputs": [{"data": [1, "private"]}]})
    pair = Pair("t", 0, "w", 0, "i", 0.0, Arm.LIVE, HEAD, body, Outcome(200, head=ANSWER, body=body), Outcome(502))
    line = line_of(Recorded(pair, 1), ["/inputs/0/data/1"], {"authorization"})
    assert b"secret" not in line
    kept = orjson.loads(base64.b64decode(orjson.loads(line)["request"]["body"]))
    assert kept == {"inputs": [{"data": [1, MASK]}]}
    assert pair_of(orjson.loads(line)).pair.live.head.count(b"content-type") == 1


def test_no_header_of_credentials_is_in_the_file_whatever_a_copy_may_carry() -> None:
    asked = HEAD[:-2] + b"".join(f"{name.title()}: secret\r\n".encode() for name in sorted(HEADERS)) + b"\r\n"
    answered = ANSWER[:-2] + b"X-Auth-Token: secret\r\nX-Own: secret\r\nServer: s\r\n\r\n"
    outcome = Outcome(200, head=answered, body=b"", seconds=0.1, first=0.1)
    pair = Pair("t", 0, "w", 1, "i", 1.0, Arm.LIVE, asked, b"{}", outcome, outcome, again=outcome)
    line = line_of(Recorded(pair, 1), (), {"x-own"})
    assert b"secret" not in line
    value = orjson.loads(line)
    assert value["request"]["headers"] == [["Host", "a"], ["X-Tenant", "t"]]
    assert value["again"]["headers"] == [["content-type", "application/json"], ["Server", "s"]]


@pytest.mark.parametrize("name", ["key", "Api_Key", "access%5Ftoken", "sig", "X-Amz-Signature", "subscription-key"])
def test_a_query_parameter_that_is_a_credential_is_masked_without_being_named(name: str) -> None:
    assert redact_query(f"/x?page=2&{name}=secret&z", ()) == f"/x?page=2&{name}={MASK}&z"


def test_a_query_parameter_is_not_in_the_file_and_the_bodies_are_as_they_were() -> None:
    head = HEAD.replace(b"?x=1", b"?user=s3cret&x=1")
    pair = Pair("t", 0, "w", 0, "i", 1.0, Arm.LIVE, head, b"a=1", Outcome(200, head=ANSWER), Outcome(200, head=ANSWER))
    line = line_of(Recorded(pair, 1), ["?user"])
    assert b"s3cret" not in line
    back = pair_of(orjson.loads(line))
    assert back.pair.request_head.startswith(f"POST /v2/models/m/infer?user={MASK}&x=1 HTTP/1.1\r\n".encode())
    assert (back.pair.request_body, back.bodyless) == (b"a=1", False)


@given(st.text("aApP%4 1=&;?s/", max_size=30))
def test_masking_a_query_changes_nothing_before_it_nor_what_is_not_named(query: str) -> None:
    assert redact_query(f"/x?{query}", ["/a", "?other"]) == f"/x?{query}"
    masked = redact_query(f"/x?a={query}", ["?*"])
    assert masked.startswith(f"/x?a={MASK}")
    assert all(part.endswith(MASK) or not part.strip(";") for part in masked.split("?", 1)[1].split("&"))


def test_a_query_parameter_is_masked_in_headers_as_well() -> None:
    asked = HEAD[:-2] + b"Referer: https://a/form?user=secret&page=2\r\n\r\n"
    answered = ANSWER[:-2] + b"location: /next?page=3&user=secret\r\nlink: </x?user=secret>; rel=next\r\n\r\n"
    outcome = Outcome(303, head=answered, body=b"", seconds=0.1, first=0.1)
    pair = Pair("t", 0, "w", 1, "i", 1.0, Arm.LIVE, asked, b"{}", outcome, outcome)
    line = line_of(Recorded(pair, 1), ["?user"], {"authorization"})
    assert b"secret" not in line
    value = orjson.loads(line)
    assert ["Referer", f"https://a/form?user={MASK}&page=2"] in value["request"]["headers"]
    assert ["location", f"/next?page=3&user={MASK}"] in value["live"]["headers"]


def test_a_body_that_cannot_be_redacted_is_not_kept() -> None:
    pair = Pair("t", 0, "w", 0, "i", 0.0, Arm.LIVE, HEAD, b"\x1f\x8bprivate", Outcome(200), Outcome(200))
    assert orjson.loads(line_of(Recorded(pair, 1), ["/a"]))["request"]["body"] is None
    assert redact(b"[" * 500 + b"]" * 500, ["/a"]) is None  # can be read, but not be written again


def test_an_answer_that_redaction_left_out_is_not_taken_for_an_empty_one() -> None:
    page, nothing = (Outcome(200, head=ANSWER, body=body) for body in (b"<html>", b""))
    line = line_of(Recorded(Pair("t", 0, "w", 0, "i", 0.0, Arm.LIVE, HEAD, b"{}", page, nothing), 1), ["/a"])
    assert b"html" not in base64.b64decode(orjson.loads(line)["live"]["body"] or "")
    back = pair_of(orjson.loads(line)).pair
    assert read_pair(None, back).mismatch is Mismatch.EMPTY
    assert read_pair(None, back._replace(candidate=back.live)).mismatch is Mismatch.NONE


@given(
    st.recursive(
        st.none() | st.integers(-(2**53), 2**53) | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_redaction_never_raises_and_never_leaves_the_value(value: object) -> None:
    redacted = redact(orjson.dumps({"a": value, "b": [value, 1]}), ["/a", "/b/*", "/c/~1/0"])
    assert redacted is not None
    assert orjson.loads(redacted) == {"a": MASK, "b": [MASK, MASK]}


@given(st.text(max_size=20), st.floats(0, 1), st.floats(0, 1))
def test_a_larger_share_holds_the_smaller_one(name: str, a: float, b: float) -> None:
    small, large = sorted((a, b))
    assert is_chosen(name, large) or not is_chosen(name, small)


def test_the_share_is_about_what_it_says() -> None:
    chosen = sum(is_chosen(f"request-{n}", 0.1) for n in range(10_000))
    assert 900 < chosen < 1100


PAIR = Pair("t", 0, "w", 0, "i", 0.0, Arm.LIVE, HEAD, b"{}", Outcome(200), Outcome(200))
LINE = line_of(Recorded(PAIR, 1))


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ([], "empty"),
        ([LINE], "does not begin"),
        ([b'{"understudy_record": 9}'], "format 9"),
        ([header_line("r/c", ""), b"{}"], "line 2: not a pair"),
        ([header_line("r/c", ""), b"{torn", LINE], "line 2"),
    ],
)
def test_what_is_not_a_recorded_file_is_refused(lines: list[bytes], said: str) -> None:
    with pytest.raises(RecordError, match=said):
        list(read_lines(lines))


def test_a_torn_last_line_and_a_continued_file_are_read() -> None:
    lines = [header_line("r/c", ""), LINE, header_line("r/c", ""), LINE, LINE[:20]]
    assert len(list(read_lines(lines))) == 2
