"""Promise: a long request that came behind another one is taken up as if it had come alone: no byte of it is lost, it
is read no faster than its model takes it, and nobody waits for the rest of it once its client sends no more."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.model.worker_config import WorkerConfig
from proxy.worker.turn import MUCH_OUT
from tests.worker.rig import ok
from tests.worker.test_cuts import CONFIG, CONTINUE, STREAMS, Bench, Wire, message
from tests.worker.turns import HEALTH, HERE

GET = b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST /x HTTP/1.1\r\nHost: a\r\n"
IN_CHUNKS = POST + b"Transfer-Encoding: chunked\r\n"
LONG = bytes(200_000)
HALF = message(POST, LONG * 10, [], False)[: len(LONG)]


def behind_one(bench: Bench, sent: bytes) -> tuple[Any, Any]:
    """The client has sent this behind a request that the model has not answered yet; both transports."""
    client: Any = bench.client.transport
    for data in (GET, sent):
        client.hear(data)
        bench.loop.turn()
    return client, bench.model.transport


def fills(bench: Bench) -> None:
    """From here on the client is full with whatever is written to it."""
    client: Any = bench.client.transport

    def full(data: bytes) -> None:
        Wire.write(client, data)
        bench.client.pause_writing()

    client.write = full


@pytest.mark.parametrize("config", [CONFIG, STREAMS], ids=["gathered", "streamed"])
@pytest.mark.parametrize(
    "sent", [b"POST", POST + b"Content-Length: 9\r\n\r\nhalf", IN_CHUNKS + b"\r\n" + b"1\r\nx\r\n" * 1000]
)
def test_half_a_request_of_a_client_that_sends_no_more_is_not_waited_for(config: WorkerConfig, sent: bytes) -> None:
    bench = Bench(config=config)
    client, model = behind_one(bench, sent)
    assert bench.client.eof_received(), "it waits for its first answer"
    model.hear(ok())
    bench.loop.turn()
    assert b" 200 OK" in client.out
    assert client.closed
    bench.client.connection_lost(None)
    assert not bench.client.context.buffered
    assert model.closed is (config is STREAMS and sent != b"POST"), "nobody waits for the model either"


def test_a_model_that_is_full_at_once_holds_its_client_back_and_is_not_the_clients_fault() -> None:
    """Its bytes are `MUCH_OUT` with those of others, and leave at once, while the client is about to be read again."""
    bench = Bench(config=STREAMS)
    client, model = behind_one(bench, HALF)
    assert not client.reading

    def full(pieces: list[bytes]) -> None:
        Wire.writelines(model, pieces)
        bench.model.pause_writing()

    model.writelines = full
    other: Any = Wire(None, bench.loop)
    bench.client.turn.write(other, b"", None, [bytes(MUCH_OUT - 1)])
    model.hear(ok())
    assert len(other.out) == MUCH_OUT - 1, "sent, though the turn goes on"
    bench.loop.turn()
    assert not client.reading
    assert bench.model not in bench.model.pool.stalled
    bench.model.resume_writing()
    assert client.reading
    assert bench.model in bench.model.pool.stalled


def test_requests_of_a_client_that_sends_no_more_wait_for_room_for_their_answers() -> None:
    bench = Bench()
    client, model = behind_one(bench, HEALTH * 3)
    assert bench.client.eof_received()
    fills(bench)
    model.hear(ok())
    for answers in (2, 3, 4):
        bench.loop.turn()
        assert client.out.count(HERE) == answers
        assert not client.closed
        bench.client.resume_writing()
    assert client.closed


def test_no_chunk_is_lost_behind_an_answer_that_is_not_taken() -> None:
    """The 100 that we answer is more than the client takes, while much of the body is here, cut by the turn's share."""
    bench, body = Bench(), b"1\r\nx\r\n" * 999 + b"1\r\ny\r\n0\r\n\r\n"
    client, model = behind_one(bench, IN_CHUNKS + b"Expect: 100-continue\r\n\r\n" + body)
    fills(bench)
    model.hear(ok())
    bench.loop.turn()
    assert client.out.endswith(CONTINUE)
    assert model.out.endswith(b"\r\n\r\n" + body)
