"""Promise: every event in the outbox reaches every subscribed receiver at least once or is given up after its day,
and no receiver delays another or loses an event."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping

import pytest
from pydantic import SecretStr

from proxy import config, logs
from proxy.controller.webhooks import outbox
from proxy.controller.webhooks.outbox import Sender, WebhookEndpoint, shown_url
from proxy.controller.webhooks.policy import AttemptAnswer, WebhookEvent
from tests.controller.outbox import SECRET, A, B, FakeController, settings
from tests.controller.webhooks.senders import Clock, Net, answering, passed_on, sending


@pytest.fixture(autouse=True)
def _short_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    # The injected clock jumps while the loop's does not: look again often enough to notice.
    monkeypatch.setattr(outbox, "IDLE_LOOK", 0.01)
    monkeypatch.setattr(outbox, "RELOAD_LOOK", 0.01)
    monkeypatch.setattr(outbox, "STORE_LOOK", 0.01)


async def test_an_event_is_delivered_once_and_recorded() -> None:
    controller = FakeController(A)
    async with sending(controller, answering(AttemptAnswer(204))) as sender:
        controller.tell("e1", A)
        await controller.store.until(lambda: controller.store.state(A, "e1") == "delivered")
        assert sender.counts == {("rollout.rolled_back", "delivered"): 1}
        assert (await sender.state())[0]["deliveries"]["delivered"] == 1


async def test_a_hung_receiver_holds_up_nobody_else() -> None:
    controller = FakeController(A, B)

    async def script(url: str, event_id: str) -> AttemptAnswer:
        if url == A:
            await asyncio.Event().wait()
        return AttemptAnswer(200)

    async with sending(controller, script):
        for name in ("e1", "e2", "e3"):
            controller.tell(name, A, B)
        await controller.store.until(
            lambda: all(controller.store.state(B, e) == "delivered" for e in ("e1", "e2", "e3"))
        )
        assert controller.store.answers(A, "e1") == []


@pytest.mark.parametrize(
    "bad",
    [
        AttemptAnswer(500),
        AttemptAnswer(302),
        AttemptAnswer(404),
        AttemptAnswer(0, error="timeout"),
        AttemptAnswer(429, "7"),
    ],
)
async def test_a_failed_attempt_is_made_again_when_due_and_not_before(bad: AttemptAnswer) -> None:
    controller, clock = FakeController(A), Clock()
    async with sending(controller, answering(bad, AttemptAnswer(200)), clock):
        controller.tell("e1", A, time=clock.now)
        await controller.store.until(lambda: len(controller.store.answers(A, "e1")) == 1)
        due = controller.store.rows[A, "e1"]["delivery"].due
        assert due == clock.now + (7.0 if bad.retry_after else 0.5)
        clock.now = due - 0.1
        await asyncio.sleep(0)
        assert controller.store.state(A, "e1") == "waiting"
        clock.now = due
        await controller.store.until(lambda: controller.store.state(A, "e1") == "delivered")
        assert controller.store.answers(A, "e1") == [bad.words, "200"]


async def test_retry_after_silences_the_endpoint_for_new_events_too_but_not_for_a_roll_back() -> None:
    controller, clock = FakeController(A), Clock()

    async def script(url: str, event_id: str) -> AttemptAnswer:
        return AttemptAnswer(503, "86400") if event_id == "e1" and clock.now < 1060 else AttemptAnswer(200)

    async with sending(controller, script, clock) as sender:
        controller.tell("e1", A, time=clock.now, kind="rollout.advanced")
        await controller.store.until(lambda: len(controller.store.answers(A, "e1")) == 1)
        assert (await sender.state())[0]["held_until"] == "1970-01-01T01:16:40.000Z", "an hour, not the day asked for"
        controller.tell("e2", A, time=clock.now, kind="rollout.promoted")
        controller.tell("out", A, time=clock.now)
        await controller.store.until(lambda: controller.store.state(A, "out") == "delivered")
        assert controller.store.answers(A, "e2") == []
        clock.now += 3600
        await controller.store.until(lambda: controller.store.state(A, "e2") == "delivered")


async def test_a_roll_back_waits_neither_for_an_attempt_that_hangs_nor_for_a_backlog() -> None:
    controller = FakeController(A)

    async def script(url: str, event_id: str) -> AttemptAnswer:
        if event_id.startswith("slow"):
            await asyncio.Event().wait()
        return AttemptAnswer(200)

    async with sending(controller, script):
        for number in range(20):
            controller.tell(f"slow{number}", A, time=1.0, kind="rollout.advanced")
        await passed_on(controller)
        controller.tell("out", A, time=900.0)
        await controller.store.until(lambda: controller.store.state(A, "out") == "delivered")
    assert all(controller.store.answers(A, f"slow{number}") == [] for number in range(20))


class Surprising(Net):
    """Breaks as no receiver can, as often as it is told to."""

    def __init__(self, times: int) -> None:
        super().__init__(answering(AttemptAnswer(200)))
        self.left, self.made = times, 0

    async def __call__(self, url: str, head: Mapping[str, str], content: bytes, proxy: str) -> AttemptAnswer:
        self.made += 1
        self.left -= 1
        if self.left >= 0:
            raise RuntimeError("nobody reckoned with this")
        return await super().__call__(url, head, content, proxy)


async def test_an_unexpected_exception_is_a_failed_attempt_with_a_pause_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    controller, clock, net = FakeController(A), Clock(), Surprising(2)
    sender = Sender(controller, post=net, clock=clock, draw=lambda: 0.0)
    before = logs.UNEXPECTED["webhook.attempt_broke"]
    sender.start()
    try:
        controller.tell("e1", A, time=clock.now)
        for made, pause in ((1, 0.5), (2, 1.0)):
            await controller.store.until(lambda made=made: len(controller.store.answers(A, "e1")) == made)  # type: ignore[misc]
            for _ in range(50):  # looks at the queue go on meanwhile; the clock stands still
                await asyncio.sleep(0.001)
            assert net.made == made
            assert controller.store.rows[A, "e1"]["delivery"].due == clock.now + pause
            clock.now += pause
        await controller.store.until(lambda: controller.store.state(A, "e1") == "delivered")
    finally:
        await sender.stop()
    assert controller.store.answers(A, "e1") == ["internal error: RuntimeError"] * 2 + ["200"]
    assert sender.counts == {("rollout.rolled_back", "retry"): 2, ("rollout.rolled_back", "delivered"): 1}
    told = [r for r in caplog.records if r.message == "webhook.attempt_broke"]
    assert len(told) == logs.UNEXPECTED["webhook.attempt_broke"] - before == 2
    assert all(r.exc_info and r.__dict__["fields"]["url"] == shown_url(A) for r in told)


async def test_an_outbox_that_breaks_is_asked_again_after_a_pause(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "STORE_LOOK", 60.0)
    monkeypatch.setattr(outbox, "IDLE_LOOK", 60.0)
    controller = FakeController(A)
    whole = controller.store.next_delivery

    async def broken(endpoint: str, now: float, *, urgent: bool) -> outbox.Delivery | None:
        raise ZeroDivisionError

    controller.store.next_delivery = broken  # type: ignore[method-assign]
    async with sending(controller, answering(AttemptAnswer(200))):
        for _ in range(50):
            await asyncio.sleep(0.001)
        told = [r for r in caplog.records if r.message == "webhook.queue_broke"]
        assert 1 <= len(told) <= 4, "each of the two queues once, and once more when the endpoints had been kept"
        controller.store.next_delivery = whole  # type: ignore[method-assign]
        controller.tell("e1", A)
        await controller.store.until(lambda: controller.store.state(A, "e1") == "delivered")


async def test_a_new_event_goes_before_a_backlog_of_retries() -> None:
    controller, clock = FakeController(A), Clock()
    order: list[str] = []

    async def script(url: str, event_id: str) -> AttemptAnswer:
        order.append(event_id)
        return AttemptAnswer(200 if clock.now > 2000 else 500)

    async with sending(controller, script, clock):
        controller.tell("old1", A, time=1.0)
        controller.tell("old2", A, time=2.0)
        await controller.store.until(lambda: bool(controller.store.answers(A, "old2")))
        order.clear()
        controller.store.add(A, WebhookEvent("new", "rollout.rolled_back", 2999.0, {}))
        clock.now = 3000.0
        await controller.store.until(lambda: controller.store.state(A, "old2") == "delivered")
    assert order[0] == "new"


async def test_410_ends_the_subscription_and_only_that_one() -> None:
    controller = FakeController(A, B)

    async def script(url: str, event_id: str) -> AttemptAnswer:
        return AttemptAnswer(410 if url == A else 200)

    async with sending(controller, script) as sender:
        controller.tell("e1", A, B)
        await controller.store.until(lambda: A in controller.store.ended)
        controller.tell("e2", A, B)
        await controller.store.until(lambda: controller.store.state(B, "e2") == "delivered")
        assert controller.store.answers(A, "e2") == []
        assert [s["ended"] for s in await sender.state()] == [True, False]


async def test_an_ended_subscription_begins_anew_when_the_owner_changes_it_or_puts_it_back() -> None:
    controller = FakeController(A)
    said = {"gone": True}

    async def script(url: str, event_id: str) -> AttemptAnswer:
        return AttemptAnswer(410 if said["gone"] else 200)

    async def reload(*hooks: config.Webhook) -> None:
        controller.config = config.Config.model_construct(webhooks=hooks)
        controller.generation += 1
        controller.outbox_added.set()
        await passed_on(controller)

    (first,) = controller.config.webhooks
    async with sending(controller, script) as sender:
        controller.tell("e1", A)
        await controller.store.until(lambda: A in controller.store.ended)
        await reload(first)
        assert [s["ended"] for s in await sender.state()] == [True], "a reload alone changes nothing"
        said["gone"] = False
        await reload(first.model_copy(update={"secrets": (SecretStr("another"),)}))
        await controller.store.until(lambda: not controller.store.ended)
        controller.tell("e2", A)
        await controller.store.until(lambda: controller.store.state(A, "e2") == "delivered")
        said["gone"] = True
        controller.tell("e3", A)
        await controller.store.until(lambda: A in controller.store.ended)
        await reload()
        await controller.store.until(lambda: not controller.store.ended)
        said["gone"] = False
        await reload(first)
        controller.tell("e4", A)
        await controller.store.until(lambda: controller.store.state(A, "e4") == "delivered")


async def test_what_waits_for_an_endpoint_that_is_taken_out_ends_and_is_told(caplog: pytest.LogCaptureFixture) -> None:
    controller = FakeController(A, B)

    async def script(url: str, event_id: str) -> AttemptAnswer:
        return AttemptAnswer(500)

    async with sending(controller, script):
        controller.tell("e1", A, B)
        await controller.store.until(
            lambda: bool(controller.store.answers(A, "e1") and controller.store.answers(B, "e1"))
        )
        controller.store.broken = True  # it is tried again until the store takes it
        controller.config = settings(B)
        controller.generation += 1
        controller.outbox_added.set()
        await passed_on(controller)
        controller.store.broken = False
        await controller.store.until(lambda: controller.store.state(A, "e1") == "removed")
        assert controller.store.state(B, "e1") == "waiting"
    told = [r.__dict__["fields"] for r in caplog.records if r.message == "webhook.removed"]
    assert told == [{"url": shown_url(A), "undelivered": 1}]


def test_terms_are_all_that_the_owner_wrote_and_give_no_secret_away() -> None:
    (hook,) = settings(A).webhooks
    terms = {
        WebhookEndpoint.of(hook.model_copy(update=changed)).terms
        for changed in (
            {},
            {"secrets": (SecretStr("another"),)},
            {"events": ("rollout.stalled",)},
            {"template": "alertmanager"},
        )
    }
    assert len(terms) == 4
    assert all(len(one) == 6 for one in terms), "16 million values fit any secret that can be guessed"


async def test_after_a_day_it_is_given_up_and_said_so() -> None:
    controller, clock = FakeController(A), Clock()

    async def script(url: str, event_id: str) -> AttemptAnswer:
        clock.now += 40_000
        return AttemptAnswer(500)

    async with sending(controller, script, clock) as sender:
        controller.tell("e1", A, time=clock.now)
        await controller.store.until(lambda: bool(controller.store.answers(A, "e1")))
        clock.now += 3600
        await controller.store.until(lambda: len(controller.store.answers(A, "e1")) == 2)
        clock.now += 3600
        await controller.store.until(lambda: controller.store.state(A, "e1") == "gave_up")
        assert sender.counts["rollout.rolled_back", "gave_up"] == 1


async def test_what_was_not_sent_before_a_restart_is_sent_after_it_with_the_same_id() -> None:
    controller, seen = FakeController(A), []

    async def hang(url: str, event_id: str) -> AttemptAnswer:
        seen.append(event_id)
        started.set()
        await asyncio.Event().wait()
        return AttemptAnswer(200)

    async def fine(url: str, event_id: str) -> AttemptAnswer:
        seen.append(event_id)
        return AttemptAnswer(200)

    started = asyncio.Event()
    async with sending(controller, hang):
        controller.tell("e1", A)
        await asyncio.wait_for(started.wait(), 5)
    async with sending(controller, fine):
        await controller.store.until(lambda: controller.store.state(A, "e1") == "delivered")
    assert seen == ["e1", "e1"]


async def test_a_store_that_fails_is_asked_again() -> None:
    controller = FakeController(A)
    controller.store.broken = True
    async with sending(controller, answering(AttemptAnswer(200))):
        controller.tell("e1", A)
        await controller.store.until(lambda: controller.store.refused >= 3)
        assert controller.store.answers(A, "e1") == []
        controller.store.broken = False
        await controller.store.until(lambda: controller.store.state(A, "e1") == "delivered")


@pytest.mark.parametrize("said", [AttemptAnswer(200), AttemptAnswer(500), AttemptAnswer(410)])
async def test_a_disk_that_takes_no_writes_repeats_no_attempt(
    said: AttemptAnswer, caplog: pytest.LogCaptureFixture
) -> None:
    controller = FakeController(A)
    net = Net(answering(said))
    sender = Sender(controller, post=net, clock=Clock(), draw=lambda: 1.0)
    controller.store.full = True
    sender.start()
    controller.tell("e1", A, time=1000.0)

    async def refusals(count: int) -> None:
        async with asyncio.timeout(5):
            while sum(r.message == "webhook.outbox_failed" for r in caplog.records) < count:  # noqa: ASYNC110 - a log line
                await asyncio.sleep(0.005)

    await refusals(5)
    assert net.sent == [(A, "e1")]
    controller.store.full = False
    await controller.store.until(lambda: bool(controller.store.answers(A, "e1")))
    assert (net.sent, controller.store.answers(A, "e1")) == ([(A, "e1")], [said.words])
    await sender.stop()


async def test_a_reload_starts_new_endpoints_and_stops_removed_ones() -> None:
    controller = FakeController(A)
    async with sending(controller, answering(AttemptAnswer(200))) as sender:
        controller.tell("e1", A)
        await controller.store.until(lambda: controller.store.state(A, "e1") == "delivered")
        controller.config, controller.generation = settings(B), 2
        controller.tell("e2", A, B)
        await controller.store.until(lambda: controller.store.state(B, "e2") == "delivered")
        assert controller.store.answers(A, "e2") == []
        assert [s["url"] for s in await sender.state()] == [shown_url(B)]


def test_an_endpoint_shows_no_secret() -> None:
    endpoint = WebhookEndpoint.of(
        config.Webhook(url="https://h.example/T0/open?key=sesame", secrets=(SecretStr(SECRET),))
    )
    assert "sesame" not in repr(endpoint)
    assert "open" not in repr(endpoint)
    assert "MDEy" not in repr(endpoint)
    assert "0123" not in repr(endpoint)
    assert re.fullmatch(r"https://h\.example/…[0-9a-f]{6}", shown_url(endpoint.url))
    assert shown_url(endpoint.url) != shown_url(endpoint.url.replace("open", "other"))
