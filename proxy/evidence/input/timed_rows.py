"""The pairs that wait for the rest of their block: what `blocks` keeps of each, and back to a batch.

A row holds the times themselves, not what guards make of them, so limits may change while it waits.
"""

from __future__ import annotations

import numpy as np

from proxy.evidence.input.batch import Batch
from proxy.evidence.input.blocks import FACTS, KEY
from proxy.evidence.process.wealth import Bools, Ints

TIMES = "live_seconds", "seconds", "live_first", "first", "live_token", "token"
CURRENT, SECOND = 1, 2
"""Flags: of the present stage, the candidate was first."""
FLAGS, SEGMENT, FIRST_TIME = range(FACTS, FACTS + 3)
"""Columns of a row, after those of `blocks`."""
WIDTH = 2 + len(TIMES)


def facts(batch: Batch, who: Ints, current: Bools, segment: Ints | None) -> Ints:
    """What is kept of these pairs (positions): flags, segment, and the bits of the six times; (n, `WIDTH`)."""
    found = np.zeros((len(who), WIDTH), np.int64)
    found[:, 0] = CURRENT * current[who] + SECOND * batch.candidate_first[who]
    if segment is not None:
        found[:, 1] = segment[who]
    times = found.view(np.float64)
    for i, name in enumerate(TIMES, 2):
        times[:, i] = getattr(batch, name)[who]
    return found


def batch_of(rows: Ints) -> Batch:
    """A batch of which only the times speak."""
    n = len(rows)
    yes, no = np.ones(n, bool), np.zeros(n, bool)
    times = np.ascontiguousarray(rows[:, FIRST_TIME:]).view(np.float64)
    return Batch(
        keys=rows[:, KEY].view(np.uint64),
        answered=yes,
        live_broke=no,
        failed=no,
        fresh=yes,
        timed=yes,
        candidate_first=(rows[:, FLAGS] & SECOND) > 0,
        mismatch=np.zeros(n, np.int64),
        live_seconds=times[:, 0],
        seconds=times[:, 1],
        live_first=times[:, 2],
        first=times[:, 3],
        live_token=times[:, 4],
        token=times[:, 5],
    )


def aged(rows: Ints) -> Ints:
    """The same rows, none of which is of the present stage."""
    rows = rows.copy()
    rows[:, FLAGS] &= ~CURRENT
    return rows
