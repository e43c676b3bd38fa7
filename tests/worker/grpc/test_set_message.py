"""Promise: over gRPC `set_json` sets the model's name and version in every message that names one, whoever asks, and
nothing else of it; two versions in one server are told apart so."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from threading import Semaphore

import grpc
import pytest

from proxy.fields.set_json import rules
from proxy.fields.set_message import CALLS, STREAM, changed
from proxy.fields.sticky import message_key
from tests.worker.grpc.models import Client, GrpcModel
from tests.worker.rig import eventually, rig

SERVICE = "/inference.GRPCInferenceService/"
CONFIG = """
server: {listen: '127.0.0.1:0', grpc_listen: '127.0.0.1:0'}
upstreams:
  v1: {url: '{0}', set_json: {/model_version: '1'}}
  v2: {url: '{0}', set_json: {/model_version: '2'}HEALTH}
routes: [{name: m, live: v1, rollouts: [{candidate: v2, shadow: 100%}]}]
"""


def text(number: int, value: str) -> bytes:
    return bytes((number << 3 | 2, len(value))) + value.encode()


def version(message: bytes) -> str:
    """As a server reads it: the last one counts."""
    return message_key(b"\0" + len(message).to_bytes(4, "big") + message, ("model_version",)).decode()


@pytest.mark.parametrize("weight", [0, 5_000, 10_000])
@pytest.mark.parametrize("asked", [text(1, "fraud"), text(1, "fraud") + text(2, "7") + b"\x3a\x01x"])
async def test_two_versions_in_one_server(weight: int, asked: bytes) -> None:
    seen: list[bytes] = []

    def script(call, messages):  # type: ignore[no-untyped-def]
        for message in messages:
            seen.append(message)
            yield message

    async with rig(CONFIG.replace("HEALTH", ""), [GrpcModel(script)], grpc=True) as it:
        await it.lane(weight)
        with Client(it.grpc_port) as client:
            for _ in range(6):
                assert (await client.ask(asked, method=f"{SERVICE}ModelInfer")).code == grpc.StatusCode.OK
        await eventually(lambda: len(it.controller.pairs) == 6)
        assert {message[: len(asked)] for message in seen} == {asked}
        assert sorted(version(message) for message in seen) == ["1"] * 6 + ["2"] * 6
        assert {len(message) for message in seen} == {len(asked) + 3}
        for pair in it.controller.pairs:
            assert pair.request_body[5:] == asked


async def test_a_stream_whose_caller_waits_is_served_by_live_as_it_came() -> None:
    seen: list[bytes] = []

    def script(call, messages):  # type: ignore[no-untyped-def]
        for message in messages:
            seen.append(message)
            yield message

    answered = Semaphore(1)

    def questions() -> Iterator[bytes]:
        for number in range(3):
            answered.acquire()
            yield text(1, str(number))

    async with rig(CONFIG.replace("HEALTH", ""), [GrpcModel(script)], grpc=True) as it:
        await it.lane(10_000)
        with Client(it.grpc_port) as client:
            answers = client.stream(questions(), method=STREAM.decode())
            for number in range(3):
                said = await asyncio.to_thread(next, answers)
                answered.release()
                assert said == text(1, str(number))
        assert seen == [text(1, str(number)) for number in range(3)]


async def test_the_health_check_asks_about_the_model_that_is_set() -> None:
    seen: list[tuple[str, bytes]] = []

    def script(call, messages):  # type: ignore[no-untyped-def]
        for message in messages:
            seen.append((call.context._rpc_event.call_details.method.decode(), message))
            yield b"\x08\x01" if version(message) == "2" else b""

    health = f", health: {{path: {SERVICE}ModelReady, interval: 20ms}}"
    config = CONFIG.replace("HEALTH", health).replace("/model_version: '2'", "/model_name: fraud, /model_version: '2'")
    async with rig(config, [GrpcModel(script)], grpc=True) as it:
        await it.lane()
        await eventually(lambda: it.trial.ready)
    assert seen[0] == (f"{SERVICE}ModelReady", text(1, "fraud") + text(2, "2"))


@pytest.mark.parametrize("call", sorted(CALLS))
def test_every_message_is_set(call: bytes) -> None:
    long = "2" * 300
    body = b"\0\0\0\0\2ab" + b"\0\0\0\0\5abcde"
    found = changed(call, body, rules({"/model_version": long}))
    added = b"\x12\xac\x02" + long.encode()
    assert found == b"".join(b"\0" + (len(m) + 303).to_bytes(4, "big") + m + added for m in (b"ab", b"abcde"))


@pytest.mark.parametrize("body", [b"\1\0\0\0\1a", b"\0\0\0\0\2a", b"\0\0\0", b"\0\0\0\0\1a\0"])
def test_what_is_compressed_or_not_whole_cannot_be_changed(body: bytes) -> None:
    assert changed(STREAM, body, rules({"/id": "x"})) is None


def test_what_names_no_model_stays() -> None:
    body = b"\0\0\0\0\1a"
    assert changed(b"/a.B/C", body, rules({"/id": "x"})) == body
