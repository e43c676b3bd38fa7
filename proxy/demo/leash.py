"""Run one command on a leash: it ends when whoever holds our standard input lets go.

    python -I proxy/demo/leash.py COMMAND …

The demo must leave nothing behind on *any* exit, its own `kill -9` included, when no handler of ours can run. The
kernel closes our standard input then, and the leash ends the command: SIGTERM first, SIGKILL after `PATIENCE`. Linux's
`PR_SET_PDEATHSIG` does the same on one system only and follows the thread, not the process.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading

PATIENCE = 10.0
"""Seconds between asking the command to end and ending it."""


def _let_go(child: subprocess.Popen[bytes]) -> None:
    os.read(0, 1)  # nobody writes: this returns when the other end is closed
    child.terminate()
    try:
        child.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        child.kill()


def main(command: list[str]) -> int:
    """Run `command` until it ends or standard input is closed; gives its exit code (negative: the signal)."""
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL)  # noqa: S603 - our own command line
    threading.Thread(target=_let_go, args=(child,), daemon=True).start()
    return child.wait()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
