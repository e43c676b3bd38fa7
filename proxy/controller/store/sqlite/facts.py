"""Facts of which the store keeps one each: what judges and model registries have said."""

from __future__ import annotations

from typing import Any

import orjson

from proxy.controller.store.sqlite.database import Database
from proxy.controller.store.sqlite.schema import JUDGES, REGISTRY, set_meta


class SqliteFacts(Database):
    """The part of the store that holds them. Every coroutine may raise `StoreError`."""

    async def keep_judges(self, judges: dict[str, Any]) -> None:
        """Keep what each judge has spent and said (`JudgeAsker.dump`) for the next controller."""
        await self.run(lambda c: set_meta(c, JUDGES, orjson.dumps(judges).decode()))

    async def judges(self) -> dict[str, Any]:
        """What each judge had spent and said; empty before anything was kept."""
        sql = "SELECT value FROM meta WHERE key = ?"
        row = await self.run(lambda c: c.execute(sql, (JUDGES,)).fetchone(), write=False)
        return dict(orjson.loads(row[0])) if row is not None else {}

    async def keep_registry(self, said: dict[str, Any]) -> None:
        """Keep what model registries have said (`versions.dump_versions`)."""
        await self.run(lambda c: set_meta(c, REGISTRY, orjson.dumps(said).decode()))

    async def registry(self) -> dict[str, Any]:
        """What model registries had said; empty before anything was kept."""
        sql = "SELECT value FROM meta WHERE key = ?"
        row = await self.run(lambda c: c.execute(sql, (REGISTRY,)).fetchone(), write=False)
        return dict(orjson.loads(row[0])) if row is not None else {}
