"""Promise: what the pages of the repository show works as it is written: every configuration loads, every command
exists with its options, every link leads somewhere. (The quick start is run whole in `test_quickstart.py`.)"""

from __future__ import annotations

import json
import re
import runpy
import shutil
import subprocess
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from proxy import cli
from proxy.config import Config, Guards, RolloutConfig, RouteConfig, load, parse
from proxy.config.words import describe
from proxy.controller.admin.openapi import api_document
from tests.controller.admin.test_metrics import METRICS
from tests.docs.pages import PAGES, ROOT, blocks, commands, name, simple, text

TARGETS = set(re.findall(r"^([a-z0-9-]+):", text(ROOT / "Makefile"), re.M))
PROJECT = tomllib.loads(text(ROOT / "pyproject.toml"))["project"]
EXAMPLES = [path.read_text("utf-8") for path in (ROOT / "config").rglob("*.y*ml")]
UPSTREAM = {"url": "http://127.0.0.1:1"}

every_page = pytest.mark.parametrize("page", PAGES, ids=name)


# --- configurations --------------------------------------------------------------------------------------------------


def whole(part: dict[str, Any]) -> dict[str, Any] | None:
    """A configuration with `part` in its place: at the top, on a route or on a rollout, with upstreams if it has none;
    `None` for YAML of other programs."""
    rollout = {"candidate": "b", "stages": [{"shadow": "100%"}]}
    route = {"name": "r", "live": "a", "prediction": {"protocol": "v2", "kind": "label"}, "rollouts": [rollout]}
    found = {"upstreams": {"a": UPSTREAM, "b": UPSTREAM}, "routes": [route]}
    for section, place in ((Config, found), (RouteConfig, route), (RolloutConfig, rollout)):
        if part.keys() <= section.model_fields.keys() | {"shadow", "canary"}:
            place.update(part)
            if "upstreams" not in part:
                found["upstreams"] = dict.fromkeys(re.findall(r"'(?:live|candidate)': '([^']+)'", str(found)), UPSTREAM)
            return found
    return None


@every_page
def test_every_configuration_loads(page: Path, tmp_path: Path) -> None:
    for block in blocks(page, "yaml"):
        for schema in re.findall(r"schema: ([\w.]+\.json)\b", block):  # as the reader would have it beside the file
            (tmp_path / schema).write_text("{}")
        tree = whole(yaml.safe_load(block))
        if tree is None:  # of another program: quoted from an example, which has a test of its own
            assert any(block.strip() in example for example in EXAMPLES), block
        else:
            named = lambda found: "${FROM" + re.sub(r"\W", "_", found[1]) + "}"  # noqa: E731 - no such file here
            written = re.sub(r"\$\{file:([^}]+)\}", named, yaml.safe_dump(tree))
            wanted = re.findall(r"\$\{(\w+)", written)
            parse(written, directory=tmp_path, environ={name: f"a secret of some length {name}" for name in wanted})


@every_page
def test_every_json_is_json(page: Path) -> None:
    for block in blocks(page, "json"):
        json.loads(block)


def test_the_configuration_in_the_readme_is_fifteen_lines_and_means_what_it_is_said_to() -> None:
    (block,) = blocks(ROOT / "README.md", "yaml")
    lines = [line for line in block.splitlines() if line.strip() and not line.startswith("#")]
    assert len(lines) <= 15
    config = parse(block)
    assert config.plans == load(ROOT / "config" / "quickstart.yaml").plans
    plan = config.plans["fraud/fraud-v2"]
    assert [stage.name for stage in plan.stages] == ["shadow", "canary-5"]
    assert (plan.false_rollback_rate, plan.false_promotion_rate) == (0.01, 0.05)
    assert "690 with many" in describe(config)


# --- commands --------------------------------------------------------------------------------------------------------


def understudy(words: list[str]) -> None:
    """Is parsed by the command line as it is, options, choices and arguments; two words in a sentence are a name."""
    if words[0].startswith("-"):
        assert any(words[0] in option.opts for option in cli.main.params), words
        return
    command: click.Command = cli.command(words[0])
    inner = isinstance(command, click.Group) and set(words[1:2]) & set(command.commands)
    if isinstance(command, click.Group) and (inner or not command.invoke_without_command):
        command, words = command.commands[words[1]], words[1:]
    if len(words) > 1 and words[1:] != ["--help"]:
        command.make_context(words[0], words[1:])


def make(words: list[str]) -> None:
    assert words[0] in TARGETS


