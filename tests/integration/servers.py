"""Real model servers in processes of their own: start on free ports, wait until they answer, end with all children."""

from __future__ import annotations

import os
import signal
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

Asks = Callable[[], urllib.request.Request]
"""Makes a request; raises `OSError` or `ValueError` as long as it cannot."""


@contextmanager
def server(
    command: list[str], folder: Path, ready: str | Asks, log: Path, within: float = 120.0, path: Path | None = None
) -> Iterator[None]:
    """Run a server until the block ends; it serves as soon as `ready` (a URL, or what makes a request) answers 200.

    `path` is a folder in which it finds further commands.
    """
    environment = {**os.environ, "PATH": f"{path}:{os.environ['PATH']}"} if path else None
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            start_new_session=True,
        )  # fmt: skip
    try:
        _wait(process, ready, log, within)
        yield
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(10)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _wait(process: subprocess.Popen[bytes], ready: str | Asks, log: Path, within: float) -> None:
    end = time.monotonic() + within
    while True:
        said = log.read_text("utf-8", "replace")[-4000:]
        assert process.poll() is None, f"the server ended:\n{said}"
        assert time.monotonic() < end, f"the server was not ready within {within} s:\n{said}"
        with suppress(OSError, ValueError):
            asked = ready if isinstance(ready, str) else ready()
            with urllib.request.urlopen(asked, timeout=5) as answer:
                if answer.status == 200:
                    return
        time.sleep(0.1)  # there is no event to wait for in somebody else's process
