"""The data plane runs on uvloop, and so do its tests; some of them over TLS."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import uvloop

from tests.fakes import certificate


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Self-signed `one` and `two`; the authorities `ca` and `new-ca`, and a `member` of each."""
    folder = tmp_path_factory.mktemp("tls")
    for name in ("one", "two", "ca", "new-ca"):
        certificate(folder, name)
    certificate(folder, "member", ca="ca")
    certificate(folder, "new-member", ca="new-ca")
    return folder
