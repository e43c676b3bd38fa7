"""Model registries that name the versions of upstreams: the section `registry:` of the tree."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, SecretStr, model_validator

from proxy.config.headers import Added
from proxy.config.types import Duration, Name, Proxy, Reads, Section, Url, one_of, short_form
from proxy.units import Unfit

PLACEHOLDERS = ("model", "version", "alias", "event", "state", "rollout", "reason", "url", "run")
"""What a template may name, in braces."""


@dataclass(frozen=True, slots=True)
class Trigger:
    """What makes a version be tried: that it is there (`created`), or that it gets an alias or a tag."""

    kind: Literal["created", "alias", "tag"] = "created"
    name: str = ""
    value: str = ""

    def __str__(self) -> str:
        """As it is written in the file.

        >>> str(Trigger("tag", "validated", "true")), str(Trigger("alias", "candidate")), str(Trigger())
        ('tag validated=true', 'alias candidate', 'created')
        """
        return f"{self.kind} {self.name}{f'={self.value}' if self.kind == 'tag' else ''}".rstrip()


_ALIAS = re.compile(r"alias\s+([A-Za-z0-9][A-Za-z0-9_-]{0,254})")
_TAG = re.compile(r"tag\s+([A-Za-z0-9_./ -]{1,250})=([ -~]{0,500})")


def trigger(value: Any) -> Trigger:
    """`created`, `alias NAME` or `tag KEY=VALUE`; raises `Unfit`.

    >>> trigger("alias candidate"), trigger("created")
    (Trigger(kind='alias', name='candidate', value=''), Trigger(kind='created', name='', value=''))
    """
    if isinstance(value, Trigger):
        return value
    if value == "created":
        return Trigger()
    text = value.strip() if isinstance(value, str) else ""
    if found := _ALIAS.fullmatch(text):
        return Trigger("alias", found[1])
    if found := _TAG.fullmatch(text):
        return Trigger("tag", found[1], found[2])
    raise Unfit("`created`, `alias NAME` or `tag KEY=VALUE`")


def moved_alias(value: Any) -> str:
    """The alias that `alias NAME` names; raises `Unfit`.

    >>> moved_alias("alias champion")
    'champion'
    """
    found = _ALIAS.fullmatch(value.strip()) if isinstance(value, str) else None
    if found is None:
        raise Unfit("`alias NAME`, such as `alias champion`")
    return found[1]


_ALIAS_TEXT = r"^alias\s+[A-Za-z0-9][A-Za-z0-9_-]*$"
TriggerText = Annotated[
    Trigger,
    Reads(
        trigger,
        {
            "type": "string",
            "pattern": r"^(created|alias\s+[A-Za-z0-9][A-Za-z0-9_-]*|tag\s+[^=]+=.*)$",
            "examples": ["created", "alias candidate", "tag validated=true"],
        },
        str,
    ),
]
MovedAlias = Annotated[
    str,
    Reads(
        moved_alias,
        {"type": "string", "pattern": _ALIAS_TEXT, "examples": ["alias champion"]},
        lambda alias: f"alias {alias}",
    ),
]
ModelName = Annotated[str, Field(min_length=1, max_length=250)]


class MlflowConfig(Section):
    """An MLflow server (webhooks: 3.3 or newer) with its model registry."""

    model_config = ConfigDict(json_schema_extra=short_form("secrets"))

    url: Url
    """Where it is: versions are read there, aliases and tags are written."""
    secrets: tuple[SecretStr, ...] = ()
    """Of its webhooks, which go to `/api/v1/hooks/mlflow` of the admin port: all of them are accepted, so MLflow's
    secret can be changed at any time. `secret:` for one. Without a secret, webhooks are refused and versions are found
    by `poll`."""
    token: SecretStr | None = None
    """Bearer token for it."""
    username: str = ""
    """Or a user's name, for HTTP's Basic scheme."""
    password: SecretStr | None = None
    """With the password."""
    page: Url | None = None
    """Where people reach it, for links; `url` when absent."""
    poll: Duration = 60.0
    """It is also asked this often, and at each start, so that no version is missed if a webhook is lost."""
    proxy: Proxy = Field(default="environment", repr=False)
    """HTTP proxy to reach it through, as for a [webhook](#webhooks)."""

    @model_validator(mode="before")
    @classmethod
    def _one_secret(cls, value: Any) -> Any:
        return one_secret(value)


class RegistryRequest(Section):
    """A request that sends the result of a version to a registry. `{model}`, `{version}`, `{alias}` (of `promoted`),
    `{event}`, `{state}`, `{rollout}`, `{reason}`, `{url}` (of the journal) and `{run}` are filled in."""

    url: Annotated[str, Field(min_length=1)] = Field(repr=False)
    """Where it goes; what is filled in is percent-encoded."""
    method: Literal["POST", "PUT", "PATCH"] = "POST"
    """Its method."""
    headers: Added = Field(default_factory=dict, repr=False)
    """Sent with it: a token, say."""
    body: Any = None
    """Its JSON, in whose texts names in braces are filled in; all of the event's `data` when absent."""


class HttpRegistryConfig(Section):
    """Any other registry, by a JSON body that is signed."""

    model_config = ConfigDict(json_schema_extra=one_of("secret", "secrets"))

    secrets: Annotated[tuple[SecretStr, ...], Field(min_length=1)]
    """Each is accepted of what comes to `/api/v1/hooks/registry` of the admin port, plain or as a CloudEvent, and signs
    what is sent (Standard Webhooks). `secret:` for one."""
    write: RegistryRequest | None = None
    """Sent when a version's trial begins and ends; nothing when absent."""
    page: Annotated[str, Field(min_length=1)] | None = None
    """URL of a version's page, for links: `https://registry.example/{model}/{version}`."""
    proxy: Proxy = Field(default="environment", repr=False)
    """HTTP proxy to reach it through, as for a [webhook](#webhooks)."""

    @model_validator(mode="before")
    @classmethod
    def _one_secret(cls, value: Any) -> Any:
        return one_secret(value)


class RegisteredModelConfig(Section):
    """One model of the registry, whose versions are tried."""

    upstream: Name
    """Name of the upstream whose version it sets: the candidate of one or more rollouts, and live on no route. Each new
    version begins a new trial of them."""
    when: TriggerText = Trigger()
    """When a version is tried: when it is `created`, or when it gets an alias (`alias candidate`) or a tag
    (`tag validated=true`)."""
    promoted: MovedAlias | None = None
    """The alias that moves to a version when it is promoted, and back when it is rolled back after that: `alias
    champion`. None when absent."""


class RegistryConfig(Section):
    """A model registry that names the versions of candidates and gets the results of their trials."""

    model_config = ConfigDict(json_schema_extra=one_of("mlflow", "http"))

    mlflow: MlflowConfig | None = None
    """An MLflow server."""
    http: HttpRegistryConfig | None = None
    """Any other registry."""
    models: Annotated[dict[ModelName, RegisteredModelConfig], Field(min_length=1)]
    """Models, by their names in the registry."""

    @property
    def name(self) -> str:
        """Which kind of registry it is."""
        return "mlflow" if self.mlflow is not None else "http"


def one_secret(value: Any) -> Any:
    """`secret: X` as `secrets: [X]`; raises `Unfit` for both."""
    if not isinstance(value, dict) or "secret" not in value:
        return value
    if "secrets" in value:
        raise Unfit("either `secret` or `secrets`, not both")
    return {"secrets": [value["secret"]], **{key: item for key, item in value.items() if key != "secret"}}
