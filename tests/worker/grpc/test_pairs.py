"""Promise: a unary call is mirrored, split and falls back like any request; a stream goes to one arm and costs no
pair; and whatever the candidate does, a client of live's never notices."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Iterable, Iterator

import grpc

from proxy.model import Arm, Kind, Pair, Prediction, PredictionSpec
from proxy.model.reasons import Reason
from proxy.predictions import booking, read_pair
from tests.predictions.messages import raw_answer, typed_answer
from tests.worker.grpc.models import INFER, Client, GrpcModel, Seen, echo, fails, hangs, says
from tests.worker.rig import PATIENCE, Rig, eventually, rig

CONFIG = """
server: {grpc_listen: 127.0.0.1:0, limits: {max_body: 1MiB}}
upstreams:
  live: {url: "{0}", timeout: 3s}
  cand: {url: "{1}", timeout: 2s}
routes:
  - name: m
    match: {path: "/inference.GRPCInferenceService/*"}
    live: live
    sticky: {header: x-user}
    override: {header: x-arm}
    rollouts:
      - candidate: cand
        shadow: 100%
        canary: 50%
        latency_block: 0s
        mirror: {max_body: 100KiB, max_memory: 1MiB, timeout: 1s, headers: {set: {x-team: blue}}}
        fallback: {after: 100ms}
