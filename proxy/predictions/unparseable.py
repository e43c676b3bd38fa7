"""Why pairs are `unparseable`, in words for the author of `prediction`: what is wrong, how often, which key to check.

No arm is at fault: live's answers are the yardstick, and when they cannot be read nothing is known of the candidate's.
"""

from __future__ import annotations

from collections.abc import Mapping

from proxy.model import PredictionSpec
from proxy.model.reasons import Reason
from proxy.predictions.registry import PROTOCOLS

_OTHERS = {
    Reason.NOT_REWRITTEN: "requests that `set_json` cannot be applied to",
    Reason.INTERNAL: "a bug in understudy",
}


def sentence(reasons: Mapping[str, int], compared: int, spec: PredictionSpec, latest: str = "") -> str:
    """What keeps pairs from being compared, the commonest reason first; empty when nothing does.

    `reasons` counts unparseable pairs by reason word, `compared` are those that could be read, `latest` says of the
    latest unreadable answer of live what was found in it.

    >>> sentence({"missing_output": 412}, 0, PredictionSpec("json", pointer="/scor"))
    "live's answers cannot be read: missing_output at /scor: 412 of 412 pairs; check `prediction.pointer`"
    >>> sentence({"not_rewritten": 2}, 8, PredictionSpec())
    'not compared: requests that `set_json` cannot be applied to: 2 of 10 pairs'
    >>> sentence({"too_many_elements": 2}, 8, PredictionSpec())
    "live's answers cannot be read: too_many_elements: 2 of 10 pairs; check `mirror.max_body`"
    """
    counted = sorted(((n, Reason(word)) for word, n in reasons.items() if n), key=lambda one: -one[0])
    total = compared + sum(n for n, _ in counted)
    parts = []
    if unread := [(n, word) for n, word in counted if word not in _OTHERS]:
        found = ", ".join(f"{word.value}{_place(word, spec)}: {n:,} of {total:,} pairs" for n, word in unread)
        keys = dict.fromkeys(key for _, word in unread for key in _keys(word, spec))
        check = ", ".join(f"`{key}`" for key in keys)
        parts.append(f"live's answers cannot be read: {found}; check {check}" + (f" ({latest})" if latest else ""))
    parts += [f"not compared: {_OTHERS[word]}: {n:,} of {total:,} pairs" for n, word in counted if word in _OTHERS]
    return "; ".join(parts)


def live_detail(detail: str) -> str:
    """What a reading's `detail` says of live's answer alone; empty when that could be read.

    >>> live_detail("live: the body is empty; candidate: answered 503"), live_detail("candidate: answered 503")
    ('the body is empty', '')
    """
    live = detail.partition("; candidate: ")[0]
    return live.removeprefix("live: ") if live.startswith("live: ") else ""


def _where(spec: PredictionSpec) -> tuple[str, str]:
    """The key that says where in an answer to look, and its value."""
    if spec.jmespath:
        return "jmespath", spec.jmespath
    if spec.pointer or (spec.protocol in PROTOCOLS and PROTOCOLS[spec.protocol].pointed):
        return "pointer", spec.pointer
    return "output", spec.output


def _place(word: Reason, spec: PredictionSpec) -> str:
    place = _where(spec)[1][:60]
    return f" at {place}" if word is Reason.MISSING_OUTPUT and place else ""


def _keys(word: Reason, spec: PredictionSpec) -> tuple[str, ...]:
    """The keys of a route that a reason points at."""
    if word in (Reason.DECOMPRESSED_TOO_LARGE, Reason.TOO_MANY_ELEMENTS):
        return ("mirror.max_body",)
    if word is Reason.MISSING_OUTPUT:
        return (f"prediction.{_where(spec)[0]}",)
    if word is Reason.OUT_OF_RANGE:
        return ("prediction.kind", "prediction.low", "prediction.high")
    kind = word in (Reason.BAD_TYPE, Reason.BAD_SHAPE, Reason.NOT_FINITE)
    return ("prediction.kind",) if kind else ("prediction.protocol",)
