"""Promise: a call whose headers have come before goes where it goes today, whatever they meant then, and every call has
an id, a status and an answer of its own."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from proxy.http.http2.frames import DATA, END_HEADERS, END_STREAM, HEADERS, encode_frame, encoded
from tests.worker.calls import ANSWER, CALL, START, Calls
from tests.worker.configs import for_worker

MESSAGE = b"\0\0\0\0\1x"
HEAD = encoded(CALL)
STATUSES = (b"0", b"5", b"14")


def call(number: int) -> bytes:
    return encode_frame(HEADERS, END_HEADERS, number, HEAD) + encode_frame(DATA, END_STREAM, number, MESSAGE)


def answer(number: int, status: bytes) -> bytes:
    return (
        encode_frame(HEADERS, END_HEADERS, number, encoded(ANSWER))
        + encode_frame(DATA, 0, number, MESSAGE)
        + encode_frame(HEADERS, END_HEADERS | END_STREAM, number, encoded([(b"grpc-status", status)]))
    )


@given(st.lists(st.sampled_from(STATUSES), min_size=1, max_size=8), st.booleans())
def test_equal_calls_have_answers_of_their_own(statuses: list[bytes], together: bool) -> None:
    calls, number = Calls(), 1
    calls.of_client.hear(START)
    for status in statuses:
        before = len(calls.of_model.out)
        calls.of_client.hear(call(number))
        if not together:
            calls.loop.turn()
            assert MESSAGE in calls.of_model.out[before:]
            calls.of_model.hear(answer(number, status))
            calls.loop.turn()
        number += 2
    if together:
        calls.loop.turn()
        for at, status in enumerate(statuses):
            calls.of_model.hear(answer(2 * at + 1, status))
        calls.loop.turn()
    out = calls.of_client.out
    for status in STATUSES:
        assert out.count(encoded([(b"grpc-status", status)])) == statuses.count(status)
    ids = [part[:36] for part in out.split(b"\x0cx-request-id\x24")[1:]]
    assert len(set(ids)) == len(statuses)
    assert all(calls.of_model.out.count(name) == 1 for name in ids)


def test_a_call_goes_where_the_routes_of_today_say() -> None:
    calls = Calls()
    calls.of_client.hear(START + call(1))
    calls.loop.turn()
    before = len(calls.of_model.out)
    assert before
    elsewhere = for_worker(
        "server: {grpc_listen: '127.0.0.1:1'}\nupstreams: {g: {url: 'grpc://127.0.0.1:1'}}\n"
        "routes: [{name: calls, match: {path: /other/*}, live: g}]"
    )
    calls.worker.configure(elsewhere)
    calls.of_client.hear(call(3))
    calls.loop.turn()
    assert encoded([(b"grpc-status", b"12")]) in calls.of_client.out
    assert MESSAGE not in calls.of_model.out[before:]
