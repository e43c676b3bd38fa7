"""What an arm did wrong, in words for a person: before anything is read of its answer."""

from __future__ import annotations

import re

from proxy.model import Outcome
from proxy.model.reasons import Reason
from proxy.predictions.mismatch import answered

_BROKE = {
    Reason.CONNECT: "no connection could be made",
    Reason.CONNECT_TIMEOUT: "no connection could be made in time",
    Reason.DISCONNECT: "the connection broke before the answer was whole",
    Reason.BAD_REPLY: "the answer was not valid HTTP",
    Reason.FLOOD: "the connection was flooded with control or empty frames",
    Reason.POOL_FULL: "every allowed connection was busy",
    Reason.TIMEOUT: "no whole answer came in time",
    Reason.TOO_LARGE: "the answer was larger than `mirror.max_body`",
    Reason.TLS: "TLS could not be agreed on",
    Reason.NOT_REWRITTEN: "not asked, since its `set_json` cannot be applied to this request's body",
    Reason.COMMITTED: "the answer broke off after its first bytes had reached the client",
}


def broke(outcome: Outcome, reason: Reason) -> str:
    """What broke, of an arm that failed for this reason.

    >>> broke(Outcome(503), Reason.STATUS_5XX), broke(Outcome(0, Reason.TIMEOUT), Reason.TIMEOUT)
    ('answered 503', 'no whole answer came in time')
    """
    if not outcome.reason and outcome.status:
        return f"answered {answered(outcome)}"
    return _BROKE.get(reason, str(reason).replace("_", " "))


_CREDENTIALS = re.compile(rb"(?i)authoriz|authentic|credential|api[ _-]?key")
"""How servers that answer 400 to a request without a valid token (TorchServe) say so in the body."""


def wants_credentials(outcome: Outcome) -> bool:
    """Whether a server refused a copy because of who asked.

    >>> wants_credentials(Outcome(401)), wants_credentials(Outcome(400)), wants_credentials(Outcome(404))
    (True, False, False)
    """
    return outcome.status in (401, 403) or (outcome.status == 400 and bool(_CREDENTIALS.search(outcome.body[:2000])))
