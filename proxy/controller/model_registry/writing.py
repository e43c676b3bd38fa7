"""What a registry is told of an event, the pure part: tags and the alias of a model version, or a request of one's own.

    rollout.began, advanced, stalled …   tags
    rollout.promoted                     the alias moves to the version; which version it leaves is kept in a tag
    rollout.rolled_back                  the alias goes back, if it is still where the promotion put it
    rollout.began in another's place     that one's state is `superseded`

Each event's writes can be done again from the start, however far they got: that is how they are done at least once and
count once.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from proxy.controller.webhooks.policy import WebhookEvent
from proxy.rfc3339 import rfc3339

PREFIX = "understudy."
REPLACED = f"{PREFIX}replaced"
"""The tag of a version to which the alias moved, that says which one had it before."""
LONGEST = 1000
"""Characters of a tag's value."""
_OVER = ("promoted", "rolled_back", "completed")
_BRACES = re.compile(r"\{([a-z_]+)\}")


@dataclass(frozen=True, slots=True)
class VersionTags:
    """Tags to set on one version, in order."""

    version: str
    tags: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class RegistryUpdate:
    """What is to be said of an event: tags, those of the version itself first, then where the alias belongs (`move` to
    the version, or `back`)."""

    model: str
    version: str
    tags: tuple[VersionTags, ...]
    alias: str = ""


def update_of(event: WebhookEvent) -> RegistryUpdate | None:
    """What a registry is told of an event; `None` where the event is about no version of one.

    >>> lineage = {"registry": "mlflow", "model": "fraud", "version": "3"}
    >>> data = {"rollout": "r/c", "state": "promoted", "lineage": lineage, "reason": "passed"}
    >>> found = update_of(WebhookEvent("e", "rollout.promoted", 0.0, data))
    >>> found.alias, found.tags[0].tags["understudy.state"]
    ('move', 'promoted')
    """
    data = event.data
    lineage, replaced = data.get("lineage"), _superseded(data)
    found: list[VersionTags] = []
    if lineage:
        found.append(VersionTags(lineage["version"], _tags(event, state_of(event), str(data.get("reason") or ""))))
    if replaced:
        why = f"version {data.get('version')} is tried in its place"
        found.append(VersionTags(replaced["version"], _tags(event, "superseded", why)))
    about = lineage or replaced
    if about is None:
        return None
    alias = {"rollout.promoted": "move", "rollout.rolled_back": "back"}.get(event.type, "")
    return RegistryUpdate(about["model"], about["version"], tuple(found), alias if lineage else "")


def _superseded(data: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The lineage of the version whose trial another one ended, if it had not ended before."""
    replaces = data.get("replaces") or {}
    lineage: Mapping[str, Any] | None = replaces.get("lineage")
    return None if replaces.get("state") in _OVER else lineage


def state_of(event: WebhookEvent) -> str:
    """The state of a version after an event, as it is told: its stage while it climbs.

    >>> state_of(WebhookEvent("e", "rollout.advanced", 0.0, {"state": "canary", "stage": "canary-5"}))
    'canary-5'
    """
    state = str(event.data.get("state") or "")
    if event.type in ("rollout.stalled", "rollout.removed"):
        return event.type.removeprefix("rollout.")
    return str(event.data.get("stage") or state) if state in ("shadow", "canary") else state


def _tags(event: WebhookEvent, state: str, reason: str) -> dict[str, str]:
    data = event.data
    said = {
        "state": state,
        "rollout": str(data.get("rollout") or ""),
        "reason": reason,
        "at": rfc3339(event.time),
        "journal": str(data.get("console_url") or ""),
        "entry": str((data.get("journal") or {}).get("number", "")),
    }
    return {PREFIX + key: value[:LONGEST] for key, value in said.items() if value}


# --- another registry ------------------------------------------------------------------------------------------------


def placeholders(event: WebhookEvent, update: RegistryUpdate, tags: VersionTags, alias: str) -> dict[str, str]:
    """What a template's names in braces stand for, about one version that an event speaks of."""
    lineage = event.data.get("lineage") or {}
    own = tags.version == update.version
    return {
        "model": update.model,
        "version": tags.version,
        "alias": alias if own and update.alias == "move" else "",
        "event": event.type,
        "state": tags.tags.get(f"{PREFIX}state", ""),
        "rollout": tags.tags.get(f"{PREFIX}rollout", ""),
        "reason": tags.tags.get(f"{PREFIX}reason", ""),
        "url": tags.tags.get(f"{PREFIX}journal", ""),
        "run": str(lineage.get("run", "")) if own else "",
    }


def filled_url(template: str, values: Mapping[str, str]) -> str:
    """A URL with its names in braces filled in, percent-encoded.

    >>> filled_url("https://r/{model}/{version}", {"model": "a/b c", "version": "3"})
    'https://r/a%2Fb%20c/3'
    """
    return _BRACES.sub(lambda found: quote(values.get(found[1], found[0]), safe=""), template)


def fill_template(template: Any, values: Mapping[str, str]) -> Any:
    """A JSON value with the names in braces of its texts filled in.

    >>> fill_template({"state": "{state}!", "n": [1, "{model}"]}, {"state": "promoted", "model": "m"})
    {'state': 'promoted!', 'n': [1, 'm']}
    """
    if isinstance(template, str):
        return _BRACES.sub(lambda found: values.get(found[1], found[0]), template)
    if isinstance(template, dict):
        return {key: fill_template(item, values) for key, item in template.items()}
    return [fill_template(item, values) for item in template] if isinstance(template, list) else template
