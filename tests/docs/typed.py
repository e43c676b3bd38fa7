"""The commands of a page, run by one shell as a reader types them, on ports of their own."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.ports import free_port

DEADLINE = 240
"""Seconds that a page may take."""


def typed(steps: Sequence[str], folder: Path, example: Path, ports: Sequence[str]) -> dict[str, str]:
    """What each step says, by its number. `example` is the configuration that the page copies; it is given ports for
    requests and for the admin port (8080, 9090), and every port that the page names is a free one. All must succeed."""
    own = {port: str(free_port()) for port in ("8080", "9090", *ports)}
    named = re.compile("|".join(own))

    def ported(text: str) -> str:
        return named.sub(lambda match: own[match[0]], text)

    server = "server: {listen: 127.0.0.1:8080, workers: 1}\nadmin: {listen: 127.0.0.1:9090}\n"
    example.write_text(ported(server + example.read_text("utf-8")))
    script = "\n".join(f"echo '=== {n}'\n{ported(step)}" for n, step in enumerate(steps))
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    env = os.environ | {"PATH": path, "UNDERSTUDY_ADMIN_URL": f"http://127.0.0.1:{own['9090']}"}
    shell = subprocess.Popen(
        ["bash", "-e", "-o", "pipefail"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=folder, env=env, start_new_session=True,
    )  # fmt: skip
    try:
        output, _ = shell.communicate(script, DEADLINE)
    finally:
        _kill_session(shell.pid)
    assert shell.returncode == 0, output
    return dict(re.findall(r"=== (\d)\n(.*?)(?==== |\Z)", output, re.S))


def _kill_session(leader: int) -> None:
    """End what a failing script left running."""
    try:
        os.killpg(leader, signal.SIGKILL)
    except ProcessLookupError:
        return
