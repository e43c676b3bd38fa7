"""A real PostgreSQL for tests: one server for all tests of a process, a fresh or an emptied database for each test.

The server refuses to run as root, and another user cannot enter pytest's folders: its files stand in a folder of their
own, of the user `postgres` or `nobody` where the tests run as root. Without the server's programs these tests are
skipped; `.ci/run` installs them.
"""

from __future__ import annotations

import asyncio
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import pytest

from proxy.config.postgres_url import PostgresTarget, read_target
from tests.ports import free_port

DEADLINE = 60.0
"""Seconds that a server may take to answer, on a busy machine."""

SETTINGS = {
    # What a killed process has written is with the kernel, so none of this needs a disk that has it.
    "fsync": "off",
    "full_page_writes": "off",
    "shared_buffers": "16MB",
    "max_connections": "60",
    "listen_addresses": "127.0.0.1",
    "autovacuum": "off",
    "log_destination": "stderr",
}

EMPTIED = """
SET transaction_read_only = off;
ALTER DATABASE {0} RESET ALL;
SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity WHERE datname = '{0}' AND pid <> pg_backend_pid();
SET client_min_messages = error;
DROP SCHEMA IF EXISTS understudy CASCADE;
DROP SCHEMA public CASCADE;
CREATE SCHEMA public"""
"""What makes a used database a new one: a quarter of what it costs the server to copy one and remove it."""

_databases = count(1)


def programs() -> Path | None:
    """The folder of the newest server's programs, if there is one."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: int(path.parts[4]))
    here = shutil.which("postgres")
    return found[-1].parent if found else Path(os.path.realpath(here)).parent if here else None


@dataclass
class PostgresServer:
    """One server. It can be killed, stopped (`freeze`) and started again; `pid` is its first process."""

    folder: Path
    bin: Path
    port: int
    settings: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None
    empty: list[str] = field(default_factory=list)

    @classmethod
    def made(cls, folder: Path, settings: dict[str, str] | None = None) -> PostgresServer:
        """A new cluster in `folder`, not started; skips the test where there is no server."""
        found = programs()
        if found is None:
            pytest.skip("needs PostgreSQL's server (Debian: apt-get install postgresql)")
        server = cls(folder, found, free_port(), {**SETTINGS, **(settings or {})})
        server.run(
            "initdb",
            "-N",
            "-A",
            "trust",
            "-U",
            "understudy",
            "-E",
            "UTF8",
            "--locale=C",
            "--wal-segsize=1",
            "-D",
            folder / "data",
        )
        return server

    def twin(self, folder: Path) -> PostgresServer:
        """One that begins with the same files, while this one does not run: a new cluster takes seconds."""
        self.run("cp", "-a", self.folder / "data", folder / "data")
        return PostgresServer(folder, self.bin, free_port(), dict(self.settings))

    def run(self, program: str, *words: object) -> str:
        """What one of the server's programs says."""
        here = self.bin / program
        command = [str(here) if here.exists() else program, *map(str, words)]
        as_whom = {} if program == "psql" else runs_as()  # another user takes a fork: a copy of all page tables here
        done = subprocess.run(
            command, capture_output=True, text=True, cwd=self.folder, timeout=2 * DEADLINE, check=False, **as_whom
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def start(self) -> None:
        """Start it, and wait until it takes connections."""
        options = [word for name, value in self.settings.items() for word in ("-c", f"{name}={value}")]
        command = [str(self.bin / "postgres"), "-D", str(self.folder / "data"), "-k", str(self.folder)]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [*command, "-p", str(self.port), *options], stdout=log, stderr=log, cwd=self.folder, **runs_as()
            )
        until = time.monotonic() + DEADLINE
        while not self.answers():
            assert self.process.poll() is None, (self.folder / "log").read_text()
            assert time.monotonic() < until, (self.folder / "log").read_text()
            time.sleep(0.02)

    def answers(self) -> bool:
        """Whether it takes connections."""
        command = [str(self.bin / "pg_isready"), "-q", "-h", str(self.folder), "-p", str(self.port), "-t", "2"]
        return subprocess.run(command, check=False).returncode == 0

    def kill(self) -> None:
        """End every process of it at once, as a power cut would."""
        if self.process is not None:
            self._signal(signal.SIGKILL)
            self.process.wait(DEADLINE)
            self.process = None

    def stop(self) -> None:
        """End it in good order; who is connected is put off."""
        if self.process is not None:
            self.process.send_signal(signal.SIGINT)
            self.process.wait(DEADLINE)
            self.process = None

    def freeze(self) -> None:
        """Let it answer nobody: its kernel goes on taking connections and acknowledging bytes."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        for pid in (self.process.pid, *children(self.process.pid)):
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def target(self, database: str) -> PostgresTarget:
        """The way to one of its databases over TCP."""
        return read_target(f"postgresql://understudy@127.0.0.1:{self.port}/{database}?connect_timeout=10")

    def url(self, database: str) -> str:
        """The same as a URL."""
        return f"postgresql://understudy@127.0.0.1:{self.port}/{database}"

    def psql(self, sql: str, database: str = "postgres") -> str:
        """What a statement gives, as `psql` prints it without ornaments."""
        words = ("-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-h", self.folder, "-p", self.port)
        return self.run("psql", *words, "-U", "understudy", "-d", database, "-c", sql).strip()

    def database(self) -> str:
        """A database of its own, by name: an emptied one or a new one."""
        if self.empty:
            return self.empty.pop()
        name = f"t{os.getpid()}_{next(_databases)}"
        self.psql(f"CREATE DATABASE {name}")
        return name

    def take_back(self, name: str) -> None:
        """Nobody uses this database any more."""
        self.psql(EMPTIED.format(name), name)
        self.empty.append(name)


def children(pid: int) -> list[int]:
    """The processes that a process has started and that are still there."""
    with suppress(OSError):
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def runs_as() -> dict[str, object]:
    """Whom the server runs as: not root."""
    if os.geteuid() != 0:
        return {}
    entry = _somebody()
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


def _somebody() -> pwd.struct_passwd:
    try:
        return pwd.getpwnam("postgres")
    except KeyError:
        return pwd.getpwnam("nobody")


@dataclass(frozen=True)
class Postgres:
    """A database of a test's own."""

    server: PostgresServer
    database: str

    @property
    def target(self) -> PostgresTarget:
        return self.server.target(self.database)

    @property
    def url(self) -> str:
        return self.server.url(self.database)

    def psql(self, sql: str) -> str:
        """What a statement gives, as another client sees it."""
        return self.server.psql(sql, self.database)

    async def becomes(self, sql: str, expected: str) -> None:
        """Wait until a statement gives what is expected."""
        until = time.monotonic() + DEADLINE
        while (found := await asyncio.to_thread(self.psql, sql)) != expected:
            assert time.monotonic() < until, found
            await asyncio.sleep(0.01)


