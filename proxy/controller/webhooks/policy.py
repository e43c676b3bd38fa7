"""A webhook's delivery, the pure part: what is sent, how it is signed, what an answer means and when to try again.

The wire format is Standard Webhooks 1.0 (https://www.standardwebhooks.com): `webhook-id` names the event and never
changes, `webhook-timestamp` is the time of the attempt, `webhook-signature` is a space-separated list of
`v1,<base64 HMAC-SHA256 of id.timestamp.body>`. Every secret of an endpoint signs, the first one first: a receiver that
knows either the old or the new secret accepts the event, so that a rotation needs no order between the two sides.

Invariants
- `judge` is total: any answer, in any state, gives exactly one of delivered, retry, gave_up, ended.
- A retry is never later than `GIVE_UP_AFTER` seconds after the event. A receiver's `Retry-After` is kept, but for no
  longer than `LONGEST_PAUSE`, of an urgent event `URGENT_PAUSE`: a broken header must not silence a receiver for a day.
- What a receiver asks for holds back other events only when it says that it is busy (`BUSY`), and never an urgent one:
  a rollback waits for no other event.
- The body is a function of the event alone, so that a retry carries the same bytes.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import Any
from urllib.parse import quote

import orjson

from proxy.rfc3339 import rfc3339

GIVE_UP_AFTER = 24 * 3600.0
"""An event older than this (seconds) is not tried again; it stays in the store as `gave_up`."""

LONGEST_WAIT = 8 * 86400.0
"""Seconds after which nothing waits any more, for whomever it is: longer than anybody tries."""

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 3600.0
URGENT_PAUSE = 60.0
"""Seconds that a receiver may ask for before an urgent event is tried again."""
BUSY = frozenset({429, 503})
"""Statuses that speak of the receiver, not of the event: too many requests, unavailable."""
_SEVERITY = {"rollout.rolled_back": "critical", "rollout.stalled": "warning", "drift.detected": "warning"}
URGENT = frozenset(("rollout.rolled_back", "rollout.stalled"))
"""Events that call for somebody, by type: they are delivered beside all others and never behind them."""
NO_END = "0001-01-01T00:00:00Z"  # Go's zero time: Alertmanager's way to say "still firing"


class AttemptResult(StrEnum):
    """What became of one attempt."""

    DELIVERED = "delivered"
    RETRY = "retry"
    GAVE_UP = "gave_up"
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class WebhookEvent:
    """Something to tell: `id` is unique and stable, `type` such as `rollout.rolled_back`, `time` epoch seconds."""

    id: str
    type: str
    time: float
    data: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class AttemptAnswer:
    """What one attempt met: an HTTP status, or 0 and what broke; `retry_after` is that header as sent."""

    status: int
    retry_after: str = ""
    error: str = ""

    @property
    def words(self) -> str:
        """What happened, for a person: `500`, or `timeout`."""
        return self.error or str(self.status)


@dataclass(frozen=True, slots=True)
class Step:
    """What to do after an attempt; `at` (epoch seconds) is set exactly for a retry.

    `hold` says that the receiver asked for silence until then, so that nothing that can wait should be sent before.
    """

    result: AttemptResult
    at: float | None = None
    hold: bool = False


# --- signing ---------------------------------------------------------------------------------------------------------


def signature(keys: tuple[bytes, ...], event_id: str, timestamp: int, body: bytes) -> str:
    """The `webhook-signature` header: one `v1,…` per key, in order.

    >>> signature((b"k",), "msg_1", 1700000000, b"{}")
    'v1,LTBsW2zNVsMNlXYZbgw/T+jGxr1msQBcXoa3h1dR9wQ='
    """
    text = b"%s.%d.%s" % (event_id.encode(), timestamp, body)
    digests = (hmac.new(key, text, hashlib.sha256).digest() for key in keys)
    return " ".join("v1," + base64.b64encode(digest).decode() for digest in digests)


def headers(
    event: WebhookEvent, keys: tuple[bytes, ...], now: float, body: bytes, template: str = "standard"
) -> dict[str, str]:
    """Headers of one attempt at time `now` (epoch seconds); unsigned when there are no keys."""
    sent = {
        "content-type": "application/cloudevents+json" if template == "cloudevents" else "application/json",
        "user-agent": "understudy",
        "webhook-id": event.id,
        "webhook-timestamp": str(int(now)),
    }
    if template == "cloudevents_binary":
        attributes = cloudevent(event)
        del attributes["data"], attributes["datacontenttype"]  # the body, and its content-type
        sent |= {f"ce-{name}": quote(str(value), safe=_ASCII) for name, value in attributes.items()}
    if keys:
        sent["webhook-signature"] = signature(keys, event.id, int(now), body)
    return sent


# --- what an answer means --------------------------------------------------------------------------------------------


def pause(attempts: int, draw: float) -> float:
    """Seconds to wait after `attempts` failures: 1, 2, 4 … 3600, of which half is drawn (`draw` in 0..1).

    Half fixed, half random ("equal jitter", Brooker 2015): receivers that failed together are not all asked again at
    once, and no draw makes the pause vanish.

    >>> pause(1, 0.0), pause(1, 1.0), pause(4, 1.0), pause(99, 1.0)
    (0.5, 1.0, 8.0, 3600.0)
    """
    ceiling = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(attempts - 1, 30))
    return ceiling * (0.5 + 0.5 * draw)


def asked_pause(value: str, now: float) -> float | None:
    """Seconds that a `Retry-After` header asks for (RFC 9110 §10.2.3: seconds or a date), `None` if it says nothing.

    >>> asked_pause("120", 0.0), asked_pause("Thu, 01 Jan 1970 00:01:00 GMT", 0.0), asked_pause("soon", 0.0)
    (120.0, 60.0, None)
    """
    text = value.strip()
    if text.isascii() and text.isdigit():
        return float(text) if len(text) < 12 else GIVE_UP_AFTER
    try:
        when = parsedate_to_datetime(text)
        return max(0.0, when.replace(tzinfo=when.tzinfo or UTC).timestamp() - now)
    except (ValueError, OverflowError, IndexError):
        return None


def judge(answer: AttemptAnswer, attempts: int, event: WebhookEvent, now: float, draw: float) -> Step:
    """What to do after attempt number `attempts` (from 1) to deliver an event.

    Any 2xx is a delivery, 410 ends the subscription, everything else (a redirect too: it is not followed, so that no
    receiver can point the signed event elsewhere) is tried again. The last try is made when the event is 24 h old.

    >>> event = WebhookEvent("e", "rollout.advanced", 0.0, {})
    >>> judge(AttemptAnswer(204), 1, event, 0.0, 0.0).result, judge(AttemptAnswer(410), 1, event, 0.0, 0.0).result
    (<AttemptResult.DELIVERED: 'delivered'>, <AttemptResult.ENDED: 'ended'>)
    >>> judge(AttemptAnswer(503, "600"), 1, event, 10.0, 0.0)
    Step(result=<AttemptResult.RETRY: 'retry'>, at=610.0, hold=True)
    >>> judge(AttemptAnswer(503, "600"), 1, WebhookEvent("e", "rollout.rolled_back", 0.0, {}), 10.0, 0.0)
    Step(result=<AttemptResult.RETRY: 'retry'>, at=70.0, hold=False)
    """
    if 200 <= answer.status < 300:
        return Step(AttemptResult.DELIVERED)
    if answer.status == 410:
        return Step(AttemptResult.ENDED)
    end = event.time + GIVE_UP_AFTER
    if now >= end:
        return Step(AttemptResult.GAVE_UP)
    urgent = event.type in URGENT
    own = pause(attempts, draw)
    asked = min(asked_pause(answer.retry_after, now) or 0.0, URGENT_PAUSE if urgent else LONGEST_PAUSE)
    hold = bool(asked) and answer.status in BUSY and not urgent
    return Step(AttemptResult.RETRY, min(end, now + max(own, asked)), hold)


# --- what is sent ----------------------------------------------------------------------------------------------------


def body(event: WebhookEvent, template: str) -> bytes:
    """The JSON body of an event in one of the templates."""
    return orjson.dumps(_TEMPLATES[template](event))


_ASCII = "".join(map(chr, range(0x21, 0x7F))).replace('"', "").replace("%", "")
"""What a `ce-` header holds as it is; the rest is percent-encoded (CloudEvents 1.0, HTTP binding, 3.1.3.2)."""


def cloudevent(event: WebhookEvent) -> dict[str, Any]:
    """The event as a CloudEvent 1.0 in the JSON format; in binary mode its attributes are headers.

    >>> told = cloudevent(WebhookEvent("evt_1", "rollout.promoted", 0.0, {"rollout": "a/b"}))
    >>> told["type"], told["subject"], told["source"]
    ('understudy.rollout.promoted', 'a/b', 'urn:understudy')
    """
    about = event.data.get("rollout") or event.data.get("route")
    return {
        "specversion": "1.0",
        "id": event.id,
        "source": str(event.data.get("console_url") or "").partition("#")[0] or "urn:understudy",
        "type": f"understudy.{event.type}",
        **({"subject": str(about)} if about else {}),
        "time": rfc3339(event.time),
        "datacontenttype": "application/json",
        "data": event.data,
    }


def standard(event: WebhookEvent) -> dict[str, Any]:
    """The body as Standard Webhooks recommends it: `type`, `timestamp`, `data`."""
    return {"type": event.type, "timestamp": rfc3339(event.time), "data": event.data}


_IDENTITY = {
    "rollout": ("UnderstudyRollout", ("rollout", "route", "live", "candidate", "version")),
    "drift": ("UnderstudyDrift", ("route", "live", "field")),
}
"""By what an event is about: the alert's name, and which labels tell one alert from another."""


