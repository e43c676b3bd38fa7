"""Both kinds of store, for the promises that both keep."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from proxy.controller.store.interface import RolloutStore
from tests.controller.store.stores import FileKind, Kind, PostgresKind


@pytest.fixture(params=["sqlite", "postgres"])
async def kind(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Kind]:
    """A place for a store, of each kind."""
    one: Kind
    if request.param == "sqlite":
        one = FileKind(tmp_path / "state" / "u.db")
    else:
        one = PostgresKind(request.getfixturevalue("postgres"))
    yield one
    await one.close()


@pytest.fixture
async def store(kind: Kind) -> RolloutStore:
    """A new store."""
    return await kind.open()
