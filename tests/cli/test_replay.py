"""Keeps the promises of `judge` and `replay`: exit codes a pipeline can trust, for a good, a bad, a dead and a slow
candidate, with requests sent as they were recorded."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import suppress
from pathlib import Path

import orjson
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from click.testing import CliRunner, Result

from proxy.cli import main
from proxy.model import Arm, Outcome, Pair
from proxy.pairs.recording import Recorded, header_line, line_of
from tests.fakes import FakeModel, Mood, answer, certificate, question
from tests.ports import free_port

CONFIG = """
upstreams: {l: {url: "http://127.0.0.1:1"}, c: {url: "http://127.0.0.1:2", version: "1", timeout: 2s}}
routes:
  - name: r
    live: l
    prediction: {protocol: v2, output: predict, kind: label}
    rollouts:
      - candidate: c
        shadow: 100%
        consecutive_failures: 20
        latency_block: 0s
        guards: {max_disagreement: 5%, max_extra_errors: 5%, p99_latency: 1.2x}
"""
LINES = ("POST /v2/models/m/infer HTTP/1.1", "Host: elsewhere", "Content-Length: 7", "Content-Type: application/json")
HEAD = "\r\n".join([*LINES, "", ""]).encode()
OK = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n"


def pair(number: int, wrong: float = 0.0) -> Recorded:
    body = question(number)
    live = Outcome(200, head=OK, body=answer("l", body), seconds=0.001, first=0.001)
    candidate = Outcome(200, head=OK, body=answer("c", body, wrong), seconds=0.001, first=0.001)
    one = Pair("t", 0, "w", number, f"i{number}", 1000.0 + number, Arm.LIVE, HEAD, body, live, candidate)
    return Recorded(one, number)


def record(path: Path, count: int, wrong: float = 0.0) -> Path:
    lines = [header_line("r/c", "hash"), *(line_of(pair(number, wrong)) for number in range(count))]
    path.write_bytes(b"".join(lines))
    return path


@pytest.fixture
def config(tmp_path: Path) -> str:
    path = tmp_path / "u.yaml"
    path.write_text(CONFIG)
    return str(path)


def understudy(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.mark.parametrize(("wrong", "code", "verdict"), [(0.0, 0, "inconclusive"), (0.3, 1, "fail")])
def test_judge_answers_whether_the_guards_would_have_fired(
    tmp_path: Path, config: str, wrong: float, code: int, verdict: str
) -> None:
    result = understudy("judge", record(tmp_path / "p.jsonl", 400, wrong), "-c", config, "--json")
    assert result.exit_code == code, result.output
    report = orjson.loads(result.stdout)
    assert (report["verdict"], report["pairs"]) == (verdict, 400)
    assert (report["failed_at"] is not None) is (code == 1)


def test_judge_judges_each_version_of_a_file_by_itself(tmp_path: Path, config: str) -> None:
    """A file goes on when another version is tried; a good one is no excuse for a bad one, nor the other way round."""
    path = tmp_path / "p.jsonl"
    lines = [header_line("r/c", "hash")]
    for trial, wrong in (("r/c|l|1|v2", 0.3), ("r/c|l|2|v2", 0.0)):
        for number in range(400):
            one = pair(number, wrong)
            lines.append(line_of(Recorded(one.pair._replace(trial=trial), number)))
    path.write_bytes(b"".join(lines))
    told = understudy("judge", path, "-c", config, "--json")
    report = orjson.loads(told.stdout)
    assert (told.exit_code, report["trial"], report["verdict"]) == (1, "r/c|l|2|v2", "inconclusive")
    assert [(one["trial"], one["verdict"], one["pairs"]) for one in report["earlier"]] == [("r/c|l|1|v2", "fail", 400)]
    said = understudy("judge", path, "-c", config).stdout
    assert "r/c version 1: fail" in said
    assert "r/c version 2: inconclusive after 400 pairs" in said


def test_judge_says_why_answers_cannot_be_read(tmp_path: Path) -> None:
    path = tmp_path / "u.yaml"
    path.write_text(CONFIG.replace("output: predict", "output: predicted"))
    said = understudy("judge", record(tmp_path / "p.jsonl", 40), "-c", path).stdout
    why = "! live's answers cannot be read: missing_output at predicted: 40 of 40 pairs; check `prediction.output`"
    assert why in said
    assert "inconclusive after 40 pairs" in said


def test_judge_names_what_it_cannot_use(tmp_path: Path, config: str) -> None:
    recorded = record(tmp_path / "p.jsonl", 1)
    assert understudy("judge", recorded).exit_code == 2
    unknown = understudy("judge", recorded, "-c", config, "--rollout", "r/d")
    assert unknown.exit_code == 1
    assert "r/c" in unknown.stderr
    assert "does not begin" in understudy("judge", config, "-c", config).stderr
    url = "postgresql://me:secret@127.0.0.1:1/state"
    for result in (
        understudy("judge", url),
        understudy("replay", url, "-c", config, "--candidate", "http://127.0.0.1:1"),
    ):
        assert result.exit_code != 0
        assert "secret" not in result.output
        assert "recorded file" in result.stderr or "postgresql://me@127.0.0.1:1/state" in result.stderr


async def replayed(tmp_path: Path, config: str, mood: Mood, *more: object, count: int = 400) -> Result:
    recorded = record(tmp_path / "p.jsonl", count)
    model = await FakeModel("c", mood).start()
    arguments = ("replay", recorded, "-c", config, "--candidate", model.url, "--rate", 2000, "--json", *more)
    try:
        return await asyncio.to_thread(understudy, *arguments)
    finally:
        await model.stop()


async def test_replay_passes_a_good_candidate_without_judging_latency_against_another_day(
    tmp_path: Path, config: str
) -> None:
    result = await replayed(tmp_path, config, Mood(), "--junit", tmp_path / "out.xml")
    assert result.exit_code == 0, result.output
    report = orjson.loads(result.stdout)
    assert (report["verdict"], report["left_out"]) == ("pass", ["p99_latency"])
    assert report["booked"]["compared"] == 400
    assert '<skipped message="no live timings"/>' in (tmp_path / "out.xml").read_text()


@pytest.mark.parametrize(
    ("mood", "said"), [(Mood(wrong=0.3), "disagreement"), (Mood(mode="error"), "failures in a row")]
)
async def test_replay_fails_a_bad_candidate(tmp_path: Path, config: str, mood: Mood, said: str) -> None:
    result = await replayed(tmp_path, config, mood)
    assert result.exit_code == 1, result.output
    report = orjson.loads(result.stdout)
    assert report["verdict"] == "fail"
    assert said in report["sentence"]


async def test_replay_without_enough_evidence_is_no_pass_unless_asked_for(tmp_path: Path, config: str) -> None:
    few = await replayed(tmp_path, config, Mood(), count=5)
    assert (few.exit_code, orjson.loads(few.stdout)["verdict"]) == (1, "inconclusive")
    assert (await replayed(tmp_path, config, Mood(), "--allow-inconclusive", count=5)).exit_code == 0


async def test_replay_asks_live_anew_and_then_judges_latency_too(tmp_path: Path, config: str) -> None:
    live = await FakeModel("l").start()
    result = await replayed(tmp_path, config, Mood(delay=0.05), "--live", live.url, count=200)
    await live.stop()
    report = orjson.loads(result.stdout)
    assert report["left_out"] == []
    assert live.requests == 200
    latency = next(finding for finding in report["findings"] if finding["guard"] == "p99_latency")
    assert latency["pairs"] > 0


@pytest.mark.parametrize("option", ["--candidate", "--live"])
async def test_an_address_where_nobody_listens_is_told_at_once(tmp_path: Path, config: str, option: str) -> None:
    recorded = record(tmp_path / "p.jsonl", 40)
    model = await FakeModel("c").start()
    nobody = f"http://127.0.0.1:{free_port()}"
    servers = {"--candidate": model.url, "--live": model.url, option: nobody}
    command = ("replay", recorded, "-c", config, *(word for pair in servers.items() for word in pair))
    result = await asyncio.to_thread(understudy, *command, "--junit", tmp_path / "out.xml")
    await model.stop()
    assert (result.exit_code, model.requests) == (2, 0)
    assert f"{option}: cannot reach {nobody}: connection refused" in result.stderr
    assert not (tmp_path / "out.xml").exists()


async def test_a_server_without_tls_is_no_answer_to_https(tmp_path: Path, config: str) -> None:
    closed = asyncio.Event()

    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
        closed.set()

    async with await asyncio.start_server(plain, "127.0.0.1", 0) as server:
        url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        recorded = record(tmp_path / "p.jsonl", 4)
        result = await asyncio.to_thread(understudy, "replay", recorded, "-c", config, "--candidate", url)
        await asyncio.wait_for(closed.wait(), 5.0)
    assert (result.exit_code, f"cannot reach {url}: TLS: " in result.stderr) == (2, True)


async def test_replay_sends_no_more_than_it_is_allowed(tmp_path: Path, config: str) -> None:
    result = await replayed(tmp_path, config, Mood(), "--limit", 120)
    assert orjson.loads(result.stdout)["pairs"] == 120


@pytest.mark.parametrize(
    ("mood", "verdict"), [(Mood(), "pass"), (Mood(wrong=0.5), "fail"), (Mood(mode="error"), "fail")]
)
async def test_replay_stops_at_the_verdict_when_asked_to(tmp_path: Path, config: str, mood: Mood, verdict: str) -> None:
    result = await replayed(tmp_path, config, mood, "--until-verdict", count=5000)
    report = orjson.loads(result.stdout)
    assert (report["verdict"], report["pairs"] < 1000) == (verdict, True)
    assert report["pairs"] == (report["tripped_at"] or report["failed_at"] or report["pairs"] // 100 * 100)


async def test_replay_sends_nothing_for_a_url_or_a_report_that_cannot_be(tmp_path: Path, config: str) -> None:
    recorded = record(tmp_path / "p.jsonl", 1)
    command = ("replay", recorded, "-c", config, "--candidate")
    assert understudy(*command, "127.0.0.1:9").exit_code == 2
    assert "--live" in understudy(*command, "http://127.0.0.1:9", "--live", "nowhere").stderr
    model = await FakeModel("c").start()
    result = await asyncio.to_thread(understudy, *command, model.url, "--junit", tmp_path / "no" / "x.xml")
    await model.stop()
    assert (result.exit_code, result.stdout, model.requests) == (1, "", 0)
    assert "cannot write" in result.stderr


async def test_replay_asks_the_candidate_for_its_own_model_and_live_for_the_recorded_one(tmp_path: Path) -> None:
    """`set_json` is part of what the candidate is; the fake's label is a function of the bytes it was asked."""
    renamed = tmp_path / "renamed.yaml"
    renamed.write_text(CONFIG.replace("timeout: 2s", "timeout: 2s, set_json: {/inputs/0/name: y}"))
    changed = [answer("c", question(number).replace(b'"x"', b'"y"')) for number in range(200)]
    differ = sum(
        orjson.loads(a)["outputs"] != orjson.loads(answer("l", question(n)))["outputs"] for n, a in enumerate(changed)
    )
    live, candidate = await FakeModel("l").start(), await FakeModel("c").start()
    recorded = record(tmp_path / "p.jsonl", 200)
    options = ("--candidate", candidate.url, "--live", live.url, "-c", str(renamed), "--json", "--rate", 2000)
    result = await asyncio.to_thread(understudy, "replay", recorded, *options)
    await live.stop()
    await candidate.stop()
    found = {finding["guard"]: finding for finding in orjson.loads(result.stdout)["findings"]}
    assert found["max_disagreement"]["value"] == pytest.approx(differ / 200)
    assert candidate.requests == live.requests == 200


