"""Promise: whatever a receiver answers, an event is delivered, tried again in time, or ended, and a signature that any
Standard Webhooks library accepts proves where it came from."""

from __future__ import annotations

import base64
import math
from datetime import UTC, datetime

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from proxy.config.signing import signing_key
from proxy.controller.webhooks.policy import (
    GIVE_UP_AFTER,
    AttemptAnswer,
    AttemptResult,
    WebhookEvent,
    alertmanager,
    asked_pause,
    body,
    headers,
    judge,
    pause,
    standard,
)

EVENT = WebhookEvent(
    "evt_1",
    "rollout.rolled_back",
    1_700_000_000.0,
    {
        "rollout": "credit/credit-v2",
        "route": "credit",
        "live": "credit-v1",
        "candidate": "credit-v2",
        "version": "7",
        "findings": [
            {"verdict": "inconclusive", "reason": "not this"},
            {"verdict": "fail", "reason": "4 % disagree, limit 2 %."},
        ],
        "console_url": "http://127.0.0.1:9090/#/credit/credit-v2",
    },
)
OLD = "whsec_" + base64.b64encode(b"old-secret-0123456789abcdef").decode()
NEW = "whsec_" + base64.b64encode(b"new-secret-0123456789abcdef").decode()


def now() -> float:
    """The receivers' library insists on the wall clock."""
    return datetime.now(UTC).timestamp()


# --- signature -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("known", [OLD, NEW])
def test_a_receiver_that_knows_either_secret_accepts(known: str) -> None:
    sent = body(EVENT, "standard")
    head = headers(EVENT, (signing_key(NEW), signing_key(OLD)), now(), sent)
    assert Webhook(known).verify(sent, head)["type"] == "rollout.rolled_back"


def test_the_first_secret_signs_first() -> None:
    sent = body(EVENT, "standard")
    both = headers(EVENT, (signing_key(NEW), signing_key(OLD)), 5.0, sent)["webhook-signature"].split(" ")
    alone = headers(EVENT, (signing_key(NEW),), 5.0, sent)["webhook-signature"]
    assert both[0] == alone
    assert len(both) == 2


def test_a_receiver_with_another_secret_or_another_body_refuses() -> None:
    sent = body(EVENT, "standard")
    head = headers(EVENT, (signing_key(NEW),), now(), sent)
    with pytest.raises(WebhookVerificationError):
        Webhook(OLD).verify(sent, head)
    with pytest.raises(WebhookVerificationError):
        Webhook(NEW).verify(sent.replace(b"fail", b"pass"), head)


def test_a_raw_secret_is_its_own_bytes() -> None:
    sent = body(EVENT, "standard")
    head = headers(EVENT, (signing_key("s3cret!"),), now(), sent)
    assert Webhook(b"s3cret!").verify(sent, head)


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_***", "whsec_a"])
def test_a_bad_secret_is_refused_without_being_repeated(secret: str) -> None:
    with pytest.raises(ValueError, match=r"secret is empty|not base64") as caught:
        signing_key(secret)
    assert "***" not in str(caught.value)


def test_the_id_is_stable_and_the_timestamp_is_the_attempts() -> None:
    first, second = (headers(EVENT, (b"k",), at, b"{}") for at in (100.9, 200.0))
    assert first["webhook-id"] == second["webhook-id"] == "evt_1"
    assert (first["webhook-timestamp"], second["webhook-timestamp"]) == ("100", "200")
    assert first["webhook-signature"] != second["webhook-signature"]


def test_without_a_secret_nothing_pretends_to_be_signed() -> None:
    assert "webhook-signature" not in headers(EVENT, (), 0.0, b"{}")


# --- what an answer means --------------------------------------------------------------------------------------------


@given(
    status=st.integers(0, 999),
    retry_after=st.text(max_size=40),
    attempts=st.integers(1, 10**6),
    age=st.floats(0, 2 * GIVE_UP_AFTER),
    draw=st.floats(0, 1),
    kind=st.sampled_from(("rollout.rolled_back", "rollout.advanced")),
)
def test_every_answer_has_one_meaning_and_a_retry_is_in_time(
    status: int, retry_after: str, attempts: int, age: float, draw: float, kind: str
) -> None:
    step = judge(AttemptAnswer(status, retry_after), attempts, WebhookEvent("e", kind, 0.0, {}), age, draw)
    assert (step.result is AttemptResult.DELIVERED) == (200 <= status < 300)
    assert (step.result is AttemptResult.ENDED) == (status == 410)
    assert (step.at is not None) == (step.result is AttemptResult.RETRY)
    if step.at is not None:
        assert age < step.at <= GIVE_UP_AFTER
    if step.result is AttemptResult.GAVE_UP:
        assert age >= GIVE_UP_AFTER


