"""What the API shows of a model registry. `controller.model_registry` makes it."""

from __future__ import annotations

from typing import Annotated, Any, NotRequired

from typing_extensions import TypedDict

from proxy.json_types import AsDict, SchemaWords, Timestamp
from proxy.model.lineage import Lineage

LineageJson = Annotated[dict[str, Any], AsDict(Lineage)]


class HookResultJson(TypedDict):
    """What came of a webhook."""

    result: Annotated[str, SchemaWords(enum=["begun", "unchanged", "older", "noted", "ignored", "repeated"])]
    """What came of it; `why` says more."""
    why: str | None
    model: NotRequired[str]
    version: NotRequired[str]
    upstream: NotRequired[str]


class RegisteredModelJson(TypedDict):
    """A model of the registry."""

    model: str
    upstream: str
    when: str
    """What makes a version be tried."""
    alias: str | None
    """The alias that moves on promotion."""
    version: str | None
    """The one that holds; null before the first."""
    named_by: Annotated[str | None, SchemaWords(enum=["file", "mlflow", "http", None])]
    seen: str | None
    """The last version that the registry named."""


class RegistryJson(TypedDict):
    """A model registry."""

    registry: Annotated[str, SchemaWords(enum=["mlflow", "http"])]
    asked_at: Timestamp | None
    """When it last answered."""
    trouble: str | None
    """Why it did not when it was last asked."""
    models: list[RegisteredModelJson]


class RegistryAnswerJson(TypedDict):
    """The registry, null without one."""

    registry: RegistryJson | None
