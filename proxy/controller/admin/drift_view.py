"""What the admin API sees of drift: a protocol, which `controller.drift.service` fulfils."""

from __future__ import annotations

from typing import Any, Protocol


class DriftView(Protocol):
    """Drift of every route that has `drift:`. What is given is the API's JSON (`admin.drift_schemas`)."""

    def routes(self) -> list[dict[str, Any]]:
        """Every route, in the configuration's order."""

    def watches(self, name: str) -> bool:
        """Whether drift of this route is watched."""

    async def route(self, name: str) -> dict[str, Any] | None:
        """One route with what can be drawn; `None` when its drift is not watched."""

    async def journal(self, name: str, limit: int, before: int | None = None) -> list[dict[str, Any]]:
        """Journal entries of a route's drift, newest first, with numbers below `before`; raises `StoreError`."""

    async def accept(self, name: str, field: str | None, *, reason: str, actor: str) -> dict[str, Any]:
        """Take what a field is now (all of them where none is named) for normal; the route afterwards. Raises
        `ActionRefusedError`."""
