"""Promise: whatever two model servers answer, a pair becomes a reading: who failed, and what was said."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from proxy.model import Arm, Kind, Outcome, PredictionSpec, Segments
from proxy.model.reasons import NO_CREDENTIALS, PREDICTION_WORDS, Reason
from proxy.predictions import booking, protocol_of, read_pair
from proxy.predictions.reading import failure
from proxy.predictions.registry import PROTOCOLS
from tests.predictions.pairs import ANSWER_HEAD, REQUEST_HEAD, answer, output, pair, v2

SPEC = PredictionSpec("v2", Kind.PROBABILITIES, "predict_proba")
GOOD = answer(v2(output("predict_proba", "FP64", [1, 2], [0.25, 0.75])))
OTHER = answer(v2(output("predict_proba", "FP64", [1, 2], [0.5, 0.5])))
LABELS = answer(v2(output("predict", "INT64", [1], [1])))
TIMEOUT = Outcome(0, Reason.TIMEOUT)


def test_a_good_pair() -> None:
    reading = read_pair(SPEC, pair(GOOD, OTHER), Segments(header="x-tenant"), "x-user-id")
    assert reading.live is not None
    assert reading.candidate is not None
    assert (reading.live.kind, reading.live.rows) == (Kind.PROBABILITIES, ((0.25, 0.75),))
    assert reading.candidate.rows == ((0.5, 0.5),)
    assert (reading.live_fault, reading.fault, reading.detail) == (Reason.NONE, Reason.NONE, "")
    assert (reading.stage, reading.worker, reading.sequence, reading.id, reading.time) == (3, "worker", 7, "id", 12.5)
    assert (reading.segment, reading.cluster) == ("acme", "42")
    assert (reading.live_seconds, reading.seconds) == (0.01, 0.01)
    assert booking(reading.live_fault) == "compared"


STATUSES = [
    (200, 200, "", ""),
    (200, 302, "", ""),
    (200, 404, "", "status_4xx"),
    (404, 200, "status_4xx", ""),
    (400, 422, "", ""),
    (429, 429, "status_429", "status_429"),
    (408, 408, "status_4xx", "status_4xx"),
    (400, 408, "", "status_4xx"),
    (200, 500, "", "status_5xx"),
    (503, 400, "status_5xx", ""),
    (500, 599, "status_5xx", "status_5xx"),
    (200, 100, "", "bad_reply"),
]


@pytest.mark.parametrize(("live", "candidate", "live_fault", "fault"), STATUSES)
def test_which_statuses_are_failures(live: int, candidate: int, live_fault: str, fault: str) -> None:
    assert failure(Outcome(live), Outcome(candidate)) == live_fault
    assert failure(Outcome(candidate), Outcome(live)) == fault


TORCHSERVE = b'{"code": 400, "type": "InvalidKeyException", "message": "Token Authorization failed. Token either ..."}'


@pytest.mark.parametrize(
    ("candidate", "served", "fault"),
    [
        (Outcome(401), Arm.LIVE, "unauthorized"),
        (Outcome(403), Arm.LIVE, "unauthorized"),
        (Outcome(400, body=TORCHSERVE), Arm.LIVE, "unauthorized"),
        (Outcome(400, body=b'{"error": "max_tokens is too large"}'), Arm.LIVE, "status_4xx"),
        (Outcome(404), Arm.LIVE, "status_4xx"),
        (Outcome(401), Arm.CANDIDATE, "status_4xx"),  # it had the client's own
    ],
)
def test_a_refused_copy_says_that_copies_carry_no_credentials(candidate: Outcome, served: Arm, fault: str) -> None:
    reading = read_pair(SPEC, pair(GOOD, candidate)._replace(served=served))
    assert reading.fault == fault
    assert (NO_CREDENTIALS in reading.detail) is (fault == "unauthorized")
    assert read_pair(SPEC, pair(candidate, candidate)._replace(served=served)).fault == "", "live refuses as well"


def test_a_broken_answer_is_a_failure_whatever_its_status() -> None:
    for reason in (Reason.CONNECT, Reason.TIMEOUT, Reason.DISCONNECT, Reason.BAD_REPLY, Reason.TOO_LARGE):
        assert failure(Outcome(200, reason), Outcome(200)) is reason
    assert failure(Outcome(400), TIMEOUT) is Reason.NONE  # a client's mistake does not become live's by a timeout


@pytest.mark.parametrize(
    ("live", "candidate", "live_fault", "fault", "book", "words"),
    [
        (GOOD, TIMEOUT, "", "timeout", "compared", "candidate: no whole answer came in time"),
        (GOOD, answer(b"", 503), "", "status_5xx", "compared", "candidate: answered 503"),
        (TIMEOUT, GOOD, "timeout", "", "live_failed", "live: no whole answer came in time"),
        (
            TIMEOUT,
            TIMEOUT,
            "timeout",
            "timeout",
            "live_failed",
            "live: no whole answer came in time; candidate: no whole",
        ),
        (answer(b"", 404), GOOD, "status_4xx", "", "live_failed", "live: answered 404"),
        (answer(b"", 400), answer(b"", 422), "", "", "compared", ""),
        (GOOD, LABELS, "", "missing_output", "compared", "output `predict_proba` is missing; found `predict`"),
        (LABELS, GOOD, "missing_output", "", "unparseable", "live: output `predict_proba` is missing"),
        (LABELS, LABELS, "missing_output", "", "unparseable", "candidate: output"),
        (LABELS, answer(b"<html>"), "missing_output", "", "unparseable", "candidate: not JSON"),
        (LABELS, TIMEOUT, "missing_output", "timeout", "unparseable", "candidate: no whole answer came in time"),
        (TIMEOUT, LABELS, "timeout", "missing_output", "live_failed", "candidate: output"),
        (GOOD, answer(b"<html>"), "", "not_json", "compared", "candidate: not JSON"),
        (answer(b""), GOOD, "empty", "", "unparseable", "live: the body is empty"),
    ],
)
def test_whose_fault_it_is(
    live: Outcome, candidate: Outcome, live_fault: str, fault: str, book: str, words: str
) -> None:
    reading = read_pair(SPEC, pair(live, candidate))
    assert (reading.live_fault, reading.fault, booking(reading.live_fault)) == (live_fault, fault, book)
    assert words in reading.detail
    assert (reading.live is None) == bool(live_fault or live.status >= 400)
    unread = candidate in (LABELS, answer(b"<html>"))
    assert (reading.candidate is None) == bool(fault or unread or candidate.status >= 400)


@pytest.mark.parametrize(
    ("candidate", "fault", "words"),
    [
        ([2, 2, [0.5, 0.5, 0.5, 0.5]], "row_count", "2 rows where live answered 1"),
        ([1, 3, [0.2, 0.2, 0.6]], "bad_shape", "3 values in row 0 where live answered 2"),
    ],
)
def test_another_shape_than_lives_is_the_candidates_fault(candidate: list[Any], fault: str, words: str) -> None:
    rows, width, data = candidate
    reading = read_pair(SPEC, pair(GOOD, answer(v2(output("predict_proba", "FP64", [rows, width], data)))))
    assert (reading.fault, reading.candidate, booking(reading.live_fault)) == (fault, None, "compared")
    assert words in reading.detail


def test_another_kind_than_lives_is_the_candidates_fault() -> None:
    auto = PredictionSpec("auto")
    labels = read_pair(auto, pair(LABELS, answer(v2(output("predict", "BYTES", [1], ["1"])))))
    assert (labels.fault, "labels are text where live answered numbers" in labels.detail) == ("bad_type", True)
    shapes = read_pair(auto, pair(GOOD, LABELS))
    assert shapes.fault is Reason.BAD_SHAPE
    protocol = read_pair(auto, pair(GOOD, answer({"predictions": [0.5]})))
    assert protocol.fault is Reason.MISSING_OUTPUT


def test_auto_recognises_the_protocol_or_says_that_it_cannot() -> None:
    assert read_pair(PredictionSpec(), pair(GOOD, GOOD)).live is not None
    unknown = read_pair(PredictionSpec(), pair(answer({"x": 1}), GOOD, head=b"POST /x HTTP/1.1\r\n\r\n"))
    assert (unknown.live_fault, booking(unknown.live_fault)) == (Reason.UNKNOWN_PROTOCOL, "unparseable")


def test_the_protocol_that_was_recognised_can_be_told() -> None:
    assert protocol_of(PredictionSpec(), pair(GOOD, TIMEOUT)) == "v2"
    assert protocol_of(PredictionSpec("json"), pair(GOOD, GOOD)) == "json"
    assert protocol_of(PredictionSpec(), pair(GOOD, GOOD, head=b"")) == ""
    damaged = answer(b"junk", head=b"HTTP/1.1 200 OK\r\nContent-Encoding: br\r\n\r\n")
    assert protocol_of(PredictionSpec(), pair(damaged, GOOD)) == ""


def test_a_compressed_request_does_not_hide_the_protocol() -> None:
    head = REQUEST_HEAD[:-2] + b"Content-Encoding: br\r\n\r\n"
    assert read_pair(PredictionSpec(), pair(GOOD, GOOD, head=head)).detail == ""


def test_without_a_prediction_only_failures_are_read() -> None:
    for spec in (None, PredictionSpec("none")):
        reading = read_pair(spec, pair(answer(b"\x00"), answer(b"\x01")))
        assert (reading.live, reading.candidate, reading.live_fault, reading.fault) == (None, None, "", "")
        assert read_pair(spec, pair(GOOD, TIMEOUT)).fault is Reason.TIMEOUT


def test_the_second_answer_of_live_is_read_when_it_can_be() -> None:
    assert read_pair(SPEC, pair(GOOD, GOOD, again=OTHER)).again == read_pair(SPEC, pair(OTHER, GOOD)).live
    for again in (LABELS, TIMEOUT, answer(b"", 500), answer(b"")):
        reading = read_pair(SPEC, pair(GOOD, GOOD, again=again))
        assert (reading.again, reading.live_fault, reading.fault) == (None, "", "")


def test_json_pointer() -> None:
    spec = PredictionSpec("json", Kind.SCORE, pointer="/score")
    reading = read_pair(spec, pair(answer({"score": 0.5}), answer({"score": 0.75})))
    assert reading.live is not None
    assert reading.candidate is not None
    assert (reading.live.rows, reading.candidate.rows) == ((0.5,), (0.75,))
    missing = read_pair(spec, pair(answer({"score": 0.5}), answer({"result": {"score": 0.75}})))
    assert missing.fault is Reason.MISSING_OUTPUT
    assert missing.detail == "candidate: `score` is missing at the top; found `result`"


def test_a_bug_of_ours_is_never_evidence_against_the_candidate(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_spec: object, message: Any) -> Any:
        return PROTOCOLS["v2"].extract(SPEC, message) if b"0.25" in message.body else 1 / 0

    monkeypatch.setitem(PROTOCOLS, "json", replace(PROTOCOLS["json"], extract=broken))
    reading = read_pair(replace(SPEC, protocol="json"), pair(GOOD, OTHER))
    assert (reading.fault, reading.live_fault) == (Reason.NONE, Reason.INTERNAL)
    assert booking(reading.live_fault) == "unparseable"
    assert "ZeroDivisionError" in reading.detail


BODIES = st.one_of(
    st.binary(max_size=200),
    st.sampled_from([GOOD.body, LABELS.body]),
    st.builds(
        lambda body, at, junk: body[:at] + junk + body[at + len(junk) :],
        st.sampled_from([GOOD.body, LABELS.body]),
        st.integers(0, 150),
        st.binary(max_size=8),
    ),
    st.builds(lambda body, at: body[:at], st.just(GOOD.body), st.integers(0, 150)),
)
HEADS = st.sampled_from([ANSWER_HEAD, b"", b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n"]) | st.binary(
    max_size=60
)
OUTCOMES = st.builds(
    Outcome, st.sampled_from([0, 200, 200, 200, 404, 429, 500]), st.sampled_from([Reason.NONE, Reason.NONE, *Reason]),
    HEADS, BODIES,
)  # fmt: skip
SPECS = st.builds(
    PredictionSpec, st.sampled_from(["auto", "none", "no such", *PROTOCOLS]), st.sampled_from(Kind),
    st.sampled_from(["", "predict"]), st.sampled_from(["", "/outputs/0/data", "/0"]), st.sampled_from([(), ("/id",)]),
)  # fmt: skip


@given(SPECS, OUTCOMES, OUTCOMES, st.none() | OUTCOMES, HEADS | st.just(REQUEST_HEAD), BODIES)
@example(SPEC, GOOD, GOOD, None, REQUEST_HEAD, b"{}")
def test_no_bytes_make_it_raise(
    spec: PredictionSpec, live: Outcome, candidate: Outcome, again: Outcome | None, head: bytes, body: bytes
) -> None:
    reading = read_pair(
        spec, pair(live, candidate, again=again, head=head, request=body), Segments(request_field="/a"), "x"
    )
    given = {live.reason, candidate.reason}
    assert Reason.INTERNAL not in {reading.fault, reading.live_fault} - given, reading.detail
    assert booking(reading.live_fault) in ("compared", "live_failed", "unparseable")
    assert (reading.live is None) or not reading.live_fault
    assert (reading.candidate is None) or not reading.fault
    assert bool(reading.detail) == bool(reading.fault or reading.live_fault)
    assert 0 <= reading.request_hash < 2**64
    if reading.live_fault in PREDICTION_WORDS - given:
        assert booking(reading.live_fault) == "unparseable"
