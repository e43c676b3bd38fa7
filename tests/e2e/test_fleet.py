"""Promise: several replicas over one PostgreSQL make one decision, whoever of them is killed or frozen."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.e2e.fleets import NAME, fleet, settings
from tests.fakes import Load, model_process
from tests.postgres import Postgres


@pytest.fixture
async def models() -> AsyncIterator[tuple[str, str]]:
    async with AsyncExitStack() as stack:
        _, live = await stack.enter_async_context(model_process("live"))
        _, candidate = await stack.enter_async_context(model_process("c"))
        yield live, candidate


async def test_one_decides_for_all(tmp_path: Path, postgres: Postgres, models: tuple[str, str]) -> None:
    async with fleet(tmp_path, postgres.url, settings(*models)) as it, AsyncExitStack() as stack:
        leader = await it.settled()
        for replica in it.replicas:
            await stack.enter_async_context(Load(f"{replica.data_url}/r/infer", 30.0))
        await leader.until(NAME, lambda rollout: rollout["state"] == "canary", 60)
