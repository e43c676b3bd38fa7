"""What tests of the command line share."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.admins import FakeAdmin
from tests.cli.replays import CONFIG


@pytest.fixture
def admin() -> Iterator[FakeAdmin]:
    with FakeAdmin() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join(5)


@pytest.fixture
def config(tmp_path: Path) -> str:
    path = tmp_path / "u.yaml"
    path.write_text(CONFIG)
    return str(path)
