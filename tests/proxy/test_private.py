"""Promise: what users sent and were answered is for the user that Understudy runs as, whatever the umask says."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from proxy import private
from proxy.config.telemetry import Access
from proxy.controller.recorder import RecordingRule, _File, rotate
from proxy.controller.request_log import AccessLog
from proxy.controller.store.sqlite.files import claim
from proxy.controller.store.sqlite.schema import open_database


@pytest.fixture(autouse=True)
def _open_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


def modes(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir()}


def leave_open(path: Path, data: bytes = b"") -> None:
    """As an earlier version left it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    path.chmod(0o644)


@pytest.mark.parametrize("fresh", [True, False])
def test_the_store_with_all_that_belongs_to_it(tmp_path: Path, fresh: bool) -> None:
    path = tmp_path / "some" / "state" / "s.db"
    aside = f"{path.name}.corrupt-1764000000-77"
    if not fresh:
        leave_open(path)
        sqlite3.connect(path).execute("PRAGMA journal_mode = WAL").connection.close()
        for name in ("s.db.lock", aside, f"{aside}-wal", "s.db.replaced-1764000000-77", "s.db.new-5", "s.db.yaml"):
            leave_open(path.with_name(name))
    held = claim(path, 0.0)
    assert held is not None
    connection = open_database(path)
    found = modes(path.parent)
    assert found.pop("s.db.yaml", 0o644) == 0o644  # not ours
    assert {"s.db", "s.db-wal", "s.db-shm", "s.db.lock"} <= set(found)
    assert fresh or aside in found
    assert set(found.values()) == {0o600}
    if fresh:
        assert modes(tmp_path) | modes(tmp_path / "some") == {"some": 0o700, "state": 0o700}
    connection.close()
    held.close()


@pytest.mark.parametrize("name", ["pairs.jsonl", "pairs.jsonl.gz"])
def test_recordings_rotated_and_compressed(tmp_path: Path, name: str) -> None:
    path = tmp_path / "made" / name
    leave_open(path.with_name(f"{name}.1"))
    rule = RecordingRule(path, 1.0, 1000, 5, (), frozenset())
    for _ in range(2):
        file = _File(rule, b"{}\n")
        file.close()
        rotate(path, 5)
    _File(rule, b"{}\n").close()
    assert modes(path.parent) == {name: 0o600, f"{name}.1": 0o600, f"{name}.2": 0o600, f"{name}.3": 0o600}


def test_the_access_log(tmp_path: Path) -> None:
    path = tmp_path / "log" / "access.jsonl"
    log = AccessLog(Access(path=str(path)))
    log.write([])
    assert (modes(path.parent), modes(tmp_path)) == ({"access.jsonl": 0o600}, {"log": 0o700})
    log.close()
    path.chmod(0o666)
    log.write([])
    assert modes(path.parent) == {"access.jsonl": 0o600}
    log.close()


def test_what_is_no_file_and_what_was_there_before_is_left_alone(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    os.mkfifo(tmp_path / "pipe", 0o622)
    os.close(private.opener(str(tmp_path / "pipe"), os.O_RDWR | os.O_APPEND))
    assert (modes(tmp_path), tmp_path.stat().st_mode & 0o777) == ({"pipe": 0o622}, 0o755)


def test_a_place_that_cannot_be_had_is_told_by_who_opens_it(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    private.prepare(tmp_path / "file" / "s.db")
    with pytest.raises(FileExistsError):
        private.opener(str(tmp_path / "file" / "s.db"), os.O_RDWR | os.O_CREAT)
    with pytest.raises(sqlite3.OperationalError):
        open_database(tmp_path / "file" / "s.db")
