"""Configuration files to begin with, and what is said of a mistaken one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from proxy.config import parse
from proxy.errors import ConfigError

ROOT = Path(__file__).resolve().parents[2]
SECRETS = {
    "UNDERSTUDY_ADMIN_TOKEN": "correct horse",
    "UNDERSTUDY_WEBHOOK_SECRET": "battery staple",
    "UNDERSTUDY_STORE_URL": "postgresql://understudy:secret@db/understudy?sslmode=verify-full",
    "MLFLOW_WEBHOOK_SECRET": "of the webhook",
    "MLFLOW_TOKEN": "dapi-of-mlflow",
    "POD_IP": "10.1.2.3",
    "HOSTNAME": "0c6f2a1b9d3e",
}
LOADER = yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader
DUMPER = yaml.CSafeDumper if yaml.__with_libyaml__ else yaml.SafeDumper


def read(text: str) -> Any:
    """The value that a YAML text stands for, in C: in Python the full example alone takes 20 ms."""
    return yaml.load(text, LOADER)


def written(value: Any) -> str:
    """A value as YAML, in C."""
    return yaml.dump(value, Dumper=DUMPER, sort_keys=False, allow_unicode=True)


FULL = read((ROOT / "config" / "full.yaml").read_text("utf-8").replace("2026-11-18T09:00:00Z", '"x"'))
"""The example with every key."""

PLAIN = """
upstreams:
  v1: {url: http://127.0.0.1:9001}
  v2: {url: http://127.0.0.1:9002}
routes:
  - name: all
    live: v1
    prediction: {protocol: v2, kind: label}
    rollouts:
      - candidate: v2
        %s
"""


def rollout(text: str, **top: str) -> str:
    """A plain configuration whose rollout says `text`."""
    return PLAIN % text + "".join(f"{key}: {value}\n" for key, value in top.items())


def mistakes(text: str, environ: dict[str, str] | None = None) -> dict[str, str]:
    """What is said of `text`, by path: the problem and the hint."""
    with pytest.raises(ConfigError) as caught:
        parse(text, environ=environ or {})
    found = [(mistake.path, f"{mistake.problem} ({mistake.hint})") for mistake in caught.value.mistakes]
    assert len(dict(found)) == len(found), f"a path blamed twice: {found}"
    return dict(found)
