"""How many workers fit: the cores this process may really use, not the cores of the machine."""

from __future__ import annotations

import math
import os
from pathlib import Path


def quota(cgroup: Path = Path("/sys/fs/cgroup")) -> float | None:
    """Cores granted by the cgroup's CPU quota (v2, else v1), `None` when there is no limit or none can be read.

    Source: the kernel's Documentation/admin-guide/cgroup-v2.rst (`cpu.max`) and scheduler/sched-bwc.rst.
    """
    try:
        limit, period = (cgroup / "cpu.max").read_text().split()
    except (OSError, ValueError):
        try:
            limit = (cgroup / "cpu/cpu.cfs_quota_us").read_text().strip()
            period = (cgroup / "cpu/cpu.cfs_period_us").read_text().strip()
        except OSError:
            return None
    if limit in ("max", "-1"):
        return None
    try:
        return int(limit) / int(period)
    except (ValueError, ZeroDivisionError):
        return None


def worker_count(workers: int | str, affinity: int | None = None, cores: float | None = None) -> int:
    """Workers to start: the number asked for, or for `auto` one per core that affinity and quota allow (at least 1).

    A quota of 1.5 cores gives 2 workers: a second one waits less than the one would.

    >>> worker_count(3), worker_count("auto", affinity=8, cores=1.5), worker_count("auto", affinity=1, cores=4.0)
    (3, 2, 1)
    """
    if isinstance(workers, int):
        return workers
    affinity = len(os.sched_getaffinity(0)) if affinity is None else affinity
    return max(1, min(affinity, math.ceil(cores) if cores is not None else affinity))
