"""Promise: what the supervisor decides by itself is right: pauses, addresses, who hangs, and what a reload means that
meets a process which dies or has only begun."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy import children, handover, logs, sockets
from proxy.children import Child
from proxy.errors import AddressError, UnderstudyError
from proxy.forks import ForkedProcess
from proxy.handover import Handover, become_next
from proxy.pairs import link
from proxy.pairs.channel import Channel
from proxy.pairs.link import Frame
from proxy.supervisor import Supervisor
from tests.ports import free_port


@given(st.lists(st.floats(0, 1000), max_size=30), st.floats(1000, 2000))
def test_pauses_are_bounded_and_the_first_is_none(deaths: list[float], now: float) -> None:
    pause = children.pause_before_restart(deaths, now)
    assert 0 <= pause <= 5
    assert children.pause_before_restart([now], now) == 0


def port_of(sock: socket.socket) -> int:
    return int(sock.getsockname()[1])


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("share", [False, True])
@pytest.mark.parametrize(
    ("held", "wanted"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("0.0.0.0", "127.0.0.1"),
        ("127.0.0.1", "0.0.0.0"),
        ("::", "0.0.0.0"),
        ("0.0.0.0", "[::]"),
        ("127.0.0.1", "[::]"),
        ("::", "127.0.0.1"),
    ],
)
def test_a_taken_address_is_refused_and_named(held: str, wanted: str, share: bool, count: int) -> None:
    with socket.socket(socket.AF_INET6 if ":" in held else socket.AF_INET) as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, share)
        taken.bind((held, 0))
        taken.listen()
        address = f"{wanted}:{port_of(taken)}"
        with pytest.raises(AddressError, match=f"cannot listen on {re.escape(address)}: Address already in use"):
            sockets.listen_alone(address, count)


def test_slots_share_one_port_and_nobody_else_does() -> None:
    first = sockets.listen_alone("127.0.0.1:0", 3)
    address = f"127.0.0.1:{first.where[1]}"
    assert {sock.getsockname() for sock in first.sockets} == {first.where}
    for count in (1, 3):
        with pytest.raises(AddressError, match="Address already in use"):
            sockets.listen_alone(address, count)
    first.close()


def test_an_address_is_free_again_when_it_is_let_go_of() -> None:
    address = f"127.0.0.1:{free_port()}"
    for _ in range(2):
        held = sockets.listen_alone(address, 2)
        with pytest.raises(AddressError):
            sockets.listen_alone(address, 2)
        held.close()


def test_of_many_that_start_at_once_one_listens() -> None:
    port = free_port()
    results: list[sockets.Listening | AddressError] = []

    def start(host: str) -> None:
        try:
            results.append(sockets.listen_alone(f"{host}:{port}", 2))
        except AddressError as error:
            results.append(error)

    threads = [threading.Thread(target=start, args=(host,)) for host in ("127.0.0.1", "0.0.0.0", "[::]") * 5]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (winner,) = [result for result in results if isinstance(result, sockets.Listening)]
    assert len(results) == 15
    winner.close()


def test_orphans_are_waited_for_and_a_live_owner_is_not() -> None:
    address = f"127.0.0.1:{free_port()}"
    first = sockets.listen_alone(address, 2)
    assert first.owner is not None
    began = time.monotonic()
    with pytest.raises(AddressError):
        sockets.listen_alone(address, 2, patience=120.0)
    assert time.monotonic() - began < 60
    first.owner.close()  # the supervisor is killed; its children have the rest
    with pytest.raises(AddressError):
        sockets.listen_alone(address, 2, patience=0.1)
    leaving = threading.Timer(0.2, first.close)
    leaving.start()
    second = sockets.listen_alone(address, 2)
    assert second.where == ("127.0.0.1", int(address.rpartition(":")[2]))
    leaving.join()
    second.close()


def test_a_refused_start_leaves_nothing_behind(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        path.write_text(
            FILE.replace("admin: {listen: '127.0.0.1:0'}", f"admin: {{listen: '127.0.0.1:{port_of(taken)}'}}")
        )
        with pytest.raises(AddressError, match=f"127.0.0.1:{port_of(taken)}: Address already in use"):
            Supervisor(path)
    assert list(folder.iterdir()) == []


# --- the tree --------------------------------------------------------------------------------------------------------

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


async def test_a_child_that_cannot_be_started_is_tried_again(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    supervisor, made, begun = Supervisor(path), 0, asyncio.Event()
    whole, loop = supervisor._forks.start, asyncio.get_running_loop()

    def start(*argv: str, **options: Any) -> ForkedProcess:
        nonlocal made
        made += 1
        if made <= 2:
            raise UnderstudyError("no process can be started: Resource temporarily unavailable")
        loop.call_soon_threadsafe(begun.set)
        return whole("json.tool", "--help", descriptors={})

    monkeypatch.setattr(supervisor._forks, "start", start)
    before = logs.UNEXPECTED["process.not_started"]
    keeper = asyncio.create_task(supervisor._keep(supervisor._workers[0]))
    await asyncio.wait_for(begun.wait(), 5)
    assert logs.UNEXPECTED["process.not_started"] == before + 2
    supervisor._draining = True
    await asyncio.wait_for(keeper, 5)
    supervisor._close()


async def test_a_child_that_is_slow_to_start_has_more_time_each_time(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Or a machine without cores to spare would kill it for ever."""
    monkeypatch.setattr("proxy.children.START_DEADLINE", 0.01)
    supervisor = Supervisor(path)
    child = supervisor._controller
    for _ in range(2):
        await supervisor._expect_ready(child)
    child.ready.set()
    await supervisor._expect_ready(child)
    child.ready.clear()
    await supervisor._expect_ready(child)
    stuck = [record.__dict__["fields"] for record in caplog.records if record.getMessage() == "process.stuck"]
    assert [fields["seconds"] for fields in stuck] == [0.01, 0.02, 0.01]
    supervisor._close()


