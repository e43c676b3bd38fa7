"""Promise: docs/llm.md works as it is typed: a candidate that is as good is promoted, one that refuses more is rolled
back, no client sees an error; and the configuration that the page shows is the one that it uses."""

from __future__ import annotations

import asyncio
import re
import shutil
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.docs.pages import ROOT, blocks
from tests.docs.typed import typed
from tests.e2e.harness import running
from tests.integration.servers import server
from tests.ports import free_port

PAGE = ROOT / "docs" / "llm.md"
FOLDER = ROOT / "config" / "llm"
STEPS = blocks(PAGE, "sh")


def test_the_configuration_shown_is_the_one_that_is_used() -> None:
    assert blocks(PAGE, "yaml")[0] == (FOLDER / "understudy.yaml").read_text("utf-8")


def configuration(ports: dict[str, int], stages: list[dict[str, Any]]) -> dict[str, Any]:
    """The example with ports of its own."""
    written = (FOLDER / "understudy.yaml").read_text("utf-8")
    for port, own in ports.items():
        written = written.replace(port, str(own))
    found: dict[str, Any] = yaml.safe_load(written)
    (rollout,) = found["routes"][0]["rollouts"]
    rollout["stages"] = stages
    return found


def python(script: str, *words: str) -> list[str]:
    return [sys.executable, str(FOLDER / script), *words]


@contextmanager
def models(folder: Path, **words: list[str]) -> Iterator[dict[str, int]]:
    """Live, candidate and judge, each with words of its own; gives the ports that they have in place of the page's."""
    ports = {port: free_port() for port in ("9001", "9002", "9003")}
    given = dict(zip(ports, ("live", "candidate", "judge"), strict=True))
    with ExitStack() as stack:
        for port, own in ports.items():
            command = python("chat.py", str(own), *words.get(given[port], []))
            stack.enter_context(server(command, folder, f"http://127.0.0.1:{own}/", folder / port))
        yield ports


@asynccontextmanager
async def asked(url: str, seen: list[bytes]) -> AsyncIterator[None]:
    """Questions while the block lasts; what the script says of who answered goes to `seen`."""
    command = python("questions.py", url, "--rate", "60", "--seconds", "60")
    asking = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    try:
        yield
    finally:
        asking.terminate()
        output, _ = await asking.communicate()
        seen += re.findall(rb"(\S+): \d+", output)


async def test_a_candidate_that_refuses_is_rolled_back(tmp_path: Path) -> None:
    seen: list[bytes] = []
    with models(tmp_path, candidate=["--wording", "new", "--refuse", "0.5"]) as ports:
        config = configuration(ports, [{"shadow": "100%", "min_pairs": 100_000}])
        async with running(tmp_path, config) as understudy, asked(understudy.data_url, seen):
            rollout = await understudy.until("support/chat-v2", lambda r: r["state"] == "rolled_back", 60)
            kept = "/api/v1/rollouts/support/chat-v2/pairs"
            (pair,) = (await understudy.api(f"{kept}?order=worst&limit=1"))["pairs"]
            said = await understudy.api(f"{kept}/{pair['id']}/transcript")
    assert set(seen) <= {b"chat-v1"}
    assert re.match(r"refusal: rate increase|tools: disagreement|answer: win rate", rollout["reason"])
    assert said["asked"].startswith(("Do you have", "Can I send"))
    assert said["live"]["whole"]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_every_command_as_typed(tmp_path: Path) -> None:
    shutil.copytree(FOLDER, tmp_path / "config" / "llm")
    seen = typed(STEPS, tmp_path, tmp_path / "config" / "llm" / "understudy.yaml", ("9001", "9002", "9003"))
    assert "answer is judged by judge" in seen["0"]
    assert "support/chat-v2  promoted" in seen["1"]
    assert "support/chat-v2  rolled back" in seen["2"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config"]
