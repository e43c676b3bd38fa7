"""Promise: a fork is what `python -m` would be, with what it is given and nothing else; its end is seen, whatever
becomes of the server that started it, and a server that has gone is replaced."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent import futures
from contextlib import closing, contextmanager
from itertools import count
from pathlib import Path

import orjson
import pytest

from proxy import forks
from proxy.children import ENVIRONMENT
from proxy.errors import UnderstudyError
from proxy.forks import UNKNOWN, ForkServer
from proxy.handover import PACKAGE_PARENT, VARIABLE

WAIT = 30.0
SAYS = """
import json, os, signal, sys
held = [number for number in map(int, os.listdir("/proc/self/fd")) if os.path.exists(f"/proc/self/fd/{number}")]
print(json.dumps({
    "argv": sys.argv[1:], "name": __name__, "path": sys.path, "held": held, "environment": dict(os.environ),
    "blocked": len(signal.pthread_sigmask(signal.SIG_BLOCK, ())),
    "heeds": signal.getsignal(signal.SIGINT) != signal.SIG_IGN, "parent": os.getppid(),
    "title": open("/proc/self/cmdline").read(),
}))
"""
Module = Callable[[str], str]


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Module:
    """A module of this code, which servers that begin from now on can import."""
    numbers = count()

    def make(code: str) -> str:
        name = f"asked{next(numbers)}"
        (tmp_path / f"{name}.py").write_text(code)
        return name

    monkeypatch.setattr(forks, "PACKAGE_PARENT", f"{PACKAGE_PARENT}:{tmp_path}")
    monkeypatch.setattr(forks, "MODULES", ("json",))  # what the program's forks have imported costs each server 0.3 s
    return make


@pytest.fixture
def server(module: Module) -> Iterator[ForkServer]:
    with closing(ForkServer()) as one:
        yield one


@contextmanager
def written() -> Iterator[tuple[int, Callable[[], bytes]]]:
    with tempfile.TemporaryFile() as file:

        def read() -> bytes:
            file.seek(0)
            return file.read()

        yield file.fileno(), read


def run(server: ForkServer, *argv: str, **descriptors: int) -> tuple[int, bytes, bytes]:
    """Its exit code, and what it wrote."""
    given = {int(name.removeprefix("at_")): held for name, held in descriptors.items()}
    with written() as (out, output), written() as (err, errors):
        code = server.start(*argv, descriptors={1: out, 2: err, **given}).wait_now(WAIT)
        return code, output(), errors()


def pid_of(server: ForkServer) -> int:
    assert server._process is not None
    return server._process.pid


def test_a_fork_is_what_its_module_would_be(
    server: ForkServer, module: Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With its arguments, our package first on the path, and no folder of the user's before it."""
    monkeypatch.setenv("MALLOC_TOP_PAD_", "7")
    monkeypatch.setenv(VARIABLE, "{}")
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2, signal.SIGHUP})
    try:
        code, output, errors = run(server, module(SAYS), "a", "--b")
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    assert (code, errors) == (0, b"")
    said = orjson.loads(output)
    assert (said["argv"], said["name"]) == (["a", "--b"], "__main__")
    assert said["path"][0] == PACKAGE_PARENT
    assert os.getcwd() not in said["path"][1:]
    assert (ENVIRONMENT | {"MALLOC_TOP_PAD_": "7"}).items() <= said["environment"].items()
    assert VARIABLE not in said["environment"]
    assert (said["blocked"], said["heeds"], said["parent"]) == (0, False, pid_of(server))
    assert said["title"].startswith("understudy: asked")


def test_a_fork_has_what_it_is_given_and_nothing_else(server: ForkServer, module: Module) -> None:
    """Under the numbers that are asked for, though they are another's here, and none of those of the server."""
    long_lived = server.start(module("import signal; signal.pause()"), descriptors={})
    with socket.socket() as one, socket.socket() as other:
        low, high = sorted((one.fileno(), other.fileno()))
        _, output, _ = run(server, module(SAYS), **{f"at_{low}": high, f"at_{high}": low, "at_60": low})
        assert orjson.loads(output)["held"] == sorted({0, 1, 2, low, high, 60})
    long_lived.kill()
    assert long_lived.wait_now(WAIT) == -signal.SIGKILL