def curl(words: list[str]) -> None:
    """Asks for a path that the admin port or the data port answers, by a method it knows there."""
    method = words[words.index("-X") + 1] if "-X" in words else "POST" if "-d" in words else "GET"
    (url,) = [word for word in words if word.startswith("http://")]
    port, path = re.fullmatch(r"http://[\w.-]+:(\d+)([^?]*).*", url).groups()  # type: ignore[union-attr]
    if port == "9090":
        known = [p for p in api_document()["paths"] if re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", p), path)]
        assert any(method.lower() in api_document()["paths"][p] for p in known), words
    else:
        assert path in ("/-/healthz", "/-/readyz") or path.startswith("/v2/models/"), words


def pip(words: list[str]) -> None:
    for extras in re.findall(r"\[([\w,]+)\]", " ".join(words)):
        assert set(extras.split(",")) <= PROJECT["optional-dependencies"].keys(), words


def python(words: list[str]) -> None:
    """Runs a module or a file that is there, with options that it names."""
    target = words[words.index("-m") + 1] if "-m" in words else words[0]
    if target == "venv":
        return
    path = ROOT / (target if target.endswith(".py") else target.replace(".", "/"))
    path = path / "__main__.py" if path.is_dir() else path.with_suffix(".py")
    options = {word for word in words if word.startswith("--")}
    assert options <= set(re.findall(r'"(--[\w-]+)"', text(path))), words


def file(words: list[str]) -> None:
    """The first argument is a file of the repository."""
    assert (ROOT / words[0]).exists()


def anything(words: list[str]) -> None:
    """A tool of the system."""


CHECKS: dict[str, Callable[[list[str]], None]] = {
    "understudy": understudy, "make": make, "curl": curl, "pip": pip, "python": python, "python3": python, "cp": file,
    **dict.fromkeys(
        (".", "cd", "docker", "eval", "git", "helm", "jq", "kill", "kubectl", "openssl", "pgrep", "prometheus",
         "promtool", "rm", "sed", "sleep", "sqlite3", "wait"), anything),
}  # fmt: skip


@every_page
def test_every_command_that_is_shown_exists_with_its_options(page: Path) -> None:
    for words in commands(page):
        assert words[0] in CHECKS, f"{words}: say in CHECKS how it is tested"
        CHECKS[words[0]](words[1:])


def test_the_page_of_the_command_line_is_current_and_every_command_has_an_example() -> None:
    written = text(ROOT / "docs" / "cli.md")
    tool = runpy.run_path(str(ROOT / "tools" / "command_page.py"))
    assert tool["page"]() == written, "run `make docs`"
    for _, command in tool["every_command"]():
        assert "Example" in (command.help or ""), command.name
        assert all(one.help for one in command.params if isinstance(one, click.Option)), command.name


def test_shell_blocks_are_shell() -> None:
    for page in PAGES:
        for block in blocks(page, "sh"):
            subprocess.run(["bash", "-n"], input=block, text=True, check=True)


@pytest.mark.skipif(shutil.which("promtool") is None, reason="needs Prometheus")
def test_the_promtool_commands_work(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "config" / "prometheus", tmp_path / "prometheus")
    shown = [words for words in commands(ROOT / "docs" / "monitoring.md") if words[0] == "promtool"]
    assert len(shown) >= 2
    for words in shown:
        subprocess.run(words, cwd=tmp_path / "prometheus", check=True, capture_output=True)


# --- names -----------------------------------------------------------------------------------------------------------


@every_page
def test_every_target_and_every_link_that_is_named_exists(page: Path) -> None:
    assert set(re.findall(r"(?:^|`)make ([a-z0-9-]+)", text(page), re.M)) <= TARGETS
    for link, anchor in re.findall(r"\]\((?!https?:|mailto:)([^)#]*)(#[^)]*)?\)", text(page)):
        target = page.parent / link if link else page
        assert target.exists(), f"{name(page)} leads to {link}, which is not there"
        if anchor:
            assert anchor[1:] in anchors(target), f"{name(page)} leads to {link}{anchor}, which is not there"


def anchors(page: Path) -> set[str]:
    """What its headings are called in a link."""
    titles = re.findall(r"^#+ (.*)$", text(page), re.M)
    return {re.sub(r"[^\w\s-]", "", title.lower()).strip().replace(" ", "-") for title in titles}


def test_every_guard_is_explained_with_what_it_would_have_caught() -> None:
    sections = re.split(r"^### ", text(ROOT / "docs" / "guards.md"), flags=re.M)[1:]
    explained = {section.split("`")[1]: section for section in sections}
    assert explained.keys() == Guards.model_fields.keys()
    assert all("ould have caught:" in section for section in explained.values())
    assert all("**The wrong one**" in section for section in explained.values())


def test_the_table_of_guards_is_current() -> None:
    page = text(ROOT / "docs" / "guards.md")
    assert runpy.run_path(str(ROOT / "tools" / "tables.py"))["with_table"](page) == page, "run `make docs`"


def test_metrics_and_alerts_that_are_named_exist() -> None:
    metrics = {metric.removesuffix("_bucket") for metric in METRICS}
    alerts = set(re.findall(r"alert: (\w+)", text(ROOT / "config" / "prometheus" / "alerts.rules.yml")))
    for page in PAGES:
        named = set(re.findall(r"understudy_[a-z_]+[a-z]", text(page))) - {"understudy_record"}
        known = metrics | {
            f"understudy_store_{end}" for end in ("failures_total", "up", "set_aside_total", "renewed_total")
        }
        known |= {"understudy_unexpected_errors_total", "understudy_leader"}
        assert named <= known, (name(page), named - known)
        assert set(re.findall(r"\bUnderstudy[A-Z]\w+", text(page))) <= alerts


def test_every_alert_has_a_runbook_and_a_line_in_the_table_with_its_severity() -> None:
    rules = yaml.safe_load(text(ROOT / "config" / "prometheus" / "alerts.rules.yml"))["groups"][0]["rules"]
    runbooks = re.findall(r"^### (Understudy\w+)$", text(ROOT / "docs" / "rollouts.md"), re.M)
    table = re.findall(
        r"^\| \[`(\w+)`\]\(rollouts\.md#(\w+)\) \| (\w+) \|", text(ROOT / "docs" / "monitoring.md"), re.M
    )
    assert sorted(runbooks) == sorted(rule["alert"] for rule in rules)
    assert sorted(table) == sorted((one["alert"], one["alert"].lower(), one["labels"]["severity"]) for one in rules)
    for rule in rules:
        assert rule["annotations"]["runbook"] == f"docs/rollouts.md#{rule['alert'].lower()}"


def test_every_picture_is_on_a_page_and_says_what_it_shows() -> None:
    shown = {path.name for page in PAGES for path in map(Path, re.findall(r"images/[\w.-]+", text(page)))}
    shown |= {Path(path).name for path in re.findall(r"images/[\w.-]+", text(ROOT / "mkdocs.yml"))}
    assert {path.name for path in (ROOT / "docs" / "images").iterdir()} == shown
    for page in PAGES:
        assert all(words.strip() for words in re.findall(r"!\[([^\]]*)\]", text(page)))


def test_the_pictures_of_the_console_are_those_that_its_browser_test_takes() -> None:
    tests = "".join(map(text, sorted((ROOT / "tests" / "console").glob("test_*.py"))))
    taken = set(re.findall(r'shoot\(page, "([\w-]+)"', tests))
    assert {path.stem for path in (ROOT / "docs" / "images").glob("*.png")} == taken


def test_the_site_has_every_page() -> None:
    listed = set(re.findall(r"[\w/-]+\.md", text(ROOT / "mkdocs.yml").split("\nnav:")[1]))
    hooks = runpy.run_path(str(ROOT / "tools" / "site_hooks.py"))
    there = {str(path.relative_to(ROOT / "docs")) for path in (ROOT / "docs").rglob("*.md")}
    assert listed == there | set(hooks["PAGES"].values())
    assert hooks["moved"]("[a](../config/full.yaml) [b](guards.md#x)", "docs/quickstart.md") == (
        "[a](config/full.yaml) [b](guards.md#x)"
    )
    assert hooks["moved"]("[a](../docs/guards.md)", "loadtests/RESULTS.md") == "[a](../guards.md)"


def test_these_tests_are_not_blind() -> None:
    assert ["understudy", "status", "--watch"] in commands(ROOT / "README.md")
    assert isinstance(cli.main, click.Group)
    assert {"demo", "test", "ci"} <= TARGETS
    with pytest.raises(click.NoSuchOption):
        understudy(["status", "--wacth"])
    with pytest.raises(AssertionError):
        curl(["-X", "POST", "http://127.0.0.1:9090/metrics"])
    with pytest.raises(AssertionError):
        python(["config/quickstart/model.py", "--worng", "1"])
    assert simple("until curl -sf http://a; do sleep 1; done") == [["curl", "-sf", "http://a"], ["sleep", "1"]]
    assert whole({"apiVersion": "v1"}) is None
