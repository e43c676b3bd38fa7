"""Promise: `judge --verify` says of a store's journal whether it is what was written, and its exit code says it too."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from proxy.cli import main
from proxy.controller.store.sqlite.store import SqliteStore
from tests.controller.store.stores import change


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["judge", *map(str, arguments)])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    async def made() -> None:
        store = SqliteStore(tmp_path / "u.db")
        for number in range(1, 4):
            await store.save(change(number))
        await store.close()

    asyncio.run(made())
    return tmp_path / "u.db"


def test_a_whole_journal(path: Path) -> None:
    done = run(path, "--verify")
    assert done.exit_code == 0
    assert "3 entries checked, 0 taken away by retention; head 3:" in done.output
    head = json.loads(run(path, "--verify", "--json").output)["head"]
    assert run(path, "--verify", "--head", f"{head['number']}:{head['hash']}").exit_code == 0


def test_a_journal_that_was_tampered_with(path: Path) -> None:
    with sqlite3.connect(path) as other:
        other.execute("DELETE FROM journal WHERE number = 2")
    other.close()
    done = run(path, "--verify")
    assert done.exit_code == 1
    assert "! entry 2 is missing" in done.output
    assert json.loads(run(path, "--verify", "--json").output)["holds"] is False


def test_what_cannot_be_verified_is_told(path: Path, tmp_path: Path) -> None:
    assert "expected NUMBER:HASH" in run(path, "--verify", "--head", "3").output
    assert "--head needs --verify" in run(path, "--head", "3:" + "0" * 64).output
    (tmp_path / "pairs.jsonl").write_text('{"understudy_record": 1}\n')
    done = run(tmp_path / "pairs.jsonl", "--verify")
    assert "this is a recorded file" in done.output
    assert done.exit_code == 1