@pytest.mark.parametrize(("secret", "code"), [(50, 0), (400, 1)])
async def test_a_request_whose_body_redaction_left_out_is_not_sent_and_not_held_against_the_candidate(
    tmp_path: Path, config: str, secret: int, code: int
) -> None:
    lines = [header_line("r/c", "hash")]
    for number in range(400):
        one = pair(number)
        form = one.pair._replace(request_body=b"a=1&b=2") if number < secret else one.pair
        lines.append(line_of(Recorded(form, number), ["/parameters/secret"]))
    recorded = tmp_path / "p.jsonl"
    recorded.write_bytes(b"".join(lines))
    model = await FakeModel("c").start()
    arguments = ("-c", config, "--candidate", model.url, "--rate", 2000, "--json", "--junit", tmp_path / "out.xml")
    result = await asyncio.to_thread(understudy, "replay", recorded, *arguments)
    await model.stop()
    report = orjson.loads(result.stdout)
    assert (result.exit_code, model.requests) == (code, 400 - secret), result.output
    assert (report["not_sent"], report["pairs"], report["candidate_failures"]) == (secret, 400 - secret, {})
    assert f"{secret} requests not sent" in report["sentence"]
    assert f"{secret} requests not sent" in (tmp_path / "out.xml").read_text()


