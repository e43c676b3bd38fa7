"""MLflow's webhooks and model versions, read (MLflow 3.3 and newer). Pure.

A webhook is `{"entity": "model_version", "action": "created", "timestamp": …, "data": {"name", "version", …}}`.
Entities are `model_version`, `model_version_tag` (`set`), `model_version_alias` (`created`), and others, which begin
nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any
from urllib.parse import quote

from proxy.config.registry import Trigger
from proxy.config.registry_checks import SAFE
from proxy.model.lineage import Lineage

_KINDS = {
    ("model_version", "created"): "created",
    ("model_version_tag", "set"): "tag",
    ("model_version_alias", "created"): "alias",
}
DATA_TAG = "data_version"
"""The tag of a model version that says which version of the data trained it."""
LONGEST = 500


class UnreadableError(ValueError):
    """A body that is not what it should be, in words."""


def read_event(body: Any) -> tuple[str, str, Trigger, float] | None:
    """Model, version, what happened to it and when, of a webhook; `None` for one that can begin nothing. Raises
    `UnreadableError`.

    >>> data = {"name": "fraud", "alias": "candidate", "version": "3"}
    >>> at = "2026-11-30T10:00:00+00:00"
    >>> read_event({"entity": "model_version_alias", "action": "created", "timestamp": at, "data": data})
    ('fraud', '3', Trigger(kind='alias', name='candidate', value=''), 1796032800.0)
    """
    if not isinstance(body, dict) or not isinstance(body.get("data"), dict):
        raise UnreadableError('expected {"entity", "action", "timestamp", "data"}, as MLflow sends it')
    kind = _KINDS.get((str(body.get("entity")), str(body.get("action"))))
    if kind is None:
        return None
    data = body["data"]
    names = {"created": (), "tag": ("key", "value"), "alias": ("alias",)}[kind]
    found = Trigger(kind, *(_text(data, name) for name in names))  # type: ignore[arg-type]
    return _text(data, "name"), read_version(data.get("version")), found, read_moment(body.get("timestamp"))


def read_version(value: Any) -> str:
    """A version that may be filled in anywhere; raises `UnreadableError`.

    >>> read_version(7), read_version("2026.11-a")
    ('7', '2026.11-a')
    """
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    if not isinstance(text, str) or not SAFE.fullmatch(text):
        raise UnreadableError("version: expected letters, digits, `.`, `_` and `-`, at most 128")
    return text


def _text(data: Mapping[str, Any], name: str) -> str:
    value = data.get(name)
    if not isinstance(value, str) or len(value) > 5000:
        raise UnreadableError(f"data.{name}: expected a text of at most 5,000 characters")
    return value


def read_moment(value: Any, name: str = "timestamp") -> float:
    """A time with its zone (RFC 3339) as epoch seconds; raises `UnreadableError`."""
    try:
        when = datetime.fromisoformat(value)
        if when.tzinfo is None:
            raise ValueError
        return when.timestamp()
    except (TypeError, ValueError, OverflowError):
        raise UnreadableError(f"{name}: expected a time such as 2026-11-30T10:00:00+00:00") from None


def read_model_version(found: Any, page: str) -> Lineage:
    """The lineage of a `model_version` as MLflow's REST API gives it; `page` is where people reach MLflow. Raises
    `UnreadableError`.

    >>> read_model_version({"name": "fraud", "version": "3", "run_id": "ab12"}, "http://mlflow:5000/").url
    'http://mlflow:5000/#/models/fraud/versions/3'
    """
    if not isinstance(found, dict) or not isinstance(found.get("name"), str):
        raise UnreadableError("expected a model_version with name and version")
    version = read_version(found.get("version"))
    tags = tags_of(found)
    url = f"{page.rstrip('/')}/#/models/{quote(found['name'], safe='')}/versions/{version}"
    run = found.get("run_id")
    return Lineage("mlflow", found["name"], version, shown(run), shown(tags.get(DATA_TAG)), url)


def tags_of(found: Any) -> dict[str, str]:
    """The tags of a model version, as MLflow gives them."""
    tags = found.get("tags") if isinstance(found, dict) else None
    pairs = [tag for tag in tags or () if isinstance(tag, dict)] if isinstance(tags, list) else []
    return {str(tag.get("key")): str(tag.get("value", "")) for tag in pairs}


def read_data(run: Any) -> str:
    """Name and digest of the data sets that a run was given, as `runs/get` shows it; empty where there are none.

    >>> one = {"dataset": {"name": "payments", "digest": "f00d"}}
    >>> read_data({"run": {"inputs": {"dataset_inputs": [one]}}})
    'payments@f00d'
    """
    try:
        inputs = run["run"]["inputs"]["dataset_inputs"]
        named = [f"{one['dataset']['name']}@{one['dataset']['digest']}" for one in inputs]
    except (KeyError, TypeError):
        return ""
    return shown(", ".join(named))


_UNSEEN = re.compile(r"[^\x20-\x7e\xa0-\ud7ff\ue000-\ufffd]|[\u2028-\u202e\u2066-\u2069]")


def shown(value: Any) -> str:
    """What a registry says, fit to be shown: one line of plain text, cut.

    >>> shown("a\\nb"), shown(None)
    ('a b', '')
    """
    return _UNSEEN.sub(" ", value)[:LONGEST] if isinstance(value, str) else ""
