"""Who gets events out of the outbox: a receiver of webhooks, or whatever else knows how to deliver one."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from typing_extensions import TypedDict
from yarl import URL

from proxy.config import Webhook
from proxy.config.signing import signing_key
from proxy.controller.webhooks.policy import AttemptAnswer, Step, WebhookEvent, body, headers, judge
from proxy.json_types import Timestamp, Whole


class EndpointJson(TypedDict):
    """The delivery state of an endpoint, without secrets."""

    url: str
    events: list[str]
    template: str
    signed: bool
    ended: bool
    """It answered 410."""
    deliveries: dict[str, Whole]
    """How many, by state."""
    failures_in_a_row: Whole
    last_attempt: Timestamp | None
    last_answer: str | None
    held_until: Timestamp | None


class Post(Protocol):
    """Sends one attempt, as `posting.Poster` does."""

    def __call__(
        self, url: str, head: Mapping[str, str], content: bytes, proxy: str, method: str = "POST"
    ) -> Awaitable[AttemptAnswer]: ...


class DeliveryEndpoint(Protocol):
    """One that events are delivered to, as configured."""

    @property
    def url(self) -> str:
        """What the outbox calls it; it may hold a secret."""

    @property
    def shown(self) -> str:
        """The same without what may be secret in it."""

    @property
    def events(self) -> frozenset[str]:
        """Types of the events that it gets."""

    @property
    def template(self) -> str:
        """In which form."""

    @property
    def signed(self) -> bool:
        """Whether it can see that they come from here."""

    @property
    def in_order(self) -> bool:
        """Whether no event may pass an earlier one; else what is urgent does, and what has failed is passed."""

    @property
    def terms(self) -> str:
        """A digest of all that the owner wrote of it but the URL."""

    async def deliver(self, event: WebhookEvent, now: float, post: Post) -> AttemptAnswer:
        """Make one attempt, which ends within a deadline. `now` in epoch seconds."""

    def judge(self, answer: AttemptAnswer, attempts: int, event: WebhookEvent, now: float, draw: float) -> Step:
        """What to do after attempt number `attempts` (from 1); `draw` in 0..1."""


@dataclass(frozen=True, slots=True)
class WebhookEndpoint:
    """One receiver of webhooks. `keys` sign in order."""

    url: str = field(repr=False)  # its path or query may be a credential
    events: frozenset[str]
    keys: tuple[bytes, ...] = field(default=(), repr=False)
    template: str = "standard"
    proxy: str = field(default="environment", repr=False)

    @classmethod
    def of(cls, webhook: Webhook) -> WebhookEndpoint:
        """The endpoint of a configured webhook; raises `ValueError` for a secret that cannot be a key."""
        keys = tuple(signing_key(secret.get_secret_value()) for secret in webhook.secrets)
        return cls(webhook.url, frozenset(webhook.events), keys, webhook.template, webhook.proxy)

    @property
    def shown(self) -> str:
        """Its URL without what may be secret."""
        return shown_url(self.url)

    @property
    def signed(self) -> bool:
        """Whether there is a key."""
        return bool(self.keys)

    @property
    def in_order(self) -> bool:
        """No: a rollback waits for no other event."""
        return False

    @property
    def terms(self) -> str:
        """A digest of all that the owner wrote of it but the URL."""
        return digest(repr((sorted(self.events), self.keys, self.template, self.proxy)).encode())

    async def deliver(self, event: WebhookEvent, now: float, post: Post) -> AttemptAnswer:
        """Post it, signed."""
        content = body(event, self.template)
        return await post(self.url, headers(event, self.keys, now, content, self.template), content, self.proxy)

    def judge(self, answer: AttemptAnswer, attempts: int, event: WebhookEvent, now: float, draw: float) -> Step:
        """As Standard Webhooks recommends (`policy.judge`)."""
        return judge(answer, attempts, event, now, draw)


def shown_url(url: str) -> str:
    """A URL without what may be secret in it: user, password, path (chat systems put their token there), query,
    fragment. Six digits tell one receiver on a host from another; they are too few to give a token away.

    >>> shown_url("https://me:pw@hooks.example:8443/services/T0/abc?token=x")
    'https://hooks.example:8443/…d397b7'
    >>> shown_url("http://hooks.example/")
    'http://hooks.example/'
    """
    whole = URL(url)
    rest = whole.raw_path_qs
    return f"{whole.origin()}/" + ("" if rest == "/" else f"…{digest(rest.encode())}")


def digest(said: bytes) -> str:
    """So short that it gives no secret away."""
    return hashlib.blake2b(said, digest_size=3).hexdigest()
