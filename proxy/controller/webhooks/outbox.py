"""Webhooks: takes events from the store's outbox and delivers each at least once.

The transaction that saves a rollout's new state also writes one outbox row per subscribed endpoint, so an event
exists exactly when the change it tells of does. This module only reads those rows, tries, and writes back what
happened; what an answer means and when to try again is decided in `controller.webhooks.policy`.

Invariants
- A task for each queue: a receiver that hangs or is dead delays nobody else's events, and never the loop (every attempt
  has a deadline; answers are read only for the connection's sake, up to a bound).
- While the store takes no writes nothing is sent twice because of that: an attempt is told to it before the next one.
- A row leaves the queue only by a 2xx, by a 410, by the end of its day, or with its endpoint, which the owner takes out
  of the file; a crash between an attempt and its record repeats the attempt with the same `webhook-id`.
- A 410 ends a subscription until the owner changes it in the file, or takes it out and puts it back.
- An endpoint has two queues, one for what is urgent (`policy.URGENT`) and one for the rest: neither a backlog,
  nor an attempt that hangs, nor a receiver that asked for silence holds up a rollback. In each, new events go first.
  One that wants its events in order (a model registry) has one queue, and an event waits for all before it.
- Whatever breaks, an attempt is followed by a pause: an exception that nobody expected is a failed attempt.
- No secret is logged or shown: endpoints are known by the host in their URL and a short digest of the rest.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Protocol

from proxy.config import Config
from proxy.controller.webhooks.endpoints import DeliveryEndpoint, EndpointJson, Post, WebhookEndpoint, shown_url
from proxy.controller.webhooks.policy import AttemptAnswer, AttemptResult, Step, WebhookEvent
from proxy.controller.webhooks.posting import Poster
from proxy.errors import StoreError
from proxy.logs import event, unexpected
from proxy.rfc3339 import rfc3339

log = logging.getLogger("understudy.webhooks")

RELOAD_LOOK = 1.0  # how soon a reload of the configuration is noticed
STORE_LOOK = 5.0  # how soon a store that failed is asked again
IDLE_LOOK = 30.0  # an endpoint with nothing due looks at the store this often even if nobody woke it


@dataclass(frozen=True, slots=True)
class Delivery:
    """One row of the outbox: an event on its way to one endpoint. `attempts` so far, `due` epoch seconds."""

    event: WebhookEvent
    endpoint: str
    attempts: int
    due: float


class Outbox(Protocol):
    """What webhooks need of the store; all of it may raise `StoreError`. An endpoint is named by its configured URL.

    The transaction that saves a change writes a row (`policy.Event`, endpoint, 0 attempts, due at once) for each
    configured endpoint that subscribes to the event and has not ended.
    """

    async def next_delivery(self, endpoint: str, now: float, *, urgent: bool) -> Delivery | None:
        """Of the urgent rows, or of the others: of those due by `now` the one with fewest attempts, then the oldest;
        else the one due first."""

    async def first_delivery(self, endpoint: str) -> Delivery | None:
        """The oldest row that waits, whenever it is due."""

    async def record_attempt(self, delivery: Delivery, now: float, answer: str, result: str, due: float | None) -> None:
        """Write what became of an attempt: `result` a word of `policy.Result`, `due` set exactly for a retry."""

    async def end_subscription(self, endpoint: str, terms: str, now: float) -> None:
        """Remember that `endpoint` answered 410: its waiting rows end, and no new ones are written for it."""

    async def keep_endpoints(self, terms: Mapping[str, str], now: float) -> Mapping[str, int]:
        """The endpoints that are configured now, with their terms: what waits for others ends as `removed` (how many,
        by endpoint), and a 410 that was answered under other terms is forgotten."""

    async def is_ended(self, endpoint: str) -> bool:
        """Whether `endpoint` has answered 410."""

    async def delivery_counts(self, endpoint: str) -> Mapping[str, int]:
        """Rows by state: `waiting`, `delivered`, `gave_up`, `ended`, `removed`."""


class WebhookSource(Protocol):
    """The part of `interface.AdminService` that is used here."""

    @property
    def config(self) -> Config: ...
    @property
    def generation(self) -> int: ...
    @property
    def store(self) -> Outbox: ...
    @property
    def outbox_added(self) -> asyncio.Event: ...


_LEVELS = {
    AttemptResult.DELIVERED: logging.INFO,
    AttemptResult.RETRY: logging.WARNING,
    AttemptResult.GAVE_UP: logging.ERROR,
    AttemptResult.ENDED: logging.WARNING,
}


async def _set_within(flag: asyncio.Event, seconds: float) -> None:
    """Wait for `flag`, at most `seconds`. (`asyncio.wait_for` can swallow a cancellation before Python 3.12.)"""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await flag.wait()


@dataclass(frozen=True, slots=True)
class _Attempt:
    """One attempt that was made, at epoch seconds `now`, and what follows from its answer."""

    delivery: Delivery
    endpoint: DeliveryEndpoint
    now: float
    answer: AttemptAnswer
    step: Step


@dataclass(slots=True)
class _Receiver:
    """The running state of one endpoint, as it is shown."""

    endpoint: DeliveryEndpoint
    hold_until: float = 0.0  # it asked for silence until then; what is urgent does not wait for that
    failures: int = 0  # in a row
    last_answer: str = ""
    last_attempt: float | None = None


@dataclass(slots=True)
class _Queue:
    """What is urgent for a receiver, or the rest; `None`: all of it, in order. `made` is an attempt that the store does
    not know of yet."""

    to: _Receiver
    urgent: bool | None
    made: _Attempt | None = None
    wake: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def hold_until(self) -> float:
        """When the next attempt may be made, at the earliest."""
        return 0.0 if self.urgent else self.to.hold_until


def webhook_endpoints(config: Config) -> list[DeliveryEndpoint]:
    """The receivers of webhooks that a configuration names."""
    return [WebhookEndpoint.of(webhook) for webhook in config.webhooks]


class Sender:
    """Delivers the outbox of `service.store` to the endpoints of `service.config`.

    `start()` needs a running loop. `post`, `clock` (epoch seconds) and `draw` (0..1) are injected by tests.
    """

    def __init__(
        self,
        service: WebhookSource,
        *,
        post: Post | None = None,
        clock: Callable[[], float] = time.time,
        draw: Callable[[], float] = random.random,
        endpoints: Callable[[Config], Sequence[DeliveryEndpoint]] = webhook_endpoints,
    ) -> None:
        self._service, self._clock, self._draw, self._endpoints = service, clock, draw, endpoints
        self._poster = Poster()
        self._post = post or self._poster
        self._generation = -1
        self._receivers: dict[str, _Receiver] = {}
        self._queues: dict[str, tuple[_Queue, ...]] = {}
        self._tasks: dict[str, tuple[asyncio.Task[None], ...]] = {}
        self._main: asyncio.Task[None] | None = None
        self.counts: Counter[tuple[str, str]] = Counter()
        """Attempts by (event type, `policy.Result`) since this process started, for the metric."""

    def start(self) -> None:
        """Begin to deliver, in tasks of the running loop."""
        self._main = asyncio.create_task(self._watch(), name="webhooks")

    async def stop(self) -> None:
        """Stop delivering; attempts under way are abandoned, and made again by the next process."""
        tasks = [task for pair in self._tasks.values() for task in pair]
        tasks += [self._main] if self._main is not None else []
        self._tasks.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._poster.close()

    async def state(self) -> list[EndpointJson]:
        """Each endpoint's delivery state, for the API; no secrets. Raises `StoreError`."""
        return [await self._state_of(receiver) for receiver in list(self._receivers.values())]

    async def _watch(self) -> None:
        """Follow reloads and pass on the word that something was added."""
        added, kept = self._service.outbox_added, False
        while True:
            try:
                if self._service.generation != self._generation:
                    self._generation, kept = self._service.generation, False
                    self._configure(self._endpoints(self._service.config))
                kept = kept or await self._keep()
            except Exception:  # the endpoints that there are go on
                unexpected(log, "webhook.reload_broke")
            await _set_within(added, RELOAD_LOOK)
            if added.is_set():
                added.clear()
                self._wake()

    def _wake(self) -> None:
        for queues in self._queues.values():
            for queue in queues:
                queue.wake.set()

    async def _keep(self) -> bool:
        """Tell the store which endpoints there are; whether it took it."""
        try:
            terms = {url: receiver.endpoint.terms for url, receiver in self._receivers.items()}
            removed = await self._service.store.keep_endpoints(terms, self._clock())
        except StoreError as error:
            event(log, "webhook.outbox_failed", logging.WARNING, detail=str(error))
            return False
        for url, rows in removed.items():
            shown = shown_url(url) if "://" in url else url
            event(log, "webhook.removed", logging.WARNING, url=shown, undelivered=rows)
        self._wake()
        return True

    def _configure(self, endpoints: Sequence[DeliveryEndpoint]) -> None:
        """New endpoints start, removed ones stop, kept ones keep their running state."""
        wanted = {endpoint.url: endpoint for endpoint in endpoints}
        for url in self._receivers.keys() - wanted.keys():
            del self._receivers[url], self._queues[url]
            for task in self._tasks.pop(url):
                task.cancel()
        for url, endpoint in wanted.items():
            if url in self._receivers:
                self._receivers[url].endpoint = endpoint
                continue
            to = self._receivers[url] = _Receiver(endpoint)
            kinds = (None,) if endpoint.in_order else (True, False)
            queues = self._queues[url] = tuple(_Queue(to, urgent) for urgent in kinds)
            name = f"webhook {endpoint.shown}"
            self._tasks[url] = tuple(asyncio.create_task(self._serve(queue), name=name) for queue in queues)

    # --- one queue ---

    async def _serve(self, queue: _Queue) -> None:
        while True:
            queue.wake.clear()
            pause = IDLE_LOOK
            try:
                await self._record(queue)
                delivery = await self._next(queue)
                if delivery is not None:
                    pause = max(delivery.due, queue.hold_until) - self._clock()
                    if pause <= 0:
                        await self._attempt(queue, delivery)
                        continue
            except StoreError as error:
                pause = STORE_LOOK
                event(log, "webhook.outbox_failed", logging.WARNING, detail=str(error))
            except Exception:  # a bug must not end an endpoint's deliveries for good, and must not be hidden either
                pause = STORE_LOOK
                unexpected(log, "webhook.queue_broke", url=queue.to.endpoint.shown)
            await _set_within(queue.wake, min(pause, IDLE_LOOK))

    async def _next(self, queue: _Queue) -> Delivery | None:
        url, store = queue.to.endpoint.url, self._service.store
        if await store.is_ended(url):
            return None
        if queue.urgent is None:
            return await store.first_delivery(url)
        return await store.next_delivery(url, self._clock(), urgent=queue.urgent)

    async def _attempt(self, queue: _Queue, delivery: Delivery) -> None:
        to, told = queue.to, delivery.event
        endpoint = to.endpoint
        answer = await self._sent(endpoint, told)
        now = self._clock()
        step = endpoint.judge(answer, delivery.attempts + 1, told, now, self._draw())
        self.counts[told.type, step.result] += 1
        to.last_attempt, to.last_answer = now, answer.words
        to.failures = 0 if step.result is AttemptResult.DELIVERED else to.failures + 1
        if step.hold and step.at is not None:
            to.hold_until = step.at
        queue.made = _Attempt(delivery, endpoint, now, answer, step)
        await self._record(queue)

    async def _sent(self, endpoint: DeliveryEndpoint, told: WebhookEvent) -> AttemptAnswer:
        """What an attempt met. One that breaks in here failed like any other: it is tried again after a pause."""
        try:
            return await endpoint.deliver(told, self._clock(), self._post)
        except Exception as error:
            unexpected(log, "webhook.attempt_broke", url=endpoint.shown, type=told.type, id=told.id)
            return AttemptAnswer(0, error=f"internal error: {type(error).__name__}")

    async def _record(self, queue: _Queue) -> None:
        """Tell the store of the attempt that was made. Until it takes that, nothing more is sent to this endpoint: it
        would be the same event again, as often as the disk fails."""
        made = queue.made
        if made is None:
            return
        delivery, answer, step, store = made.delivery, made.answer, made.step, self._service.store
        await store.record_attempt(delivery, made.now, answer.words, step.result, step.at)
        queue.made = None
        event(
            log,
            f"webhook.{step.result}",
            _LEVELS[step.result],
            type=delivery.event.type,
            id=delivery.event.id,
            url=made.endpoint.shown,
            attempt=delivery.attempts + 1,
            answer=answer.words,
            again_in_seconds=None if step.at is None else round(step.at - made.now, 1),
        )
        if (
            step.result is AttemptResult.ENDED and queue.to.endpoint == made.endpoint
        ):  # what was changed meanwhile begins anew
            await store.end_subscription(made.endpoint.url, made.endpoint.terms, made.now)

    async def _state_of(self, receiver: _Receiver) -> EndpointJson:
        endpoint, store = receiver.endpoint, self._service.store
        return {
            "url": endpoint.shown,
            "events": sorted(endpoint.events),
            "template": endpoint.template,
            "signed": endpoint.signed,
            "ended": await store.is_ended(endpoint.url),
            "deliveries": dict(await store.delivery_counts(endpoint.url)),
            "failures_in_a_row": receiver.failures,
            "last_attempt": None if receiver.last_attempt is None else rfc3339(receiver.last_attempt),
            "last_answer": receiver.last_answer or None,
            "held_until": rfc3339(receiver.hold_until) if receiver.hold_until > self._clock() else None,
        }
