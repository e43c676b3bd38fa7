"""Write the Helm chart's values.schema.json: the types of values.yaml, and our JSON Schema for `config`: `make docs`.
A test keeps it current."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from proxy.config import schema

CHART = Path(__file__).resolve().parents[1] / "deploy" / "helm" / "understudy"
SCHEMA = CHART / "values.schema.json"

OPEN = {
    "affinity", "annotations", "labels", "nodeSelector", "podAnnotations", "podLabels", "resources",
}  # fmt: skip
"""Values that Kubernetes defines, and checks."""

BOUNDS: dict[str, dict[str, Any]] = {
    "workers": {"minimum": 1},
    "replicas": {"minimum": 1},
    "minReplicas": {"minimum": 1},
    "maxReplicas": {"minimum": 1},
    "port": {"minimum": 1, "maximum": 65535},
    "maxUnavailable": {"minimum": 1},
    "targetCPUUtilizationPercentage": {"minimum": 1, "maximum": 100},
    "terminationGracePeriodSeconds": {"minimum": 1},
    "secret": {"minLength": 1},
    "pullPolicy": {"enum": ["Always", "IfNotPresent", "Never"]},
    "type": {"enum": ["ClusterIP", "NodePort", "LoadBalancer"]},
}


def chart_schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of the chart's values."""
    config = schema()
    head = {"$schema": config.pop("$schema"), "title": "Values of the Understudy chart", "$defs": config.pop("$defs")}
    values = _of(yaml.safe_load((CHART / "values.yaml").read_text("utf-8")))
    values["properties"]["config"] = {**config, "title": "understudy.yaml, without what the chart writes"}
    values["properties"]["global"] = {"type": "object"}  # Helm gives it to every chart
    return {**head, **values, "required": ["config"]}


def _of(value: Any, name: str = "") -> dict[str, Any]:
    if isinstance(value, dict):
        if name in OPEN:
            return {"type": "object"}
        inner = {key: _of(item, key) for key, item in value.items()}
        return {"type": "object", "properties": inner, "additionalProperties": False}
    kinds = {bool: "boolean", int: "integer", str: "string", list: "array"}
    return {"type": kinds[type(value)], **BOUNDS.get(name, {})}


def text() -> str:
    """The file."""
    return json.dumps(chart_schema(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    SCHEMA.write_text(text(), "utf-8")
