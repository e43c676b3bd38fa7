"""`python -m proxy.behind MODULE ARGUMENT…`: runs a module that is to take no core from the workers, from its first
import on: a second of a core that a process takes before it can ask for less would be felt by clients.

Nice 5 leaves it a quarter of a core beside a worker that wants all of it. As a batch process it wakes up without
interrupting whoever runs, and by the longest time slice there is it lets whoever wakes up interrupt it: a worker, and
the model servers beside it, which would wait for up to 3 ms for a shorter one to end.
"""

from __future__ import annotations

import ctypes
import gc
import os
import runpy
import struct
import sys
from contextlib import suppress

NICE = 5
SLICE = 100_000_000
"""Nanoseconds, the most that Linux takes. What share of a core a process has does not depend on it."""
_SET_ATTRIBUTES = {"x86_64": 314, "aarch64": 274}
"""The system call `sched_setattr`, for which Python and older C libraries have no function."""


def step_back() -> None:
    """Run behind the workers from now on."""
    os.nice(NICE)
    with suppress(OSError, AttributeError):  # a sandbox may forbid it, and only Linux has it
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
        _take_long_slices(os.SCHED_BATCH)


def _take_long_slices(policy: int) -> None:
    """Ask for them: Linux 6.12 and newer do what is asked, older ones and sandboxes leave it as it is.

    Source: the kernel's Documentation/scheduler/sched-eevdf.rst, and `sched_setattr(2)` for the layout.
    """
    call = _SET_ATTRIBUTES.get(os.uname().machine)
    if call is None:
        return
    size, flags, priority, deadline, period = 48, 0, 0, 0, 0
    wanted = struct.pack("=IIQiIQQQ", size, policy, flags, os.nice(0), priority, SLICE, deadline, period)
    ctypes.CDLL(None).syscall(call, 0, ctypes.c_char_p(wanted), 0)


if __name__ == "__main__":
    step_back()
    gc.disable()  # what is imported stays: a controller looks for garbage when it has settled, a reader never
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
