"""Hears a model registry: takes its webhooks, and asks it now and then what holds.

A webhook says that something happened; what holds now is asked of the registry itself where that is possible, so that
neither the order of webhooks nor one that was lost decides. What it says goes to the controller as a `VersionWord`.

Invariants
- Nothing comes of a webhook that is not signed with a configured secret, is older than minutes, or came before.
- A registry that is away, slow or wrong is an entry in the log, and is asked again.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Protocol

import orjson

from proxy import logs
from proxy.config import Config
from proxy.config.registry import MlflowConfig, RegisteredModelConfig, RegistryConfig, Trigger
from proxy.config.signing import signing_key
from proxy.controller.admin.interface import ActionRefusedError
from proxy.controller.admin.registry_view import HookResultJson, RegisteredModelJson, RegistryJson
from proxy.controller.model_registry.keeper import VersionKeeper
from proxy.controller.model_registry.mlflow_client import MlflowClient, RegistryError
from proxy.controller.model_registry.mlflow_words import UnreadableError, read_event, shown
from proxy.controller.model_registry.plain_words import read_plain
from proxy.controller.model_registry.signatures import MLFLOW, STANDARD, ForgedError, SignedHeaders, proven_delivery
from proxy.controller.model_registry.versions import VersionWord
from proxy.controller.model_registry.writing import filled_url
from proxy.errors import StoreError
from proxy.model.lineage import Lineage
from proxy.rfc3339 import rfc3339

log = logging.getLogger("understudy.registry")

LOOK = 1.0
"""Seconds between two looks at whether it is time to ask."""
ANSWER = 2.0
"""Seconds that an answer of the registry is waited for while a webhook waits."""


class VersionTaker(Protocol):
    """The controller, as far as it is needed here."""

    @property
    def config(self) -> Config: ...
    @property
    def generation(self) -> int: ...
    @property
    def versions(self) -> VersionKeeper: ...


class RegistryFollower:
    """Follows the registry that the configuration in force names."""

    def __init__(
        self,
        controller: VersionTaker,
        clock: Callable[[], float] = time.time,
        client: Callable[[MlflowConfig], MlflowClient] = MlflowClient,
    ) -> None:
        self._controller, self._clock, self._client = controller, clock, client
        self._asking: asyncio.Task[None] | None = None
        self._asked_at: float | None = None
        self._trouble = ""
        self.counts: Counter[tuple[str, str]] = Counter()
        """Words by where they came from (`webhook`, `poll`) and what they were, since this process started."""

    def start(self) -> None:
        """Begin to ask, in a task of the running loop."""
        self._asking = asyncio.create_task(self._keep_asking(), name="registry")

    async def stop(self) -> None:
        """Ask no more."""
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.gather(self._asking, return_exceptions=True)

    # --- webhooks ----------------------------------------------------------------------------------------------------

    async def hook(self, kind: str, headers: Mapping[str, str], body: bytes) -> HookResultJson:
        """Take a webhook of kind `mlflow` or `registry`: `{"result", "why"}`. Raises `ActionRefusedError` (400, 401,
        404) and `StoreError`; nothing has changed then."""
        registry = self._controller.config.registry
        keys, names = self._keys(registry, kind)
        if registry is None or not keys:
            raise ActionRefusedError(
                404, f"no webhook of this kind is expected: `registry.{_SECTION[kind]}` has no secret"
            )
        try:
            delivery, sent_at = proven_delivery(names, headers, body, keys, self._clock())
        except ForgedError as error:
            self.counts["webhook", "refused"] += 1
            logs.event(log, "registry.refused", logging.WARNING, kind=kind, why=str(error))
            raise ActionRefusedError(401, f"not proven to be the registry's: {error}") from None
        if self._controller.versions.has_seen(delivery):
            return self._said("webhook", "repeated")
        try:
            if kind == "mlflow":
                return await self._mlflow(registry, delivery, orjson.loads(body))
            lineage, at = read_plain(body, headers.get("content-type", ""))
            if at is None:  # the headers say whole seconds: it was said within that one, not before
                at = sent_at + 1.0
            return await self._plain(registry, delivery, at, lineage)
        except orjson.JSONDecodeError as error:
            raise ActionRefusedError(400, f"the body is not JSON: {error}") from None
        except UnreadableError as error:
            raise ActionRefusedError(400, f"the body cannot be read: {error}") from None

    def _keys(self, registry: RegistryConfig | None, kind: str) -> tuple[list[bytes], SignedHeaders]:
        """What signs, and in which headers. To MLflow a secret is text, to Standard Webhooks base64 if it says so."""
        if kind == "mlflow":
            mlflow = registry.mlflow if registry is not None else None
            return [one.get_secret_value().encode() for one in mlflow.secrets] if mlflow is not None else [], MLFLOW
        http = registry.http if registry is not None else None
        return [signing_key(one.get_secret_value()) for one in http.secrets] if http is not None else [], STANDARD

    async def _mlflow(self, registry: RegistryConfig, delivery: str, body: Any) -> HookResultJson:
        event = read_event(body)
        if event is None:
            return self._said("webhook", "ignored", "this event begins no trial")
        name, version, what, at = event
        model = registry.models.get(name)
        if model is None:
            return self._said("webhook", "ignored", f"`registry.models` has no model {shown(name)[:100]!r}")
        if what != model.when:
            return self._said("webhook", "ignored", f"a trial of {name} begins on `{model.when}`")
        assert registry.mlflow is not None
        try:
            async with asyncio.timeout(ANSWER):
                lineage = await self._current(registry.mlflow, name, model.when)
        except (RegistryError, TimeoutError) as error:
            logs.event(log, "registry.away", logging.WARNING, model=name, why=str(error) or "no answer in time")
            run = body["data"].get("run_id") if what.kind == "created" else ""
            word = VersionWord(Lineage("mlflow", name, version, shown(run)), at)
        else:
            if lineage is None:
                return self._said("webhook", "ignored", f"`{model.when}` is no version's any more")
            word = VersionWord(lineage, at, asked=True)
        return await self._taken(model, word, delivery)

    async def _plain(self, registry: RegistryConfig, delivery: str, at: float, lineage: Lineage) -> HookResultJson:
        model = registry.models.get(lineage.model)
        if model is None:
            return self._said("webhook", "ignored", f"`registry.models` has no model {shown(lineage.model)[:100]!r}")
        page = registry.http.page if registry.http is not None else None
        url = lineage.url or (filled_url(page, {"model": lineage.model, "version": lineage.version}) if page else "")
        found = Lineage("http", lineage.model, lineage.version, lineage.run, lineage.data, url)
        return await self._taken(model, VersionWord(found, at), delivery)

    async def _taken(self, model: RegisteredModelConfig, word: VersionWord, delivery: str) -> HookResultJson:
        # No word was said later than it came, whatever a clock that is ahead says: it would keep out all the next ones.
        word = replace(word, at=min(word.at, self._clock()))
        what = await self._controller.versions.name(
            model.upstream, word, standing=_stands(word, model), delivery=delivery
        )
        result, _, why = what.partition(": ")
        said = self._said("webhook", result, why)
        return {**said, "model": word.lineage.model, "version": word.lineage.version, "upstream": model.upstream}

    def _said(self, source: str, result: str, why: str = "") -> HookResultJson:
        self.counts[source, result] += 1
        return {"result": result, "why": why or None}

    # --- asking ------------------------------------------------------------------------------------------------------

    async def _keep_asking(self) -> None:
        due, generation = 0.0, -1
        while True:
            registry = self._controller.config.registry
            mlflow = registry.mlflow if registry is not None else None
            now = time.monotonic()
            if (
                registry is not None
                and mlflow is not None
                and (now >= due or generation != self._controller.generation)
            ):
                due, generation = now + mlflow.poll, self._controller.generation
                try:
                    await self._ask(registry, mlflow)
                except Exception:  # a bug must not end all asking, and must not be hidden
                    logs.unexpected(log, "registry.asking_broke")
            await asyncio.sleep(LOOK)

    async def _ask(self, registry: RegistryConfig, mlflow: MlflowConfig) -> None:
        trouble = ""
        for name, model in registry.models.items():
            try:
                lineage = await self._current(mlflow, name, model.when)
                if lineage is None:
                    continue
                word = VersionWord(lineage, 0.0, asked=True, news=False)
                what = await self._controller.versions.name(model.upstream, word, standing=_stands(word, model))
                self.counts["poll", what.partition(": ")[0]] += 1
            except (RegistryError, StoreError) as error:
                trouble = str(error)
                break  # whoever does not answer for one model does not for the next
        self._asked_at = self._asked_at if trouble else self._clock()
        if trouble and trouble != self._trouble:
            logs.event(log, "registry.away", logging.WARNING, why=trouble)
        self._trouble = trouble

    async def _current(self, mlflow: MlflowConfig, model: str, trigger: Trigger) -> Lineage | None:
        client = self._client(mlflow)
        try:
            return await client.current(model, trigger)
        finally:
            await client.close()

    # --- what is shown -----------------------------------------------------------------------------------------------

    @property
    def up(self) -> dict[str, float]:
        """Whether the registry answered when it was last asked; empty where it has not been."""
        registry = self._controller.config.registry
        if registry is None or (self._asked_at is None and not self._trouble):
            return {}
        return {registry.name: float(not self._trouble)}

    def shown(self) -> RegistryJson | None:
        """The registry, and what it has said of each model; `None` without one."""
        registry = self._controller.config.registry
        if registry is None:
            return None
        asked = None if self._asked_at is None else rfc3339(self._asked_at)
        models = [self._model(name, model) for name, model in registry.models.items()]
        trouble = self._trouble or None
        return {"registry": registry.name, "asked_at": asked, "trouble": trouble, "models": models}

    def _model(self, name: str, model: RegisteredModelConfig) -> RegisteredModelJson:
        version, lineage = self._controller.config.version_of(model.upstream)
        known = self._controller.versions.known.get(model.upstream)
        return {
            "model": name,
            "upstream": model.upstream,
            "when": str(model.when),
            "alias": model.promoted,
            "version": version or None,
            "named_by": None if not version else "file" if lineage is None else lineage.registry,
            "seen": known.seen or None if known is not None else None,
        }


_SECTION = {"mlflow": "mlflow", "registry": "http"}


def _stands(word: VersionWord, model: RegisteredModelConfig) -> bool:
    """Whether a word holds until the next one: of an alias, and of what another registry wants to be tried."""
    return model.when.kind == "alias" or word.lineage.registry == "http"