def alertmanager(event: WebhookEvent) -> dict[str, Any]:
    """The body as Alertmanager sends it to a webhook receiver (payload version 4).

    A rollback, a stall and drift fire; every other event resolves the alert of the same trial, or of the same field of
    a route. So that a receiver can match the two, the alert is one per trial (or field), and its fingerprint is that of
    this identity, not of all labels.
    """
    identity = _identity(event)
    severity = _SEVERITY.get(event.type, "info")
    firing = event.type in _SEVERITY
    labels = identity | {"severity": severity, "event": event.type}
    annotations = {"summary": summary(event), "description": _description(event)}
    text = "\xff".join(f"{key}\xff{value}" for key, value in sorted(identity.items()))
    fingerprint = hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
    url = str(event.data.get("console_url") or "")
    when = rfc3339(event.time)
    alert = {
        "status": "firing" if firing else "resolved",
        "labels": labels,
        "annotations": annotations,
        "startsAt": when,
        "endsAt": NO_END if firing else when,
        "generatorURL": url,
        "fingerprint": fingerprint,
    }
    return {
        "version": "4",
        "groupKey": f"understudy:{fingerprint}",
        "truncatedAlerts": 0,
        "status": alert["status"],
        "receiver": "understudy",
        "groupLabels": {"alertname": identity["alertname"]},
        "commonLabels": labels,
        "commonAnnotations": annotations,
        "externalURL": url,
        "alerts": [alert],
    }