async def test_replay_asks_over_the_tls_and_with_the_headers_of_the_configuration_and_of_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, signed_by in (("ca", ""), ("us", "ca")):
        certificate(tmp_path, name, signed_by)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(tmp_path / "ca.pem"))
    context.load_cert_chain(tmp_path / "us.pem", tmp_path / "us.key")
    context.verify_mode = ssl.CERT_REQUIRED
    heads = []

    async def model(request: web.Request) -> web.Response:
        heads.append([request.headers.getall(name, []) for name in ("authorization", "x-team", "content-type")])
        return web.Response(body=answer("c", await request.read()), content_type="application/json")

    served = web.Application()
    served.router.add_post("/v2/models/m/infer", model)
    config = tmp_path / "tls.yaml"
    tls = 'url: "https://127.0.0.1:2", tls: {ca: ca.pem, cert: us.pem, key: us.key}'
    text = CONFIG.replace('url: "http://127.0.0.1:2"', tls)
    config.write_text(text.replace("shadow: 100%", "shadow: 100%\n        mirror: {headers: {set: {X-Team: risk}}}"))
    monkeypatch.setenv("MODEL_TOKEN", "hush")
    server = TestServer(served, scheme="https")
    await server.start_server(ssl=context)
    url = f"https://127.0.0.1:{server.port}"
    header = ("--header", "Authorization: Bearer ${MODEL_TOKEN}", "--header", "content-type: text/x")
    command = ("replay", record(tmp_path / "p.jsonl", 5), "--candidate", url, "--rate", 2000, "--allow-inconclusive")
    fine = await asyncio.to_thread(understudy, *command, "-c", config, *header)
    config.write_text(text.replace(", cert: us.pem, key: us.key", ""))
    nobody = await asyncio.to_thread(understudy, *command, "-c", config, "--json")
    config.write_text(text.replace(f"{{{tls}, ", '{url: "http://127.0.0.1:2", '))
    stranger = await asyncio.to_thread(understudy, *command, "-c", config, "--json")
    await server.close()
    assert fine.exit_code == 0, fine.output
    assert heads == [[["Bearer hush"], ["risk"], ["text/x"]]] * 5
    assert "hush" not in fine.output
    assert sum(orjson.loads(nobody.stdout)["candidate_failures"].values()) == 5
    assert (stranger.exit_code, f"cannot reach {url}: TLS: " in stranger.stderr) == (2, True)


