"""Whether a webhook comes from the registry, now and for the first time, the pure part.

MLflow and Standard Webhooks sign alike: base64 of HMAC-SHA256 of `id.timestamp.body`, `v1,` before it, and several with
blanks between. They differ in the names of the headers, and MLflow takes the secret as text.

Invariant: what is refused is refused with a sentence that holds neither a secret nor a right signature.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from proxy.errors import UnderstudyError

WINDOW = 300.0
"""Seconds that the time of a delivery may differ from ours."""
LONGEST_ID = 200


class ForgedError(UnderstudyError):
    """A delivery that is not proven to be the registry's, or not one of now."""


@dataclass(frozen=True, slots=True)
class SignedHeaders:
    """The names of the headers that carry the proof."""

    id: str
    timestamp: str
    signature: str


MLFLOW = SignedHeaders("x-mlflow-delivery-id", "x-mlflow-timestamp", "x-mlflow-signature")
STANDARD = SignedHeaders("webhook-id", "webhook-timestamp", "webhook-signature")


def proven_delivery(
    names: SignedHeaders, headers: Mapping[str, str], body: bytes, keys: Iterable[bytes], now: float
) -> tuple[str, float]:
    """Id and time (epoch seconds) of a delivery whose signature is right; raises `ForgedError`. `headers` are asked by
    names in lower case.

    >>> sent = {"webhook-id": "m", "webhook-timestamp": "100"}
    >>> sent["webhook-signature"] = "v1,bad v1,3IOmJTnmBqVCjJNDjFOSu0cInvb3pfxXNii6CJtvou8="
    >>> proven_delivery(STANDARD, sent, b"{}", [b"old", b"key"], 100.0)
    ('m', 100.0)
    >>> proven_delivery(STANDARD, sent, b"{}", [b"key"], 1000.0)
    Traceback (most recent call last):
    proxy.controller.model_registry.signatures.ForgedError: webhook-timestamp is 900 s from now; at most 300 are allowed
    """
    given = [headers.get(name, "") for name in (names.id, names.timestamp, names.signature)]
    for name, value in zip((names.id, names.timestamp, names.signature), given, strict=True):
        if not value:
            raise ForgedError(f"the header {name} is missing")
    delivery, stamp, signature = given
    if len(delivery) > LONGEST_ID or not (stamp.isascii() and stamp.isdigit() and len(stamp) <= 12):
        raise ForgedError(f"{names.timestamp} is not in whole seconds, or {names.id} is longer than {LONGEST_ID}")
    text = f"{delivery}.{stamp}.".encode("utf-8", "surrogateescape") + body
    right = [b"v1," + base64.b64encode(hmac.digest(key, text, hashlib.sha256)) for key in keys]
    tried = [one.encode("utf-8", "surrogateescape") for one in signature.split(" ")[:10]]
    if not any(hmac.compare_digest(one, other) for one in tried for other in right):
        raise ForgedError(f"{names.signature} is not the one of this body by a configured secret")
    apart = abs(now - int(stamp))
    if apart > WINDOW:
        raise ForgedError(f"{names.timestamp} is {apart:.0f} s from now; at most {WINDOW:g} are allowed")
    return delivery, float(stamp)
