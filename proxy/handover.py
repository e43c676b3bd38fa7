"""A new version takes over the process tree of the one that runs, on SIGUSR2: no client is refused.

The supervisor executes itself anew and keeps its process id, as HAProxy's master does. First the code that is installed
by then reads the configuration in a process of its own (`preflight`); if it cannot, or if what cannot change has
changed, nothing happens. Then the supervisor's process becomes the new version (`become`) and finds in its environment
what the old one held (`take`): the listening sockets, the folder of the links, and the old children with their control
channels.

Invariants
- The listening sockets stay open throughout, so that no connection is refused or reset.
- What goes wrong before `become` leaves everything as it was.
- No signal is lost: one that came before is obeyed before, one that comes later waits for the new version.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from proxy import logs
from proxy.answers import last_line
from proxy.children import Child
from proxy.pairs import link
from proxy.pairs.channel import Channel
from proxy.pairs.link import Frame
from proxy.sockets import Listening

log = logging.getLogger("understudy.supervisor")

VARIABLE = "UNDERSTUDY_HANDOVER"
PACKAGE_PARENT = str(Path(__file__).resolve().parent.parent)
PREFLIGHT = 30.0
"""Seconds that the new version may take to read the configuration."""
SIGNALS = {signal.SIGUSR2, signal.SIGHUP, signal.SIGTERM, signal.SIGINT}
"""Held back until the new version has handlers for them: their default is to end the process."""


def needs_restart(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Keys of `TreeSettings.fixed` that differ.

    >>> needs_restart({"store": "a", "server.workers": 2}, {"store": "b", "server.workers": 2})
    ['store']
    """
    return [key for key in before if before[key] != after.get(key)]


