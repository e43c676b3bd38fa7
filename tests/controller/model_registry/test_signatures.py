"""Promise: only what was signed with a configured secret, for this body, now, is taken; a refusal tells no secret.

The oracles are the signer of Standard Webhooks and MLflow's own formula.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks.webhooks import Webhook

from proxy.controller.model_registry.signatures import MLFLOW, STANDARD, WINDOW, ForgedError, proven_delivery

KEY = b"0123456789abcdef01234567"
NOW = 1_796_000_000.0


def signed(body: bytes, delivery: str = "msg_1", at: float = NOW, key: bytes = KEY) -> dict[str, str]:
    sender = Webhook("whsec_" + base64.b64encode(key).decode())
    signature = sender.sign(delivery, datetime.fromtimestamp(at, UTC), body.decode())
    return {"webhook-id": delivery, "webhook-timestamp": str(int(at)), "webhook-signature": signature}


@given(st.text(), st.text("abc-_.123", min_size=1, max_size=40))
def test_what_standard_webhooks_signs_is_taken(text: str, delivery: str) -> None:
    body = text.encode("utf-8", "replace")
    assert proven_delivery(STANDARD, signed(body, delivery), body, [b"another", KEY], NOW) == (delivery, NOW)


def test_what_mlflow_signs_is_taken() -> None:
    """`base64(hmac_sha256(secret, f"{delivery}.{timestamp}.{payload}"))`, as MLflow's documentation gives it."""
    body, stamp = b'{"entity": "model_version"}', str(int(NOW))
    digest = hmac.new(b"my secret", b"d-1." + stamp.encode() + b"." + body, hashlib.sha256).digest()
    headers = {
        "x-mlflow-delivery-id": "d-1",
        "x-mlflow-timestamp": stamp,
        "x-mlflow-signature": "v1," + base64.b64encode(digest).decode(),
    }
    assert proven_delivery(MLFLOW, headers, body, [b"my secret"], NOW) == ("d-1", NOW)


@given(st.data())
def test_whatever_is_changed_is_refused(data: st.DataObject) -> None:
    body, headers = b'{"model": "m", "version": "7"}', signed(b'{"model": "m", "version": "7"}')
    what = data.draw(st.sampled_from(["body", "webhook-id", "webhook-timestamp", "webhook-signature", "key"]))
    if what == "body":
        at = data.draw(st.integers(0, len(body) - 1))
        body = body[:at] + bytes([body[at] ^ 1]) + body[at + 1 :]
    elif what != "key":
        value = headers[what]
        at = data.draw(st.integers(0, len(value) - 1))
        headers[what] = value[:at] + chr(ord(value[at]) ^ 1) + value[at + 1 :]
    with pytest.raises(ForgedError) as caught:
        proven_delivery(STANDARD, headers, body, [KEY if what != "key" else b"guessed"], NOW)
    right = signed(b'{"model": "m", "version": "7"}')["webhook-signature"].removeprefix("v1,")
    assert right not in str(caught.value)
    assert KEY.decode() not in str(caught.value)


@pytest.mark.parametrize("name", ["webhook-id", "webhook-timestamp", "webhook-signature"])
def test_what_is_missing_is_named(name: str) -> None:
    headers = {key: value for key, value in signed(b"{}").items() if key != name}
    with pytest.raises(ForgedError, match=name):
        proven_delivery(STANDARD, headers, b"{}", [KEY], NOW)


@pytest.mark.parametrize("apart", [-WINDOW - 2, WINDOW + 2])
def test_what_is_not_of_now_is_refused(apart: float) -> None:
    with pytest.raises(ForgedError, match="from now"):
        proven_delivery(STANDARD, signed(b"{}", at=NOW + apart), b"{}", [KEY], NOW)
    assert proven_delivery(STANDARD, signed(b"{}", at=NOW + apart * 0.9), b"{}", [KEY], NOW)


@given(st.dictionaries(st.sampled_from(["webhook-id", "webhook-timestamp", "webhook-signature"]), st.text()))
def test_no_header_breaks_it(headers: dict[str, str]) -> None:
    with pytest.raises(ForgedError):
        proven_delivery(STANDARD, headers, b"{}", [KEY], NOW)
