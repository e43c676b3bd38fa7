"""What is wrong with `registry:`, and with what it names; and how `check` says it in words."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from pydantic import SecretStr

from proxy.config.names import url
from proxy.config.registry import PLACEHOLDERS, HttpRegistryConfig, MlflowConfig, RegistryConfig
from proxy.config.server import UpstreamConfig
from proxy.config.signing import signing_key
from proxy.config.text import Path
from proxy.config.tree import Config
from proxy.model.lineage import VERSION
from proxy.spelling import nearest
from proxy.units import Unfit, duration

_Blame = Callable[..., None]
_HERE: Path = ("registry",)
_BRACES = re.compile(r"\{([a-z_]*)\}")
SAFE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
"""A version that may be filled in anywhere: in a host name, a path, a header or JSON."""


def check_registry(config: Config, blame: _Blame) -> None:
    """Note every mistake of `registry`, and of upstreams that name `{version}`."""
    for name, upstream in config.upstreams.items():
        if name not in config.registered and VERSION in texts_of(upstream):
            problem = f"names `{VERSION}`, and no model of `registry` has this upstream"
            blame(("upstreams", name), problem, "`registry: {models: {MODEL: {upstream: …}}}`")
    registry = config.registry
    if registry is None:
        return
    if (registry.mlflow is None) == (registry.http is None):
        has = "neither" if registry.mlflow is None else "both"
        blame(_HERE, f"has {has} of `mlflow` and `http`", "write one of them")
    if registry.mlflow is not None:
        _mlflow((*_HERE, "mlflow"), registry.mlflow, blame)
    if registry.http is not None:
        _http((*_HERE, "http"), registry, registry.http, blame)
    _models(config, registry, blame)


def _mlflow(path: Path, mlflow: MlflowConfig, blame: _Blame) -> None:
    _keys(path, mlflow.secrets, blame)
    if mlflow.token is not None and mlflow.username:
        blame((*path, "token"), "conflicts with `username`", "write one of them")
    if (mlflow.password is not None) != bool(mlflow.username):
        blame((*path, "username"), "`username` and `password` go together")
    if mlflow.poll < 1.0:
        blame((*path, "poll"), f"{duration(mlflow.poll)} is too often", "at least 1s")


def _http(path: Path, registry: RegistryConfig, http: HttpRegistryConfig, blame: _Blame) -> None:
    _keys(path, http.secrets, blame)
    for name, model in registry.models.items():
        if model.when.kind != "created":
            problem = f"`{model.when}` is MLflow's; what another registry posts is a version that is to be tried"
            blame((*_HERE, "models", name, "when"), problem, "leave it out")
        if model.promoted is not None and http.write is None:
            blame((*_HERE, "models", name, "promoted"), "nothing is written to this registry", "`http: {write: …}`")
    if http.page is not None:
        _template((*path, "page"), http.page, blame)
        _url((*path, "page"), http.page, blame)
    if http.write is not None:
        _template((*path, "write", "url"), http.write.url, blame)
        _url((*path, "write", "url"), http.write.url, blame)
        for text in strings_in(http.write.body):
            _template((*path, "write", "body"), text, blame)


def _keys(path: Path, secrets: tuple[SecretStr, ...], blame: _Blame) -> None:
    for n, secret in enumerate(secrets):
        try:
            signing_key(secret.get_secret_value())
        except ValueError as error:
            blame((*path, "secrets", n), f"cannot verify: {error}", "`whsec_` and base64, or any other text")


def _template(path: Path, text: str, blame: _Blame) -> None:
    for found in _BRACES.findall(text):
        if found not in PLACEHOLDERS:
            hint = nearest(found, PLACEHOLDERS) or f"known: {', '.join(PLACEHOLDERS)}"
            blame(path, f"`{{{found}}}` cannot be filled in", hint)


def _url(path: Path, text: str, blame: _Blame) -> None:
    try:
        url(_BRACES.sub("x", text))
    except Unfit as unfit:
        blame(path, f"is no URL: expected {unfit.expected}", unfit.hint)


def _models(config: Config, registry: RegistryConfig, blame: _Blame) -> None:
    others = _elsewhere(config)
    candidates = {rollout.candidate for route in config.routes for rollout in route.open_rollouts}
    seen: dict[str, str] = {}
    for name, model in registry.models.items():
        if model.when.kind == "alias" and model.when.name == model.promoted:
            problem = f"alias {model.promoted} begins a trial wherever it moves"
            blame((*_HERE, "models", name, "promoted"), problem, "use two aliases, `candidate` and `champion`")
        path: Path = (*_HERE, "models", name, "upstream")
        upstream = config.upstreams.get(model.upstream)
        if upstream is None:
            known = list(config.upstreams)
            hint = nearest(model.upstream, known) or f"known: {', '.join(known)}"
            blame(path, f"there is no upstream `{model.upstream}`", hint)
        elif model.upstream in seen:
            blame(path, f"`{model.upstream}` has its version from `{seen[model.upstream]}` already")
        elif model.upstream in others:
            hint = "what is live follows the registry's alias itself; a candidate has an upstream of its own"
            blame(path, f"`{model.upstream}` {others[model.upstream]}", hint)
        elif model.upstream not in candidates:
            blame(path, f"`{model.upstream}` is no rollout's candidate")
        elif upstream.version is not None and not SAFE.fullmatch(upstream.version):
            problem = f"cannot stand for `{VERSION}`: letters, digits, `.`, `_` and `-`, at most 128"
            blame(("upstreams", model.upstream, "version"), problem)
        seen.setdefault(model.upstream, name)


def _elsewhere(config: Config) -> dict[str, str]:
    """Upstreams that are asked without a trial, and how."""
    found = {route.live: f"is live on route `{route.name}`" for route in config.routes}
    if config.default is not None:
        found[config.default.live] = "is live for all other requests"
    for route in config.routes:
        if route.dual_write is not None:
            found[route.dual_write.upstream] = f"gets every request of route `{route.name}` (`dual_write`)"
        for rule in route.aspects.values():
            if rule.similarity is not None:
                found[rule.similarity.upstream] = f"makes the embeddings of route `{route.name}`"
    return found


def strings_in(value: Any) -> Iterator[str]:
    """Every text in a JSON value.

    >>> list(strings_in({"a": ["b", 1], "c": {"d": "e"}}))
    ['b', 'e']
    """
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from strings_in(item)


def texts_of(upstream: UpstreamConfig) -> str:
    """All texts of an upstream into which a version may be filled."""
    path = [upstream.path.start, upstream.path.to] if upstream.path is not None else []
    health = [upstream.health.path] if upstream.health is not None else []
    values = [*upstream.headers.set.values(), *strings_in(upstream.set_json)]
    return "\n".join([*upstream.urls, upstream.host, *path, *health, *values])


def in_words(config: Config, upstream: str) -> str:
    """Where the version of an upstream comes from, in words; empty where it stands in the file."""
    registry, name = config.registry, config.registered.get(upstream)
    if registry is None or name is None:
        return ""
    model = registry.models[name]
    said = "each new version" if model.when.kind == "created" else f"the version with {model.when}"
    moved = f"; when it is promoted, alias {model.promoted} moves to it" if model.promoted is not None else ""
    return f"{registry.name} names the version: {said} of model {name} begins a trial{moved}."


def registry_warnings(config: Config) -> Iterator[str]:
    """What is allowed and most likely not meant."""
    for name, model in config.registered.items():
        upstream = config.upstreams[name]
        if VERSION not in texts_of(upstream):
            text = "a new version begins its trial at once, whatever the model server serves by then"
            yield f"upstream {name}: `{VERSION}` of model {model} stands nowhere in it: {text}"
        elif upstream.health is None:
            text = "a trial begins before its model server has loaded it"
            yield f"upstream {name}: no `health` check waits for a new version of model {model}: {text}"
