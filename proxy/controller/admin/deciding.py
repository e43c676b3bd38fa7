"""Which findings a verdict rests on, for those who want the reason and not the whole page."""

from __future__ import annotations

from proxy.controller.admin.rollout_view import FindingJson


def deciding(verdict: str, findings: list[FindingJson]) -> list[FindingJson]:
    """Of all findings those that a verdict rests on: of a fail those that fail, of a pass those that pass on all
    requests.

    >>> some = [{"verdict": "fail", "segment": "eu"}, {"verdict": "pass", "segment": None}]
    >>> deciding("fail", some), deciding("pass", some), deciding("inconclusive", some)
    ([{'verdict': 'fail', 'segment': 'eu'}], [{'verdict': 'pass', 'segment': None}], [])
    """
    same = [one for one in findings if one["verdict"] == verdict and verdict != "inconclusive"]
    return [one for one in same if verdict == "fail" or one["segment"] is None]
