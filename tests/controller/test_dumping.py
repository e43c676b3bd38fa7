"""Promise: a rollout that cannot be written keeps no other from being saved; it is counted, and saved once it can."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy import logs
from proxy.controller.dumping import BROKE
from tests.controller.controllers import NAME, config_text, running

pytestmark = pytest.mark.usefixtures("quick")

TWO = config_text().replace(
    "  - name: r\n",
    """  - {name: other, live: l, match: {path: /other}, rollouts: [{candidate: d, shadow: 10%}]}
  - name: r
""",
).replace('d: {url: "http://127.0.0.1:3"}', 'd: {url: "http://127.0.0.1:3", version: "1"}')  # fmt: skip


async def test_one_that_cannot_be_written_keeps_no_other_from_being_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(tmp_path, TWO) as controller:
        for keeper in controller._keepers:
            keeper.cancel()
        bad, good = controller.trials[NAME], controller.trials["other/d"]
        real, before = bad.evidence.dump, logs.UNEXPECTED[BROKE]

        def broken() -> bytes:
            raise TypeError("Integer exceeds 64-bit range")

        monkeypatch.setattr(bad.evidence, "dump", broken)
        bad.unsnapshot = good.unsnapshot = True
        for _ in range(2):
            _, more = await controller._snapshot()
            assert not more
        assert (bad.unsnapshot, good.unsnapshot) == (True, False)
        assert bad.unwritable == "TypeError: Integer exceeds 64-bit range"
        assert logs.UNEXPECTED[BROKE] == before + 2
        monkeypatch.setattr(bad.evidence, "dump", real)
        await controller._snapshot()
        assert (bad.unsnapshot, bad.unwritable) == (False, "")
