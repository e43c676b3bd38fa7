"""What time slice the kernel gives a process (`sched_getattr(2)`), and whether it does what is asked."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

SLICE = """
import ctypes, struct, sys
held = ctypes.create_string_buffer(48)
ctypes.CDLL(None).syscall(315, int(sys.argv[1]) if len(sys.argv) > 1 else 0, held, 48, 0)
print(struct.unpack("=IIQiIQQQ", held.raw)[5])
"""
"""Prints that of a process in nanoseconds, of its own where none is named."""


def slice_of(pid: int) -> int:
    """That of another process."""
    done = subprocess.run([sys.executable, "-c", SLICE, str(pid)], capture_output=True, text=True, check=True)
    return int(done.stdout)


def _takes_slices() -> bool:
    """Linux 6.12 and newer does, and x86-64, whose system call is known here."""
    system = os.uname()
    major, minor = (int(part) for part in system.release.split("-")[0].split(".")[:2])
    return system.sysname == "Linux" and system.machine == "x86_64" and (major, minor) >= (6, 12)


needs_slices = pytest.mark.skipif(not _takes_slices(), reason="the kernel gives every process the same time slice")
