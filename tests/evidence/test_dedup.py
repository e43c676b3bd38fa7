"""Promise: a body is new unless it is among the 1,000 before it, for as long as one listens and over restarts; memory
is bounded, and what is kept is what it takes to go on."""

from __future__ import annotations

import numpy as np
import pytest

from proxy.evidence.input.dedup import WINDOW, RecentBodies


@pytest.mark.parametrize("bodies", [3, 900, 1500, 4000, 100_000])
def test_it_is_what_looking_through_the_last_thousand_would_say(bodies: int) -> None:
    rng = np.random.default_rng(bodies)
    hashes = rng.integers(0, bodies, 20_000).tolist()
    recent, found, at = RecentBodies(), [], 0
    while at < len(hashes):
        size = int(rng.integers(1, 300))
        found += recent.news(hashes[at : at + size], [float(at)] * len(hashes[at : at + size]))
        at += size
        if rng.random() < 0.1:  # another controller takes it up
            recent = RecentBodies(recent.entries)
        assert len(recent._last) <= 2 * WINDOW
    assert found == [h not in hashes[max(0, i - WINDOW) : i] for i, h in enumerate(hashes)]
    assert [h for _, h in recent.entries] == hashes[-WINDOW:]


def test_merging_keeps_the_latest_of_both() -> None:
    one, other = (
        RecentBodies((float(i), i) for i in range(0, 1600, 2)),
        RecentBodies((float(i), i) for i in range(1, 1600, 2)),
    )
    both = one.merge(other)
    assert both.entries == other.merge(one).entries == [(float(i), i) for i in range(600, 1600)]
    assert both.news([599, 1599], [1600.0, 1600.0]) == [True, False]
