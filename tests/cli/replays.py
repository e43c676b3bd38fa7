"""A recorded file, a configuration for it, and commands that are run on them."""

from __future__ import annotations

import asyncio
from pathlib import Path

from click.testing import CliRunner, Result

from proxy.cli import main
from proxy.model import Arm, Outcome, Pair
from proxy.pairs.recording import Recorded, header_line, line_of
from tests.fakes import FakeModel, Mood, answer, question

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


def understudy(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


async def replayed(tmp_path: Path, config: str, mood: Mood, *more: object, count: int = 400) -> Result:
    recorded = record(tmp_path / "p.jsonl", count)
    model = await FakeModel("c", mood).start()
    arguments = ("replay", recorded, "-c", config, "--candidate", model.url, "--rate", 2000, "--json", *more)
    try:
        return await asyncio.to_thread(understudy, *arguments)
    finally:
        await model.stop()
