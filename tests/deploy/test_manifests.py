"""Promise: what config/kubernetes and the Helm chart give is what a cluster takes, and what it runs is a configuration
that `understudy check` finds nothing wrong with.

Read by the real kubectl and Helm, and held against the API schemas of three versions of Kubernetes
(`make test-kubernetes`). Custom resources (PodMonitor, HTTPRoute) have no schema there; their fields are asserted here.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from proxy.address import address
from proxy.config import Config, parse
from proxy.config.words import warnings

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "deploy" / "helm" / "understudy"
OVERLAYS = sorted(path.name for path in (ROOT / "config" / "kubernetes" / "overlays").iterdir())
VALUES = sorted(path.name for path in (CHART / "ci").iterdir())
VERSIONS = ("1.32", "1.35", "1.37")
CUSTOM = {"PodMonitor", "HTTPRoute"}
SETTINGS = {
    "UNDERSTUDY_ADMIN_TOKEN": "an-admin-token",
    "UNDERSTUDY_WEBHOOK_SECRET": "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=",
    "UNDERSTUDY_STORE_URL": "postgresql://understudy:secret@db/understudy?sslmode=verify-full",
    "POD_IP": "10.1.2.3",
}
Parts = dict[tuple[str, str], dict[str, Any]]

pytestmark = [
    pytest.mark.kubernetes,
    pytest.mark.skipif("KUBERNETES_VENV" not in os.environ, reason="make test-kubernetes"),
]


def _run(tool: str, *arguments: object, fails: bool = False) -> str:
    command = [Path(os.environ["KUBERNETES_VENV"]) / "bin" / tool, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode != 0) == fails, done.stderr
    return done.stderr if fails else done.stdout


def _parts(text: str) -> Parts:
    return {(part["kind"], part["metadata"]["name"]): part for part in yaml.safe_load_all(text) if part}


def _chart(*arguments: object) -> Parts:
    return _parts(_run("helm", "template", "fraud", CHART, *arguments))


def _each() -> list[Any]:
    overlays = [pytest.param("kubectl", name, id=f"overlay-{name}") for name in OVERLAYS]
    return overlays + [pytest.param("helm", name, id=f"chart-{name}") for name in VALUES]


@pytest.fixture(scope="module")
def rendered() -> dict[str, str]:
    texts = {name: _run("kubectl", "kustomize", ROOT / "config/kubernetes/overlays" / name) for name in OVERLAYS}
    return texts | {name: _run("helm", "template", "fraud", CHART, "--values", CHART / "ci" / name) for name in VALUES}


def _pod(parts: Parts) -> dict[str, Any]:
    (deployment,) = (part for (kind, _), part in parts.items() if kind == "Deployment")
    pod: dict[str, Any] = deployment["spec"]["template"]
    return pod


def _config(parts: Parts) -> Config:
    (found,) = (part for (kind, _), part in parts.items() if kind == "ConfigMap")
    return parse(found["data"]["understudy.yaml"], environ=SETTINGS)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(("tool", "name"), _each())
def test_each_part_fits_the_schema_of_kubernetes(
    rendered: dict[str, str], tool: str, name: str, version: str, tmp_path: Path
) -> None:
    file = tmp_path / "all.json"
    standard = [part for part in _parts(rendered[name]).values() if part["kind"] not in CUSTOM]
    assert len(standard) >= 5
    for part in standard:
        file.write_text(json.dumps(part))
        _run("kubernetes-validate", "--strict", "-k", version, file)


@pytest.mark.parametrize(("tool", "name"), _each())
def test_the_configuration_is_good_and_meets_its_pod(rendered: dict[str, str], tool: str, name: str) -> None:
    parts = _parts(rendered[name])
    config, pod = _config(parts), _pod(parts)["spec"]
    (container,) = pod["containers"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    listens = {"data": config.server.listen, "admin": config.admin.listen}
    if config.fleet is not None:
        listens["fleet"] = config.fleet.listen
    assert ports == {port: address(listen)[1] for port, listen in listens.items()}
    timeouts = config.server.timeouts
    assert pod["terminationGracePeriodSeconds"] > timeouts.drain_delay + timeouts.drain
    mounts = [mount["mountPath"] for mount in container["volumeMounts"]]
    if config.fleet is None:
        assert any(config.store.path.startswith(mount) for mount in mounts)
    else:
        assert all(str(Path(file).parent) in mounts for file in vars(config.fleet.tls).values())
    assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}
    assert [line for line in warnings(config) if "/etc/understudy-fleet" not in line] == []


@pytest.mark.parametrize(("tool", "name"), _each())
def test_memory_fits_the_workers(rendered: dict[str, str], tool: str, name: str) -> None:
    parts = _parts(rendered[name])
    workers = _config(parts).server.workers
    assert isinstance(workers, int)
    resources = _pod(parts)["spec"]["containers"][0]["resources"]
    wanted = {"requests": 128 + 64 * workers, "limits": 384 + 256 * workers}
    assert {key: int(resources[key]["memory"].removesuffix("Mi")) for key in wanted} == wanted


@pytest.mark.parametrize(("tool", "name"), _each())
def test_every_selector_finds_the_pod_and_nothing_else(rendered: dict[str, str], tool: str, name: str) -> None:
    parts = _parts(rendered[name])
    labels = _pod(parts)["metadata"]["labels"]
    for (kind, called), part in parts.items():
        spec = part.get("spec", {})
        selector = spec.get("selector") or spec.get("podSelector")
        if selector:
            wanted = selector.get("matchLabels", selector)
            assert wanted.items() <= labels.items(), (kind, called)
            assert "app.kubernetes.io/name" in wanted, (kind, called)
    ports = {port["name"] for port in _pod(parts)["spec"]["containers"][0]["ports"]}
    for (kind, called), part in parts.items():
        if kind == "Service":
            assert {port["targetPort"] for port in part["spec"]["ports"]} <= ports, called
        if kind == "NetworkPolicy":
            assert {port["port"] for rule in part["spec"]["ingress"] for port in rule["ports"]} == ports


@pytest.mark.parametrize("name", ["fleet", "gateway", "fleet.yaml"])
def test_a_fleet_has_what_it_needs(rendered: dict[str, str], name: str) -> None:
    parts = _parts(rendered[name])
    kinds = {kind for kind, _ in parts}
    assert kinds >= {"PodDisruptionBudget", "HorizontalPodAutoscaler", "PodMonitor", "NetworkPolicy"}
    assert any(part["spec"].get("clusterIP") == "None" for (kind, _), part in parts.items() if kind == "Service")
    (deployment,) = (part for (kind, _), part in parts.items() if kind == "Deployment")
    assert deployment["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    assert {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}} in _pod(parts)["spec"][
        "containers"
    ][0]["env"]
    (monitor,) = (part for (kind, _), part in parts.items() if kind == "PodMonitor")
    assert monitor["spec"]["podMetricsEndpoints"][0]["path"] == "/metrics"
    (scaler,) = (part for (kind, _), part in parts.items() if kind == "HorizontalPodAutoscaler")
    assert scaler["spec"]["scaleTargetRef"]["name"] == deployment["metadata"]["name"]


@pytest.mark.parametrize("name", ["gateway", "fleet.yaml"])
def test_a_gateway_leads_to_the_service(rendered: dict[str, str], name: str) -> None:
    parts = _parts(rendered[name])
    (route,) = (part for (kind, _), part in parts.items() if kind == "HTTPRoute")
    assert route["spec"]["parentRefs"] == [{"name": "gateway", "namespace": "gateways"}]
    (to,) = route["spec"]["rules"][0]["backendRefs"]
    assert to["port"] in {port["port"] for port in parts["Service", to["name"]]["spec"]["ports"]}


def test_another_configuration_is_another_pod(rendered: dict[str, str]) -> None:
    values = ("--values", CHART / "ci" / "single.yaml")
    sums = [
        _pod(_chart(*values, *more))["metadata"]["annotations"]["checksum/config"]
        for more in ((), ("--set", "podLabels.team=b"), ("--set", "config.log.level=debug"))
    ]
    assert sums[0] == sums[1] != sums[2]
    for name in OVERLAYS:
        volumes = {volume["name"]: volume for volume in _pod(_parts(rendered[name]))["spec"]["volumes"]}
        assert re.fullmatch(r"understudy-[a-z0-9]{10}", volumes["config"]["configMap"]["name"])


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ((), "missing property 'upstreams'"),
        (("config.server.listen=0.0.0.0:80",), "config.server.listen is written by the chart"),
        (("config.store.path=/data/x.db",), "config.store is written by the chart"),
        (("config.server.workers=3",), "config.server.workers is written by the chart"),
        (("autoscaling.enabled=true",), "autoscaling wants fleet.enabled"),
        (("workers=two",), "at '/workers': got string, want integer"),
        (("workers=0",), "minimum: got 0, want 1"),
        (("config.routes[0].live=7",), "at '/config/routes/0/live': got number, want string"),
        (("replica=4",), "additional properties 'replica' not allowed"),
        (("config.bogus=1",), "additional properties 'bogus' not allowed"),
    ],
)
def test_a_mistake_in_the_values_is_named(values: tuple[str, ...], says: str) -> None:
    good = ("--values", str(CHART / "ci" / "single.yaml")) if values else ()
    changed = [word for value in values for word in ("--set", value)]
    assert says in _run("helm", "template", "fraud", CHART, *good, *changed, fails=True)


def test_the_chart_is_clean_for_helm_itself() -> None:
    for name in VALUES:
        assert "0 chart(s) failed" in _run("helm", "lint", "--strict", CHART, "--values", CHART / "ci" / name)
