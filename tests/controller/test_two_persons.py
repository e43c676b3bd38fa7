"""Promise: what one person has asked for waits for another one, over a restart of the controller too, and both are in
the journal."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.controller.admin.interface import ActionRefusedError
from tests.controller.controllers import NAME, config_text, desk_of, running

pytestmark = pytest.mark.usefixtures("quick")
RULE = "admin: {token: a-token, two_person: {promote_full: 1h}}\n"


async def test_two_persons_and_a_restart_between_them(tmp_path: Path) -> None:
    text = RULE + config_text()
    async with running(tmp_path, text) as first:
        one = await desk_of(first).act(NAME, "promote", reason="I saw it", actor="token:ada", person="p1", full=True)
        assert (one["state"], one["asked"]["by"]) == ("shadow", "token:ada")
    async with running(tmp_path, text) as second:
        service = desk_of(second)
        with pytest.raises(ActionRefusedError, match="token:ada has asked for this already") as refused:
            await service.act(NAME, "promote", reason="really", actor="token:bob", person="p1", full=True)
        assert refused.value.status == 409
        two = await service.act(NAME, "promote", reason="me too", actor="oidc:bob", person="p2", full=True)
        assert (two["state"], two["weight"], two["asked"]) == ("promoted", 100.0, None)
        entry, before, *_ = await second.store.journal(NAME, 2)
        assert (before["kind"], before["actor"]) == ("asked", "token:ada")
        assert (entry["kind"], entry["actor"]) == ("promoted", "oidc:bob")
        assert entry["reason"] == "me too; asked for by token:ada, confirmed by oidc:bob"
