"""Promise: `check --no-env` finds all mistakes that do not depend on the environment, and makes none of it."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from proxy.cli import main
from proxy.config import look_through
from proxy.config.words import describe
from proxy.errors import ConfigError
from tests.config.files import ROOT, read, written
from tests.config.test_meaning import EXAMPLES

FULL = yaml.load((ROOT / "config" / "full.yaml").read_text("utf-8"), yaml.BaseLoader)
TYPED = read(
    (ROOT / "config" / "full.yaml").read_text("utf-8").replace("2026-11-18T09:00:00Z", "'2026-11-18T09:00:00Z'")
)


def scalars(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if isinstance(value, (dict, list)):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, item in items:
            yield from scalars(item, (*path, key))
    else:
        yield path


def put(path: tuple[Any, ...], value: str) -> Any:
    whole = copy.deepcopy(TYPED)
    holder = whole
    for step in path[:-1]:
        holder = holder[step]
    holder[path[-1]] = value
    return whole


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_every_example_can_be_looked_through_without_an_environment(path: Path) -> None:
    config, _ = look_through(path)
    assert config.plans
    told = CliRunner().invoke(main, ["check", "-c", str(path), "--no-env"], env={})
    assert told.exit_code == 0, told.output


@pytest.mark.parametrize(
    "url", ["${NOBODY}", "postgresql://u:${file:pw}@db/state", "postgresql://u:${NOBODY}@${file:/nowhere}/state"]
)
def test_a_store_whose_url_is_not_known_is_told(url: str, tmp_path: Path) -> None:
    (tmp_path / "pw").write_text("a secret")  # that it is here says nothing about where the proxy runs
    path = tmp_path / "one.yaml"
    path.write_text(f"store: {{url: '{url}'}}\nupstreams: {{a: {{url: 'http://127.0.0.1:1'}}}}\ndefault: {{live: a}}\n")
    told = CliRunner().invoke(main, ["check", "-c", str(path), "--no-env"])
    assert told.exit_code == 0, told.output
    assert "placeholders stand for: store.url" in told.output
    assert "state in PostgreSQL." in told.output
    assert CliRunner().invoke(main, ["check", "-c", str(path), "--no-env", "--connect"]).exit_code == 2


@pytest.mark.parametrize("path", list(scalars(FULL)), ids=lambda path: ".".join(map(str, path)))
def test_any_value_may_come_from_the_environment(path: tuple[Any, ...], tmp_path: Path) -> None:
    """Each value of the full example in turn: as a variable, as a file that is not there, in the midst of text."""
    for value in ("${NOBODY}", "${file:/nowhere}", "x${NOBODY}"):
        (tmp_path / "one.yaml").write_text(written(put(path, value)))
        config, unknown = look_through(tmp_path / "one.yaml")
        describe(config)
        assert unknown


@pytest.mark.parametrize("include", ["'${TEAMS}/*.yaml'", "['a.yaml', '${TEAMS}/*.yaml']"])
def test_files_that_it_cannot_find_are_told(include: str, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("owner: a\n")
    path = tmp_path / "one.yaml"
    rest = "\nupstreams: {a: {url: 'http://127.0.0.1:1'}}\ndefault: {live: a}\n"
    path.write_text(f"include: {include}{rest}")
    with pytest.raises(ConfigError) as caught:
        look_through(path)
    (found,) = caught.value.mistakes
    assert "which files ${TEAMS}/*.yaml fits is not known without the environment" in str(found)
    path.write_text(f"include: {include.replace('TEAMS', 'TEAMS:-.')}{rest}")
    (tmp_path / "one.yaml").rename(tmp_path / "main.yml")
    assert look_through(tmp_path / "main.yml")[0].default


def test_placeholders_are_told_in_the_order_of_files_and_lines(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("owner: ${OWNER}\nupstreams: {a: {url: '${A}', host: '${A}', version: '${A}'}}\n")
    path = tmp_path / "one.yml"
    path.write_text("include: a.yaml\nserver: {listen: '${A}', grpc_listen: '${A}'}\n\ndefault: {live: '${A}'}\n")
    assert [one.split(" in ")[0] for one in look_through(path)[1]] == [
        "server.grpc_listen", "server.listen", "default.live", "upstreams.a.host", "upstreams.a.url",
        "upstreams.a.version",
    ]  # fmt: skip


def test_what_does_not_depend_on_it_is_found(tmp_path: Path) -> None:
    (tmp_path / "one.yaml").write_text(
        "upstreams: {a: {url: '${URL}', timeot: 1s}, b: {url: 'http://${HOST:-127.0.0.1}:1'}}\n"
        "routes:\n- {name: r, live: '${LIVE}', rollouts: [{candidate: c, shadow: 100%}]}\n"
    )
    with pytest.raises(ConfigError) as caught:
        look_through(tmp_path / "one.yaml")
    assert [str(one) for one in caught.value.mistakes] == [
        "line 1: upstreams.a.timeot: unknown key (did you mean `timeout`?)",
        "line 3: routes[0].rollouts[0].candidate: there is no upstream `c` (known: a, b)",
    ]


def test_the_command_says_what_it_did_not_look_at(tmp_path: Path) -> None:
    path = tmp_path / "one.yaml"
    path.write_text(
        "upstreams: {a: {url: '${URL}', tls: {ca: /nowhere.pem}}}\n"
        "default: {live: a}\nserver: {listen: '${L:-127.0.0.1:1}'}"
    )
    told = CliRunner().invoke(main, ["check", "-c", str(path), "--no-env"])
    assert told.exit_code == 0
    assert told.output.startswith("Without the environment, placeholders stand for: upstreams.a.url.\n")
    assert "Listens on 127.0.0.1:1" in told.output
    as_json = CliRunner().invoke(main, ["check", "-c", str(path), "--no-env", "--json"])
    assert json.loads(as_json.output)["unknown"] == ["upstreams.a.url"]
    assert CliRunner().invoke(main, ["check", "-c", str(path)]).exit_code == 2
