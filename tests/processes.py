"""Several processes for one collection (`--processes 6`): pytest imports and collects everything once, then forks, and
each process takes whole files, whose fixtures may be dear, until none is left.

Processes that each collect for themselves, as those of pytest-xdist do, compute 6 s of a core apiece before their first
test. A process asks for its next file before the last test of the one at hand, so that fixtures of the session stay.
One that dies fails the test that it was at; the others take the files that are left.
"""

from __future__ import annotations

import gc
import os
import sys
import threading
import traceback
from collections.abc import Callable
from itertools import groupby
from multiprocessing.connection import Connection, Pipe, wait
from typing import Any

import pytest
from _pytest.unraisableexception import collect_unraisable

ASKS, REPORTS, ENDS = "asks", "reports", "ends"
"""What a process says: give me a file; a test has begun, or ended, with these reports; none of mine is left."""

NUMBER = "UNDERSTUDY_TESTS_PROCESS"
"""What tells a process of the tests, and whatever it starts, which of them it is: 0, 1, …"""

Files = list[list[pytest.Item]]


def pytest_addoption(parser: pytest.Parser) -> None:
    said = "fork so many processes after the collection, each of which takes whole files"
    parser.addoption("--processes", type=int, default=0, metavar="N", help=said)


def file_of(item: pytest.Item) -> str:
    """The file of a test, as node ids begin."""
    return item.nodeid.partition("::")[0]


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> bool | None:
    """In place of pytest's own, where processes are wanted and there is something to run."""
    files = [list(items) for _, items in groupby(session.items, key=file_of)]
    count = min(session.config.option.processes, len(files))
    if count < 1 or session.testsfailed or session.config.option.collectonly:
        return None
    assert threading.active_count() == 1, "a fork takes no thread along"
    session.config._tmp_path_factory.getbasetemp()  # type: ignore[attr-defined]  # one of all, which this one removes
    links: list[Connection[Any, Any]] = []
    pids = [forked(session, files, links) for _ in range(count)]
    try:
        Giver(session, files, links).give()
    finally:
        for link in links:
            link.close()
        for pid in pids:
            os.waitpid(pid, 0)
    return True


class Giver:
    """The process that gives files to the others, and hears how tests ended."""

    def __init__(self, session: pytest.Session, files: Files, links: list[Connection[Any, Any]]) -> None:
        self.session, self.left = session, iter(range(len(files)))
        self.at = dict.fromkeys(links, "")

    def give(self) -> None:
        """Until each has ended."""
        while self.at:
            for link in wait(list(self.at)):
                assert isinstance(link, Connection)
                try:
                    self.heard(link, *link.recv())
                except (EOFError, ConnectionResetError):
                    self.lost(self.at.pop(link))
        if self.session.shouldfail:
            raise self.session.Failed(self.session.shouldfail)
        if self.session.shouldstop:
            raise self.session.Interrupted(self.session.shouldstop)

    def heard(self, link: Connection[Any, Any], what: str, node: str, reports: list[dict[str, Any]]) -> None:
        if what == ASKS:
            link.send(None if self.session.shouldfail or self.session.shouldstop else next(self.left, None))
        elif what == ENDS:
            del self.at[link]
        else:
            self.at[link] = node
            hook, config = self.session.config.hook, self.session.config
            for data in reports:
                report = hook.pytest_report_from_serializable(config=config, data=data)
                hook.pytest_runtest_logreport(report=report)

    def lost(self, node: str) -> None:
        """A process has died, at this test or in between two."""
        node, said = node or "between two tests", "its process has ended"
        report = pytest.TestReport(node, (node, None, node), {}, "failed", said, "call")
        self.session.config.hook.pytest_runtest_logreport(report=report)


def forked(session: pytest.Session, files: Files, links: list[Connection[Any, Any]]) -> int:
    """A new process's pid; the link to it is added."""
    here, there = Pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid:
        there.close()
        links.append(here)
        return pid
    status = 1
    try:
        for link in (*links, here):  # with these open it would not be told that the first process has died
            link.close()
        Taker(session, files, there, len(links)).take()
        status = 0
    except KeyboardInterrupt:
        pass  # the first process says so
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


def in_processes(work: Callable[[int], object], count: int) -> None:
    """Call `work` with 0, 1, …, each in a process of its own, and wait; what fails is left to whoever needs it."""
    pids = []
    for number in range(count):
        pid = os.fork()
        if not pid:
            try:
                work(number)
            finally:
                os._exit(0)
        pids.append(pid)
    for pid in pids:
        os.waitpid(pid, 0)


class Taker:
    """A process that takes files and tells how its tests end."""

    def __init__(self, session: pytest.Session, files: Files, link: Connection[Any, Any], number: int) -> None:
        self.session, self.files, self.link = session, files, link
        self.reports: list[Any] = []
        os.environ[NUMBER] = str(number)
        plugins = session.config.pluginmanager
        plugins.unregister(name="terminalreporter")
        capture: Any = plugins.getplugin("capturemanager")
        capture.stop_global_capturing()  # into a file that it would share with the others
        capture.start_global_capturing()
        plugins.register(self)

    def take(self) -> None:
        """Run files until none is left, and end what is of the session."""
        try:
            number = self.asked()
            while number is not None:
                number = self.run(self.files[number])
        finally:
            self.session._setupstate.teardown_exact(None)
        gc.collect()
        collect_unraisable(self.session.config)
        self.link.send((ENDS, "", []))

    def run(self, items: list[pytest.Item]) -> int | None:
        """Run a file; returns what comes next."""
        following: int | None = None
        for item, after in zip(items, [*items[1:], None], strict=True):
            if after is None and (following := self.asked()) is not None:
                after = self.files[following][0]
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=after)
            if self.session.shouldfail or self.session.shouldstop:
                return None
        return following

    def asked(self) -> int | None:
        """The number of a file, or none."""
        self.link.send((ASKS, "", []))
        number: int | None = self.link.recv()
        return number

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self.link.send((REPORTS, nodeid, []))

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        config = self.session.config
        self.reports.append(config.hook.pytest_report_to_serializable(config=config, report=report))

    def pytest_runtest_logfinish(self) -> None:
        self.link.send((REPORTS, "", self.reports))
        self.reports = []
