"""What tests of the store in PostgreSQL share."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from proxy.controller.store.postgres.schema import bring_up_to_date
from proxy.controller.store.postgres.session import Session
from tests.postgres import Postgres

Sessions = Callable[[Postgres], Awaitable[Session]]
"""Makes sessions, and ends them with the test."""


@pytest.fixture
async def sessions() -> AsyncIterator[Sessions]:
    made: list[Session] = []

    async def make(postgres: Postgres) -> Session:
        session = await Session.connect(postgres.target)
        made.append(session)
        await bring_up_to_date(session)
        return session

    yield make
    for session in made:
        await session.close()