@given(wait=st.integers(1, 200_000), draw=st.floats(0, 1), status=st.sampled_from((429, 503, 500, 302)))
def test_the_receiver_is_not_asked_again_before_it_said_within_an_hour(wait: int, draw: float, status: int) -> None:
    step = judge(AttemptAnswer(status, str(wait)), 1, WebhookEvent("e", "rollout.advanced", 0.0, {}), 0.0, draw)
    assert step.at is not None
    assert min(wait, 3600) <= step.at <= 3600
    assert step.hold == (status in (429, 503)), "only a receiver that is busy silences what else there is for it"


@given(wait=st.integers(1, 200_000), draw=st.floats(0, 1), attempts=st.integers(1, 5))
def test_an_urgent_event_waits_a_minute_at_most_for_what_the_receiver_asks_for(
    wait: int, draw: float, attempts: int
) -> None:
    step = judge(AttemptAnswer(503, str(wait)), attempts, WebhookEvent("e", "rollout.rolled_back", 0.0, {}), 0.0, draw)
    assert step.at is not None
    assert min(wait, 60) <= step.at <= 60
    assert not step.hold


def test_a_receiver_that_never_answers_gets_one_last_try_when_the_day_is_over() -> None:
    time, attempts, waits = 0.0, 0, []
    while True:
        attempts += 1
        step = judge(
            AttemptAnswer(0, error="timeout"), attempts, WebhookEvent("e", "rollout.advanced", 0.0, {}), time, 1.0
        )
        if step.at is None:
            break
        waits.append(step.at - time)
        time = step.at
    assert step.result is AttemptResult.GAVE_UP
    assert time == GIVE_UP_AFTER
    assert waits[:5] == [1.0, 2.0, 4.0, 8.0, 16.0]
    assert max(waits) == 3600.0


@given(attempts=st.integers(1, 10**9), draw=st.floats(0, 1))
def test_a_pause_is_never_gone_and_never_endless(attempts: int, draw: float) -> None:
    assert 0.5 <= pause(attempts, draw) <= 3600.0


@given(st.text(max_size=60) | st.sampled_from(["Fri, 31 Dec 9999 23:59:59 GMT", "-5", "1e3", "٣", "9" * 400]))
def test_any_retry_after_is_read_or_ignored(value: str) -> None:
    asked = asked_pause(value, 1_000_000.0)
    assert asked is None or (asked >= 0 and math.isfinite(asked))


def test_a_date_in_the_past_means_now() -> None:
    assert asked_pause("Wed, 21 Oct 2015 07:28:00 GMT", 2_000_000_000.0) == 0.0


# --- bodies ----------------------------------------------------------------------------------------------------------


def test_the_standard_body_is_type_timestamp_data() -> None:
    assert standard(EVENT) == {
        "type": "rollout.rolled_back",
        "timestamp": "2023-11-14T22:13:20.000Z",
        "data": EVENT.data,
    }


def test_a_roll_back_fires_and_the_promotion_of_the_same_trial_resolves_the_same_alert() -> None:
    fired = alertmanager(EVENT)
    resolved = alertmanager(WebhookEvent("evt_2", "rollout.promoted", EVENT.time + 60, EVENT.data))
    assert (fired["status"], resolved["status"]) == ("firing", "resolved")
    assert fired["alerts"][0]["fingerprint"] == resolved["alerts"][0]["fingerprint"]
    assert fired["commonAnnotations"]["description"] == "4 % disagree, limit 2 %."
    assert resolved["alerts"][0]["endsAt"] == "2023-11-14T22:14:20.000Z"
    assert all(isinstance(v, str) for v in fired["commonLabels"].values())


def test_the_template_chooses_the_body() -> None:
    assert orjson.loads(body(EVENT, "alertmanager"))["version"] == "4"
    assert orjson.loads(body(EVENT, "standard"))["type"] == EVENT.type
