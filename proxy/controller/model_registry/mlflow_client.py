"""MLflow's REST API as far as it is needed: model versions read, aliases moved, tags set. aiohttp with a deadline.

Invariant: an answer, an error and a log line hold no token and no password; no redirect is followed, for it would take
them elsewhere.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import aiohttp
import orjson

from proxy.aiohttp_client import connector
from proxy.aiohttp_resolver import OwnResolver
from proxy.config.registry import MlflowConfig, Trigger
from proxy.controller.model_registry.mlflow_words import (
    UnreadableError,
    read_data,
    read_model_version,
    tags_of,
)
from proxy.controller.webhooks.posting import chosen_proxy, through_proxy
from proxy.errors import UnderstudyError
from proxy.model.lineage import Lineage

DEADLINE = 10.0
"""Seconds for one question."""
MAX_ANSWER = 4 << 20
_API = "/api/2.0/mlflow/"


class RegistryError(UnderstudyError):
    """A registry did not do what it was asked. `status` is HTTP's, 0 without an answer; `code` MLflow's word."""

    def __init__(self, what: str, status: int = 0, code: str = "") -> None:
        super().__init__(what)
        self.status, self.code = status, code

    @property
    def is_final(self) -> bool:
        """Whether asking again would change nothing: what it is about is not there, or is not possible."""
        return self.code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE") or self.status == 410


class MlflowClient:
    """Asks one MLflow server, over one session that is made at the first question."""

    def __init__(self, config: MlflowConfig, environment: Mapping[str, str] = os.environ) -> None:
        self._base = config.url.rstrip("/")
        self.page = config.page or config.url
        self._head = _credentials(config)
        self._through = through_proxy(self._base, chosen_proxy(self._base, config.proxy, environment))
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """Let go of the connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    # --- what it says ------------------------------------------------------------------------------------------------

    async def current(self, model: str, trigger: Trigger) -> Lineage | None:
        """The version that is to be tried now, with its run and data; `None` where there is none. Raises
        `RegistryError`."""
        found = (
            await self._alias(model, trigger.name) if trigger.kind == "alias" else await self._newest(model, trigger)
        )
        return None if found is None else await self._with_data(found)

    async def version_of_alias(self, model: str, alias: str) -> str:
        """The version that an alias points to; empty where there is no such alias. Raises `RegistryError`."""
        found = await self._alias(model, alias)
        return str(found.get("version", "")) if found is not None else ""

    async def tag(self, model: str, version: str, key: str) -> str:
        """The value of a tag; empty where there is none. Raises `RegistryError`."""
        answer = await self._ask("GET", "model-versions/get", {"name": model, "version": version})
        return tags_of(answer.get("model_version")).get(key, "")

    async def _alias(self, model: str, alias: str) -> dict[str, Any] | None:
        try:
            answer = await self._ask("GET", "registered-models/alias", {"name": model, "alias": alias})
        except RegistryError as error:
            if error.is_final:  # no such alias, or no such model yet
                return None
            raise
        found = answer.get("model_version")
        return found if isinstance(found, dict) else None

    async def _newest(self, model: str, trigger: Trigger) -> dict[str, Any] | None:
        wanted = [f"name = {_quoted(model)}"]
        if trigger.kind == "tag":
            wanted.append(f"tags.`{trigger.name}` = {_quoted(trigger.value)}")
        asked = {"filter": " AND ".join(wanted), "order_by": "version_number DESC", "max_results": "1"}
        answer = await self._ask("GET", "model-versions/search", asked)
        found = answer.get("model_versions") or [None]
        return found[0] if isinstance(found[0], dict) else None

    async def _with_data(self, found: dict[str, Any]) -> Lineage:
        try:
            lineage = read_model_version(found, self.page)
        except UnreadableError as error:
            raise RegistryError(f"{self._base} names a version that cannot be read: {error}") from None
        if lineage.data or not lineage.run:
            return lineage
        try:
            data = read_data(await self._ask("GET", "runs/get", {"run_id": lineage.run}))
        except RegistryError:  # a run may be deleted, or hidden from this token; the version is there all the same
            data = ""
        return Lineage(lineage.registry, lineage.model, lineage.version, lineage.run, data, lineage.url)

    # --- what it is told ---------------------------------------------------------------------------------------------

    async def set_tag(self, model: str, version: str, key: str, value: str) -> None:
        """Set a tag of a version. Raises `RegistryError`."""
        said = {"name": model, "version": version, "key": key, "value": value}
        await self._ask("POST", "model-versions/set-tag", body=said)

    async def set_alias(self, model: str, alias: str, version: str) -> None:
        """Point an alias to a version, or away where that is empty. Raises `RegistryError`."""
        said = {"name": model, "alias": alias}
        if version:
            await self._ask("POST", "registered-models/alias", body=said | {"version": version})
        else:
            await self._ask("DELETE", "registered-models/alias", body=said)

    # --- the wire ----------------------------------------------------------------------------------------------------

    async def _ask(
        self, method: str, path: str, query: Mapping[str, str] | None = None, body: Any = None
    ) -> dict[str, Any]:
        if self._session is None:
            pool = connector(resolver=OwnResolver())
            self._session = aiohttp.ClientSession(connector=pool, timeout=aiohttp.ClientTimeout(total=DEADLINE))
        through: dict[str, Any] = dict(self._through)
        through["headers"] = {**self._head, **through.get("headers", {})}
        if body is not None:
            through["headers"]["content-type"] = "application/json"
            through["data"] = orjson.dumps(body)
        try:
            async with self._session.request(
                method, f"{self._base}{_API}{path}", params=query, allow_redirects=False, **through
            ) as answer:
                data = await answer.content.read(MAX_ANSWER)
                return self._read(path, answer.status, data)
        except TimeoutError:
            raise RegistryError(f"{self._base}: no answer to {path} within {DEADLINE:g} s") from None
        except (aiohttp.ClientError, OSError) as error:
            raise RegistryError(f"{self._base}: {path}: {type(error).__name__}") from None

    def _read(self, path: str, status: int, data: bytes) -> dict[str, Any]:
        try:
            value = orjson.loads(data) if data.strip() else {}
        except orjson.JSONDecodeError:
            value = None
        if status == 200 and isinstance(value, dict):
            return value
        code = str(value.get("error_code", ""))[:60] if isinstance(value, dict) else ""
        raise RegistryError(f"{self._base}: {path} was answered with {status} {code}".rstrip(), status, code)


def _credentials(config: MlflowConfig) -> dict[str, str]:
    if config.token is not None:
        return {"authorization": f"Bearer {config.token.get_secret_value()}"}
    if config.password is not None:
        return {"authorization": aiohttp.encode_basic_auth(config.username, config.password.get_secret_value())}
    return {}


def _quoted(text: str) -> str:
    """A text of MLflow's filters. A single quote cannot be escaped in one, so what holds it has double ones."""
    return f'"{text}"' if "'" in text else f"'{text}'"
