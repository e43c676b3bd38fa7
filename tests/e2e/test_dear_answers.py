"""Promise: however expensive a rollout's answers are to read, a rollback takes at most half a second from the pair that
decides it, of this rollout and of any other, and the admin port goes on."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.dear import measure

ROLLBACK, ADMIN = 0.5, 0.1
"""Seconds that a rollback may take, and a request to the admin port, on a machine that has nothing else to do."""
SLACK = 4.0
"""How much longer they may take than on the same machine without expensive answers, for one that is busy."""


@pytest.mark.slow
async def test_dear_answers_hold_up_no_rollback_and_no_admin_port(tmp_path: Path) -> None:
    for folder in ("calm", "dear"):
        (tmp_path / folder).mkdir()
    calm = await measure(tmp_path / "calm", dear=False)
    dear = await measure(tmp_path / "dear", dear=True)
    for name in ("rollback_other", "rollback_dear"):
        assert getattr(dear, name) < max(ROLLBACK, SLACK * getattr(calm, name)), (name, calm, dear)
    assert dear.admin_median < max(ADMIN, SLACK * calm.admin_median)
    assert dear.admin_late < max(2 * ADMIN, SLACK * calm.admin_late)
    assert dear.compared > 0
    assert dear.dropped > 0, "not dear enough for what this promises"
