"""Drift as the API sees it: fulfils `admin.drift_view.DriftView` over the controller's watching."""

from __future__ import annotations

import asyncio

from proxy.controller.admin.drift_view import DriftJson, DriftWithChartsJson
from proxy.controller.admin.interface import ActionRefusedError
from proxy.controller.drift.shown import chart_json, drift_json
from proxy.controller.drift.watching import DriftWatching
from proxy.controller.store.interface import EntryJson, RolloutStore
from proxy.errors import StoreError

ACT_DEADLINE = 5.0
"""Seconds that a person waits for a disk that hangs."""


class DriftService:
    """What the API is given."""

    def __init__(self, watching: DriftWatching, store: RolloutStore) -> None:
        self._watching, self._store = watching, store

    def routes(self) -> list[DriftJson]:
        """Every route."""
        return [drift_json(watch) for watch in self._watching.watches.values()]

    def watches(self, name: str) -> bool:
        """Whether there is such a route."""
        return name in self._watching.watches

    async def route(self, name: str) -> DriftWithChartsJson | None:
        """One route with its charts; a chart takes some ms, so others are served between two."""
        watch = self._watching.watches.get(name)
        if watch is None:
            return None
        charts = {}
        for field in watch.fields:
            charts[field.name] = chart_json(watch, field.name)
            await asyncio.sleep(0)
        return {**drift_json(watch), "charts": charts}

    async def journal(self, name: str, limit: int, before: int | None = None) -> list[EntryJson]:
        """Journal entries, newest first."""
        return await self._store.journal(name, limit, before)

    async def accept(self, name: str, field: str | None, *, reason: str, actor: str) -> DriftJson:
        """Take what is for normal."""
        watch = self._watching.watches.get(name)
        if watch is None:
            raise ActionRefusedError(404, f"there is no drift of a route {name!r}")
        known = [one.name for one in watch.fields]
        if field is not None and field not in known:
            raise ActionRefusedError(
                404, f"no field {field!r} is watched there; known: {', '.join(known) or 'none yet'}"
            )
        if trouble := self._store.trouble:
            raise ActionRefusedError(503, f"not saved, so not applied: {trouble}")
        try:
            async with asyncio.timeout(ACT_DEADLINE):
                await self._watching.accept(name, field, actor, reason)
        except (StoreError, TimeoutError):
            raise ActionRefusedError(503, "the store does not answer; it holds, and is saved once it can be") from None
        return drift_json(watch)
