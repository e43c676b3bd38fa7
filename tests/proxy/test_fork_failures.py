"""Promise: where no process can be started, or has no place, it is told in words, and who has closed its standard
streams is served all the same."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path

import pytest

from proxy import fork_server, forks
from proxy.errors import UnderstudyError
from proxy.forks import ForkServer

WAIT = 30.0


def test_one_that_cannot_begin_is_told_in_words(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """What stands in its way is on standard error: it is a fault of what is installed."""
    monkeypatch.setattr(forks, "MODULES", ("proxy.nowhere",))
    with closing(ForkServer()) as server, pytest.raises(UnderstudyError, match="the fork server does not answer"):
        server.start("json.tool", descriptors={})
    assert "No module named 'proxy.nowhere'" in capfd.readouterr().err
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with (
        closing(ForkServer()) as server,
        pytest.raises(UnderstudyError, match=r"no process can be started: .*No such file"),
    ):
        server.start("json.tool", descriptors={})


def test_where_no_process_can_be_had_the_server_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    def full() -> int:
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

    monkeypatch.setattr(os, "fork", full)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with closing(ForkServer()) as server, theirs:
        serves = threading.Thread(target=fork_server.Orders(theirs, ["json"]).run)
        serves.start()
        server._orders = ours
        for _ in range(2):
            with pytest.raises(UnderstudyError, match=r"no process can be started: .*temporarily unavailable"):
                server.start("json.tool", descriptors={})
        ours.close()
        serves.join(WAIT)
        assert not serves.is_alive()


def test_one_whose_handle_finds_no_room_is_told_in_words() -> None:
    """The kernel leaves out what a process may not have any more; what has started ends with its channel."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs, ours:
        server = ForkServer()
        server._orders = ours
        theirs.send(b'{"pid": 1}')
        with pytest.raises(UnderstudyError, match="no descriptor is left"):
            server.start("json.tool", descriptors={})


CLOSES = """
import os, sys
from pathlib import Path
for number in map(int, sys.argv[2]):
    os.close(number)
from proxy.forks import ForkServer
from proxy.reloading import read_first
os._exit(0 if read_first(Path(sys.argv[1]), ForkServer()).file().workers else 1)
"""


@pytest.mark.parametrize("closed", ["0", "1", "01", "012"])
def test_it_reads_for_whoever_has_closed_its_standard_streams(closed: str, tmp_path: Path) -> None:
    file = tmp_path / "main.yaml"
    file.write_text("upstreams: {m: {url: 'http://127.0.0.1:1'}}\ndefault: {live: m}\n")
    assert subprocess.run([sys.executable, "-c", CLOSES, str(file), closed]).returncode == 0
