"""`python -m proxy.first_controller FILE FD`: reads the configuration as `config_reader` does, and then becomes the
controller (`forerunner`), when its place comes over the socket that FD names.

All is imported here, and nothing at the top: the collector of garbage would look again and again through what stays.
"""

from __future__ import annotations

import gc
import os
import signal
import socket
import sys
from pathlib import Path

MOST = 64
"""Descriptors that come at once: two for each of two or three ports, and those of the log."""


def main(path: Path, place: socket.socket) -> int:
    """Read and answer, and be the controller; the exit code where it has no place."""
    from proxy.behind import step_back
    from proxy.config.including import KnownParts
    from proxy.config_file import UNREADABLE
    from proxy.config_reader import read_and_tell

    known = KnownParts()
    read = read_and_tell(path, known)
    if read is None:
        return UNREADABLE
    if read.config is None:
        return 0
    step_back()  # from now on there may be workers
    from proxy.controller.process import ReadBefore, be_controller

    with place:
        runtime, descriptors, _, _ = socket.recv_fds(place, 1 << 16, MOST)
    if not runtime:
        return 0
    for ours, theirs in enumerate(descriptors[:2], start=1):  # from now on it writes where a child does
        os.dup2(theirs, ours)
        os.close(theirs)
    listener, control = descriptors[2:4]  # the others are only held
    be_controller(control, listener, Path(os.fsdecode(runtime)), ReadBefore(read.texts, read.config, known))
    return 0


if __name__ == "__main__":
    gc.disable()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # they are for the supervisor, which ends this process
    signal.pthread_sigmask(signal.SIG_SETMASK, ())  # at an upgrade it holds them back
    sys.exit(main(Path(sys.argv[1]), socket.socket(fileno=int(sys.argv[2]))))
