"""What somebody who sees only some routes is told of the configuration in force."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

UNTOLD = "not shown: it may quote files of others"
"""Instead of why a configuration was refused: its lines are those of any team."""


def config_of(whole: Mapping[str, Any], owners: Collection[str | None]) -> dict[str, Any]:
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
