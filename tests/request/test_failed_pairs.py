"""Promise: the pair of a candidate that failed is urgent, whoever was answered."""

from __future__ import annotations

import pytest

from tests.request.world import Context, Setup, World


@pytest.mark.parametrize(("does", "urgent"), [("answers ok", [False]), ("answers error", [True]), ("breaks", [True])])
def test_a_failed_copy_makes_its_pair_urgent(does: str, urgent: list[bool], monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[bool] = []
    monkeypatch.setattr(Context, "publish", lambda self, *pair: found.append(pair[-1]))
    world = World(Setup(sampled=True, candidate=False))
    for step in ("0 answers ok", "turn", f"1 {does}", "turn"):
        world.do(step)
    assert found == urgent
