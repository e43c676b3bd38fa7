"""What a judge answered: a verdict and its reason, or in one word why there is none.

The answer is that of `/v1/chat/completions`, whose message holds the JSON that `question.FORMAT` asks for. It is taken
only as it was asked for: exactly the keys `verdict` and `reason`, and one of the three words. What else comes is *not
judged*; nothing is guessed from prose, since a model that was talked into something says it in prose.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Final, NamedTuple

import orjson

FIRST: Final = "first"
SECOND: Final = "second"
TIE: Final = "tie"
WINNERS: Final = (FIRST, SECOND, TIE)
"""What a judge may say."""

MAX_REASON: Final = 1000
"""Characters kept of a judge's reason."""
MAX_ANSWER: Final = 256 * 1024
"""Bytes of a judge's answer that are read; a verdict takes 1 kB, one that thinks aloud some ten."""


class NotJudged(StrEnum):
    """Why a drawn pair has no verdict; a closed set, the label `reason` of the metrics."""

    BUDGET = "budget"  # `max_cost` is spent
    QUEUE_FULL = "queue_full"  # more pairs wait for the judge than are kept
    WAITED = "waited"  # its turn did not come within the time that it may wait
    TIMEOUT = "timeout"  # no answer within `timeout`
    CONNECT = "connect"  # no connection to the judge
    STATUS = "status"  # the judge answered with another status than 200
    TOO_LARGE = "too_large"  # its answer was longer than is read
    NOT_JSON = "not_json"  # the answer is no chat completion, or its message no JSON
    NOT_A_VERDICT = "not_a_verdict"  # JSON, and not `{"verdict": "first" | "second" | "tie", "reason": …}`
    REFUSED = "refused"  # the judge refused to judge, or was cut off
    UNREADABLE = "unreadable"  # an arm's answer, or the request, holds no text to judge
    CUT = "cut"  # only the beginning of a long request came
    MOVED = "moved"  # the judge gives its anchors another verdict than they have
    STOPPED = "stopped"  # the rollout ended, or the process did, before it was asked


class Judgment(NamedTuple):
    """What came back: `winner` is `FIRST`, `SECOND` or `TIE`, or empty with `why` it is not judged. `read` and
    `written` are the tokens that the answer says it took, -1 where it does not say.
    `value` is how alike the two are, 0 to 1, where that was the question."""

    winner: str = ""
    reason: str = ""
    why: NotJudged | None = None
    read: int = -1
    written: int = -1
    value: float | None = None


def read_verdict(status: int, body: bytes) -> Judgment:
    """What an answer of the judge says; never raises.

    >>> content = orjson.dumps({"reason": "same", "verdict": "tie"}).decode()
    >>> said = orjson.dumps({"choices": [{"message": {"content": content}}]})
    >>> read_verdict(200, said)[:2], read_verdict(429, b"")[2].value, read_verdict(200, b"<html>")[2].value
    (('tie', 'same'), 'status', 'not_json')
    """
    if status != 200:
        return Judgment(why=NotJudged.STATUS)
    try:
        answer = orjson.loads(body)
        choice = answer["choices"][0]
        message = choice["message"]
        content = message.get("content")
    except (orjson.JSONDecodeError, KeyError, IndexError, TypeError, AttributeError):
        return Judgment(why=NotJudged.NOT_JSON)
    read, written = _usage(answer)
    return _said(choice, message, content)._replace(read=read, written=written)


def _said(choice: dict[str, Any], message: dict[str, Any], content: Any) -> Judgment:
    if message.get("refusal") or choice.get("finish_reason") in ("content_filter", "length"):
        return Judgment(why=NotJudged.REFUSED)
    if not isinstance(content, str):
        return Judgment(why=NotJudged.NOT_JSON)
    try:
        said = orjson.loads(content)
    except orjson.JSONDecodeError:
        return Judgment(why=NotJudged.NOT_JSON)
    if not isinstance(said, dict) or said.keys() != {"verdict", "reason"}:
        return Judgment(why=NotJudged.NOT_A_VERDICT)
    verdict, reason = said["verdict"], said["reason"]
    if not isinstance(reason, str) or not isinstance(verdict, str) or verdict not in WINNERS:
        return Judgment(why=NotJudged.NOT_A_VERDICT)
    return Judgment(verdict, reason[:MAX_REASON])


def _usage(answer: dict[str, Any]) -> tuple[int, int]:
    usage = answer.get("usage")
    found = usage if isinstance(usage, dict) else {}
    counts = (found.get(key) for key in ("prompt_tokens", "completion_tokens"))
    read, written = (count if type(count) is int and count >= 0 else -1 for count in counts)
    return read, written


def value_of(winner: str, *, candidate_first: bool) -> float:
    """The verdict as the evidence counts it: the candidate's win 1, a tie 0, its loss -1.

    >>> [value_of(word, candidate_first=True) for word in WINNERS], value_of("first", candidate_first=False)
    ([1.0, -1.0, 0.0], -1.0)
    """
    if winner == TIE:
        return 0.0
    return 1.0 if (winner == FIRST) is candidate_first else -1.0
