"""Promise: config/compose.yaml and compose.fleet.yaml are right as far as can be seen without an engine: they keep the
specification, what they mount is there, names lead to services, and each mounted configuration is good for its
program."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import jsonschema
import pytest
import yaml

from proxy.config import load, parse
from tests.docs.pages import ROOT

FOLDER = ROOT / "config"
COMPOSE = yaml.safe_load((FOLDER / "compose.yaml").read_text("utf-8"))
FLEET = yaml.safe_load((FOLDER / "compose.fleet.yaml").read_text("utf-8"))
SERVICES = COMPOSE["services"]
EACH = [(whole, service) for whole in (COMPOSE, FLEET) for service in whole["services"]]


def mounts(service: str, whole: dict[str, Any] = COMPOSE) -> dict[str, Path]:
    """Files and folders of the repository by where the container sees them."""
    listed = (volume.split(":") for volume in whole["services"][service].get("volumes", ()))
    return {inside: FOLDER / outside for outside, inside, *_ in listed if outside.startswith(".")}


def test_it_keeps_the_specification() -> None:
    schema = json.loads((Path(__file__).parent / "compose-spec.json").read_text("utf-8"))
    jsonschema.validate(COMPOSE, schema)
    jsonschema.validate(FLEET, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"services": {"a": {"imagee": "b"}}}, schema)


@pytest.mark.parametrize(("whole", "service"), EACH, ids=lambda part: part if isinstance(part, str) else "")
def test_what_it_mounts_and_names_is_there(whole: dict[str, Any], service: str) -> None:
    one = whole["services"][service]
    assert all(path.exists() for path in mounts(service, whole).values())
    assert set(one.get("depends_on", ())) <= whole["services"].keys()
    named = {volume.split(":")[0] for volume in one.get("volumes", ()) if not volume.startswith(".")}
    assert named <= whole["volumes"].keys()
    if "build" in one:
        assert (FOLDER / one["build"]["context"] / "Dockerfile").exists()


def test_commands_run_files_that_are_mounted() -> None:
    for whole, service in EACH:
        one = whole["services"][service]
        if one["image"].startswith("python:"):
            (folder,) = mounts(service, whole).items()
            assert (folder[1] / Path(one["command"][1]).relative_to(folder[0])).exists()


def test_understudys_configuration_loads_and_its_upstreams_are_services(monkeypatch: pytest.MonkeyPatch) -> None:
    (path,) = mounts("understudy").values()
    config = load(path, {"UNDERSTUDY_ADMIN_TOKEN": "to-try-it"})
    for upstream in config.upstreams.values():
        url = urlsplit(upstream.urls[0])
        assert str(url.port) in SERVICES[str(url.hostname)]["command"]
    state = dict(volume.split(":")[:2] for volume in SERVICES["understudy"]["volumes"] if volume.startswith("state"))
    assert config.store.path.startswith(state["state"])
    assert config.server.listen.endswith(":8080")  # what the image's health check asks
    assert mounts("understudy").keys() == {"/etc/understudy/understudy.yaml"}  # what the image starts with


def prometheus_folder(tmp_path: Path) -> Path:
    for inside, outside in mounts("prometheus").items():
        shutil.copy(outside, tmp_path / Path(inside).name)
    return tmp_path / "prometheus.yml"


def test_prometheus_scrapes_the_admin_port_with_the_rules_of_the_examples(tmp_path: Path) -> None:
    found: dict[str, Any] = yaml.safe_load(prometheus_folder(tmp_path).read_text("utf-8"))
    original = yaml.safe_load((FOLDER / "prometheus" / "prometheus.yml").read_text("utf-8"))
    (job,) = found["scrape_configs"]
    assert job["static_configs"] == [{"targets": ["understudy:9090"]}]
    assert (job["job_name"], found["rule_files"]) == (
        original["scrape_configs"][0]["job_name"],
        original["rule_files"],
    )


@pytest.mark.skipif(shutil.which("promtool") is None, reason="needs Prometheus")
def test_prometheus_takes_its_configuration(tmp_path: Path) -> None:
    subprocess.run(["promtool", "check", "config", prometheus_folder(tmp_path)], check=True, capture_output=True)


def test_grafana_finds_prometheus_and_the_dashboard() -> None:
    seen = mounts("grafana")
    sources = yaml.safe_load(seen["/etc/grafana/provisioning/datasources/understudy.yml"].read_text("utf-8"))
    assert urlsplit(sources["datasources"][0]["url"]).hostname in SERVICES
    providers = yaml.safe_load(seen["/etc/grafana/provisioning/dashboards/understudy.yml"].read_text("utf-8"))
    folder = seen[providers["providers"][0]["options"]["path"]]
    assert [path.name for path in folder.glob("*.json")] == ["understudy.json"]


# --- a fleet ---------------------------------------------------------------------------------------------------------


def test_the_replicas_of_a_fleet_share_store_and_certificates(tmp_path: Path) -> None:
    one = FLEET["services"]["understudy"]
    seen = mounts("understudy", FLEET)
    environment = {"UNDERSTUDY_ADMIN_TOKEN": "to-try-it", "HOSTNAME": "0c6f2a1b9d3e"}
    environment["UNDERSTUDY_STORE_URL"] = one["environment"]["UNDERSTUDY_STORE_URL"]
    config = parse(seen["/etc/understudy/understudy.yaml"].read_text("utf-8"), environ=environment)
    assert one["deploy"]["replicas"] >= 3
    assert config.fleet is not None
    assert config.fleet.advertise == "0c6f2a1b9d3e:9091"
    folder = next(volume.split(":")[1] for volume in one["volumes"] if volume.startswith("tls:"))
    assert Path(config.fleet.tls.cert).parent == Path(folder)
    assert config.store.url is not None
    assert urlsplit(environment["UNDERSTUDY_STORE_URL"]).hostname in FLEET["services"]
    for upstream in config.upstreams.values():
        url = urlsplit(upstream.urls[0])
        assert str(url.port) in FLEET["services"][str(url.hostname)]["command"]


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")
def test_the_certificates_are_of_one_authority_whose_key_is_gone(tmp_path: Path) -> None:
    script = mounts("certificates", FLEET)["/make-certificates.sh"]
    for _ in range(2):  # the second time it leaves them alone
        subprocess.run(["sh", script, tmp_path], check=True, capture_output=True)
    assert {path.name for path in tmp_path.iterdir()} == {"ca.crt", "tls.crt", "tls.key"}
    verify = ["openssl", "verify", "-CAfile", tmp_path / "ca.crt", tmp_path / "tls.crt"]
    assert subprocess.run(verify, check=True, capture_output=True, text=True).stdout.endswith("OK\n")


@pytest.mark.skipif(shutil.which("nginx") is None, reason="needs nginx")
def test_nginx_takes_its_configuration_and_leads_to_the_replicas(tmp_path: Path) -> None:
    written = mounts("balancer", FLEET)["/etc/nginx/nginx.conf"].read_text("utf-8")
    assert "set $replicas understudy;" in written
    copy = tmp_path / "nginx.conf"
    copy.write_text(written.replace("listen ", "listen 127.0.0.1:1").replace("events {}", "pid nginx.pid;\nevents {}"))
    checked = subprocess.run(["nginx", "-t", "-p", tmp_path, "-c", copy], capture_output=True, text=True, check=False)
    assert "syntax is ok" in checked.stderr, checked.stderr
