"""Promise: a replica that the others could not reach, or that anybody could join, is a mistake in the file."""

from __future__ import annotations

import pytest

from proxy.config import parse
from proxy.config.words import describe
from tests.config.files import mistakes, rollout

STORE = "{url: 'postgresql://understudy@127.0.0.1/understudy'}"


def fleet(text: str) -> str:
    return rollout("stages: [{shadow: 100%}]", store=STORE, fleet=text)


@pytest.mark.parametrize(
    ("text", "path", "problem"),
    [
        ("{}", "fleet.listen", "is missing"),
        ("{listen: 0.0.0.0:9091, tls: {cert: a, key: b, ca: c}}", "fleet.listen", "no address that others can reach"),
        ("{listen: 127.0.0.1:9091, advertise: '[::]:9091', tls: {cert: a, key: b, ca: c}}", "fleet.advertise",
         "no address that others can reach"),
        ("{listen: 127.0.0.1:0}", "fleet.listen", "port 0"),
        ("{listen: 127.0.0.1:0, advertise: 127.0.0.1:9091}", "fleet.listen", "port 0"),
        ("{listen: 0.0.0.0:9091, advertise: 10.0.0.7:9091}", "fleet", "open to others"),
        ("{listen: 127.0.0.1:9091, advertise: 10.0.0.7:9091}", "fleet", "open to others"),
        ("{listen: 127.0.0.1:9091, tls: {cert: a, key: b}}", "fleet.tls.ca", "is missing"),
        ("{listen: 127.0.0.1:9091, lease: 1s}", "fleet.lease", "1s is not within 2s to 1m"),
        ("{listen: 127.0.0.1:9091, lease: 5m}", "fleet.lease", "5m is not within 2s to 1m"),
        ("{listen: 127.0.0.1:9090}", "fleet.listen", "taken by `admin.listen`"),
    ],
)  # fmt: skip
def test_what_cannot_be_a_fleet(text: str, path: str, problem: str) -> None:
    ((where, words),) = mistakes(fleet(text)).items()
    assert where == path
    assert problem in words


def test_a_fleet_and_a_store_that_is_shared_go_together() -> None:
    plain = rollout("stages: [{shadow: 100%}]")
    assert mistakes(plain + "fleet: {listen: 127.0.0.1:9091}\n") == {
        "fleet": "needs a store that the replicas share (`store: {url: 'postgresql://USER@HOST/DATABASE'}`)"
    }
    ((path, words),) = mistakes(plain + f"store: {STORE}\n").items()
    assert path == "store.url"
    assert "there is no `fleet`" in words


def test_a_fleet_in_words() -> None:
    config = parse(fleet("{listen: 0.0.0.0:9091, advertise: 10.0.0.7:9091, tls: {cert: a, key: b, ca: c}}"))
    assert config.fleet is not None
    assert config.fleet.reached_at == "10.0.0.7:9091"
    assert "reached by the others at 10.0.0.7:9091 with mutual TLS" in describe(config)
    alone = parse(fleet("{listen: 127.0.0.1:9091}"))
    assert alone.fleet is not None
    assert alone.fleet.reached_at == "127.0.0.1:9091"
    assert alone.fleet.lease == 10.0
    assert "without TLS" in describe(alone)
