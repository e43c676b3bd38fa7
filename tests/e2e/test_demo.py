"""The demo keeps what it promises, and leaves nothing behind however it ends."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest


@asynccontextmanager
async def _demo(*options: str, folder: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "proxy", "demo", *options),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE if "--json" in options else asyncio.subprocess.STDOUT,
        env={**os.environ, "TMPDIR": str(folder), "PYTHONUNBUFFERED": "1"},
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def _read_until(process: asyncio.subprocess.Process, text: str) -> str:
    assert process.stdout is not None
    said = ""
    while text not in said:
        line = (await process.stdout.readline()).decode()
        assert line, f"ended without {text!r}:\n{said}"
        said += line
    return said


def _sessions(folder: Path) -> set[int]:
    """Sessions of the children that were started with a path in `folder` on their command line."""
    return {session for session, command in _processes() if str(folder) in command}


def _alive(sessions: set[int]) -> list[str]:
    """Command lines of the processes in `sessions`; their titles may have changed since, their session has not."""
    return [command for session, command in _processes() if session in sessions]


def _processes() -> Iterator[tuple[int, str]]:
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
            session = int((entry / "stat").read_text().rpartition(")")[2].split()[3])
        except (FileNotFoundError, ProcessLookupError):
            continue
        yield session, command


async def _until(done: Callable[[], bool]) -> None:
    while not done():  # noqa: ASYNC110 - what is waited for is in other processes
        await asyncio.sleep(0.05)


@pytest.mark.slow
async def test_every_promise_is_kept(tmp_path: Path) -> None:
    async with _demo("--json", folder=tmp_path) as process, asyncio.timeout(150):
        shown, said = (text.decode() for text in await process.communicate())
    assert process.returncode == 0, said
    report = json.loads(shown)
    assert report["ok"]
    assert [(act["rollout"], act["state"]) for act in report["acts"]] == [
        ("better/svm", "promoted"),
        ("skewed/svm-raw-pixels", "rolled_back"),
        ("failing/svm-audited", "rolled_back"),
    ]
    assert all(act["client_errors"] == 0 and act["broken"] == [] for act in report["acts"])
    assert "All checks passed." in said
    assert re.search(r"^ +candidate +svm +svm-raw-pixels +svm-audited$", said, re.MULTILINE)
    assert re.search(r"^ +end +promoted +rolled_back +rolled_back$", said, re.MULTILINE)
    assert re.search(r"^ +errors a client saw +0 +0 +0$", said, re.MULTILINE)
    assert os.listdir(tmp_path) == []


@pytest.mark.slow
async def test_the_loop_closes_in_under_three_minutes_with_nobody_touching_the_file(tmp_path: Path) -> None:
    """Drift alarm, webhook, a model trained on recent data, registered, shadow, canary, promoted, alias moved."""
    async with _demo("--loop", "--json", folder=tmp_path) as process, asyncio.timeout(300):
        shown, said = (text.decode() for text in await process.communicate())
    assert process.returncode == 0, said
    report = json.loads(shown)
    assert (report["ok"], report["broken"]) == (True, [])
    at, right = report["seconds"], report["right"]
    order = ["replaced", "alarm", "trained", "announced", "began", "canary-10", "canary-50", "moved", "after"]
    assert sorted(order, key=at.__getitem__) == order
    assert at["after"] < 180
    assert at["began"] - at["announced"] < 5
    assert right["live, old scanner"] > 0.95 > 0.6 > right["live, new scanner"]
    assert right["version 2, new scanner"] > 0.95
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("number", "when"),
    [
        (signal.SIGINT, "Starting"),
        pytest.param(signal.SIGTERM, "Act 1", marks=pytest.mark.slow),
        pytest.param(signal.SIGKILL, "Act 1", marks=pytest.mark.slow),
    ],
)
async def test_nothing_is_left_behind(tmp_path: Path, number: int, when: str) -> None:
    async with _demo(folder=tmp_path) as process, asyncio.timeout(90):
        await _read_until(process, when)
        await _until(lambda: len(_sessions(tmp_path)) >= 4)
        sessions = _sessions(tmp_path)
        process.send_signal(number)
        await process.wait()
        if number == signal.SIGKILL:  # nobody waits for the leashes; they see the end of their input soon
            await _until(lambda: not _alive(sessions))
    assert _alive(sessions) == []
    assert process.returncode == (-number if number == signal.SIGKILL else 1)
