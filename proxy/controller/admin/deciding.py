"""Which findings a verdict rests on, for those who want the reason and not the whole page."""

from __future__ import annotations

from typing import Any


def deciding(verdict: str, findings: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Of all findings those that a verdict rests on: of a fail those that fail, of a pass those on all requests.

    >>> deciding("fail", [{"verdict": "fail", "segment": "eu"}, {"verdict": "pass", "segment": None}])
    [{'verdict': 'fail', 'segment': 'eu'}]
    >>> deciding("inconclusive", [{"verdict": "pass", "segment": None}])
    []
    """
    if verdict == "fail":
        return [one for one in findings if one["verdict"] == "fail"]
    return [one for one in findings if verdict == "pass" and one["segment"] is None]
