"""`python -m proxy.behind MODULE ARGUMENT…`: runs a module that is to take no core from the workers, from its first
import on: a second of a core that a process takes before it can ask for less would be felt by clients.

Nice 5 leaves it a quarter of a core beside a worker that wants all of it. As a batch process it wakes up without
interrupting whoever runs, and by the longest time slice there is it lets whoever wakes up interrupt it: a worker, and
the model servers beside it, which would wait for up to 3 ms for a shorter one to end.
"""

from __future__ import annotations

import gc
import os
import runpy
import sys
from contextlib import suppress

from proxy.time_slices import LONGEST, ask_for_slices

NICE = 5


def step_back() -> None:
    """Run behind the workers from now on."""
    os.nice(NICE)
    with suppress(OSError, AttributeError):  # a sandbox may forbid it, and only Linux has it
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    ask_for_slices(LONGEST)


if __name__ == "__main__":
    step_back()
    gc.disable()  # what is imported stays: a controller looks for garbage when it has settled, a reader never
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
