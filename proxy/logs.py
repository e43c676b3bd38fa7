"""Logs: one JSON line per event on standard error, the same shape from every process.

    {"time": "2026-11-20T09:00:00.123Z", "level": "info", "process": "controller", "event": "rollout.advanced", …}

`event(log, "rollout.advanced", rollout=…)` is the one way to write a line with fields. Secrets never come here: the
configuration tree holds them as `SecretStr`, whose text is stars. Nothing on the hot path of a worker logs.
"""

from __future__ import annotations

import logging
import sys
from collections import Counter
from datetime import UTC, datetime
from typing import Any

import orjson


def event(log: logging.Logger, name: str, level: int = logging.INFO, /, **fields: Any) -> None:
    """Write one line: `name` is a dotted word, `fields` are JSON values (anything else is written as `str`)."""
    log.log(level, name, extra={"fields": fields})


UNEXPECTED: Counter[str] = Counter()
"""Exceptions of this process that nobody had expected, by where they were caught, for the metric."""


def unexpected(log: logging.Logger, where: str, /, **fields: Any) -> None:
    """Within an `except`: say and count what a loop that must go on has caught. `where` is a dotted word."""
    UNEXPECTED[where] += 1
    log.error(where, exc_info=True, extra={"fields": fields})


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class JsonFormatter(logging.Formatter):
    """One JSON object per line; an exception goes into the field `error`."""

    def __init__(self, process: str) -> None:
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "process": self._process,
            "event": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return orjson.dumps(line, default=str, option=orjson.OPT_NON_STR_KEYS).decode()


class TextFormatter(logging.Formatter):
    """For people at a terminal: time, level, process, event, then `key=value`."""

    def __init__(self, process: str) -> None:
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        fields = "".join(f" {key}={value}" for key, value in getattr(record, "fields", {}).items())
        line = f"{_time(record)} {record.levelname.lower():7} {self._process}: {record.getMessage()}{fields}"
        return line + ("\n" + self.formatException(record.exc_info) if record.exc_info else "")


def setup(form: str, level: str, process: str) -> None:
    """Send this process's log to standard error. `form` is `json` or `text`, `level` a name of `logging`'s."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter(process) if form == "json" else TextFormatter(process))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
