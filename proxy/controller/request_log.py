"""Log entries on their way out: to an OpenTelemetry collector and into the access log, each by a thread of its own.

The event loop puts entries into a queue that is bounded; encoding, the disk and the network are the thread's. A
collector or disk that is slow or gone costs entries (counted), never pairs, and nothing of the live path.

Invariant: each entry that a sink is offered is counted there once, as written, failed or dropped.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from io import BufferedWriter
from pathlib import Path
from typing import Any, Protocol

from proxy import logs, private
from proxy.config import Config
from proxy.config.telemetry import Access, Tracing
from proxy.controller.recorder import rotate
from proxy.pairs.request_log import RequestEntry, fields, line

log = logging.getLogger("understudy.request_log")
_access = logging.getLogger("understudy.access")

RESULTS = ("written", "failed", "dropped")

MAX_WAITING = 8192
"""Entries that may wait for a sink; one more is dropped."""
BATCH = 256
LINGER = 0.5
"""Seconds in which a batch may fill."""
STOP = 2.0
"""Seconds that a sink has to write what waits at the end."""


class Writer(Protocol):
    """Where a sink's batches go. Called by the sink's thread alone, but for `interrupt`."""

    def write(self, batch: list[RequestEntry]) -> None:
        """Write them all; raises `OSError` when they could not be."""

    def interrupt(self) -> None:
        """Give up what is being waited for: the process ends."""

    def close(self) -> None:
        """Nothing more will come."""


class Sink:
    """A bounded queue and the thread that empties it into a writer. `offer` is cheap and never raises."""

    def __init__(self, name: str, writer: Writer, tell: Callable[[str, int], None]) -> None:
        self._name, self._writer, self._tell = name, writer, tell
        self._queue: queue.Queue[RequestEntry | None] = queue.Queue(MAX_WAITING)
        self._failing = self._ending = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def offer(self, entry: RequestEntry) -> None:
        """Write it in a while, or drop it."""
        try:
            self._queue.put_nowait(entry)
        except queue.Full:
            self._tell("dropped", 1)

    def close(self, timeout: float = STOP) -> None:
        """Write what waits and end; whatever hangs is left behind after `timeout` seconds."""
        self._ending = True
        with suppress(queue.Full):  # it is at work then, and looks at `_ending` after each batch
            self._queue.put_nowait(None)
        self._thread.join(timeout)
        if self._thread.is_alive():
            self._writer.interrupt()

    def _run(self) -> None:
        more = True
        while more:
            batch, more = self._batch()
            if batch:
                self._write(batch)
        self._writer.close()

    def _batch(self) -> tuple[list[RequestEntry], bool]:
        """Some entries, and whether there may be more."""
        batch: list[RequestEntry] = []
        until = 0.0
        while len(batch) < BATCH:
            try:
                wait = (0.0 if self._ending else max(0.0, until - time.monotonic())) if batch else None
                one = self._queue.get(timeout=wait)
            except queue.Empty:
                break
            if one is None:
                return batch, False
            until = until or time.monotonic() + LINGER
            batch.append(one)
        return batch, not (self._ending and self._queue.empty())

    def _write(self, batch: list[RequestEntry]) -> None:
        try:
            self._writer.write(batch)
        except Exception as error:  # mostly the network; whatever it is, one odd batch must not end the thread
            self._tell("failed", len(batch))
            if not self._failing:
                logs.event(log, f"{self._name}.failed", logging.ERROR, error=str(error))
            self._failing = True
        else:
            self._tell("written", len(batch))
            if self._failing:
                logs.event(log, f"{self._name}.recovered")
            self._failing = False


class RequestLogExporter:
    """Both sinks, as the configuration wants them. Called on the event loop."""

    def __init__(self) -> None:
        self._sinks: dict[str, tuple[Any, Sink]] = {}
        self._lock = threading.Lock()
        self._counts: Counter[tuple[str, str]] = Counter()

    def configure(self, config: Config) -> None:
        """Begin, go on, or end: a sink whose rule has not changed goes on."""
        self._set("traces", config.tracing, _exporter)
        self._set("access_log", config.log.access, AccessLog)

    def _set(self, name: str, rule: Any, make: Callable[[Any], Writer]) -> None:
        old = self._sinks.get(name)
        if old is not None and old[0] == rule:
            return
        if old is not None:
            del self._sinks[name]
            old[1].close()
        if rule is not None:
            self._sinks[name] = rule, Sink(name, make(rule), partial(self._tell, name))

    def _tell(self, name: str, result: str, n: int) -> None:
        with self._lock:
            self._counts[name, result] += n

    def take(self, entries: Iterable[RequestEntry]) -> None:
        """Give each entry to those it is for."""
        traces, access_log = self._sinks.get("traces"), self._sinks.get("access_log")
        for entry in entries:
            if entry.trace and traces is not None:
                traces[1].offer(entry)
            if entry.logged and access_log is not None:
                access_log[1].offer(entry)

    @property
    def counts(self) -> dict[tuple[str, str], int]:
        """What became of them here, by sink and result; present with 0 for each sink that is configured."""
        with self._lock:
            return {(name, result): 0 for name in self._sinks for result in RESULTS} | dict(self._counts)

    def close(self) -> None:
        """Write what waits, as far as it goes at once."""
        for _, sink in self._sinks.values():
            sink.close()
        self._sinks.clear()


def _exporter(rule: Tracing) -> Writer:
    from proxy.controller.tracing import Exporter  # an extra: only who exports traces needs it

    return Exporter(rule)


class AccessLog:
    """One line per request, in a file that rotates, or on standard error beside the other lines."""

    def __init__(self, rule: Access) -> None:
        self._rule = rule
        self._file: BufferedWriter | None = None

    def write(self, batch: list[RequestEntry]) -> None:
        if self._rule.path is None:
            for entry in batch:
                logs.event(_access, "request", **fields(entry))
            return
        path = Path(self._rule.path)
        try:
            if self._file is None:
                self._file = open(path, "ab", opener=private.opener)  # noqa: SIM115
            self._file.write(b"".join(line(entry) for entry in batch))
            self._file.flush()
            if self._file.tell() >= self._rule.max_size:
                self.close()
                rotate(path, self._rule.files)
        except OSError:
            self._file = None  # another try begins anew
            raise

    def interrupt(self) -> None:
        """A disk cannot be interrupted."""

    def close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            file.close()
