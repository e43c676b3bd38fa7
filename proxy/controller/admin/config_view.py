"""What the API shows of the configuration in force, and what of it to somebody who sees only some routes."""

from __future__ import annotations

from collections.abc import Collection

from typing_extensions import TypedDict

from proxy.json_types import Timestamp, Whole

UNTOLD = "not shown: it may quote files of others"
"""Instead of why a configuration was refused: its lines are those of any team."""


class ConfigFileJson(TypedDict):
    """One of its files, and the team that wrote it."""

    name: str
    owner: str | None


class RefusedConfigJson(TypedDict):
    """The last attempt to load another one."""

    error: str
    at: Timestamp
    by: str


class ConfigJson(TypedDict):
    """`refused`: the last attempt to load another one since, if it failed. Who may not see all routes gets no file of
    others, and not the text of `error`."""

    hash: str
    generation: Whole
    source: str
    files: list[ConfigFileJson]
    loaded: Timestamp
    by: str
    """`start`, `SIGHUP`, `watch`, or the actor who asked the admin port."""
    refused: RefusedConfigJson | None


def config_of(whole: ConfigJson, owners: Collection[str | None]) -> ConfigJson:
    """A configuration in force without what others wrote: the main file and those of `owners`, and of a refusal that
    there was one, when, and who asked for it.

    >>> files = [{"name": f"{owner}.yaml", "owner": owner} for owner in (None, "a", "b")]
    >>> seen = config_of({"files": files, "refused": {"error": "b.yaml, line 3: …", "by": "watch"}}, {"a"})
    >>> [one["name"] for one in seen["files"]], seen["refused"]
    (['None.yaml', 'a.yaml'], {'error': 'not shown: it may quote files of others', 'by': 'watch'})
    """
    refused = whole["refused"]
    return {
        **whole,
        "files": [file for file in whole["files"] if file["owner"] is None or file["owner"] in owners],
        "refused": None if refused is None else {**refused, "error": UNTOLD},
    }
