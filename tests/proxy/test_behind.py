"""Promise: what runs behind the workers does so from its first import on, and otherwise as it would by itself."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from proxy import behind

MODULE = """
import os, sys
print(__name__, sys.argv[1:], os.getpriority(os.PRIO_PROCESS, 0), os.sched_getscheduler(0))
"""


@pytest.mark.skipif(not hasattr(os, "SCHED_BATCH"), reason="the kernel has no batch processes")
def test_a_module_is_behind_before_it_imports_anything(tmp_path: Path) -> None:
    (tmp_path / "asked.py").write_text(MODULE, "utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "proxy.behind", "asked", "--a", "b"],
        env={**os.environ, "PYTHONPATH": f"{Path(behind.__file__).parents[1]}:{tmp_path}"},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    nice = min(19, os.getpriority(os.PRIO_PROCESS, 0) + behind.NICE)
    assert done.stdout.split("\n")[0] == f"__main__ ['--a', 'b'] {nice} {os.SCHED_BATCH}"


def takes_slices() -> bool:
    """Whether this kernel does what is asked: 6.12 and newer, and x86-64, whose system call the test knows."""
    system = os.uname()
    major, minor = (int(part) for part in system.release.split("-")[0].split(".")[:2])
    return system.sysname == "Linux" and system.machine == "x86_64" and (major, minor) >= (6, 12)


ASKS = """
import ctypes, struct
held = ctypes.create_string_buffer(48)
ctypes.CDLL(None).syscall(315, 0, held, 48, 0)
print(struct.unpack("=IIQiIQQQ", held.raw)[5])
"""


@pytest.mark.skipif(not takes_slices(), reason="the kernel gives every process the same time slice")
def test_who_wakes_up_interrupts_it_and_what_it_starts(tmp_path: Path) -> None:
    (tmp_path / "asked.py").write_text(
        ASKS + f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {ASKS!r}])", "utf-8"
    )
    done = subprocess.run(
        [sys.executable, "-u", "-m", "proxy.behind", "asked"],
        env={**os.environ, "PYTHONPATH": f"{Path(behind.__file__).parents[1]}:{tmp_path}"},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.split() == [str(behind.SLICE)] * 2


def test_what_it_ends_with_is_the_modules(tmp_path: Path) -> None:
    (tmp_path / "fails.py").write_text("raise SystemExit(7)", "utf-8")
    environment = {**os.environ, "PYTHONPATH": f"{Path(behind.__file__).parents[1]}:{tmp_path}"}
    done = subprocess.run([sys.executable, "-m", "proxy.behind", "fails"], env=environment)
    assert done.returncode == 7