@pytest.mark.parametrize(
    ("code", "exits", "says"),
    [
        ("", 0, b""),
        ("import sys; sys.exit(3)", 3, b""),
        ("import sys; sys.exit()", 0, b""),
        ("import sys; sys.exit('no such thing')", 1, b"no such thing\n"),
        ("raise ValueError('a bug')", 1, b"ValueError: a bug\n"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", -9, b""),
        ("print('buffered'); import os; os.kill(os.getpid(), 0)", 0, b""),
    ],
)
def test_it_ends_as_a_process_does(code: str, exits: int, says: bytes, server: ForkServer, module: Module) -> None:
    ended, output, errors = run(server, module(code))
    assert (ended, output) == (exits, b"buffered\n" if "buffered" in code else b"")
    assert errors.endswith(says)
    assert bool(errors) == bool(says)


async def test_whoever_waits_is_told_and_to_end_what_has_ended_harms_nobody(server: ForkServer, module: Module) -> None:
    fork = await asyncio.to_thread(server.start, module("import signal; signal.pause()"), descriptors={})
    waits = [asyncio.create_task(fork.wait()) for _ in range(2)]
    await asyncio.sleep(0)
    waits.pop().cancel()
    fork.kill()
    async with asyncio.timeout(WAIT):
        assert await waits[0] == await fork.wait() == fork.returncode == fork.wait_now() == -signal.SIGKILL
    fork.kill()


@pytest.mark.parametrize("how", ["in a loop", "without one"])
async def test_a_server_that_dies_is_replaced_and_its_forks_go_on(how: str, server: ForkServer, module: Module) -> None:
    name = module("import sys; sys.stdin = open(3); sys.exit(len(sys.stdin.read()))")
    ours, theirs = os.pipe()
    fork = server.start(name, descriptors={3: ours})
    os.close(ours)
    first = pid_of(server)
    os.kill(first, signal.SIGKILL)
    with pytest.raises(TimeoutError):
        fork.wait_now(0.0 if how == "in a loop" else 0.1)
    assert run(server, module("import sys; sys.exit(4)"))[0] == 4
    assert pid_of(server) != first
    assert fork.returncode is None
    os.close(theirs)
    code = await asyncio.wait_for(fork.wait(), WAIT) if how == "in a loop" else fork.wait_now(WAIT)
    assert code == UNKNOWN


@pytest.mark.parametrize("how", ["in a loop", "without one"])
async def test_an_end_is_seen_though_the_server_hangs(
    how: str, server: ForkServer, module: Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forks, "TOLD", 0.1)
    fork = server.start(module("import signal; signal.pause()"), descriptors={})
    os.kill(pid_of(server), signal.SIGSTOP)
    fork.kill()
    code = await asyncio.wait_for(fork.wait(), WAIT) if how == "in a loop" else fork.wait_now(WAIT)
    assert code == UNKNOWN


def test_whoever_waits_for_one_that_hangs_hears_that_it_is_closed(server: ForkServer, module: Module) -> None:
    """And no other begins, unless it is needed after all."""
    name = module("")
    assert run(server, name)[0] == 0
    os.kill(pid_of(server), signal.SIGSTOP)
    with futures.ThreadPoolExecutor() as threads:
        waits = threads.submit(server.start, name, descriptors={})
        while not server._lock.locked():
            assert not waits.done()
        server.close()
        with pytest.raises(UnderstudyError, match="the fork server is closed"):
            waits.result(WAIT)
    with pytest.raises(UnderstudyError, match="the fork server is closed"):
        server.start(name, descriptors={})
    assert server._process is None
    server.reopen()
    assert run(server, name)[0] == 0


def test_a_signal_that_is_held_back_is_heeded_while_a_server_hangs(
    server: ForkServer, module: Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the supervisor blocks it while it has the files read for the first time."""
    name = module("")
    assert run(server, name)[0] == 0
    os.kill(pid_of(server), signal.SIGSTOP)
    monkeypatch.setattr(forks, "TO_STOP", 0.1)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        signal.raise_signal(signal.SIGTERM)
        began = time.monotonic()
        with pytest.raises(UnderstudyError, match="told to stop"):
            server.start(name, descriptors={})
        assert time.monotonic() - began < forks.ANSWER / 2
    finally:
        signal.sigtimedwait({signal.SIGTERM}, 0)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def test_a_server_that_hangs_is_replaced(server: ForkServer, module: Module, monkeypatch: pytest.MonkeyPatch) -> None:
    name = module("")
    assert run(server, name)[0] == 0
    hangs = pid_of(server)
    os.kill(hangs, signal.SIGSTOP)
    monkeypatch.setattr(forks, "_await_answer", once_late(forks._await_answer))
    assert run(server, name)[0] == 0
    assert pid_of(server) != hangs


def once_late(whole: Callable[[int], None]) -> Callable[[int], None]:
    """The same, but the first answer does not come."""
    calls = count()

    def wait(descriptor: int) -> None:
        if next(calls) == 0:
            raise TimeoutError
        whole(descriptor)

    return wait


def test_one_whose_answer_is_lost_never_begins(server: ForkServer, module: Module) -> None:
    """Its server may have died before it told: another is started, and two would share a channel."""
    name = module("print('begun')")
    assert run(server, name)[1] == b"begun\n"
    assert server._orders is not None
    (status, told), (gate, begins) = os.pipe(), os.pipe()
    with written() as (out, output):
        order = orjson.dumps({"argv": [name], "numbers": [1]})
        socket.send_fds(server._orders, [order], [told, gate, out])
        os.close(begins)
        assert os.read(status, 9) == b"1"
        assert output() == b""
    socket.recv_fds(server._orders, 99, 1)
    for one in (status, told, gate):
        os.close(one)


DIES_ONCE = """
import os, signal, socket
whole = socket.send_fds
def send_fds(*answer):
    try:
        os.open({seen!r}, os.O_CREAT | os.O_EXCL)
    except FileExistsError:
        return whole(*answer)
    os.kill(os.getpid(), signal.SIGKILL)
socket.send_fds = send_fds
"""


def test_a_server_that_dies_before_it_answers_is_not_waited_for(
    server: ForkServer, module: Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it has started waits for whoever asked, and would hold the server's end of the socket open."""
    monkeypatch.setattr(forks, "ANSWER", 2 * WAIT)
    (tmp_path / "sitecustomize.py").write_text(DIES_ONCE.format(seen=str(tmp_path / "seen")))
    began = time.monotonic()
    assert run(server, module("print('begun')"))[1] == b"begun\n"
    assert (tmp_path / "seen").exists()
    assert time.monotonic() - began < WAIT


ADOPTS = """
import os, signal, sys
from proxy import forks
forks.MODULES = ("json",)
forks.adopt_orphans()
server = forks.ForkServer()
ours, theirs = os.pipe()
waits, hangs = (server.start("json.tool", descriptors={0: ours}) for _ in range(2))
server._process.kill()
server._process.wait()
os.close(ours)
os.write(theirs, b"no JSON")
hangs.kill()
os.close(theirs)
codes = [waits.wait_now(30.0), hangs.wait_now(30.0)]
try:
    os.waitid(os.P_ALL, 0, os.WEXITED)
except ChildProcessError:
    print(codes)
"""


def test_orphans_of_a_server_are_waited_for() -> None:
    """By the supervisor: as the first process of a container nobody else would."""
    ended = subprocess.run([sys.executable, "-c", ADOPTS], capture_output=True, check=False)
    assert ended.stdout == b"[1, -9]\n"


def test_what_has_been_imported_runs_without_a_warning(server: ForkServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """`runpy` warns of a module that is there already, and where warnings are errors there would be no process."""
    monkeypatch.setattr(forks, "MODULES", ("encodings.rot_13",))
    monkeypatch.setenv("PYTHONWARNINGS", "error")
    assert run(server, "encodings.rot_13") == (0, b"", b"")


NO_HANDLES = """
import errno, os
def pidfd_open(pid):
    raise OSError(errno.ENOSYS, "Function not implemented")
os.pidfd_open = pidfd_open
"""


async def test_where_there_are_no_handles_processes_are_ended_and_waited_for_all_the_same(
    server: ForkServer, module: Module, tmp_path: Path
) -> None:
    """As on Linux before 5.3, and in sandboxes."""
    (tmp_path / "sitecustomize.py").write_text(NO_HANDLES)
    forever = module("import signal; signal.pause()")
    in_loop, without = (server.start(forever, descriptors={9: 0, 3: 0}) for _ in range(2))
    assert run(server, module("import sys; sys.exit(4)"))[0] == 4
    assert not without._is_handle
    with pytest.raises(TimeoutError):
        without.wait_now(0.0)
    waiting = asyncio.create_task(in_loop.wait())
    await asyncio.sleep(0)
    for one in (in_loop, without):
        one.kill()
    async with asyncio.timeout(WAIT):
        assert await waiting == without.wait_now(WAIT) == -signal.SIGKILL
    in_loop.kill()
    left = server.start(forever, descriptors={})
    os.kill(pid_of(server), signal.SIGKILL)
    left.kill()
    assert await asyncio.wait_for(left.wait(), WAIT) in (UNKNOWN, -signal.SIGKILL)


def test_it_ends_with_its_supervisor(server: ForkServer, module: Module) -> None:
    assert run(server, module(""))[0] == 0
    process, orders = server._process, server._orders
    assert process is not None
    assert orders is not None
    orders.close()  # as the kernel does when the supervisor is killed
    assert process.wait(WAIT) == 0
