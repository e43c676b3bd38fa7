"""Promise: what config/gates shows fits the other program's schema and our own API and command line.

Argo Rollouts' types, and the schemas of GitHub's and GitLab's files, are the real ones (`make test-gates`). Flagger's
are in no registry; its fields are asserted here.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml
from aiohttp.test_utils import make_mocked_request

from proxy import cli
from proxy.controller.admin import application
from proxy.controller.admin.openapi import api_document
from tests.controller.fake_service import FakeSender, FakeService

ROOT = Path(__file__).resolve().parents[2]
GATES = ROOT / "config" / "gates"
FOLDER = Path(os.environ.get("GATES_FOLDER", ".venv-gates")).absolute()
CHECK = FOLDER / "bin" / "check-jsonschema"
real = pytest.mark.skipif(
    not (FOLDER / "node_modules").exists() or shutil.which("node") is None, reason="needs `make test-gates`"
)


def read(name: str) -> Any:
    return yaml.safe_load((GATES / name).read_text("utf-8"))


async def path_of(method: str, url: str) -> str:
    """What of ours answers at a URL, as the API is described."""
    filled = re.sub(r"{{args\.\w+}}", "a/b", urlsplit(url).path)
    app = application(FakeService(), FakeSender())
    found = await app.router.resolve(make_mocked_request(method, filled))
    return found.route.resource.canonical if found.route.resource is not None else ""


# --- Argo Rollouts ---------------------------------------------------------------------------------------------------


async def test_argos_template_asks_what_there_is() -> None:
    [metric] = read("argo-rollouts.yaml")["spec"]["metrics"]
    web = metric["provider"]["web"]
    path = await path_of("GET", web["url"])
    assert path == "/api/v1/rollouts/{route}/{candidate}/gate"
    field = web["jsonPath"].removeprefix("{$.").removesuffix("}")
    schemas = api_document()["components"]["schemas"]
    said = schemas[schemas["Gate"]["properties"][field]["$ref"].rpartition("/")[2]]["enum"]
    assert {metric["successCondition"], metric["failureCondition"]} == {'result == "pass"', 'result == "fail"'}
    assert {"pass", "fail"} < set(said), "anything else is inconclusive"


def valid(template: Any) -> bool:
    command = ["node", str(FOLDER / "analysis_template.js")]
    return (
        subprocess.run(command, input=json.dumps(template).encode(), capture_output=True, check=False).returncode == 0
    )


@real
def test_argos_template_is_one() -> None:
    template = read("argo-rollouts.yaml")
    assert valid(template)
    types = (FOLDER / "node_modules/@kubernetes-models/argo-rollouts/argoproj.io/v1alpha1").resolve()

    def known(name: str) -> set[str]:
        return set(re.findall(r'^\s*"?(\w+)"?\??:', (types / f"{name}.d.ts").read_text("utf-8"), re.M))

    [metric] = template["spec"]["metrics"]
    assert metric.keys() <= known("Metric")
    assert metric["provider"]["web"].keys() <= known("WebMetric")
    assert template["spec"].keys() <= known("AnalysisTemplateSpec")
    metric["failureLimit"] = {}
    assert not valid(template), "and the check can fail"


# --- Flagger ---------------------------------------------------------------------------------------------------------

HOOK = {"name", "type", "muteAlert", "url", "timeout", "retries", "disableTLS", "metadata"}
"""Properties of `spec.analysis.webhooks` in flagger.app_canaries (artifacts/flagger/crd.yaml); there are no headers."""


async def test_flaggers_webhooks_ask_what_there_is() -> None:
    canary = read("flagger.yaml")
    assert (canary["apiVersion"], canary["kind"]) == ("flagger.app/v1beta1", "Canary")
    hooks = canary["spec"]["analysis"]["webhooks"]
    asked = {hook["type"]: await path_of("POST", hook["url"]) for hook in hooks}
    base = "/api/v1/rollouts/{route}/{candidate}/gate"
    assert asked == {"confirm-promotion": f"{base}/promote", "rollback": f"{base}/rollback"}
    for hook in hooks:
        assert hook.keys() <= HOOK
        assert re.fullmatch("[0-9]+(m|s)", hook["timeout"])
        assert urlsplit(hook["url"]).username == "flagger"
        assert urlsplit(hook["url"]).query.startswith("version="), "or the version before would be promoted"


# --- GitHub, GitLab --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "jobs"), [("github.yml", "jobs"), ("gitlab-ci.yml", "")])
def test_the_commands_are_ours(name: str, jobs: str) -> None:
    job = read(name)[jobs]["replay"] if jobs else read(name)["replay"]
    lines = [step.get("run", "") for step in job["steps"]] if jobs else job["script"]
    found = [shlex.split(line)[1:] for line in lines if line.startswith("understudy")]
    assert [command for command, *_ in found] == ["check", "replay"]
    for name, *arguments in found:
        options = {one for param in cli.command(name).params for one in (*param.opts, *param.secondary_opts)}
        assert {one for one in arguments if one.startswith("-")} <= options


@real
@pytest.mark.parametrize(
    ("name", "schema"),
    [
        ("github.yml", ["vendor.github-workflows"]),
        ("gitlab-ci.yml", ["vendor.gitlab-ci", "--data-transform=gitlab-ci"]),
    ],
)
def test_the_jobs_fit_their_schema(name: str, schema: list[str], tmp_path: Path) -> None:
    def fits(path: Path) -> bool:
        return (
            subprocess.run([CHECK, "--builtin-schema", *schema, path], capture_output=True, check=False).returncode == 0
        )

    assert fits(GATES / name)
    text = (GATES / name).read_text("utf-8")
    (tmp_path / name).write_text(re.sub("(timeout|timeout-minutes): .*", r"\1: {}", text))
    assert not fits(tmp_path / name), "and the check can fail"
