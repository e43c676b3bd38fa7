"""What the API shows of the process tree."""

from __future__ import annotations

from typing_extensions import TypedDict

from proxy.json_types import Whole


class WorkerJson(TypedDict):
    """One worker."""

    slot: Whole
    pid: Whole | None
    started: float | None
    connected: bool


class ProcessesJson(TypedDict):
    """The process tree."""

    supervisor: Whole
    controller: Whole | None
    workers: list[WorkerJson]
    restarts: dict[str, Whole]
    leaving: list[Whole]
    draining: bool
