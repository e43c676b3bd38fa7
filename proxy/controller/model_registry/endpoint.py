"""One model of a registry as the outbox's sender sees it: events become tags, aliases, or a request of one's own.

Invariants
- Events of a model are told in their order, and each until the registry has taken it: for `GIVE_UP_AFTER` seconds,
  through whatever outage. What can never be taken (the version was deleted) is given up at once and holds nothing up.
- Whatever was interrupted is done again from the start, with the same end.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import orjson

from proxy.config import Config
from proxy.config.registry import HttpRegistryConfig, MlflowConfig, RegistryConfig
from proxy.config.signing import signing_key
from proxy.controller.model_registry.mlflow_client import MlflowClient, RegistryError
from proxy.controller.model_registry.writing import (
    REPLACED,
    RegistryUpdate,
    fill_template,
    filled_url,
    placeholders,
    update_of,
)
from proxy.controller.webhooks.endpoints import DeliveryEndpoint, Post, digest
from proxy.controller.webhooks.outbox import webhook_endpoints
from proxy.controller.webhooks.policy import AttemptAnswer, AttemptResult, Step, WebhookEvent, headers, pause
from proxy.logs import event as logged
from proxy.model import Plan

log = logging.getLogger("understudy.registry")

GIVE_UP_AFTER = 7 * 86400.0
"""An event older than this (seconds) is not tried again."""
LONGEST_PAUSE = 30.0
"""Seconds between two attempts at most: a registry that is back is told soon."""
FINAL = 410
"""What an attempt gives whose event can never be taken."""
EVENTS = frozenset(
    f"rollout.{word}" for word in ("began", "advanced", "promoted", "rolled_back", "stalled", "completed", "removed")
)


class AliasWriter(Protocol):
    """What is needed of MLflow's REST API (`mlflow_client.MlflowClient`); all of it may raise `RegistryError`."""

    async def version_of_alias(self, model: str, alias: str) -> str: ...
    async def tag(self, model: str, version: str, key: str) -> str: ...
    async def set_tag(self, model: str, version: str, key: str, value: str) -> None: ...
    async def set_alias(self, model: str, alias: str, version: str) -> None: ...


def endpoint_url(model: str) -> str:
    """What the outbox calls a model of the registry."""
    return f"registry:{model}"


async def write(update: RegistryUpdate, alias: str, mlflow: AliasWriter) -> None:
    """Set the tags and move the alias; may be done again from the start. Raises `RegistryError`."""
    for one in update.tags:
        try:
            for key, value in one.tags.items():
                await mlflow.set_tag(update.model, one.version, key, value)
        except RegistryError as error:
            if one.version == update.version or not error.is_final:
                raise  # else the version in whose place this one is tried was deleted since
    if not alias or not update.alias:
        return
    now = await mlflow.version_of_alias(update.model, alias)
    if update.alias == "move" and now != update.version:
        await mlflow.set_tag(update.model, update.version, REPLACED, now or "none")
        await mlflow.set_alias(update.model, alias, update.version)
    elif update.alias == "back" and now == update.version:
        before = await mlflow.tag(update.model, update.version, REPLACED)
        if before:  # else nobody moved it here on our word
            await mlflow.set_alias(update.model, alias, "" if before == "none" else before)


@dataclass(frozen=True, slots=True)
class RegistryEndpoint:
    """One model of the registry."""

    model: str
    alias: str
    registry: RegistryConfig = field(repr=False)
    client: Callable[[MlflowConfig], MlflowClient] = field(default=MlflowClient, repr=False)

    events = EVENTS
    in_order = True

    @property
    def url(self) -> str:
        """What the outbox calls it."""
        return endpoint_url(self.model)

    @property
    def shown(self) -> str:
        """The same: it holds no secret."""
        return self.url

    @property
    def template(self) -> str:
        """Which registry."""
        return self.registry.name

    @property
    def signed(self) -> bool:
        """Whether what is sent is signed: MLflow goes by its token."""
        return self.registry.http is not None

    @property
    def terms(self) -> str:
        """A digest of what the owner wrote of the registry and of this model."""
        return digest(repr((self.alias, self.registry.name)).encode())

    async def deliver(self, event: WebhookEvent, now: float, post: Post) -> AttemptAnswer:
        """Tell the registry what became of a version, in one attempt."""
        update = update_of(event)
        if update is None or update.model != self.model:
            return AttemptAnswer(FINAL, error="is about no version of this model")
        if self.registry.mlflow is not None:
            return await self._told_mlflow(update, self.registry.mlflow)
        assert self.registry.http is not None
        return await self._posted(event, update, self.registry.http, now, post)

    async def _told_mlflow(self, update: RegistryUpdate, mlflow: MlflowConfig) -> AttemptAnswer:
        client = self.client(mlflow)
        try:
            await write(update, self.alias, client)
        except RegistryError as error:
            logged(log, "registry.not_told", logging.WARNING, model=self.model, error=str(error))
            words = error.code or (str(error.status) if error.status else "no answer")
            return AttemptAnswer(FINAL if error.is_final else error.status, error=words)
        finally:
            await client.close()
        return AttemptAnswer(200)

    async def _posted(
        self, event: WebhookEvent, update: RegistryUpdate, http: HttpRegistryConfig, now: float, post: Post
    ) -> AttemptAnswer:
        """A request for each version that the event speaks of; the first that is not taken is the attempt's answer."""
        request, keys = http.write, tuple(signing_key(secret.get_secret_value()) for secret in http.secrets)
        if request is None:
            return AttemptAnswer(FINAL, error="nothing is written to this registry")
        answer = AttemptAnswer(200)
        for number, one in enumerate(update.tags):
            values = placeholders(event, update, one, self.alias)
            body = event.data if request.body is None else fill_template(request.body, values)
            content = orjson.dumps(body)
            told = WebhookEvent(f"{event.id}.{number}" if number else event.id, event.type, event.time, event.data)
            head = headers(told, keys, now, content) | request.headers
            answer = await post(filled_url(request.url, values), head, content, http.proxy, request.method)
            if not 200 <= answer.status < 300:
                return answer
        return answer

    def judge(self, answer: AttemptAnswer, attempts: int, event: WebhookEvent, now: float, draw: float) -> Step:
        """Again and again, with short pauses, until it is taken."""
        if 200 <= answer.status < 300:
            return Step(AttemptResult.DELIVERED)
        if answer.status == FINAL or now >= event.time + GIVE_UP_AFTER:
            return Step(AttemptResult.GAVE_UP)
        return Step(
            AttemptResult.RETRY, min(event.time + GIVE_UP_AFTER, now + min(LONGEST_PAUSE, pause(attempts, draw)))
        )


def subscribed(config: Config, event: str, plans: Iterable[Plan | None]) -> tuple[str, ...]:
    """Who gets an event about these plans, as the outbox calls them: webhooks, and the models that the plans try."""
    models = {endpoint_url(plan.lineage.model) for plan in plans if plan is not None and plan.lineage is not None}
    wanted = (one for one in delivery_endpoints(config) if event in one.events)
    return tuple(one.url for one in wanted if not one.in_order or one.url in models)


def delivery_endpoints(config: Config) -> Sequence[DeliveryEndpoint]:
    """All that a configuration's events are delivered to: webhooks, and models of its registry."""
    registry, found = config.registry, list(webhook_endpoints(config))
    if registry is not None and (registry.http is None or registry.http.write is not None):
        found += [RegistryEndpoint(name, model.promoted or "", registry) for name, model in registry.models.items()]
    return found
