"""Promise: behind the whole program, gRPC calls are answered as without it, judged by value, and a candidate that fails
them is rolled back; a drain sends clients away and leaves none without an answer."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import grpc

from tests.e2e.harness import running
from tests.predictions.messages import ModelInferRequest, raw_answer, typed_answer
from tests.worker.grpc.models import INFER, Client, GrpcModel, Seen, fails, hangs
from tests.worker.rig import PATIENCE, eventually


def model(raw: bool, wrong: int = 0) -> GrpcModel:
    """Says the number in the request's id, modulo ten; another one for every `wrong`th."""

    def script(seen: Seen, messages: Iterator[bytes]) -> Iterable[bytes]:
        number = int(ModelInferRequest.FromString(next(iter(messages))).id)
        label = (number + (wrong > 0 and number % wrong == 0)) % 10
        if raw:
            yield raw_answer("predict", "INT64", [1], struct.pack("<q", label))
        else:
            yield typed_answer("predict", "INT64", [1], [label])

    return GrpcModel(script)


def question(number: int) -> bytes:
    message: bytes = ModelInferRequest(model_name="digits", id=f"{number}").SerializeToString()
    return message


def config(live: GrpcModel, candidate: GrpcModel, **rollout: Any) -> dict[str, Any]:
    return {
        "server": {"listen": "127.0.0.1:0", "grpc_listen": "127.0.0.1:0", "workers": 2},
        "upstreams": {"v1": {"url": live.url}, "v2": {"url": candidate.url}},
        "routes": [
            {
                "name": "digits",
                "match": {"path": INFER},
                "live": "v1",
                "prediction": {"protocol": "v2", "output": "predict", "kind": "label"},
                "rollouts": [{"candidate": "v2", **rollout}],
            }
        ],
    }


def disagreement(rollout: dict[str, Any]) -> dict[str, Any]:
    """What is found of it so far; empty before the first look."""
    return next((one for one in rollout["findings"] if one["guard"] == "max_disagreement"), {})


async def test_calls_are_compared_by_value_and_a_failing_candidate_is_rolled_back(tmp_path: Path) -> None:
    live, candidate = model(raw=True), model(raw=False, wrong=4)
    await live.start()
    await candidate.start()
    guards = {"max_disagreement": "60%", "max_extra_errors": "50%"}
    # Of 64 copies each of two workers has half, which a candidate that has no turn yet on a busy machine fills.
    plan = {"shadow": "100%", "mirror": {"max_in_flight": 200}, "guards": guards}
    try:
        async with running(tmp_path, config(live, candidate, **plan)) as understudy:
            with Client(int(understudy.grpc_address.rpartition(":")[2])) as client:
                for number in range(40):
                    told = await client.ask(question(number), timeout=30)
                    assert told.answer == raw_answer("predict", "INT64", [1], struct.pack("<q", number % 10))
                rollout = await understudy.until("digits/v2", lambda now: disagreement(now).get("pairs") == 40)
                assert disagreement(rollout)["value"] == 0.25
                assert rollout["candidate_failures"] == {}
                candidate.script = fails(grpc.StatusCode.INTERNAL, "out of memory")
                for number in range(40, 70):
                    assert (await client.ask(question(number), timeout=30)).code is grpc.StatusCode.OK
                rollout = await understudy.until("digits/v2", lambda now: now["state"] == "rolled_back")
                # The tripwire acts on arrival; what is still on its way into the evidence then is not counted any more.
                assert set(rollout["candidate_failures"]) == {"status_5xx"}
    finally:
        await live.stop()
        await candidate.stop()


async def test_a_drain_finishes_what_is_in_hand(tmp_path: Path) -> None:
    live, candidate = GrpcModel(hangs), model(raw=True)
    await live.start()
    await candidate.start()
    try:
        async with running(tmp_path, config(live, candidate, shadow="1%")) as understudy:
            with Client(int(understudy.grpc_address.rpartition(":")[2])) as client:
                call = client.stream([question(1)], timeout=30)
                await eventually(lambda: live.calls, "the call")
                stopped = asyncio.create_task(understudy.stop(2))
                await eventually(lambda: understudy.events("draining"), "the drain")
                live.calls[0].ended.set()
                told = await asyncio.to_thread(client.read, call)
                assert (told.code, told.answers) == (grpc.StatusCode.OK, [b""])
                assert await asyncio.wait_for(stopped, 6 * PATIENCE) == 0
    finally:
        await live.stop()
        await candidate.stop()
