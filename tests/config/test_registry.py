"""Promise: a registry's section says where versions come from; what it names wrongly is a mistake where it stands."""

from __future__ import annotations

import pytest

from proxy.config import parse
from proxy.config.for_workers import worker_config
from proxy.config.words import describe
from proxy.model.config_pieces import KnownPieces
from proxy.model.lineage import VERSION, Lineage
from tests.config.files import mistakes

FILE = """\
upstreams:
  live: {url: "http://live"}
  next: {url: "http://next-{version}:80", health: {path: /ready}%s}
  other: {url: "http://other"}
routes: [{name: r, live: live, rollouts: [{candidate: next, shadow: 100%%}, {candidate: other, shadow: 100%%}]}]
registry:
  mlflow: {url: "http://mlflow:5000", secret: s3cret}
  models:
    fraud: {upstream: next, when: alias candidate, promoted: alias champion}
"""


def text(more: str = "", old: str = "", new: str = "") -> str:
    return (FILE % more).replace(old, new) if old else FILE % more


def test_before_a_version_is_named_there_is_no_rollout_and_workers_ask_nobody() -> None:
    config = parse(text())
    assert [plan.version for plan in config.plans.values()] == [VERSION, config.upstreams["other"].effective_version]
    waiting = config.with_versions({})
    assert list(waiting.plans) == ["r/other"]
    spec = worker_config(config)
    unknown = KnownPieces().with_versions(spec, {})
    assert (sorted(unknown.upstreams), [one.name for one in unknown.routes[0].rollouts]) == (
        ["live", "other"],
        ["r/other"],
    )


def test_workers_and_the_controller_name_a_trial_alike() -> None:
    lineage = Lineage("mlflow", "fraud", "7")
    config = parse(text(", set_json: {/model: 'fraud:{version}', /n: 1}"))
    named = config.with_versions({"next": lineage})
    spec = KnownPieces().with_versions(worker_config(config), {"next": "7"})
    plan, told = named.plans["r/next"], spec.routes[0].rollouts[0]
    assert (told.trial, told.version, plan.lineage) == (plan.trial, "7", lineage)
    assert spec.upstreams["next"].urls == ("http://next-7:80",)
    assert spec.upstreams["next"].set_json == {"/model": '"fraud:7"', "/n": "1"}
    assert named.plans["r/other"] == config.plans["r/other"]
    assert named.named_versions == {"next": "7"}
    assert config.with_versions({"next": "7"}).plans["r/next"].lineage is None, "the file's own"


@pytest.mark.parametrize(
    ("old", "new", "path", "problem"),
    [
        ("upstream: next", "upstream: live", "registry.models.fraud.upstream", "is live on route `r`"),
        ("upstream: next", "upstream: nxt", "registry.models.fraud.upstream", "there is no upstream `nxt`"),
        ("http://other", "http://o-{version}", "upstreams.other", "no model of `registry` has this upstream"),
        ("when: alias candidate", "when: alias", "registry.models.fraud.when", "expected `created`"),
        ("alias champion", "champion", "registry.models.fraud.promoted", "expected `alias NAME`"),
        ("alias champion", "alias candidate", "registry.models.fraud.promoted", "begins a trial"),
        ("secret: s3cret", "secret: whsec_%", "registry.mlflow.secrets[0]", "cannot verify"),
        ("secret: s3cret", "token: a, username: b", "registry.mlflow.token", "conflicts with `username`"),
        ("secret: s3cret", "poll: 10ms", "registry.mlflow.poll", "too often"),
        ('mlflow: {url: "http://mlflow:5000", ', "http: {", "registry.models.fraud.when", "is MLflow's"),
    ],
)
def test_mistakes(old: str, new: str, path: str, problem: str) -> None:
    found = mistakes(text(old=old, new=new))
    assert problem in found[path], found


def test_a_version_in_the_file_must_be_one_that_can_be_filled_in() -> None:
    found = mistakes(text(', version: "a/b"'))
    assert list(found) == ["upstreams.next.version"]
    assert "cannot stand for" in found["upstreams.next.version"]


def test_a_template_names_what_there_is() -> None:
    http = 'http: {secret: s, page: "http://r/{modl}", write: {url: "ftp://r/{version}", body: {a: ["{stat}"]}}}'
    found = mistakes(text(old='mlflow: {url: "http://mlflow:5000", secret: s3cret}', new=http))
    assert found.keys() >= {"registry.http.page", "registry.http.write.url", "registry.http.write.body"}
    assert "did you mean `model`?" in found["registry.http.page"]


def test_check_says_where_versions_come_from_and_warns_of_what_nothing_waits_for() -> None:
    told = " ".join(describe(parse(text())).split())
    assert "the version with alias candidate of model fraud begins a trial" in told
    assert "alias champion moves to it" in told
    assert "stands nowhere" not in told
    unnamed = text(old="http://next-{version}:80", new="http://next")
    assert "stands nowhere in it" in describe(parse(unnamed))
    assert "no `health` check waits" in describe(parse(text(old=", health: {path: /ready}", new="")))


def test_no_secret_is_in_what_is_printed() -> None:
    secret = "very-s3cret-value"
    config = parse(text(old="s3cret", new=secret))
    assert secret not in repr(config)
    assert secret not in repr(config.registry)
    assert secret not in describe(config)
