"""Keeps the promise that a controller that is killed at any moment loses no change that was saved and saves none twice,
in either kind of store."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from tests.controller.store.stores import FileKind, Kind, PostgresKind

LATE = 300.0


@pytest.mark.parametrize("times", [8, pytest.param(50, marks=pytest.mark.slow)])
async def test_writers_that_are_killed_leave_a_journal_without_gap_and_double(
    kind: Kind, tmp_path: Path, times: int
) -> None:
    if isinstance(kind, FileKind):
        place = str(kind.path)
    else:
        assert isinstance(kind, PostgresKind)
        place = kind.postgres.url
    acks = tmp_path / "acks"
    command = [sys.executable, "-m", "tests.controller.store.writer", place, str(acks), str(times), "16"]
    writers = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.PIPE)
    _, said = await asyncio.wait_for(writers.communicate(), LATE)
    assert writers.returncode == 0, said
    saved = [int(line) for line in acks.read_text().split()]
    assert len(saved) >= times
    store = await kind.open()
    entries = list(reversed(await store.journal("r/c", 100_000)))
    assert [entry["number"] for entry in entries] == list(range(1, len(entries) + 1)), "numbers without a gap"
    assert [entry["detail"]["n"] for entry in entries] == list(range(1, len(entries) + 1)), "each change once"
    assert set(saved) <= {entry["detail"]["n"] for entry in entries}, "what was acknowledged is there"
    assert await store.delivery_counts("http://a") == {"waiting": len(entries)}
    contents = await store.load(["r/c"])
    assert contents.rollouts[0].evidence == b"%d" % len(entries) * 1000, "of the same moment as the last change"
    assert contents.table == len(entries)
