"""Promise: a gRPC client gets through the proxy what it would get without, whatever the call; and the proxy's own
errors are gRPC's. With gRPC's own library on both ends."""

from __future__ import annotations

import asyncio
import gzip
import queue
import random
from collections.abc import Iterable, Iterator
from pathlib import Path

import grpc
import pytest

from tests.fakes import certificate
from tests.worker.grpc.models import INFER, Client, GrpcModel, Seen, echo, fails, hangs, says
from tests.worker.grpc.raw import PLAIN, Raw
from tests.worker.rig import PATIENCE, Rig, eventually, rig
from tests.worker.test_request_log import Heard


async def test_a_unary_call_is_the_same_byte_for_byte() -> None:
    model = GrpcModel()
    async with rig(PLAIN, [model], grpc=True) as it:
        with Client(it.grpc_port) as client:
            for size in (0, 1, 300, 70_000, 1_000_000):
                body = random.Random(size).randbytes(size)
                told = await client.ask(body)
                assert (told.code, told.answer) == (grpc.StatusCode.OK, body)
                assert model.calls[-1].messages == [body]
        assert model.calls[-1].method == INFER


async def test_metadata_goes_both_ways() -> None:
    def script(seen: Seen, messages: Iterator[bytes]) -> Iterable[bytes]:
        seen.context.send_initial_metadata((("x-first", "1"), ("first-bin", b"\0\xff")))
        seen.context.set_trailing_metadata((("x-last", "2"), ("last-bin", b"\1\2")))
        yield from echo(seen, messages)

    model = GrpcModel(script)
    given = [("x-user", "Ann"), ("blob-bin", bytes(range(256))), ("x-many", "a"), ("x-many", "b")]
    async with rig(PLAIN, [model], grpc=True) as it:
        with Client(it.grpc_port) as client:
            told = await client.ask(b"x", metadata=[*given, ("x-request-id", "call-1")])
    seen = model.calls[0]
    assert [one for one in seen.metadata if one in given] == given
    assert seen.found["x-request-id"] == "call-1"
    assert (seen.found["x-forwarded-for"], seen.found["via"]) == ("127.0.0.1", "1.1 understudy")
    assert seen.found["user-agent"].startswith("grpc-python")
    assert {("x-first", "1"), ("first-bin", b"\0\xff"), ("x-request-id", "call-1"), ("x-served-by", "m")} == set(
        told.initial
    )
    assert told.trailing == [("x-last", "2"), ("last-bin", b"\1\2")]


async def test_a_models_own_request_id_reaches_the_caller_and_ours_takes_another_name() -> None:
    def script(seen: Seen, messages: Iterator[bytes]) -> Iterable[bytes]:
        seen.context.send_initial_metadata((("x-request-id", "req_1"), ("x-understudy-request-id", "a lie")))
        yield from echo(seen, messages)

    async with rig(PLAIN, [GrpcModel(script)], grpc=True) as it:
        with Client(it.grpc_port) as client:
            for given, named in (("mine", [("x-understudy-request-id", "mine")]), ("req_1", [])):
                told = await client.ask(b"x", metadata=[("x-request-id", given)])
                assert sorted(one for one in told.initial if "request-id" in one[0]) == sorted(
                    [("x-request-id", "req_1"), *named]
                )


async def test_a_call_without_an_id_gets_one_and_a_trace_goes_on() -> None:
    model = GrpcModel()
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    async with rig(PLAIN, [model], grpc=True) as it:
        with Client(it.grpc_port) as client:
            told = await client.ask(b"", metadata=[("traceparent", trace)])
    seen = model.calls[0].found
    assert seen["x-request-id"] == told.found["x-request-id"] != ""
    assert seen["traceparent"].split("-")[1] == trace.split("-")[1]
    assert seen["traceparent"].split("-")[2] != trace.split("-")[2]


async def test_a_status_comes_with_its_message_and_details() -> None:
    words = "no such model: größer & 100%"
    model = GrpcModel(fails(grpc.StatusCode.NOT_FOUND, words, b"\x08\x05\x12\x01x"))
    async with rig(PLAIN, [model], grpc=True) as it:
        with Client(it.grpc_port) as client:
            told = await client.ask(b"x")
            assert (told.code, told.details) == (grpc.StatusCode.NOT_FOUND, words)
            assert told.found["grpc-status-details-bin"] == b"\x08\x05\x12\x01x"
            assert told.found["x-served-by"] == "m"
        await eventually(lambda: it.controller.counts.get("requests"), "counts")
        assert ["m", "m", "served", "404", 1] in it.controller.counts["requests"]


