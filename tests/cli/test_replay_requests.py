"""Promise: `replay` sends requests as they were recorded, to each arm as its upstream is asked."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import orjson
import pytest
from aiohttp import web

from proxy.pairs.recording import Recorded, header_line, line_of
from tests.cli.replays import CONFIG, pair, record, understudy
from tests.e2e.harness import served
from tests.fakes import FakeModel, answer, certificate, question


@asynccontextmanager
async def model(look: Callable[[web.Request], object], context: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    """The URL of a model server whose requests are looked at."""

    async def reply(request: web.Request) -> web.Response:
        look(request)
        return web.Response(body=answer("c", await request.read()), content_type="application/json")

    app = web.Application()
    app.router.add_post("/{path:.*}", reply)
    async with served(app, context) as url:
        yield url


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

    def look(request: web.Request) -> None:
        heads.append([request.headers.getall(name, []) for name in ("authorization", "x-team", "content-type")])

    config = tmp_path / "tls.yaml"
    tls = 'url: "https://127.0.0.1:2", tls: {ca: ca.pem, cert: us.pem, key: us.key}'
    text = CONFIG.replace('url: "http://127.0.0.1:2"', tls)
    config.write_text(text.replace("shadow: 100%", "shadow: 100%\n        mirror: {headers: {set: {X-Team: risk}}}"))
    monkeypatch.setenv("MODEL_TOKEN", "hush")
    header = ("--header", "Authorization: Bearer ${MODEL_TOKEN}", "--header", "content-type: text/x")
    async with model(look, context) as url:
        command = (
            "replay",
            record(tmp_path / "p.jsonl", 5),
            "--candidate",
            url,
            "--rate",
            2000,
            "--allow-inconclusive",
        )
        fine = await asyncio.to_thread(understudy, *command, "-c", config, *header)
        config.write_text(text.replace(", cert: us.pem, key: us.key", ""))
        nobody = await asyncio.to_thread(understudy, *command, "-c", config, "--json")
        config.write_text(text.replace(f"{{{tls}, ", '{url: "http://127.0.0.1:2", '))
        stranger = await asyncio.to_thread(understudy, *command, "-c", config, "--json")
    assert fine.exit_code == 0, fine.output
    assert heads == [[["Bearer hush"], ["risk"], ["text/x"]]] * 5
    assert "hush" not in fine.output
    assert sum(orjson.loads(nobody.stdout)["candidate_failures"].values()) == 5
    assert (stranger.exit_code, f"cannot reach {url}: TLS: " in stranger.stderr) == (2, True)


async def test_each_arm_is_asked_with_headers_of_its_own(tmp_path: Path, config: str) -> None:
    heads: dict[str, list[str | None]] = {"live": [], "candidate": []}

    def look(request: web.Request) -> None:
        heads[request.path.split("/")[1]].append(request.headers.get("x-key"))

    command = ("replay", record(tmp_path / "p.jsonl", 3), "-c", config, "--rate", 2000, "--allow-inconclusive")
    keys = ("--header", "x-key: theirs", "--live-header", "x-key: ours")
    async with model(look) as url:
        both = await asyncio.to_thread(
            understudy, *command, "--candidate", f"{url}/candidate", "--live", f"{url}/live", *keys
        )
        alone = await asyncio.to_thread(understudy, *command, "--candidate", f"{url}/candidate", *keys)
    assert both.exit_code == 0, both.output
    assert heads == {"live": ["ours"] * 3, "candidate": ["theirs"] * 3}
    assert (alone.exit_code, "--live-header needs --live" in alone.stderr) == (2, True)


async def test_each_arm_is_asked_under_its_own_host(tmp_path: Path) -> None:
    """`upstreams.*.host`, as in production; the URL's where none is given."""
    hosts: set[tuple[str, str]] = set()

    hosted = tmp_path / "hosted.yaml"
    hosted.write_text(CONFIG.replace("timeout: 2s", "timeout: 2s, host: c.models"))
    recorded = record(tmp_path / "p.jsonl", 3)
    command = ("replay", recorded, "-c", hosted, "--rate", 2000, "--allow-inconclusive")
    async with model(lambda request: hosts.add((request.path.split("/")[1], request.host))) as url:
        arms = ("--candidate", f"{url}/candidate", "--live", f"{url}/live")
        result = await asyncio.to_thread(understudy, *command, *arms)
    assert result.exit_code == 0, result.output
    assert hosts == {("candidate", "c.models"), ("live", url.removeprefix("http://"))}


async def test_each_arm_is_asked_with_the_paths_and_headers_of_its_upstream(tmp_path: Path) -> None:
    asked: set[tuple[str, str | None, str | None]] = set()

    def look(request: web.Request) -> None:
        asked.add((request.path, request.headers.get("authorization"), request.headers.get("content-type")))

    placed = tmp_path / "placed.yaml"
    own = "path: {from: /v2/models/m/*, to: /v2/models/m/versions/2/*}, headers: {set: {authorization: Bearer c}"
    text = CONFIG.replace("timeout: 2s", f"timeout: 2s, {own}, drop: [content-type]}}")
    placed.write_text(
        text.replace('l: {url: "http://127.0.0.1:1"', 'l: {headers: {set: {authorization: l}}, url: "http://b"')
    )
    recorded = record(tmp_path / "p.jsonl", 3)
    command = ("replay", recorded, "-c", placed, "--rate", 2000, "--allow-inconclusive")
    async with model(look) as url:
        result = await asyncio.to_thread(understudy, *command, "--candidate", f"{url}/c", "--live", f"{url}/l/")
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
