"""Promise: a mistake about who may do what is named where it is: none of them lets somebody in."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import yaml

from proxy.config import parse
from tests.config.files import PLAIN, mistakes

OIDC = {"issuer": "https://login.example", "audience": "u", "roles": {"grants": [{"role": "view"}]}}
HEADER = {"header": "x-user", "proxies": ["10.0.0.1"], "grants": [{"role": "view"}]}


@pytest.mark.parametrize(
    ("change", "path", "said"),
    [
        ({"admin": {"token": "a", "tokens": [{"name": "b", "token": "c", "role": "view"}]}},
         "admin.token", "conflicts with `tokens`"),
        ({"admin": {"tokens": [{"name": "b", "token": " c", "role": "view"}]}},
         "admin.tokens[0].token", "not a valid header value"),
        ({"admin": {"tokens": [{"name": n, "token": "c", "role": "view"} for n in "ab"]}},
         "admin.tokens[1].token", "the same as another one's"),
        ({"admin": {"tokens": [{"name": "a", "token": t, "role": "view"} for t in "ab"]}},
         "admin.tokens[1].name", "is defined twice"),
        ({"admin": {"tokens": [{"name": "a", "token": "t", "role": "operator"}]}},
         "admin.tokens[0].role", "did you mean `operate`?"),
        ({"admin": {"tokens": [{"name": "a", "token": "t", "role": "view", "routes": ["b"]}]}},
         "admin.tokens[0].routes[0]", "there is no route `b`"),
        ({"admin": {"tokens": [{"name": "a", "token": "t", "role": "view", "routes": []}]}},
         "admin.tokens[0].routes", "at least one entry"),
        ({"admin": {"oidc": OIDC | {"issuer": "http://login.example"}}}, "admin.oidc.issuer", "over plain HTTP"),
        ({"admin": {"oidc": OIDC | {"clock_skew": "1h"}}}, "admin.oidc.clock_skew", "more than 5m"),
        ({"admin": {"oidc": OIDC | {"roles": {"grants": []}}}}, "admin.oidc.roles.grants", "at least one entry"),
        ({"admin": {"oidc": OIDC | {"roles": {"grants": [{"role": "view", "routes": ["b"]}]}}}},
         "admin.oidc.roles.grants[0].routes[0]", "there is no route `b`"),
        ({"admin": {"oidc": OIDC | {"login": {"client_id": "c"}}}}, "admin.oidc.login", "sends people back"),
        ({"admin": {"url": "http://a.example", "oidc": OIDC | {"login": {"client_id": "c"}}}},
         "admin.url", "can be overheard"),
        ({"admin": {"url": "https://a.example", "oidc": OIDC | {"login": {"client_id": "c", "scopes": ["email"]}}}},
         "admin.oidc.login.scopes", "no `openid`"),
        ({"admin": {"url": "https://a.example", "oidc": OIDC | {"login": {"client_id": "c", "session": "1s"}}}},
         "admin.oidc.login.session", "not within 1m to"),
        ({"admin": {"url": "https://a.example", "oidc": OIDC | {"login": {"client_id": "c", "session_key": "short"}}}},
         "admin.oidc.login.session_key", "shorter than 32 letters"),
        ({"admin": {"two_person": {"promote_full": "1h"}}}, "admin.two_person", "nobody proves who they are here"),
        ({"admin": {"token": "t", "two_person": {"promote_full": "0s"}}}, "admin.two_person.promote_full", "than 0"),
        ({"admin": {"trusted_user_header": HEADER | {"header": "Cookie"}}},
         "admin.trusted_user_header.header", "what clients send themselves"),
        ({"admin": {"trusted_user_header": HEADER | {"proxies": []}}},
         "admin.trusted_user_header.proxies", "at least one entry"),
        ({"admin": {"trusted_user_header": HEADER | {"grants": [{"role": "view", "value": "ml"}]}}},
         "admin.trusted_user_header.grants[0].value", "no header says who is in which group"),
    ],
)  # fmt: skip
def test_mistakes(change: dict[str, Any], path: str, said: str) -> None:
    body = copy.deepcopy(yaml.safe_load(PLAIN % "shadow: 1%")) | change
    found = mistakes(yaml.safe_dump(body))
    assert list(found) == [path]
    assert said in found[path]


FLEET = {"store": {"url": "postgresql://u@127.0.0.1/u"}, "fleet": {"listen": "127.0.0.1:9091"}}
LOGIN = OIDC | {"login": {"client_id": "c"}}


@pytest.mark.parametrize(
    ("admin", "path", "said"),
    [
        ({"url": "https://a.example", "oidc": LOGIN}, "admin.oidc.login", "the same `session_key`"),
        ({"trusted_user_header": HEADER}, "admin.trusted_user_header", "a standby passes it on"),
    ],
)
def test_what_a_fleet_needs(admin: dict[str, Any], path: str, said: str) -> None:
    body = yaml.safe_load(PLAIN % "shadow: 1%") | FLEET | {"admin": admin}
    found = mistakes(yaml.safe_dump(body))
    assert list(found) == [path]
    assert said in found[path]


@pytest.mark.parametrize("admin", [{"oidc": OIDC}, {"trusted_user_header": HEADER}])
def test_a_port_that_asks_who_it_is_may_be_open_to_others(admin: dict[str, Any]) -> None:
    body = yaml.safe_load(PLAIN % "shadow: 1%") | {"admin": {"listen": "0.0.0.0:9090", **admin}}
    assert parse(yaml.safe_dump(body)).admin.asks_who