def _identity(event: WebhookEvent) -> dict[str, str]:
    """What tells one alert from another."""
    alert_name, keys = _IDENTITY[event.type.partition(".")[0]]
    return {"alertname": alert_name} | {key: str(event.data.get(key, "")) for key in keys}


_TEMPLATES: dict[str, Callable[[WebhookEvent], Mapping[str, Any]]] = {
    "standard": standard,
    "alertmanager": alertmanager,
    "cloudevents": cloudevent,
    "cloudevents_binary": lambda event: event.data,
}


def summary(event: WebhookEvent) -> str:
    """One sentence about the event.

    >>> summary(WebhookEvent("e", "rollout.rolled_back", 0.0, {"rollout": "a/b", "version": "2"}))
    'Rollout a/b (version 2) was rolled back.'
    >>> summary(WebhookEvent("e", "drift.ended", 0.0, {"route": "fraud", "field": "amount"}))
    'Drift of amount on route fraud has ended.'
    """
    if event.type.startswith("drift."):
        what = "was detected" if event.type == "drift.detected" else "has ended"
        return f"Drift of {event.data.get('field', '?')} on route {event.data.get('route', '?')} {what}."
    words = event.type.removeprefix("rollout.").replace("_", " ")
    verb = "has" if words == "stalled" else "was"
    return f"Rollout {event.data.get('rollout', '?')} (version {event.data.get('version', '?')}) {verb} {words}."


def _description(event: WebhookEvent) -> str:
    findings = event.data.get("findings") or ()
    said = [f["reason"] for f in findings if f.get("verdict") == "fail" and f.get("reason")]
    return " ".join(said) or str(event.data.get("reason") or summary(event))
