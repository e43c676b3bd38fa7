"""Promise: what runs behind the workers does so from its first import on, and otherwise as it would by itself."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from proxy import behind
from proxy.time_slices import LONGEST
from tests.slices import SLICE, needs_slices

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


@needs_slices
def test_who_wakes_up_interrupts_it_and_what_it_starts(tmp_path: Path) -> None:
    (tmp_path / "asked.py").write_text(
        SLICE + f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {SLICE!r}])", "utf-8"
    )
    done = subprocess.run(
        [sys.executable, "-u", "-m", "proxy.behind", "asked"],
        env={**os.environ, "PYTHONPATH": f"{Path(behind.__file__).parents[1]}:{tmp_path}"},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.split() == [str(LONGEST)] * 2


def test_what_it_ends_with_is_the_modules(tmp_path: Path) -> None:
    (tmp_path / "fails.py").write_text("raise SystemExit(7)", "utf-8")
    environment = {**os.environ, "PYTHONPATH": f"{Path(behind.__file__).parents[1]}:{tmp_path}"}
    done = subprocess.run([sys.executable, "-m", "proxy.behind", "fails"], env=environment)
    assert done.returncode == 7