async def test_deadlines_are_passed_on_and_the_upstreams_timeout_holds() -> None:
    model = GrpcModel(hangs)
    async with rig(PLAIN.replace("timeout: 2s", "timeout: 200ms"), [model], grpc=True) as it:
        with Client(it.grpc_port) as client:
            told = await client.ask(b"x", timeout=60.0)
        assert (told.code, told.found["x-understudy-error"]) == (grpc.StatusCode.DEADLINE_EXCEEDED, "timeout")
        deadline = model.calls[0].deadline
        assert deadline is not None
        assert 30 < deadline < 61  # gRPC rounds up
        await it.settled()


async def test_a_cancelled_call_is_cancelled_at_the_model() -> None:
    model = GrpcModel(hangs)
    async with rig(PLAIN, [model], grpc=True) as it:
        with Client(it.grpc_port) as client:
            call = client.stream([b"x"])
            await eventually(lambda: model.calls, "the call")
            call.cancel()
            assert await asyncio.to_thread(model.calls[0].ended.wait, PATIENCE)
        await it.settled()


async def test_streams_pass_piece_by_piece() -> None:
    """Each side waits for the other: nothing is gathered on the way."""
    model = GrpcModel()
    async with rig(PLAIN, [model], grpc=True) as it:
        with Client(it.grpc_port) as client:
            questions: queue.Queue[bytes] = queue.Queue()
            call = client.stream(iter(questions.get, b""))
            for number in range(20):
                questions.put(b"%d" % number)
                assert await asyncio.to_thread(next, call) == b"%d" % number
            questions.put(b"")
            assert await asyncio.to_thread(next, call, None) is None
            assert call.code() is grpc.StatusCode.OK
            many = [random.Random(n).randbytes(n * 1000) for n in range(60)]
            assert (await asyncio.to_thread(client.read, client.stream(many))).answers == many


async def test_a_slow_client_holds_up_the_model_and_nobody_else() -> None:
    made: list[int] = []

    def script(seen: Seen, messages: Iterator[bytes]) -> Iterable[bytes]:
        if list(messages) != [b"much"]:
            yield b"quick"
            return
        for number in range(2000):
            made.append(number)
            yield bytes(5_000)

    model = GrpcModel(script)
    async with rig(PLAIN, [model], grpc=True) as it:
        _, writer = await asyncio.open_connection("127.0.0.1", it.grpc_port)
        try:
            writer.write(Raw.opening(1, b"much"))
            await eventually(lambda: len(made) > 5, "the stream has begun")
            with Client(it.grpc_port) as other:
                assert (await other.ask(b"x")).answer == b"quick"  # over the same connection to the model
            before = -1
            while before != len(made):
                before = len(made)
                for _ in range(10):
                    await asyncio.sleep(0.01)
            assert len(made) < 500
        finally:
            writer.close()
        await it.settled()


async def test_our_own_errors_are_grpcs() -> None:
    model = GrpcModel()
    async with rig(PLAIN, [model], grpc=True) as it:
        with Client(it.grpc_port) as client:
            nowhere = await client.ask(b"", method="/other.Service/Do")
            assert (nowhere.code, nowhere.found["x-understudy-error"]) == (grpc.StatusCode.UNIMPLEMENTED, "no_route")
            long = await client.ask(bytes(1 << 21))
            assert (long.code, long.found["x-understudy-error"]) == (
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                "body_too_large",
            )
            await model.stop()
            dead = await client.ask(b"")
            assert dead.code is grpc.StatusCode.UNAVAILABLE
            assert dead.found["x-understudy-error"] in ("connect", "disconnect")
            await model.start()
            await eventually(
                lambda: it.worker.pools["m"].endpoints[0].usable(asyncio.get_running_loop().time()), "return"
            )
            assert (await client.ask(b"x")).answer == b"x"
        await it.settled()


