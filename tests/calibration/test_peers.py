"""Promise: other people's anytime-valid tests, on the same streams, are not much faster than ours (docs/power.md)."""

from __future__ import annotations

import numpy as np
import pytest

from tests.calibration.peers import duels, fought, until_upper


@pytest.mark.parametrize("what", ["5 % wrong", "number, shift 0.2", "number, shift 0", "median × 1.5"])
def test_we_are_about_as_fast_as_our_peers(what: str) -> None:
    pytest.importorskip("ville")
    (duel,) = [duel for duel in duels() if duel.what == what]
    found = {name: float(np.median(pairs)) for name, pairs in fought(duel, 6).items()}
    assert found["bets"] <= 1.5 * found["ville"] + 100, found


def test_a_variance_that_is_plugged_in_passes_what_is_at_its_limit() -> None:
    pytest.importorskip("ville")
    (duel,) = [duel for duel in duels() if duel.what == "errors at the limit"]
    found = {name: float(np.isfinite(pairs).mean()) for name, pairs in fought(duel, 30).items()}
    assert found["normal mixture"] > 0.5 > 0.2 >= found["bets"]


def test_a_quantile_sequence_has_no_upper_end_for_long() -> None:
    assert until_upper() > 3_000