async def test_each_arm_is_asked_with_headers_of_its_own(tmp_path: Path, config: str) -> None:
    heads: dict[str, list[str | None]] = {"live": [], "candidate": []}

    async def model(request: web.Request) -> web.Response:
        heads[request.match_info["arm"]].append(request.headers.get("x-key"))
        return web.Response(body=answer("c", await request.read()), content_type="application/json")

    served = web.Application()
    served.router.add_post("/{arm}/v2/models/m/infer", model)
    server = TestServer(served)
    await server.start_server()
    url = f"http://127.0.0.1:{server.port}"
    recorded = record(tmp_path / "p.jsonl", 3)
    command = (
        "replay",
        recorded,
        "-c",
        config,
        "--rate",
        2000,
        "--allow-inconclusive",
        "--candidate",
        f"{url}/candidate",
    )
    keys = ("--header", "x-key: theirs", "--live-header", "x-key: ours")
    both = await asyncio.to_thread(understudy, *command, "--live", f"{url}/live", *keys)
    alone = await asyncio.to_thread(understudy, *command, *keys)
    await server.close()
    assert both.exit_code == 0, both.output
    assert heads == {"live": ["ours"] * 3, "candidate": ["theirs"] * 3}
    assert (alone.exit_code, "--live-header needs --live" in alone.stderr) == (2, True)