async def test_health_is_answered_by_the_proxy_and_fails_while_it_drains() -> None:
    check = "/grpc.health.v1.Health/Check"
    model = GrpcModel(hangs)
    async with rig(PLAIN, [model], grpc=True) as it:
        with Client(it.grpc_port) as client:
            assert (await client.ask(b"", method=check)).answer == b"\x08\x01"
            it.worker.context.draining = True
            assert (await client.ask(b"", method=check)).answer == b"\x08\x02"


async def test_a_route_for_the_health_service_has_it() -> None:
    model = GrpcModel(says(b"\x08\x03"))
    config = PLAIN.replace("/inference.GRPCInferenceService/*", "/grpc.health.v1.Health/Check")
    async with rig(config, [model], grpc=True) as it:
        with Client(it.grpc_port) as client:
            assert (await client.ask(b"", method="/grpc.health.v1.Health/Check")).answer == b"\x08\x03"


async def test_drain_finishes_what_is_in_hand_and_sends_clients_away() -> None:
    model = GrpcModel(hangs)
    async with rig(PLAIN, [model], grpc=True) as it:
        with Client(it.grpc_port) as client:
            call = client.stream([b"x"])
            await eventually(lambda: model.calls, "the call")
            it.worker.stopped.set()
            await eventually(lambda: it.worker.context.draining, "drain")
            model.calls[0].ended.set()
            told = await asyncio.to_thread(client.read, call)
            assert (told.code, told.answers) == (grpc.StatusCode.OK, [b""])
            await asyncio.wait_for(it.task, PATIENCE)


async def test_connections_are_limited_in_number() -> None:
    model = GrpcModel()
    config = PLAIN.replace("max_body: 1MiB", "max_body: 1MiB, max_connections: 1")
    async with rig(config, [model], grpc=True) as it:
        with Client(it.grpc_port) as first, Client(it.grpc_port) as second:
            assert (await first.ask(b"x")).answer == b"x"
            refused = await second.ask(b"x")
            assert refused.code is grpc.StatusCode.UNAVAILABLE
            assert (await first.ask(b"x")).answer == b"x"


async def test_a_model_takes_more_calls_than_one_connection() -> None:
    model = GrpcModel(hangs, options=[("grpc.max_concurrent_streams", 2)])
    async with rig(PLAIN, [model], grpc=True) as it:
        with Client(it.grpc_port) as client:
            calls = [client.stream([b"x"]) for _ in range(6)]
            await eventually(lambda: len(model.calls) == 6, "six calls")
            assert it.worker.pools["m"].counts == (0, 3, 0)
            for seen in model.calls:
                seen.ended.set()
            for call in calls:
                assert (await asyncio.to_thread(client.read, call)).code is grpc.StatusCode.OK
        await it.settled()


async def test_a_model_that_goes_away_politely_costs_nothing() -> None:
    """Its GOAWAY lets calls finish; the next one goes to a new connection."""
    model = GrpcModel()
    async with rig(PLAIN, [model], grpc=True) as it:
        with Client(it.grpc_port) as client:
            for _ in range(3):
                assert (await client.ask(b"x")).answer == b"x"
                await model.stop()
                await model.start()
                assert (await client.ask(b"y")).answer == b"y"


async def said_to_a_client(it: Rig, said: bytes) -> str:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"SM\r\n\r\n")
        if said.startswith(Raw.SETTINGS):
            writer.write(Raw.SETTINGS)
            await reader.readuntil(b"te\x08trailers")  # the head of the call
        writer.write(said.removeprefix(Raw.SETTINGS))
        await reader.read()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", int(it.worker.pools["m"].endpoints[0].port))
    try:
        with Client(it.grpc_port) as client:
            told = await client.ask(b"x")
            return f"{told.code.name} {told.found['x-understudy-error']}"
    finally:
        server.close()


@pytest.mark.parametrize(
    ("said", "heard"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "INTERNAL bad_reply"),
        (b"", "UNAVAILABLE connect_timeout"),
        (Raw.SETTINGS + Raw.frame(0, 1, 1, bytes(5)), "INTERNAL bad_reply"),  # data before a head
        (Raw.SETTINGS + Raw.frame(1, 5, 1, b"\x88"), "INTERNAL bad_reply"),  # no grpc-status at all
        (Raw.SETTINGS + Raw.frame(1, 4, 1, b"\x88") + Raw.frame(0, 1, 1, bytes(5)), "INTERNAL bad_reply"),
        (Raw.SETTINGS + Raw.frame(3, 0, 1, b"\0\0\0\2"), "UNAVAILABLE disconnect"),
    ],
)
async def test_a_model_that_does_not_speak_grpc_is_told_from_one_that_is_not_there(said: bytes, heard: str) -> None:
    model = GrpcModel()
    async with rig(PLAIN, [model], grpc=True) as it:
        await model.stop()
        assert await said_to_a_client(it, said) == heard
        await it.settled()


