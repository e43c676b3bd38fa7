"""What tests of the store share."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from proxy.controller.store.store import RolloutStore


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[RolloutStore]:
    one = RolloutStore(tmp_path / "state" / "u.db")
    yield one
    await one.close()
