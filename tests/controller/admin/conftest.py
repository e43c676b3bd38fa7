"""The admin port over a fake controller."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.controller.admin.clients import Client, serving
from tests.controller.fake_service import FakeService


@pytest.fixture
def service() -> FakeService:
    return FakeService()


@pytest.fixture
async def client(service: FakeService) -> AsyncIterator[Client]:
    async with serving(service) as found:
        yield found
