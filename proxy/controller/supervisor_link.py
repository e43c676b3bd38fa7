"""What a controller process hears of its supervisor, and asks it: which processes there are, to read the file again."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Collection
from typing import Any, cast

from proxy.controller.admin.config_view import ConfigJson
from proxy.controller.admin.interface import ActionRefusedError, FleetCounts
from proxy.controller.admin.process_view import ProcessesJson
from proxy.pairs import link
from proxy.pairs.channel import Channel
from proxy.pairs.link import Frame
from proxy.rfc3339 import rfc3339

RELOAD_DEADLINE = 60.0
"""Seconds to wait for the supervisor's answer to a reload."""


class SupervisorLink:
    """The process tree as the supervisor last told it (empty before), and the reloads that it was asked for."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._numbers = itertools.count(1)
        self._asked: dict[int, asyncio.Future[tuple[bool, str]]] = {}
        self.tree: dict[str, Any] = {}
        self.draining = False

    def told(self, tree: dict[str, Any]) -> None:
        """The supervisor's word on which processes there are."""
        self.tree = tree
        self.draining = self.draining or bool(tree.get("draining"))

    @property
    def workers(self) -> tuple[tuple[int, int | None], ...]:
        """Slot and process of each worker, `None` where none runs now."""
        return tuple((int(worker["slot"]), worker.get("pid")) for worker in self.tree.get("workers", ()))

    @property
    def pids(self) -> set[int | None]:
        """Worker processes of which something may still come: those that serve, and those that leave."""
        return {pid for _, pid in self.workers} | set(self.tree.get("leaving", ()))

    def describe(self, counts: FleetCounts) -> None:
        """Enter when the configuration in force was loaded, and whether a later one was refused."""
        loading = self.tree.get("config", {})
        counts.config_loaded = float(loading.get("loaded", 0.0))
        counts.reload_refused = bool(loading.get("refused"))

    def processes(self, connected: Collection[int]) -> ProcessesJson:
        """The process tree, with which workers (by process) are connected."""
        workers = [{**worker, "connected": worker.get("pid") in connected} for worker in self.tree.get("workers", ())]
        shown = {**{key: value for key, value in self.tree.items() if key != "config"}, "workers": workers}
        return cast(ProcessesJson, shown)

    def config(self) -> ConfigJson:
        """The configuration in force as the API shows it. Raises `ActionRefusedError` before the supervisor spoke."""
        if "config" not in self.tree:
            raise ActionRefusedError(503, "the supervisor has not told which configuration is in force yet")
        known, refused = self.tree["config"], self.tree["config"]["refused"]
        refused = None if refused is None else {**refused, "at": rfc3339(refused["at"])}
        return cast(ConfigJson, {**known, "loaded": rfc3339(known["loaded"]), "refused": refused})

    async def reload(self, by: str) -> tuple[bool, str]:
        """Have it read the files again, for `by`. Raises `ActionRefusedError` when it does not say what came of it."""
        answer: asyncio.Future[tuple[bool, str]] = asyncio.get_running_loop().create_future()
        number = next(self._numbers)
        if not self._channel.send(link.note(Frame.RELOAD, {"by": by, "number": number})):
            raise ActionRefusedError(503, "no supervisor to ask")
        self._asked[number] = answer
        try:
            return await asyncio.wait_for(answer, RELOAD_DEADLINE)
        except TimeoutError:
            why = f"no result within {RELOAD_DEADLINE:g} s; the log will have the result"
            raise ActionRefusedError(503, why) from None
        finally:
            del self._asked[number]

    def reloaded(self, result: dict[str, Any]) -> None:
        """Its answer to the request of that number."""
        answer = self._asked.get(result.get("number", 0))
        if answer is not None and not answer.done():  # else whoever asked has gone
            answer.set_result((bool(result.get("ok")), str(result.get("error") or "")))