@pytest.mark.parametrize("where", ["proxy.reloading.ConfigInForce._try", "proxy.supervisor.Supervisor.reload"])
async def test_a_reload_that_breaks_is_answered_with_its_number(
    where: str, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever had asked waited for a minute."""
    supervisor = Supervisor(path)

    async def broken(*_: object) -> str:
        raise RuntimeError("a bug")

    monkeypatch.setattr(where, broken)
    answers: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    ours, theirs = socket.socketpair()
    loop = asyncio.get_running_loop()
    asker = Channel(lambda _, __, payload: answers.put_nowait(link.read_note(payload)))
    channel = Channel(lambda _, kind, payload: supervisor._heard(supervisor._controller, channel, kind, payload))
    await loop.create_connection(lambda: asker, sock=theirs)
    await loop.create_connection(lambda: channel, sock=ours)
    asker.send(link.note(Frame.RELOAD, {"by": "ann", "number": 7}))
    answer = await asyncio.wait_for(answers.get(), 5)
    assert (answer["number"], answer["ok"]) == (7, False)
    assert "a bug" in answer["error"]
    if "_try" in where:
        assert supervisor._in_force.shown()["refused"]["by"] == "ann"
    asker.close()
    channel.close()
    supervisor._close()


# --- one child -------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def child_with(*, ready: bool) -> AsyncIterator[tuple[Child, list[Frame], Channel]]:
    """A child with a real process; what it is sent, and its own end of the control channel."""
    child = Child("controller", [], socket.socket())
    child.process = await asyncio.create_subprocess_exec(sys.executable, "-c", "input()", stdin=asyncio.subprocess.PIPE)
    ours, theirs = socket.socketpair()
    loop, told = asyncio.get_running_loop(), list[Frame]()
    its = Channel(lambda _, kind, __: told.append(kind))
    await loop.create_connection(lambda: its, sock=theirs)
    _, child.channel = await loop.create_connection(lambda: Channel(lambda _, k, p: child.heard(k, p)), sock=ours)
    if ready:
        child.heard(Frame.READY, b"")
    try:
        yield child, told, its
    finally:
        child.kill()
        await child.process.wait()
        child.channel.close()
        its.close()
        child.listener.close()
        await asyncio.sleep(0)


def result(generation: int, error: str = "") -> bytes:
    return link.note(Frame.RESULT, {"generation": generation, "ok": not error, "error": error})


async def test_a_child_that_dies_over_a_reload_is_not_waited_for_and_refuses_it() -> None:
    async with asyncio.timeout(children.RESULT_DEADLINE / 2), child_with(ready=True) as (child, _, _):
        applied = asyncio.ensure_future(child.apply(link.note(Frame.CONFIG, {}), 2))
        await asyncio.sleep(0)
        child.died(0.0)
        assert await applied == "died while it took the configuration"


async def test_a_child_that_is_starting_gets_the_new_configuration_too() -> None:
    async with child_with(ready=False) as (child, told, its):
        applied = asyncio.ensure_future(child.apply(link.note(Frame.CONFIG, {}), 3))
        its.send(result(2, "an earlier one") + result(3))
        assert await applied == ""
        assert told == [Frame.CONFIG]


async def test_a_child_that_dies_while_it_starts_takes_the_configuration_at_its_next_start() -> None:
    async with child_with(ready=False) as (child, _, _):
        applied = asyncio.ensure_future(child.apply(link.note(Frame.CONFIG, {}), 3))
        await asyncio.sleep(0)
        child.died(0.0)
        assert await applied == ""
        assert await child.apply(link.note(Frame.CONFIG, {}), 4) == "", "it is down"


async def test_a_refusal_is_passed_on() -> None:
    async with child_with(ready=True) as (child, _, its):
        applied = asyncio.ensure_future(child.apply(link.note(Frame.CONFIG, {}), 3))
        its.send(result(3, "no such certificate"))
        assert await applied == "no such certificate"


async def test_only_a_child_that_serves_and_says_nothing_for_long_hangs() -> None:
    async with child_with(ready=False) as (child, _, _):
        assert not any(child.hangs(1.0, 3.0) for _ in range(9)), "it is starting, which has a deadline of its own"
        child.heard(Frame.READY, b"")
        assert [child.hangs(1.0, 3.0) for _ in range(4)] == [False, False, False, True]
        child.heard(Frame.ALIVE, b"")
        assert not child.hangs(1.0, 3.0)
        child.kill()
        assert child.process is not None
        await child.process.wait()
        assert not any(child.hangs(1.0, 3.0) for _ in range(9)), "it is dead, which somebody else sees to"


async def test_what_is_left_to_a_new_version_is_asked_for_when_it_has_read(path: Path) -> None:
    """While it reads, children die and are replaced: those of before would be a dead one and one that nobody knows."""
    asked: list[str] = []

    def left() -> Handover:
        asked.append("now")
        raise OSError("no program")

    stop = asyncio.Event()
    assert await become_next(path, {"store": "another"}, left, stop) == "store needs a restart"
    assert not asked
    assert (await become_next(path, {}, left, stop)).endswith("no program")
    assert asked
    assert not signal.pthread_sigmask(signal.SIG_BLOCK, ()) & handover.SIGNALS


async def test_no_signal_is_lost_to_a_new_version(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that was taken before is obeyed; one that comes later waits, whatever threads there are."""
    stop, loop, at_exec = asyncio.Event(), asyncio.get_running_loop(), set[signal.Signals]()
    loop.set_default_executor(handover.threads())
    loop.add_signal_handler(signal.SIGTERM, stop.set)

    async def reads(*_: object) -> str:
        held = await asyncio.to_thread(signal.pthread_sigmask, signal.SIG_BLOCK, ())  # of a thread that stays
        assert held >= handover.SIGNALS
        if told_first:
            os.kill(os.getpid(), signal.SIGTERM)
        return ""

    def left() -> Handover:
        signal.pthread_kill(threading.get_ident(), signal.SIGTERM)  # the threads of pytest-xdist hold nothing back
        at_exec.update(signal.sigpending())
        raise OSError("no program")

    monkeypatch.setattr(handover, "preflight", reads)
    told_first = False
    assert (await become_next(path, {}, left, stop)).endswith("no program")
    assert at_exec == {signal.SIGTERM}
    async with asyncio.timeout(5):
        await stop.wait()
    stop.clear()
    at_exec.clear()
    told_first = True
    assert await become_next(path, {}, left, stop) == "told to stop"
    assert not at_exec
    loop.remove_signal_handler(signal.SIGTERM)


def held(process: Path | str) -> set[int]:
    """Signals that a thread or a process holds back."""
    said = Path("/proc", process, "status").read_text("ascii")
    mask = int(dict(line.split(":", 1) for line in said.splitlines())["SigBlk"], 16)
    return {number for number in range(1, 65) if mask >> (number - 1) & 1}


def threads_of_ours() -> set[Path]:
    return set(Path("/proc/self/task").iterdir())


async def test_what_waits_for_the_new_version_to_read_holds_signals_back_which_itself_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asyncio.get_running_loop().set_default_executor(handover.threads())
    waits, before, read = handover.what_it_wrote, threads_of_ours(), tmp_path / "pipe"
    os.mkfifo(read)

    async def looks(process: asyncio.subprocess.Process, seconds: float) -> tuple[bytes, bytes]:
        with await asyncio.to_thread(read.open, "w") as writes:  # it reads
            assert all(held(one) >= handover.SIGNALS for one in threads_of_ours() - before)
            assert not held("thread-self")
            assert not held(f"{process.pid}")
            writes.write(FILE)
        return await waits(process, seconds)

    monkeypatch.setattr(handover, "what_it_wrote", looks)
    assert await handover.preflight(read, {}) == ""


SERVES = """
import os
from pathlib import Path
from proxy import supervisor
def begin(path):
    raise SystemExit(",".join(os.readlink(f"/proc/self/fd/{one}") for one in range(3)) != ",".join(["/dev/null"] * 3))
supervisor.Supervisor = begin
os.closerange(0, 3)
supervisor.run(Path("understudy.yaml"))
"""


def test_no_socket_has_the_number_of_a_standard_stream_that_was_closed() -> None:
    """Children would write their logs to it."""
    assert subprocess.run([sys.executable, "-c", SERVES]).returncode == 0