@dataclass
class Predecessor:
    """A child that the last version started, and the supervisor's end of its control channel."""

    name: str
    pid: int
    control: socket.socket
    channel: Channel | None = None

    async def connect(self) -> None:
        """Keep its control channel open: when it ends, the child drains."""
        loop = asyncio.get_running_loop()
        _, self.channel = await loop.create_connection(lambda: Channel(lambda *_: None), sock=self.control)

    async def leave(self, delay: float, deadline: float) -> bool:
        """Have it drain, its place being taken, and wait for its end; `False` when it had to be killed.

        For `delay` seconds its clients' answers say `Connection: close`; then idle connections are closed.
        """
        assert self.channel is not None
        self.channel.send(link.note(Frame.DRAIN, {"delay": delay, "replaced": True}))
        try:
            with suppress(ProcessLookupError):  # it has ended, and who started it has seen that
                return await self._ends_within(os.pidfd_open(self.pid), deadline)
            return True
        finally:
            self.channel.close()

    async def _ends_within(self, handle: int, seconds: float) -> bool:
        ended = asyncio.Event()
        asyncio.get_running_loop().add_reader(handle, ended.set)
        try:
            await asyncio.wait_for(ended.wait(), seconds)
        except TimeoutError:
            self.kill()
            await ended.wait()
            return False
        finally:
            asyncio.get_running_loop().remove_reader(handle)
            with suppress(ChildProcessError):  # nobody's, since the fork server that started it has ended
                if ended.is_set():
                    os.waitid(os.P_PIDFD, handle, os.WEXITED)  # noqa: ASYNC222 - it has ended
            os.close(handle)
        return True

    def kill(self) -> None:
        """End it at once."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)


def predecessors(children: Iterable[Child]) -> list[Predecessor]:
    """Those of them that run."""
    running = [(child.name, child.pid, child.control) for child in children]
    return [Predecessor(name, pid, control) for name, pid, control in running if pid and control]


@dataclass
class Predecessors:
    """The children of the last version that are still here; `changed` is called when one of them has ended."""

    children: list[Predecessor]
    changed: Callable[[], None]

    @property
    def pids(self) -> list[int]:
        """Their process ids."""
        return [one.pid for one in self.children]

    async def connect(self) -> None:
        """Keep their control channels open."""
        for one in self.children:
            await one.connect()

    async def leave(self, name: str, delay: float, deadline: float) -> None:
        """Have those whose name begins so drain, and wait for their end (see `Predecessor.leave`)."""
        await asyncio.gather(*(self._leave(one, delay, deadline) for one in self.children if one.name.startswith(name)))

    async def _leave(self, one: Predecessor, delay: float, deadline: float) -> None:
        if not await one.leave(delay, deadline):
            logs.event(log, "drain.cut_off", logging.ERROR, names=[one.name])
        self.children.remove(one)
        self.changed()

    def kill(self) -> None:
        """End them at once."""
        for one in self.children:
            one.kill()


@dataclass
class Handover:
    """What one version leaves to the next: the folder of the links, sockets by what they are for, and children."""

    runtime: Path
    listening: dict[str, Listening]
    children: list[Predecessor]

    def dump(self) -> str:
        """As text; sockets by their descriptors."""
        sockets = {name: [_number(sock) for sock in one.parts] for name, one in self.listening.items()}
        children = [{"name": one.name, "pid": one.pid, "control": one.control.fileno()} for one in self.children]
        return json.dumps({"runtime": str(self.runtime), "listening": sockets, "children": children})

    @property
    def descriptors(self) -> list[int]:
        """All that must outlive the change of program."""
        sockets = (sock for one in self.listening.values() for sock in one.parts if sock is not None)
        return [sock.fileno() for sock in (*sockets, *(child.control for child in self.children))]


def _number(sock: socket.socket | None) -> int | None:
    return None if sock is None else sock.fileno()


def _load(text: str) -> Handover:
    given = json.loads(text)
    listening = {
        name: Listening.of([None if number is None else socket.socket(fileno=number) for number in numbers])
        for name, numbers in given["listening"].items()
    }
    children = [Predecessor(one["name"], one["pid"], socket.socket(fileno=one["control"])) for one in given["children"]]
    return Handover(Path(given["runtime"]), listening, children)


def take() -> Handover | None:
    """What the last version of this very process has left, once; `None` when this is a start like any other."""
    text = os.environ.pop(VARIABLE, None)
    if text is None:
        return None
    left = _load(text)
    _inheritable(left.descriptors, False)
    return left


async def what_it_wrote(process: asyncio.subprocess.Process, seconds: float) -> tuple[bytes, bytes]:
    """Output and errors of a process when it has ended. It never outlives the wait: it is killed, and waited for, when
    it takes longer (`TimeoutError`) or when the caller is cancelled."""
    try:
        return await asyncio.wait_for(process.communicate(), seconds)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def preflight(path: Path, now: Mapping[str, Any]) -> str:
    """Why the code that is installed now cannot go on where this one is (`now` being its `fixed`); empty if it can."""
    process = await _begin_preflight(path)
    try:
        out, errors = await what_it_wrote(process, PREFLIGHT)
    except TimeoutError:
        return f"the new version has not read the configuration within {PREFLIGHT:g} s"
    if process.returncode:
        return errors.decode("utf-8", "replace").strip()[-2000:]
    try:
        after = dict(json.loads(last_line(out)))
    except (ValueError, TypeError) as error:
        return f"the new version gave another answer than was expected: {error!r}"
    changed = needs_restart(json.loads(json.dumps(now)), after)
    return f"{' and '.join(changed)} needs a restart" if changed else ""


async def _begin_preflight(path: Path) -> asyncio.subprocess.Process:
    block()  # for the thread in which Python 3.11 waits for its end, and which may end after us: see `threads`
    try:
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "proxy.preflight", str(path)),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": PACKAGE_PARENT},
            start_new_session=True,  # Ctrl-C is for the supervisor, which ends it
        )
    finally:
        unblock()


async def become_next(path: Path, now: Mapping[str, Any], left: Callable[[], Handover], stop: asyncio.Event) -> str:
    """Make this process the version that is installed by now; why that cannot be done, when anything comes back. What
    is `left` to it is asked for at the end: children die and are replaced meanwhile. A `stop` goes before."""
    problem = await preflight(path, now)
    if problem:
        return problem
    block()
    try:
        await _heard_what_came()
        if stop.is_set():
            return "told to stop"
        logs.event(log, "upgrade.begun")
        become(left())
    except OSError as error:
        problem = f"{sys.executable}: {error}"
    finally:
        unblock()
    return problem


async def _heard_what_came() -> None:
    """Have the loop run the handlers of signals that came before they were held back: the next version finds those that
    wait, and knows nothing of those that were taken."""
    for _ in range(3):  # its pipe is read; the handler is called soon; it has been called
        await asyncio.sleep(0)


def become(left: Handover) -> None:
    """Make this process the new version; raises `OSError` when it cannot be, and then nothing has changed."""
    _inheritable(left.descriptors, True)
    try:
        environment = {**os.environ, VARIABLE: left.dump()}
        os.execve(sys.executable, sys.orig_argv, environment)  # noqa: S606 - ourselves, as we were started
    finally:
        _inheritable(left.descriptors, False)


def block() -> None:
    """Hold signals back from this thread."""
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)


def unblock() -> None:
    """The handlers are there: what came meanwhile may be delivered."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)


def threads() -> ThreadPoolExecutor:
    """Threads that leave signals to the first one, which alone can hold them back for the next version."""
    return ThreadPoolExecutor(initializer=block)


def _inheritable(descriptors: Iterable[int], yes: bool) -> None:
    for number in descriptors:
        os.set_inheritable(number, yes)