@contextmanager
def place() -> Iterator[Path]:
    """A folder in which the server may work, for a while."""
    folder = Path(tempfile.mkdtemp(prefix="understudy-pg-"))
    try:
        if os.geteuid() == 0:
            os.chown(folder, _somebody().pw_uid, _somebody().pw_gid)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def running(server: PostgresServer) -> Iterator[PostgresServer]:
    """A server that runs."""
    try:
        server.start()
        yield server
    finally:
        server.kill()


@pytest.fixture(scope="session")
def postgres_cluster() -> Iterator[PostgresServer]:
    """The files of a new server, which never runs."""
    with place() as folder:
        yield PostgresServer.made(folder)


@pytest.fixture(scope="session")
def postgres_server(postgres_cluster: PostgresServer) -> Iterator[PostgresServer]:
    """The server of all tests of this process: not to be killed."""
    with place() as folder, running(postgres_cluster.twin(folder)) as server:
        yield server


@pytest.fixture
def postgres(postgres_server: PostgresServer) -> Iterator[Postgres]:
    """A database without anything in it."""
    name = postgres_server.database()
    yield Postgres(postgres_server, name)
    postgres_server.take_back(name)


@pytest.fixture
def mortal_postgres(postgres_cluster: PostgresServer) -> Iterator[Postgres]:
    """A fresh database on a server of its own, which may be killed, frozen and started again."""
    with place() as folder, running(postgres_cluster.twin(folder)) as server:
        yield Postgres(server, server.database())
