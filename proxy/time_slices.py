"""How long a process runs before another that waits for its core does: what is asked of Linux, 6.12 and newer.

The time slice does not change what share of a core a process has. It says who interrupts whom: whoever wakes up and has
a shorter one than the process that runs goes on at once, else that one may end its own first, 1.4 to 4 ms. So workers
have the shortest there is, and the controller the longest.
"""

from __future__ import annotations

import ctypes
import os
import struct
from contextlib import suppress

SHORTEST, LONGEST = 100_000, 100_000_000
"""Nanoseconds: what Linux takes."""
_SET_ATTRIBUTES = {"x86_64": 314, "aarch64": 274}
"""The system call `sched_setattr`, for which Python and older C libraries have no function."""


def ask_for_slices(nanoseconds: int) -> None:
    """Ask for time slices of this length for this thread and what it starts; a kernel or a sandbox that has none to
    give leaves them as they are, and so does this where somebody has made it a real-time process.

    Source: the kernel's Documentation/scheduler/sched-eevdf.rst, and `sched_setattr(2)` for the layout.
    """
    with suppress(OSError, AttributeError):  # only Linux has it
        call, policy = _SET_ATTRIBUTES.get(os.uname().machine), os.sched_getscheduler(0)
        if call is None or policy not in (os.SCHED_OTHER, os.SCHED_BATCH):
            return
        size, flags, priority, deadline, period = 48, 0, 0, 0, 0
        wanted = struct.pack("=IIQiIQQQ", size, policy, flags, os.nice(0), priority, nanoseconds, deadline, period)
        ctypes.CDLL(None).syscall(call, 0, ctypes.c_char_p(wanted), 0)