"""
LABELS = PredictionSpec("v2", Kind.LABEL, "predict")


async def pairs(it: Rig, count: int) -> list[Pair]:
    """The first pairs, once nothing is under way."""
    await eventually(lambda: len(it.controller.pairs) >= count, f"{count} pairs")
    await it.settled()
    return it.controller.pairs


async def test_a_mirrored_call_is_a_pair_with_the_right_values() -> None:
    live = GrpcModel(says(raw_answer("predict", "INT64", [2], b"\3" + bytes(7) + b"\5" + bytes(7))))
    candidate = GrpcModel(says(typed_answer("predict", "INT64", [2], [3, 4])))
    async with rig(CONFIG, [live, candidate], grpc=True) as it:
        await it.lane()
        with Client(it.grpc_port) as client:
            sent = [("authorization", "secret"), ("x-api-key", "secret"), ("x-user", "ann")]
            told = await client.ask(b"question", metadata=sent, timeout=60)
            assert told.found["x-served-by"] == "live"
        (pair,) = await pairs(it, 1)
    reading = read_pair(LABELS, pair)
    assert (reading.live, reading.candidate) == (Prediction(Kind.LABEL, (3, 5)), Prediction(Kind.LABEL, (3, 4)))
    assert booking(reading.live_fault) == "compared"
    assert pair.request_body == b"\0\0\0\0\x08question"
    assert pair.request_head.startswith(b"POST " + INFER.encode() + b" HTTP/1.1\r\n")
    assert b"secret" not in pair.request_head
    assert (pair.live.status, pair.candidate.status, pair.live.reason) == (200, 200, Reason.NONE)
    assert b"grpc-status: 0\r\n" in pair.live.head
    assert 0 < pair.live.seconds < PATIENCE
    copy = candidate.calls[0]
    assert copy.messages == [b"question"]
    assert (copy.found["x-shadow"], copy.found["x-team"], copy.found["x-user"]) == ("cand", "blue", "ann")
    assert {"authorization", "x-api-key"}.isdisjoint(copy.found)
    assert live.calls[0].found["authorization"] == live.calls[0].found["x-api-key"] == "secret"
    assert copy.found["x-request-id"] == live.calls[0].found["x-request-id"] == pair.id
    assert copy.deadline is not None


async def test_a_caller_that_repeats_its_id_is_split_and_sampled_like_any_other() -> None:
    live, candidate = GrpcModel(), GrpcModel()
    async with rig(CONFIG, [live, candidate], grpc=True) as it:
        await it.lane(weight=5_000, share=5_000)
        with Client(it.grpc_port) as client:
            told = [await client.ask(b"q%d" % n, metadata=[("x-request-id", "session-1")]) for n in range(50)]
        assert {one.found["x-served-by"] for one in told} == {"live", "cand"}
        assert {one.found["x-request-id"] for one in told} == {"session-1"}
        await it.settled()
        found = await pairs(it, it.trial.sampled)
        assert {pair.served for pair in found} == set(Arm)
        assert sum(pair.served is Arm.LIVE for pair in found) < sum(one.found["x-served-by"] == "live" for one in told)
    assert len({pair.id for pair in found}) == len(found)
    assert {pair.request_id for pair in found} == {"session-1"}


async def test_a_status_decides_who_failed() -> None:
    live, candidate = GrpcModel(), GrpcModel()
    cases: list[tuple[grpc.StatusCode | None, grpc.StatusCode | None, str, str]] = [
        (None, grpc.StatusCode.UNAVAILABLE, "", "status_5xx"),
        (None, grpc.StatusCode.INTERNAL, "", "status_5xx"),
        (None, grpc.StatusCode.UNKNOWN, "", "status_5xx"),
        (None, grpc.StatusCode.DEADLINE_EXCEEDED, "", "status_5xx"),
        (None, grpc.StatusCode.RESOURCE_EXHAUSTED, "", "status_429"),
        (None, grpc.StatusCode.INVALID_ARGUMENT, "", "status_4xx"),
        (None, grpc.StatusCode.UNIMPLEMENTED, "", "status_5xx"),
        (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.INVALID_ARGUMENT, "", ""),
        (grpc.StatusCode.NOT_FOUND, None, "status_4xx", ""),
        (grpc.StatusCode.INTERNAL, None, "status_5xx", ""),
    ]
    async with rig(CONFIG, [live, candidate], grpc=True) as it:
        await it.lane()
        with Client(it.grpc_port) as client:
            for number, (mine, yours, live_fault, fault) in enumerate(cases):
                live.script = echo if mine is None else fails(mine)
                candidate.script = echo if yours is None else fails(yours)
                told = await client.ask(b"%d" % number)
                assert told.code is (mine or grpc.StatusCode.OK)
                reading = read_pair(None, (await pairs(it, number + 1))[-1])
                assert (reading.live_fault.value, reading.fault.value) == (live_fault, fault)
    assert "candidate: answered UNAVAILABLE (as 503)" in read_pair(None, it.controller.pairs[0]).detail


async def test_live_answers_when_the_candidate_fails() -> None:
    live = GrpcModel(says(b"from live"))
    candidate = GrpcModel()
    async with rig(CONFIG, [live, candidate], grpc=True) as it:
        await it.lane(weight=9_999)
        with Client(it.grpc_port) as client:
            candidate.script = fails(grpc.StatusCode.UNAVAILABLE)
            assert (await client.ask(b"x")).answer == b"from live"
            candidate.script = fails(grpc.StatusCode.RESOURCE_EXHAUSTED)
            assert (await client.ask(b"x")).answer == b"from live"
            candidate.script = hangs
            assert (await client.ask(b"x", timeout=30)).answer == b"from live"
            left, given = live.calls[-1].deadline, candidate.calls[-1].deadline
            assert left is not None
            assert given is not None
            assert left < given - 0.05  # the candidate had 100 ms of it
            await candidate.stop()
            dead = await client.ask(b"x")
            assert (dead.answer, dead.found["x-served-by"]) == (b"from live", "live")
        found = await pairs(it, 4)
    assert [(pair.served, pair.fell_back, pair.hedged) for pair in found] == [
        (Arm.CANDIDATE, True, False),
        (Arm.CANDIDATE, True, False),
        (Arm.CANDIDATE, False, True),
        (Arm.CANDIDATE, True, False),
    ]
    assert [pair.candidate.status for pair in found[:2]] == [503, 429]
    assert all(read_pair(None, pair).fault for pair in found)


async def test_a_candidates_good_answer_is_the_clients() -> None:
    def script(seen: Seen, messages: Iterator[bytes]) -> Iterable[bytes]:
        seen.context.send_initial_metadata((("x-model", "two"),))
        seen.context.set_trailing_metadata((("cost-bin", b"\0\1"),))
        yield from says(b"from candidate")(seen, messages)

    live, candidate = GrpcModel(says(b"from live")), GrpcModel(script)
    async with rig(CONFIG, [live, candidate], grpc=True) as it:
        await it.lane(weight=9_999)
        with Client(it.grpc_port) as client:
            told = await client.ask(b"x")
            assert (told.answer, told.found["x-served-by"]) == (b"from candidate", "cand")
            assert (told.found["x-model"], told.trailing) == ("two", [("cost-bin", b"\0\1")])
        found = await pairs(it, 1)
    assert found[0].live.body == b"\0\0\0\0\x09from live"
    assert live.calls[0].found["x-shadow"] == "live"


async def test_a_refusal_of_the_candidates_is_given_only_where_live_says_the_same() -> None:
    code = grpc.StatusCode
    live, candidate = GrpcModel(), GrpcModel()
    async with rig(CONFIG, [live, candidate], grpc=True) as it:
        await it.lane(weight=9_999)
        with Client(it.grpc_port) as client:
            for said in (code.INVALID_ARGUMENT, code.NOT_FOUND, code.UNAUTHENTICATED, code.PERMISSION_DENIED):
                candidate.script, live.script = fails(said, "no"), says(b"from live")
                told = await client.ask(b"x")
                assert (told.code, told.answer, told.found["x-served-by"]) == (code.OK, b"from live", "live")
            candidate.script, live.script = fails(code.INVALID_ARGUMENT, "no"), fails(code.OUT_OF_RANGE, "nor I")
            told = await client.ask(b"x")
            assert (told.code, told.details, told.found["x-served-by"]) == (code.INVALID_ARGUMENT, "no", "cand")
            live.script = fails(code.UNAUTHENTICATED, "who are you")
            told = await client.ask(b"x")
            assert (told.code, told.found["x-served-by"]) == (code.UNAUTHENTICATED, "live")
        found = await pairs(it, 6)
    faults = [read_pair(None, pair).fault for pair in found]
    assert faults == [Reason.STATUS_4XX] * 4 + [Reason.NONE] * 2


async def test_users_stay_on_their_arm() -> None:
    live, candidate = GrpcModel(), GrpcModel()
    async with rig(CONFIG, [live, candidate], grpc=True) as it:
        await it.lane(weight=5_000, share=0)
        with Client(it.grpc_port) as client:
            served = {}
            for user in range(30):
                arms = {
                    (await client.ask(b"", metadata=[("x-user", f"{user}")])).found["x-served-by"] for _ in range(2)
                }
                assert len(arms) == 1
                served[user] = arms.pop()
            assert set(served.values()) == {"live", "cand"}
            asked = await client.ask(b"", metadata=[("x-arm", "candidate")])
            assert asked.found["x-served-by"] == "cand"
            await it.lane(weight=0)
            refused = await client.ask(b"", metadata=[("x-arm", "candidate")])
            assert refused.code is grpc.StatusCode.PERMISSION_DENIED


async def test_a_hung_or_dead_candidate_costs_live_nothing() -> None:
    live, candidate = GrpcModel(), GrpcModel(hangs)
    async with rig(CONFIG, [live, candidate], grpc=True) as it:
        await it.lane()
        with Client(it.grpc_port) as client:
            for number in range(20):
                assert (await client.ask(b"%d" % number)).answer == b"%d" % number
            await candidate.stop()
            for number in range(20):
                assert (await client.ask(b"%d" % number)).answer == b"%d" % number
        found = await pairs(it, 40)
    assert all(pair.live.reason is Reason.NONE for pair in found)
    assert all(read_pair(None, pair).fault for pair in found)


async def test_streams_go_to_one_arm_and_are_no_pairs() -> None:
    live, candidate = GrpcModel(), GrpcModel()
    async with rig(CONFIG, [live, candidate], grpc=True) as it:
        for weight, served, asked in ((0, "live", live), (9_999, "cand", candidate)):
            await it.lane(weight=weight)
            with Client(it.grpc_port) as client:
                told = await asyncio.to_thread(client.read, client.stream([b"a", b"b", b"c"]))
                assert (told.answers, told.found["x-served-by"]) == ([b"a", b"b", b"c"], served)
                questions: queue.Queue[bytes] = queue.Queue()
                call = client.stream(iter(questions.get, b""))
                for number in range(3):  # a held answer would hang here
                    questions.put(b"%d" % number)
                    assert await asyncio.to_thread(next, call) == b"%d" % number
                questions.put(b"")
                assert await asyncio.to_thread(next, call, None) is None
            assert [seen.messages for seen in asked.calls] == [[b"a", b"b", b"c"], [b"0", b"1", b"2"]]
        await it.settled()
        assert it.trial.sampled == 0
        assert not it.controller.pairs


async def test_a_stream_of_answers_to_one_question_is_a_pair_and_comes_as_it_is_made() -> None:
    go_on = threading.Event()

    def slowly(seen: Seen, messages: Iterator[bytes]) -> Iterable[bytes]:
        yield from says(b"1", b"2")(seen, messages)
        go_on.wait(PATIENCE)
        yield b"3"

    live, candidate = GrpcModel(slowly), GrpcModel(slowly)
    async with rig(CONFIG.replace("after: 100ms", "after: 30s, hold: 30s"), [live, candidate], grpc=True) as it:
        await it.lane(weight=9_999)
        with Client(it.grpc_port) as client:
            call = client.stream([b"x"])
            # The first message is held until the second shows that this is a stream; neither waits for the third.
            assert [await asyncio.to_thread(next, call) for _ in range(2)] == [b"1", b"2"]
            go_on.set()
            assert await asyncio.to_thread(next, call) == b"3"
            assert await asyncio.to_thread(next, call, None) is None
        (pair,) = await pairs(it, 1)
    assert pair.candidate.body == pair.live.body == b"\0\0\0\0\1" + b"\0\0\0\0\1".join((b"1", b"2", b"3"))


async def test_live_takes_over_a_stream_that_the_candidate_never_began() -> None:
    live, candidate = GrpcModel(), GrpcModel()
    async with rig(CONFIG, [live, candidate], grpc=True) as it:
        await candidate.stop()
        await it.lane(weight=9_999)
        with Client(it.grpc_port) as client:
            told = await asyncio.to_thread(client.read, client.stream([b"a", b"b", b"c"]))
        assert (told.code, told.answers) == (grpc.StatusCode.OK, [b"a", b"b", b"c"])
        await it.settled()


async def test_a_stream_that_breaks_off_ends_with_a_status() -> None:
    def script(seen: Seen, messages: Iterator[bytes]) -> Iterable[bytes]:
        yield next(iter(messages))
        asyncio.run_coroutine_threadsafe(live.stop(), loop).result(PATIENCE)
        yield b"never"

    loop = asyncio.get_running_loop()
    live, candidate = GrpcModel(script), GrpcModel()
    async with rig(CONFIG, [live, candidate], grpc=True) as it:
        with Client(it.grpc_port) as client:
            told = await asyncio.to_thread(client.read, client.stream([b"a", b"b"]))
        assert told.answers == [b"a"]
        assert told.code is grpc.StatusCode.UNAVAILABLE
        await it.settled()


async def test_what_is_too_long_is_booked_and_answered() -> None:
    live, candidate = GrpcModel(), GrpcModel()
    async with rig(CONFIG, [live, candidate], grpc=True) as it:
        await it.lane()
        long = bytes(200_000)
        with Client(it.grpc_port) as client:
            assert (await client.ask(long)).answer == long
            live.script, candidate.script = says(b"ok"), says(long)
            assert (await client.ask(b"x")).answer == b"ok"
            (pair,) = await pairs(it, 1)
            live.script = says(long)
            assert (await client.ask(b"x")).answer == long
            await it.settled()
        assert pair.candidate.reason is Reason.TOO_LARGE
        assert (it.trial.sampled, it.trial.too_large, it.trial.sent) == (3, 2, 1)


async def test_a_client_that_leaves_does_not_spare_the_candidate() -> None:
    """Nor is live, asked for the pair when the candidate has failed, bound by how long the client waited."""
    left = threading.Event()

    def fails_then(seen: Seen, messages: Iterator[bytes]) -> Iterable[bytes]:
        assert left.wait(PATIENCE)
        yield from fails(grpc.StatusCode.UNAVAILABLE)(seen, messages)

    live, candidate = GrpcModel(says(b"from live")), GrpcModel(fails_then)
    config = CONFIG.replace("after: 100ms", "after: 30s").replace("timeout: 2s", "timeout: 30s")
    async with rig(config, [live, candidate], grpc=True) as it:
        await it.lane(weight=9_999)
        with Client(it.grpc_port) as client:
            call = client.start(b"x", timeout=60)
            await eventually(lambda: candidate.calls, "the candidate is asked")
            call.cancel()
        await eventually(lambda: not it.worker.context.clients, "the client has left")
        left.set()
        (pair,) = await pairs(it, 1)
    assert (pair.live.status, pair.live.body[5:]) == (200, b"from live")
    assert read_pair(None, pair).fault is Reason.STATUS_5XX


async def test_memory_is_bounded_while_a_call_comes_in() -> None:
    live, candidate = GrpcModel(), GrpcModel()
    config = CONFIG.replace("max_body: 100KiB, max_memory: 1MiB", "max_body: 250KiB, max_memory: 1MiB")
    async with rig(config, [live, candidate], grpc=True) as it:
        await it.lane()
        it.trial.memory += 900_000
        with Client(it.grpc_port) as client:
            body = bytes(240_000)
            assert (await client.ask(body)).answer == body
            await eventually(lambda: not it.trial.pending, "booked")
            it.trial.memory -= 900_000
            assert (it.trial.sampled, it.trial.shed, it.trial.memory) == (1, 1, 0)
            assert (await client.ask(body)).answer == body
            await pairs(it, 1)
