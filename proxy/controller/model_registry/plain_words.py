"""What other registries post: `{"model", "version", …}`, by itself or as the data of a CloudEvent 1.0. Pure.

When it was said stands in the body too (`posted_at`, or a CloudEvent's `time`): a retry has a new time in its headers.

The signature (Standard Webhooks) covers the body, so only the body decides: of a CloudEvent in binary mode the headers
are not read.
"""

from __future__ import annotations

from typing import Any

import orjson

from proxy.controller.model_registry.mlflow_words import UnreadableError, read_moment, read_version, shown
from proxy.model.lineage import Lineage

_KNOWN = ("model", "version", "run", "data", "url", "posted_at")


def read_plain(body: bytes, content_type: str) -> tuple[Lineage, float | None]:
    """The version that a body names, and when that was said (epoch seconds), `None` where it does not say; raises
    `UnreadableError`.

    >>> read_plain(b'{"model": "fraud", "version": 7, "run": "ab12"}', "application/json")[0].version
    '7'
    >>> read_plain(b'{"model": "m", "version": 7, "posted_at": "2026-11-30T10:00:00Z"}', "application/json")[1]
    1796032800.0
    >>> event = b'{"specversion": "1.0", "id": "1", "source": "/r", "type": "t", "data": {"model": "m", "version": 1}}'
    >>> read_plain(event, "application/cloudevents+json; charset=utf-8")[0].model
    'm'
    """
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise UnreadableError(f"not JSON: {error}") from None
    at = None
    if content_type.partition(";")[0].strip().lower() == "application/cloudevents+json":
        value, at = _data_of(value)
    if not isinstance(value, dict):
        raise UnreadableError('expected {"model", "version"}, and perhaps "run", "data", "url"')
    if unknown := sorted(value.keys() - set(_KNOWN)):
        raise UnreadableError(f"unknown field {unknown[0][:40]!r}; known: {', '.join(_KNOWN)}")
    if not isinstance(value.get("model"), str):
        raise UnreadableError("model: expected a text")
    if "posted_at" in value:
        at = read_moment(value["posted_at"], "posted_at")
    for name in ("run", "data", "url"):
        if not isinstance(value.get(name, ""), str):
            raise UnreadableError(f"{name}: expected a text")
    url = value.get("url", "")
    if url and not url.startswith(("https://", "http://")):
        raise UnreadableError("url: expected http:// or https://")
    said = shown(value.get("run")), shown(value.get("data")), shown(url)
    return Lineage("http", value["model"], read_version(value.get("version")), *said), at


def _data_of(event: Any) -> tuple[Any, float | None]:
    """The data of a structured CloudEvent (JSON, so it stands in `data`), and when that happened if it says so."""
    if not isinstance(event, dict):
        raise UnreadableError("expected a CloudEvent, an object")
    for name in ("id", "source", "specversion", "type"):
        if not (isinstance(event.get(name), str) and event[name]):
            raise UnreadableError(f"{name}: a CloudEvent needs this attribute, a text")
    if event["specversion"] != "1.0":
        raise UnreadableError("specversion: expected 1.0")
    return event.get("data"), read_moment(event["time"], "time") if "time" in event else None
