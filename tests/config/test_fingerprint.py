"""Promise: replicas whose configurations decide the same have one hash, and those that may decide otherwise do not."""

from __future__ import annotations

import typing
from collections.abc import Mapping
from typing import Any

import pytest
import yaml

from proxy.config import fingerprint as module
from proxy.config.fingerprint import OWN
from proxy.config.text import read
from proxy.config.tree import Config

FILE = """
server: {listen: '0.0.0.0:8080', controller_lost: 20s}
upstreams: {a: {url: 'http://a'}, b: {url: 'http://b', set_json: {/x: 1, /x/y: 2}, headers: {set: {k: '${KEY}'}}}}
routes: [{name: r, live: a, rollouts: [{candidate: b}]}]
store: {url: 'postgresql://u@db/u'}
fleet: {listen: '0.0.0.0:9091', advertise: '${POD_IP}:9091', lease: 10s, tls: {cert: a.crt, key: a.key, ca: ca.crt}}
"""


def fingerprint(text: str, environ: Mapping[str, str] | None = None) -> str:
    return module.fingerprint(read(text, environ))


def put(path: tuple[str, ...], value: Any) -> str:
    whole = yaml.safe_load(FILE)
    holder = whole
    for step in path[:-1]:
        holder = holder.setdefault(step, {})
    holder[path[-1]] = value
    return yaml.safe_dump(whole, sort_keys=False)


@pytest.mark.parametrize("path", OWN, ids=".".join)
def test_what_is_a_replicas_own_does_not_count(path: tuple[str, ...]) -> None:
    assert fingerprint(put(path, "another")) == fingerprint(FILE)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("server", "controller_lost"), "30s"),
        (("fleet", "lease"), "5s"),
        (("admin", "token"), "x"),
        (("upstreams", "b", "version"), "2"),
        (("upstreams", "b", "headers", "set", "k"), "${OTHER}"),
        (("upstreams", "b", "set_json"), {"/x/y": 2, "/x": 1}),  # in another order
        (("webhooks",), []),
    ],
)
def test_what_may_decide_counts(path: tuple[str, ...], value: Any) -> None:
    assert fingerprint(put(path, value)) != fingerprint(FILE)


def test_comments_layout_and_the_environment_do_not_count() -> None:
    plain = fingerprint(FILE)
    assert fingerprint(yaml.safe_dump(yaml.safe_load(FILE), sort_keys=False) + "# ours\n") == plain
    assert fingerprint(FILE, {"POD_IP": "10.0.0.9", "KEY": "a secret"}) == plain
    assert fingerprint("upstreams: {a: {url: '${file:/nowhere}'}}") != plain  # and nothing is read


def test_every_own_key_is_one_of_the_configuration() -> None:
    """Without a type for it there is nothing that a renamed key would be left out by."""
    for first, *rest in OWN:
        kind = Config.model_fields[first].annotation
        for step in rest:
            kinds = [arg for arg in (kind, *typing.get_args(kind)) if hasattr(arg, "model_fields")]
            assert any(step in one.model_fields for one in kinds), (first, step)
            kind = next(one.model_fields[step].annotation for one in kinds if step in one.model_fields)
