"""The demo's parts keep what its summary leans on: labels are checked, signatures verified, no child left behind."""

from __future__ import annotations

import asyncio
import io
import os
import pickle
import random
import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
import orjson
import pytest
from standardwebhooks import Webhook

from proxy.demo import leash
from proxy.demo.acts import ACTS, Tally
from proxy.demo.config import render
from proxy.demo.digits import DigitRequest, Studio, train
from proxy.demo.model_server import ModelServer
from proxy.demo.processes import ChildError, Troupe
from proxy.demo.receiver import Receiver, verify
from proxy.demo.screen import Screen
from proxy.demo.traffic import Seen, Traffic

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Studio:
    return train(tmp_path_factory.mktemp("models"))


def test_the_two_good_models_differ_by_what_the_demo_says_and_the_stronger_is_stronger(studio: Studio) -> None:
    assert 0.03 <= studio.disagreement <= 0.04
    assert studio.accuracy["svm"] > studio.accuracy["logistic"] > 0.9


def test_a_server_answers_the_expected_labels_and_one_that_forgets_to_scale_does_not(studio: Studio) -> None:
    model = pickle.loads(studio.files["svm"].read_bytes())
    good, skewed = ModelServer(model, "svm", False, False), ModelServer(model, "svm", True, False)
    source = random.Random(1)
    asked = [studio.draw(source) for _ in range(100)]
    assert [tuple(good.labels(r.body)) for r in asked] == [r.expected["svm"] for r in asked]
    wrong = sum(tuple(skewed.labels(r.body)) != r.expected["svm"] for r in asked)
    assert wrong > 80


def _seen(labels: list[int], served_by: str = "svm", status: int = 200) -> Seen[DigitRequest]:
    body = orjson.dumps({"outputs": [{"data": labels}]})
    return Seen(DigitRequest(b"", {"svm": (1, 2), "logistic": (1, 3)}), 0.0, 0.1, status, served_by, body)


def test_the_tally_accepts_only_what_the_arm_that_answered_must_say() -> None:
    tally = Tally("svm")
    for seen in (
        _seen([1, 2]),
        _seen([1, 3], "logistic"),
        _seen([1, 3]),
        _seen([1, 2], "logistic"),
        _seen([1, 2], status=502),
    ):
        tally.add(seen)
    assert (tally.requests, tally.by_candidate, len(tally.errors)) == (5, 3, 3)


def test_signatures_are_those_of_the_specification() -> None:
    body, now = '{"type": "rollout.promoted"}', datetime.now(tz=UTC)
    headers = {
        "webhook-id": "msg_1",
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": "v1,bm90IHRoaXM= " + Webhook(SECRET).sign("msg_1", now, body),
    }
    assert verify(headers, body.encode(), SECRET, now.timestamp())
    assert not verify(headers, body.encode() + b" ", SECRET, now.timestamp())
    assert not verify(headers, body.encode(), SECRET, now.timestamp() + 301)
    assert not verify({**headers, "webhook-id": "msg_2"}, body.encode(), SECRET, now.timestamp())
    assert not verify({}, body.encode(), SECRET, now.timestamp())


async def test_the_receiver_refuses_a_forgery_and_counts_a_retry_once() -> None:
    receiver = Receiver(SECRET, clock=lambda: 1000.0)
    runner, url = await receiver.start()
    body = '{"type": "rollout.promoted", "data": {"rollout": "a/b"}}'
    headers = {"webhook-id": "m", "webhook-timestamp": "1000"}
    headers["webhook-signature"] = Webhook(SECRET).sign("m", datetime.fromtimestamp(1000, tz=UTC), body)
    async with aiohttp.ClientSession() as session:
        statuses = []
        for sent in (headers, headers, {**headers, "webhook-signature": "v1,bm90IHRoaXM="}):
            async with session.post(url, data=body, headers=sent) as answer:
                statuses.append(answer.status)
    found = await receiver.wait_for("a/b", "rollout.promoted", 5)
    missing = await receiver.wait_for("a/b", "rollout.rolled_back", 0.01)
    await runner.cleanup()
    assert statuses == [204, 204, 401]
    assert (receiver.attempts, receiver.forged, len(receiver.deliveries)) == (3, 1, 1)
    assert found is not None
    assert missing is None


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_is_redrawn_in_colour_and_a_pipe_gets_plain_lines_rarely() -> None:
    pipe, terminal, plain = io.StringIO(), _Terminal(), _Terminal()
    for stream, environment in (
        (pipe, {"TERM": "xterm"}),
        (terminal, {"TERM": "xterm"}),
        (plain, {"TERM": "xterm", "NO_COLOR": "1"}),
    ):
        screen = Screen(stream, environment)
        for now in (0.0, 1.0, 3.5):
            screen.status(now, [(f"at {now}", "red")])
    assert pipe.getvalue() == "at 0.0\nat 3.5\n"
    assert "\x1b[31mat 1.0\x1b[0m\n\x1b[1A\x1b[J" in terminal.getvalue()
    assert "\x1b[31m" not in plain.getvalue()


