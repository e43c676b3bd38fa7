"""The admin port over a fake controller."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.controller.admin.clients import Client, serving
from tests.controller.surface import FakeSurface


@pytest.fixture
def surface() -> FakeSurface:
    return FakeSurface()


@pytest.fixture
async def client(surface: FakeSurface) -> AsyncIterator[Client]:
    async with serving(surface) as found:
        yield found
