"""Promise: a pooler between a leader and its store is noticed at the start and refused, however it pools."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from proxy.config.postgres_url import read_target
from proxy.controller.store.postgres.session import Session
from proxy.errors import StoreError
from tests.ports import free_port
from tests.postgres import DEADLINE, Postgres, place, runs_as

CONFIG = """
[databases]
* = host=127.0.0.1 port={server}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = {mode}
ignore_startup_parameters = {ignored}
"""
PASSED_OVER = (
    "idle_in_transaction_session_timeout,idle_session_timeout,tcp_keepalives_idle,tcp_keepalives_interval,"
    "tcp_keepalives_count,tcp_user_timeout,client_connection_check_interval,lock_timeout,statement_timeout,"
    "default_transaction_isolation,search_path"
)


@contextmanager
def pooler(postgres: Postgres, mode: str, ignored: str) -> Iterator[str]:
    """A URL that leads through a pgbouncer."""
    program = shutil.which("pgbouncer") or "/usr/sbin/pgbouncer"
    if not os.access(program, os.X_OK):
        pytest.skip("needs pgbouncer (Debian: apt-get install pgbouncer)")
    with place() as folder:
        port, ini = free_port(), folder / "pgbouncer.ini"
        ini.write_text(
            CONFIG.format(server=postgres.server.port, port=port, mode=mode, ignored=ignored)
            + f"\n[databases]\n{postgres.database} = host=127.0.0.1 port={postgres.server.port} user=understudy\n"
        )
        with subprocess.Popen([program, str(ini)], stderr=subprocess.DEVNULL, cwd=folder, **runs_as()) as process:
            try:
                _wait(port, folder)
                yield f"postgresql://understudy@127.0.0.1:{port}/{postgres.database}"
            finally:
                process.kill()


def _wait(port: int, folder: Path) -> None:
    until = time.monotonic() + DEADLINE
    while subprocess.run(["pg_isready", "-q", "-h", "127.0.0.1", "-p", str(port)], check=False, cwd=folder).returncode:
        assert time.monotonic() < until, "pgbouncer takes no connection"
        time.sleep(0.02)


@pytest.mark.parametrize("mode", ["session", "transaction"])
async def test_a_pooler_that_passes_our_settings_over_is_told_by_its_process_number(
    postgres: Postgres, mode: str
) -> None:
    with pooler(postgres, mode, PASSED_OVER) as url, pytest.raises(StoreError, match="a pooler is between"):
        await Session.connect(read_target(url))


async def test_a_pooler_as_it_is_installed_refuses_our_settings_and_we_say_what_it_says(postgres: Postgres) -> None:
    with pooler(postgres, "session", "extra_float_digits") as url, pytest.raises(StoreError, match="startup parameter"):
        await Session.connect(read_target(url))