async def test_each_arm_is_asked_under_its_own_host(tmp_path: Path) -> None:
    """`upstreams.*.host`, as in production; the URL's where none is given."""
    hosts: set[tuple[str, str]] = set()

    async def model(request: web.Request) -> web.Response:
        hosts.add((request.match_info["arm"], request.host))
        return web.Response(body=answer("c", await request.read()), content_type="application/json")

    served = web.Application()
    served.router.add_post("/{arm}/v2/models/m/infer", model)
    server = TestServer(served)
    await server.start_server()
    url = f"http://127.0.0.1:{server.port}"
    hosted = tmp_path / "hosted.yaml"
    hosted.write_text(CONFIG.replace("timeout: 2s", "timeout: 2s, host: c.models"))
    recorded = record(tmp_path / "p.jsonl", 3)
    command = ("replay", recorded, "-c", hosted, "--rate", 2000, "--allow-inconclusive")
    result = await asyncio.to_thread(understudy, *command, "--candidate", f"{url}/candidate", "--live", f"{url}/live")
    await server.close()
    assert result.exit_code == 0, result.output
    assert hosts == {("candidate", "c.models"), ("live", url.removeprefix("http://"))}


async def test_each_arm_is_asked_with_the_paths_and_headers_of_its_upstream(tmp_path: Path) -> None:
    asked: set[tuple[str, str | None, str | None]] = set()

    async def model(request: web.Request) -> web.Response:
        asked.add((request.path, request.headers.get("authorization"), request.headers.get("content-type")))
        return web.Response(body=answer("c", await request.read()), content_type="application/json")

    served = web.Application()
    served.router.add_post("/{rest:.*}", model)
    server = TestServer(served)
    await server.start_server()
    url = f"http://127.0.0.1:{server.port}"
    placed = tmp_path / "placed.yaml"
    own = "path: {from: /v2/models/m/*, to: /v2/models/m/versions/2/*}, headers: {set: {authorization: Bearer c}"
    text = CONFIG.replace("timeout: 2s", f"timeout: 2s, {own}, drop: [content-type]}}")
    placed.write_text(
        text.replace('l: {url: "http://127.0.0.1:1"', 'l: {headers: {set: {authorization: l}}, url: "http://b"')
    )
    recorded = record(tmp_path / "p.jsonl", 3)
    command = ("replay", recorded, "-c", placed, "--rate", 2000, "--allow-inconclusive")
    result = await asyncio.to_thread(understudy, *command, "--candidate", f"{url}/c", "--live", f"{url}/l/")
    await server.close()
    assert result.exit_code == 0, result.output
    assert asked == {
        ("/c/v2/models/m/versions/2/infer", "Bearer c", None),
        ("/l/v2/models/m/infer", "l", "application/json"),
    }
    assert "Bearer" not in result.output


@pytest.mark.parametrize("option", ["--header", "--live-header"])
@pytest.mark.parametrize(
    ("header", "said"),
    [
        ("s3cret", "Name: value"),
        ("host: s3cret", "belongs to the connection"),
        ("x: ${UNDERSTUDY_NOT_SET}s3cret", "UNDERSTUDY_NOT_SET is not set"),
        ("x: s3cret\r\ny: z", "in ASCII"),
    ],
)
def test_a_header_that_cannot_be_set_is_refused_and_never_quoted(
    tmp_path: Path, config: str, option: str, header: str, said: str
) -> None:
    recorded, url = record(tmp_path / "p.jsonl", 1), "http://127.0.0.1:9"
    result = understudy("replay", recorded, "-c", config, "--candidate", url, "--live", url, option, header)
    assert result.exit_code == 2
    assert said in result.stderr
    assert option in result.stderr
    assert "s3cret" not in result.output
