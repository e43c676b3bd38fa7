"""Promise: requests that name one sequence in their body get one arm, however the body comes; one that names none is
drawn by itself, and nobody waits for a body that is not needed."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator, Sequence

import grpc
import pytest

from proxy.request.routing import bucket, salt
from tests.predictions.messages import ModelInferRequest
from tests.request.test_exchange import GOOD, LIVE, SHADOW
from tests.request.test_rewriting import chunked, send_in_pieces
from tests.worker.grpc.models import Client, GrpcModel
from tests.worker.rig import Model, Rig, always, eventually, parsed, rig

STICKY = SHADOW.replace(
    "live: v1", "live: v1\n    sticky: {json: /parameters/sequence_id}\n    override: {header: x-arm}"
)
SMALL = STICKY.replace("latency_block: 0s", "latency_block: 0s\n        mirror: {max_body: 48KiB}")


def both() -> tuple[Model, Model]:
    return Model(always(LIVE)), Model(always(GOOD))


def body(sequence: object, more: str = "") -> bytes:
    return f'{{"parameters": {{"sequence_id": {sequence}}}, "x": "{more}"}}'.encode()


def arms(it: Rig, keys: Sequence[object], weight: int = 5_000) -> list[str]:
    """Whom each sequence belongs to."""
    salted = salt("r", "v2", it.trial.settings.version, "serve")
    return ["v2" if bucket(salted, str(key).encode()) < weight else "v1" for key in keys]


def of_both(it: Rig, each: int) -> list[int]:
    """Sequences of which `each` belong to either arm; the draw differs between runs, as models have other ports."""
    keys = range(1, 1_000)
    return [key for arm in ("v1", "v2") for key in [key for key in keys if arms(it, [key]) == [arm]][:each]]


async def test_a_sequence_stays_on_its_arm() -> None:
    async with rig(STICKY, both()) as it:
        await it.lane(weight=5_000)
        keys = 2 * of_both(it, 6)
        assert [(await it.ask(body(key)))[1]["x-served-by"] for key in keys] == arms(it, keys)


async def in_one(it: Rig, sent: bytes) -> bytes:
    return (await it.ask(sent))[2]


async def in_chunks(it: Rig, sent: bytes) -> bytes:
    head = b"POST /infer HTTP/1.1\r\nHost: t\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    return parsed(await it.raw(head + chunked(sent)))[2]


async def asked_for(it: Rig, sent: bytes) -> bytes:
    return await send_in_pieces(it, sent, b"Expect: 100-continue")


@pytest.mark.parametrize("way", [in_one, in_chunks, send_in_pieces, asked_for])
async def test_however_the_body_comes_both_arms_get_all_of_it(way: Callable[..., object]) -> None:
    live, candidate = both()
    async with rig(SMALL, (live, candidate)) as it:
        await it.lane(weight=5_000)
        keys = of_both(it, 3)
        for key in keys:
            answer = await way(it, body(key, "y" * 30_000))  # type: ignore[misc]
            assert answer == {"v1": b'{"a":1}', "v2": b'{"a":2}'}[arms(it, [key])[0]]
        await eventually(lambda: len(it.controller.pairs) == 6, "pairs")
        assert {pair.request_body for pair in it.controller.pairs} == {body(key, "y" * 30_000) for key in keys}
        await it.settled()


@pytest.mark.parametrize("sent", [body(0), body('""'), b"{}", b"no JSON", body(7, "y" * 60_000)])
async def test_a_request_without_a_sequence_is_drawn_by_itself(sent: bytes) -> None:
    async with rig(SMALL, both()) as it:
        await it.lane(weight=5_000)
        assert {(await it.ask(sent))[1]["x-served-by"] for _ in range(40)} == {"v1", "v2"}
        await it.settled()


async def test_nobody_waits_for_a_body_that_decides_nothing() -> None:
    """In shadow, after promotion, and where the caller asks for an arm, pieces pass on as they come."""
    live, candidate = both()
    async with rig(STICKY, (live, candidate)) as it:
        it.streams()
        for weight, arm, model in ((0, b"", live), (10_000, b"", candidate), (5_000, b"x-arm: live\r\n", live)):
            await it.lane(weight=weight)
            before = len(model.calls)
            _, writer = await it.connect()
            writer.write(b"POST /infer HTTP/1.1\r\nHost: t\r\n%bContent-Length: 100\r\n\r\n{" % arm)
            await eventually(lambda before=before, model=model: len(model.calls) > before, "the head")  # type: ignore[misc]
            writer.close()
        await it.settled()


async def test_a_client_that_leaves_while_its_body_is_gathered_leaves_nothing_behind() -> None:
    live, candidate = both()
    async with rig(STICKY, (live, candidate)) as it:
        await it.lane(weight=5_000)
        _, writer = await it.connect()
        writer.write(b"POST /infer HTTP/1.1\r\nHost: t\r\nContent-Length: 100\r\n\r\n{")
        await eventually(lambda: it.trial.memory, "the first piece")
        writer.close()
        await it.settled()
        assert (live.calls, candidate.calls) == ([], [])


CALLS = """
server: {grpc_listen: 127.0.0.1:0}
upstreams: {v1: {url: "{0}"}, v2: {url: "{1}"}}
routes:
  - name: r
    live: v1
    sticky: {json: /parameters/sequence_id}
    rollouts: [{candidate: v2, shadow: 100%, canary: 50%}]
"""


def message(sequence: int) -> bytes:
    request = ModelInferRequest(model_name="m")
    request.parameters["sequence_id"].int64_param = sequence
    encoded: bytes = request.SerializeToString()
    return encoded


async def test_a_sequence_of_calls_stays_on_its_arm() -> None:
    async with rig(CALLS, [GrpcModel(), GrpcModel()], grpc=True) as it:
        await it.lane(weight=5_000)
        keys = 2 * of_both(it, 4)
        with Client(it.grpc_port) as client:
            told = [await client.ask(message(key)) for key in keys]
        assert {one.code for one in told} == {grpc.StatusCode.OK}
        assert [one.answer for one in told] == [message(key) for key in keys]
        assert [one.found["x-served-by"] for one in told] == arms(it, keys)
        await it.settled()


async def test_the_first_message_of_a_stream_decides_and_is_not_held() -> None:
    """Its client sends the next one when it has the answer."""
    async with rig(CALLS, [GrpcModel(), GrpcModel()], grpc=True) as it:
        await it.lane(weight=5_000)

        def talk(client: Client, key: int) -> tuple[list[bytes], str]:
            answers: list[bytes] = []
            ready = threading.Semaphore(1)

            def messages() -> Iterator[bytes]:
                for _ in range(3):
                    ready.acquire()
                    yield message(key)

            call = client.stream(messages(), "/inference.GRPCInferenceService/ModelStreamInfer")
            for answer in call:
                answers.append(answer)
                ready.release()
            return answers, dict(call.initial_metadata())["x-served-by"]

        with Client(it.grpc_port) as client:
            for key in range(1, 7):
                answers, arm = await asyncio.to_thread(talk, client, key)
                assert (answers, [arm]) == ([message(key)] * 3, arms(it, [key]))
        await it.settled()
