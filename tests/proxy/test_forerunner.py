"""Promise: the process that reads the configuration at a start becomes the first controller, and nothing depends on it:
where it has gone, a controller is started like every later one."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from proxy import handover
from proxy.forerunner import Adopted, Forerunner, read_first
from proxy.pairs import link
from proxy.pairs.channel import Channel
from proxy.pairs.link import Frame
from proxy.supervisor import Supervisor

FILE = """
server: {listen: '127.0.0.1:0', workers: 1}
admin: {listen: '127.0.0.1:0'}
store: {path: s.db}
upstreams: {a: {url: 'http://127.0.0.1:1'}}
routes: [{name: r, live: a}]
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "understudy.yaml"
    file.write_text(FILE)
    return file


def process_of(first: Forerunner) -> int:
    assert first._process is not None
    return first._process.pid


def note(first: Forerunner, **changed: Any) -> bytes:
    """CONFIG as the supervisor sends it."""
    return link.note(Frame.CONFIG, {"generation": 1, "hash": "h", **first.read.file().texts, **changed})


@asynccontextmanager
async def placed(first: Forerunner, runtime: Path) -> AsyncIterator[tuple[Adopted, Channel, asyncio.Queue[Frame]]]:
    """The process in a controller's place, its control channel, and the frames that it sends."""
    heard: asyncio.Queue[Frame] = asyncio.Queue()
    ours, theirs = socket.socketpair()
    with socket.create_server(("127.0.0.1", 0)) as listener, theirs:
        child = first.place(runtime, [listener.fileno(), theirs.fileno()])
    assert child is not None
    channel = Channel(lambda _, kind, __: heard.put_nowait(kind))
    await asyncio.get_running_loop().create_connection(lambda: channel, sock=ours)
    try:
        yield child, channel, heard
    finally:
        channel.close()
        child.kill()
        await child.wait()


@pytest.mark.parametrize("changed", [False, True], ids=["as it was read", "changed since"])
async def test_the_process_that_reads_becomes_the_controller(changed: bool, path: Path, tmp_path: Path) -> None:
    first = read_first(path)
    reader, other = process_of(first), FILE.replace("s.db", "other.db")
    async with asyncio.timeout(30), placed(first, tmp_path) as (child, channel, heard):
        assert (child.pid, child.returncode) == (reader, None)
        assert first.place(tmp_path, []) is None, "once"
        channel.send(note(first, **({"text": other} if changed else {})))
        while await heard.get() is not Frame.READY:
            pass
        assert (tmp_path / "other.db").exists() == changed
        channel.send(link.note(Frame.DRAIN, {"delay": 0.0}))
        assert await child.wait() == child.returncode == 0


async def test_it_writes_to_the_log_and_heeds_no_signal_once_it_has_its_place(
    path: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """A terminal's Ctrl-C goes to it too, and it is the supervisor who says what that means."""
    first = read_first(path)
    async with asyncio.timeout(30), placed(first, tmp_path) as (child, channel, heard):
        os.kill(child.pid, signal.SIGINT)
        channel.send(note(first, text="log: {level: debug}\n" + FILE) + note(first, text=": ["))
        while await heard.get() is not Frame.RESULT:
            pass
        os.kill(child.pid, signal.SIGTERM)
        channel.send(link.note(Frame.DRAIN, {"delay": 0.0}))
        assert await child.wait() == 0
    assert '"process":"controller"' in capfd.readouterr().err


def test_it_ends_when_it_is_let_go_of(path: Path) -> None:
    first = read_first(path)
    assert first._process is not None
    assert first._place is not None
    first._place.close()  # as the kernel does when the supervisor is killed
    assert first._process.wait(30) == 0
    first.close()
    first.close()


CLOSES = """
import os, sys
from pathlib import Path
for number in map(int, sys.argv[2]):
    os.close(number)
from proxy.forerunner import read_first
first = read_first(Path(sys.argv[1]))
first.close()
os._exit(0 if first.read.file().workers else 1)
"""


@pytest.mark.parametrize("closed", ["0", "1", "01", "012"])
def test_it_reads_for_whoever_has_closed_its_standard_streams(closed: str, path: Path) -> None:
    assert subprocess.run([sys.executable, "-c", CLOSES, str(path), closed]).returncode == 0


def blocked(pid: int) -> int:
    """The mask of signals that a process blocks."""
    status = Path(f"/proc/{pid}/status").read_text("utf-8")
    return int(status.partition("SigBlk:")[2].split()[0], 16)


def test_nothing_of_an_upgrade_stays_with_it(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is started before the new supervisor has its handlers; a later controller is started when it has."""
    monkeypatch.setenv(handover.VARIABLE, "{}")
    before = signal.pthread_sigmask(signal.SIG_BLOCK, handover.SIGNALS)
    try:
        first = read_first(path)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    try:
        assert blocked(process_of(first)) == 0
        assert handover.VARIABLE.encode() not in Path(f"/proc/{process_of(first)}/environ").read_bytes()
    finally:
        first.close()


def test_one_that_has_gone_is_not_placed(path: Path, tmp_path: Path) -> None:
    first = read_first(path)
    assert first._process is not None
    os.kill(process_of(first), signal.SIGKILL)
    os.waitid(os.P_PID, process_of(first), os.WEXITED | os.WNOWAIT)
    assert first.place(tmp_path, []) is None
    assert first.place(tmp_path, []) is None


@asynccontextmanager
async def kept(path: Path) -> AsyncIterator[Supervisor]:
    """A supervisor that keeps its controller, and nothing else."""
    supervisor = Supervisor(path)
    keeper = asyncio.create_task(supervisor._keep(supervisor._controller))
    try:
        async with asyncio.timeout(60):
            yield supervisor
            supervisor._draining = True
            supervisor._controller.send(link.note(Frame.DRAIN, {"delay": 0.0}))
            await keeper
    finally:
        keeper.cancel()
        supervisor._close()


async def test_a_supervisor_without_it_starts_a_controller(path: Path) -> None:
    async with kept(path) as supervisor:
        supervisor._first.close()
        await supervisor._controller.ready.wait()


async def test_a_controller_after_the_first_is_a_new_process(path: Path) -> None:
    async with kept(path) as supervisor:
        reader, controller = process_of(supervisor._first), supervisor._controller
        await controller.ready.wait()
        assert controller.pid == reader
        controller.ready.clear()
        controller.kill()
        await controller.ready.wait()
        assert controller.pid not in (reader, None)