def test_the_configuration_is_one_that_the_proxy_accepts(monkeypatch: pytest.MonkeyPatch) -> None:
    from proxy.config import parse

    monkeypatch.setenv("UNDERSTUDY_DEMO_SECRET", SECRET)
    urls = {act.candidate: "http://127.0.0.1:3" for act in ACTS}
    config = parse(render(1, 2, "http://127.0.0.1:4/hooks", "http://127.0.0.1:5", urls))
    assert [route.name for route in config.routes] == [act.route for act in ACTS]


async def test_traffic_is_open_loop_and_measures_from_when_a_request_was_due() -> None:
    release = asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await release.wait()
        writer.write(b"HTTP/1.1 200 OK\r\nx-served-by: v1\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    seen: list[Seen[int]] = []
    drawn: list[int] = []

    def draw() -> int:
        drawn.append(len(drawn))
        if len(drawn) == 20:
            release.set()
            traffic.stop()
        return drawn[-1]

    port = server.sockets[0].getsockname()[1]
    traffic = Traffic(f"http://127.0.0.1:{port}/", 200.0, draw, lambda n: b"%d" % n, seen.append)
    await asyncio.wait_for(traffic.run(), 10)
    server.close()
    assert sorted(each.asked for each in seen) == list(range(20))
    assert {(each.status, each.served_by, each.body) for each in seen} == {(200, "v1", b"ok")}
    first = next(each for each in seen if each.asked == 0)
    assert first.seconds >= 19 / 200


async def test_traffic_reports_a_refused_connection_as_an_error() -> None:
    seen: list[Seen[int]] = []

    def on_seen(each: Seen[int]) -> None:
        seen.append(each)
        traffic.stop()

    traffic = Traffic("http://127.0.0.1:1/", 50.0, lambda: 0, lambda n: b"", on_seen)
    await asyncio.wait_for(traffic.run(), 10)
    assert seen[0].status == 0
    assert "refused" in seen[0].error or "Connect" in seen[0].error


async def test_a_child_that_ends_early_is_named_with_its_output(tmp_path: Path) -> None:
    async with Troupe(tmp_path) as troupe:
        with pytest.raises(ChildError, match=r"(?s)nobody ended with 1:.*No such file"):
            await troupe.start_model("nobody", Path("/nonexistent"))


async def test_the_end_of_the_block_ends_every_child(tmp_path: Path, studio: Studio) -> None:
    async with Troupe(tmp_path) as troupe:
        url = await troupe.start_model("svm", studio.files["svm"])
        troupe.check()
    async with aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.ClientConnectorError):
            await session.get(url)
    with pytest.raises(ChildError, match="svm has ended"):
        troupe.check()


def test_a_command_on_a_leash_ends_when_its_holder_is_killed() -> None:
    read, write = os.pipe()
    arguments = "[sys.executable, '-I', sys.argv[2], sys.executable, '-c', sys.argv[1]]"
    script = f"import subprocess, sys; subprocess.Popen({arguments}, stdin=subprocess.PIPE).wait()"
    command = "import os, time; os.write(1, b'%d ' % os.getpid()); time.sleep(600)"
    holder = subprocess.Popen(
        [sys.executable, "-c", script, command, leash.__file__], stdout=write, stderr=subprocess.DEVNULL
    )
    os.close(write)
    pid = int(os.read(read, 20))
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    assert os.read(read, 20) == b""  # end of file: everybody who inherited the pipe is gone
    assert pid != holder.pid
    os.close(read)
