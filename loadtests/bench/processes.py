"""What is started for a run, and ends with it."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from loadtests.bench.machine import LOAD_CORE, PEERS, PROXY_CORE, ROOT, children, free_port, wait_for

C_PROGRAMS = ("backend", "events", "forwarder", "openloop", "streams")


LONGEST = 300.0
"""Seconds that a program of the load may take."""


@dataclass
class Peer:
    """A running proxy: its port, the processes that forward, and everything it consists of."""

    name: str
    mirrors: bool
    port: int
    process: subprocess.Popen[bytes]
    worker: list[int]
    tree: list[int]
    admin: int = 0


class Bench:
    """Processes started for the run, and the scratch folder; all end with it."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="understudy-bench-"))
        self.processes: list[subprocess.Popen[bytes]] = []
        for name in C_PROGRAMS:
            subprocess.run(["gcc", "-O2", "-o", self.folder / name, PEERS / f"{name}.c"], check=True)

    def start(
        self, *command: object, core: str = PROXY_CORE, port: int = 0, folder: Path = ROOT
    ) -> subprocess.Popen[bytes]:
        """A process on a core; with `port` it is waited for until it listens there."""
        full = ["taskset", "-c", core, *(str(part) for part in command)]
        with (self.folder / "log").open("ab") as log:
            process = subprocess.Popen(full, stdout=log, stderr=log, cwd=folder, start_new_session=True)
        self.processes.append(process)
        if port:
            wait_for(port, process)
        return process

    def backend(self, size: int = 300, mood: str = "") -> int:
        """Port of a model that answers with so many bytes; `mood` as in `peers/backend.c`."""
        port = free_port()
        self.start(self.folder / "backend", port, size, *([mood] if mood else []), core=LOAD_CORE, port=port)
        return port

    def streams(self, events: int, gap_ms: int, turn: str = "") -> int:
        """Port of a model that streams so many events, one each `gap_ms`; with turn `one`, one of any stream."""
        port = free_port()
        self.start(self.folder / "streams", port, events, gap_ms, *([turn] if turn else []), core=LOAD_CORE, port=port)
        return port

    def grpc_model(self) -> int:
        """Port of a gRPC model that echoes."""
        port = free_port()
        self.start(sys.executable, PEERS / "grpcio_model.py", port, core=LOAD_CORE, port=port)
        return port

    def run(self, *command: object) -> str:
        """What a program on the load's core prints; raises `subprocess.TimeoutExpired` where a proxy lets it wait."""
        full = ["taskset", "-c", LOAD_CORE, *(str(part) for part in command)]
        return subprocess.run(full, capture_output=True, text=True, check=True, timeout=LONGEST).stdout

    def stop(self, process: subprocess.Popen[bytes]) -> None:
        """End a process, by force after 10 s."""
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        self.processes.remove(process)

    def close(self) -> None:
        """End all that still runs."""
        for process in list(self.processes):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


def whole(bench: Bench, name: str, mirror: int, port: int, *command: object) -> Peer:
    """A proxy of which every process forwards."""
    process = bench.start(*command, port=port)
    time.sleep(0.3)
    pids = children(process.pid)
    return Peer(name, bool(mirror), port, process, pids, pids)
