"""`python -m proxy.worker`: one worker process, started by the supervisor; `process.py` says with what."""

from __future__ import annotations

import gc

if __name__ == "__main__":
    gc.disable()  # what is imported stays: looking for garbage in it takes a tenth of the start

import argparse
import asyncio
import signal
import socket
from pathlib import Path

import setproctitle
import uvloop

from proxy.sockets import raise_descriptors
from proxy.time_slices import SHORTEST, ask_for_slices
from proxy.worker.process import Worker


def main() -> None:
    """Run one worker."""
    options = argparse.ArgumentParser(prog="understudy worker")
    options.add_argument("--slot", type=int, required=True)
    options.add_argument("--workers", type=int, required=True)
    options.add_argument("--listen-fd", type=int, required=True)
    options.add_argument("--grpc-fd", type=int)
    options.add_argument("--control-fd", type=int, required=True)
    options.add_argument("--runtime", type=Path, required=True)
    given = options.parse_args()
    setproctitle.setproctitle(f"understudy: worker {given.slot}")
    ask_for_slices(SHORTEST)  # whoever shares the core, the controller or a model, is interrupted when a request comes
    raise_descriptors()  # connections are limited by the configuration
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # the supervisor says over control what they mean
    listener = socket.socket(fileno=given.listen_fd)
    control = socket.socket(fileno=given.control_fd)
    grpc = socket.socket(fileno=given.grpc_fd) if given.grpc_fd is not None else None
    for sock in (listener, control, *((grpc,) if grpc is not None else ())):
        sock.setblocking(False)

    async def run() -> None:
        worker = Worker(given.slot, given.workers, given.runtime, asyncio.get_running_loop())
        await worker.run(listener, control, grpc)

    uvloop.run(run())


if __name__ == "__main__":
    main()
