"""Promise: the running program's admin port keeps its contract against thousands of odd requests, needs the token for
everything that holds data, and no secret ever leaves in a log line, an answer or a metric."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import aiohttp
import pytest

from tests.e2e.harness import route, running
from tests.fakes import Load, model_process

TOKEN, SECRET = "sesame-token-0123456789", "sesame-secret-0123456789"
STAGES = [{"shadow": "100%", "min_pairs": 100000}, {"canary": "5%"}]


def config(old: str, new: str) -> dict[str, object]:
    return {
        "admin": {"listen": "127.0.0.1:0"},
        "upstreams": {"old": {"url": old}, "new": {"url": new}},
        "routes": [route("r", "old", "new", STAGES, guards={"max_disagreement": "2%", "p99_latency": "2x"})],
        "webhooks": [
            {
                "url": f"http://127.0.0.1:9/{SECRET}/hook?key={SECRET}",
                "secret": SECRET,
                "events": ["rollout.rolled_back"],
            }
        ],
    }


async def test_no_secret_leaves(tmp_path: Path) -> None:
    async with model_process("old") as (_, old), model_process("new") as (_, new):
        settings = config(old, new) | {"admin": {"listen": "127.0.0.1:0", "token": "${UNDERSTUDY_TEST_TOKEN}"}}
        settings["log"] = {"level": "debug"}
        async with running(tmp_path, settings, environment={"UNDERSTUDY_TEST_TOKEN": TOKEN}) as understudy:
            head = {"authorization": f"Bearer {TOKEN}"}
            answers = []
            async with (
                aiohttp.ClientSession(understudy.admin_url) as session,
                Load(f"{understudy.data_url}/r/infer", 50) as load,
            ):
                await load.more(20)
                for path in ("/api/v1/rollouts", "/api/v1/rollouts/r/new", "/api/v1/rollouts/r/new/pairs", "/"):
                    async with session.get(path) as answer:
                        assert answer.status == (200 if path == "/" else 401)
                async with session.post(
                    "/api/v1/rollouts/r/new/abort", json={"reason": "test"}, headers=head
                ) as answer:
                    assert answer.status == 200
                for path in ("rollouts/r/new", "rollouts/r/new/journal", "processes", "webhooks", "openapi.json"):
                    async with session.get(f"/api/v1/{path}", headers=head) as answer:
                        assert answer.status == 200
                        answers.append(await answer.text())
                answers.append(await understudy.metrics())
            assert understudy.events("rollout.rolled_back")
            everything = "".join(answers) + understudy.output
    assert TOKEN not in everything
    assert SECRET not in everything


@pytest.mark.slow
@pytest.mark.parametrize(
    "rollout", ["", '[parameters]\n"path.route" = "r"\n"path.candidate" = "new"\n'], ids=["any", "real"]
)
async def test_schemathesis_finds_no_way_to_break_it(tmp_path: Path, rollout: str) -> None:
    tool = Path(sys.executable).with_name("schemathesis")
    if not tool.exists():
        pytest.skip("needs schemathesis: pip install schemathesis")
    (tmp_path / "schemathesis.toml").write_text(rollout)
    async with (
        model_process("old") as (_, old),
        model_process("new") as (_, new),
        running(tmp_path, config(old, new)) as understudy,
    ):
        process = await asyncio.create_subprocess_exec(
            *(str(tool), "run", f"{understudy.admin_url}/api/v1/openapi.json"),
            # Valid data may be refused all the same: no such rollout, not in this state.
            *("--checks", "all", "--exclude-checks", "positive_data_acceptance"),
            *("--exclude-path", "/api/v1/events", "--max-examples", "40", "--seed", "1"),  # that stream never ends
            *("--request-timeout", "10", "--generation-database", "none"),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            cwd=tmp_path,
            env={**os.environ, "NO_COLOR": "1"},
        )
        said, _ = await process.communicate()
        assert process.returncode == 0, said.decode()[-8000:]
        assert await understudy.is_ready()
