"""Promise: the chart checks `config` by the schema of the file itself, and its versions are the program's."""

from __future__ import annotations

import runpy
from pathlib import Path

import yaml

from proxy import __version__

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "deploy" / "helm" / "understudy"


def test_the_schema_of_the_values_is_current() -> None:
    made = runpy.run_path(str(ROOT / "tools" / "chart_schema.py"))["text"]()
    assert (CHART / "values.schema.json").read_text("utf-8") == made, "run `make docs`"


def test_chart_manifests_and_program_have_one_version() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text("utf-8"))
    base = yaml.safe_load((ROOT / "config" / "kubernetes" / "base" / "deployment.yaml").read_text("utf-8"))
    image = base["spec"]["template"]["spec"]["containers"][0]["image"]
    assert (chart["version"], chart["appVersion"], image) == (__version__, __version__, f"understudy:{__version__}")