async def test_compressed_messages_pass_as_they_are() -> None:
    model = GrpcModel()
    async with rig(PLAIN, [model], grpc=True) as it:
        with Client(it.grpc_port) as client:
            call = client.channel.unary_unary(INFER)
            body = gzip.compress(b"x") * 10 + bytes(10_000)
            assert await asyncio.to_thread(lambda: call(body, compression=grpc.Compression.Gzip, timeout=5)) == body
    assert model.calls[0].messages == [body]


@pytest.mark.parametrize(("trusted", "chain"), [("[]", "127.0.0.1"), ("[127.0.0.1]", "1.2.3.4, 127.0.0.1")])
async def test_who_asks_is_told_by_trusted_proxies_only(trusted: str, chain: str) -> None:
    """And that a call is a copy is told by nobody but us."""
    model = GrpcModel()
    claims = [("x-forwarded-for", "1.2.3.4"), ("x-forwarded-user", "root"), ("forwarded", "for=1"), ("x-shadow", "m")]
    async with rig(PLAIN.replace("server: {", f"server: {{trusted_proxies: {trusted}, "), [model], grpc=True) as it:
        with Client(it.grpc_port) as client:
            assert (await client.ask(b"x", metadata=claims)).code == grpc.StatusCode.OK
    seen = model.calls[0].found
    assert seen["x-forwarded-for"] == chain
    assert ("forwarded" in seen, "x-forwarded-user" in seen) == (trusted != "[]",) * 2
    assert "x-shadow" not in seen


async def test_over_tls_on_both_sides(tmp_path: Path) -> None:
    certificate(tmp_path, "one")
    chain, key = (tmp_path / "one.pem").read_bytes(), (tmp_path / "one.key").read_bytes()
    model = GrpcModel(credentials=grpc.ssl_server_credentials([(key, chain)]))
    config = PLAIN.replace("server: {", f"server: {{tls: {{cert: {tmp_path}/one.pem, key: {tmp_path}/one.key}}, ")
    config = config.replace("timeout: 2s", f"timeout: 2s, connect_timeout: 5s, tls: {{ca: {tmp_path}/one.pem}}")
    async with rig(config, [model], grpc=True) as it:
        with Client(it.grpc_port, credentials=grpc.ssl_channel_credentials(chain)) as client:
            body = random.Random(1).randbytes(200_000)
            told = await client.ask(body)
            assert (told.code, told.answer) == (grpc.StatusCode.OK, body)
        assert model.calls[0].found["x-forwarded-proto"] == "https"


@pytest.mark.parametrize(("said", "usable"), [(b"\x08\x01", True), (b"\x08\x02", False), (b"", False)])
async def test_an_upstreams_health_is_what_it_says(said: bytes, usable: bool) -> None:
    model = GrpcModel(says(said))
    config = PLAIN.replace("timeout: 2s", "timeout: 2s, health: {path: /grpc.health.v1.Health/Check, interval: 10ms}")
    async with rig(config, [model], grpc=True) as it:
        await eventually(lambda: len(model.calls) > 3, "checks")
        await eventually(
            lambda: model.calls[0].messages == [b""], "the first one's message, in a thread of the model's"
        )
        await eventually(lambda: it.worker.pools["m"].endpoints[0].healthy is usable, "the result")


async def test_a_followed_call_leaves_a_trail() -> None:
    model = GrpcModel(fails(grpc.StatusCode.NOT_FOUND))
    async with rig(PLAIN + "log: {access: {share: 100%}}\n", [model], grpc=True) as it:
        await eventually(lambda: it.controller._links, "the link")  # before it, entries are dropped by count
        heard = Heard(it)
        with Client(it.grpc_port) as client:
            await client.ask(b"x")
        entry = await heard.one()
    assert (entry.route, entry.path, entry.status, entry.upstream) == ("m", INFER, 404, "m")
    assert [(leg.leg, leg.status) for leg in entry.legs] == [("served", 404)]
