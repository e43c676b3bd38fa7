"""Promise: behind understudy a real llama.cpp answers the official clients byte for byte as it does directly, whole and
streamed; its pairs are compared and its first token is timed. A twin with the same weights never differs, and another
model is rolled back."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from proxy.pairs.recording import read_lines
from tests.e2e.harness import running
from tests.integration.servers import server
from tests.ports import free_port

PYTHON = Path(os.environ.get("LLAMA_VENV", ".venv-llama")).absolute() / "bin" / "python"
pytestmark = [
    pytest.mark.servers,
    pytest.mark.skipif(not PYTHON.exists(), reason="needs llama.cpp in LLAMA_VENV (`make test-llama`)"),
]

HERE = Path(__file__).parent
SEEDS = {"live": 1, "twin": 1, "other": 2}
QUESTIONS = [f"{one} the {two}" for one in ("lead", "line", "stage") for two in ("back", "heart", "night", "end")]
PATHS = {"chat": "/v1/chat/completions", "responses": "/v1/responses", "anthropic": "/v1/messages"}
DIRECTLY = 2
"""How often the clients may ask the engine again: it closes its connection after a stream, and does not say so."""
ITS_OWN = re.compile(
    r'"(?:id|item_id|created|created_at|completed_at|sequence_number)":(?:"[^"]*"|\d+)|"timings":\{[^}]*\}|'
    r'"(?:chatcmpl|resp|msg)[-_]\w+"'
)
"""What differs in two answers of one engine to one question."""


@pytest.fixture(scope="module")
def engines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """URLs of three engines: two with one model, one with another."""
    with ExitStack() as stack:
        urls = {}
        for name, seed in SEEDS.items():
            folder, port = tmp_path_factory.mktemp(name), free_port()
            urls[name] = f"http://127.0.0.1:{port}"
            command = [str(PYTHON), str(HERE / "llama_engine.py"), str(seed), str(port), str(folder)]
            stack.enter_context(server(command, folder, f"{urls[name]}/health", folder / "log"))
        yield urls


def asked(cases: list[dict[str, Any]], url: str, retries: int = 0) -> list[dict[str, Any]]:
    """What the official clients are answered, which ask again `retries` times where there is no answer."""
    done = subprocess.run(
        [PYTHON, HERE / "llama_client.py", url, str(retries)],
        input=json.dumps(cases),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    answers: list[dict[str, Any]] = json.loads(done.stdout)
    return answers


def same(value: Any) -> str:
    """An answer without what differs in any two."""
    return ITS_OWN.sub("", value if type(value) is str else json.dumps(value, separators=(",", ":")))


def configuration(engines: dict[str, str], api: str, candidate: str, folder: Path) -> dict[str, Any]:
    rollout = {
        "candidate": candidate,
        "stages": [{"shadow": "100%", "min_pairs": 100_000}],
        "guards": {
            "said": {"max_disagreement": "50%"},
            "end": {"max_disagreement": "50%"},
            "max_extra_errors": "50%",
            "time_to_first_token": "50x",
        },
        "on_pass": "hold",
        "warmup": 0,
        "latency_block": "0s",
        "record": {"path": str(folder / "pairs.jsonl"), "share": "100%"},
    }
    protocol = "anthropic" if api == "anthropic" else "openai"
    predictions = {
        "said": {"protocol": protocol, "output": "text", "kind": "text"},
        "end": {"protocol": protocol, "output": "finish_reason", "kind": "label"},
    }
    route = {"name": "r", "match": {"path": PATHS[api]}, "live": "live", "predictions": predictions}
    upstreams = {name: {"url": engines[name]} for name in ("live", candidate)}
    return {"upstreams": upstreams, "routes": [route | {"rollouts": [rollout]}]}


@pytest.mark.parametrize("api", ["chat", "responses", "anthropic"])
async def test_a_twin_is_the_same_byte_for_byte(engines: dict[str, str], api: str, tmp_path: Path) -> None:
    cases = [{"api": api, "question": text, "stream": stream} for text in QUESTIONS for stream in (False, True)]
    if api == "chat":
        cases += [{"api": "json", "question": text, "stream": stream} for text in QUESTIONS for stream in (False, True)]
    direct = await asyncio.to_thread(asked, cases, engines["live"], DIRECTLY)
    async with running(tmp_path, configuration(engines, api, "twin", tmp_path)) as understudy:
        proxied = await asyncio.to_thread(asked, cases, understudy.data_url)
        pairs = 2 * len(cases)
        rollout = await understudy.until("r/twin", lambda r: r["ledger"]["compared"] == pairs)
    assert [same(one["read"]) for one in proxied] == [same(one["read"]) for one in direct]
    assert [same(one["raw"]) for one in proxied] == [same(one["raw"]) for one in direct]
    assert len({same(one["raw"]) for one in proxied}) > len(cases) / 2  # it does answer the question
    assert sum(rollout["candidate_failures"].values()) == 0
    found = {one["key"]: one for one in rollout["findings"] if one["segment"] is None}
    assert (found["said.max_disagreement"]["value"], found["end.max_disagreement"]["value"]) == (0.0, 0.0)
    assert found["time_to_first_token"]["value"] > 0
    with (tmp_path / "pairs.jsonl").open("rb") as lines:
        recorded = [one.pair for one in read_lines(lines)]
    assert {one["raw"].encode() for one in proxied} <= {pair.live.body for pair in recorded}
    streamed = [pair for pair in recorded if b"text/event-stream" in pair.live.head]
    assert len(streamed) == pairs / 2
    assert all(0 < pair.live.first <= pair.live.seconds for pair in streamed)


async def test_another_model_is_rolled_back(engines: dict[str, str], tmp_path: Path) -> None:
    cases = [{"api": "chat", "question": f"{text} {n}", "stream": True} for n in range(5) for text in QUESTIONS]
    async with running(tmp_path, configuration(engines, "chat", "other", tmp_path)) as understudy:
        await asyncio.to_thread(asked, cases, understudy.data_url)
        rollout = await understudy.until("r/other", lambda r: r["state"] == "rolled_back")
    assert rollout["reason"].startswith("said: disagreement")
