"""Promise: what a worker is told of a configuration is the same text, whichever process has read it. Each reload is
read by another one; a worker makes anew what it finds to be other text."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from proxy.config_file import ConfigFile, ConfigRead

CONFIG = """\
upstreams:
  old: {url: "http://a:1", headers: {drop: [x-one, x-two, x-three], set: {x-b: "1", x-a: "2"}}}
  new: {url: "http://b:1", version: "2"}
routes:
  - name: r
    match: {path: /r, methods: [GET, POST, PUT], headers: {x-a: a, x-b: b}}
    live: old
    rollouts:
      - candidate: new
        stages: [{shadow: 10%}]
        mirror: {headers: {drop: [x-one, x-two], set: {x-c: c}}}
"""


def read_with(seed: str, file: Path) -> ConfigFile:
    """What a process says of a file whose sets are in an order of their own."""
    environment = {**os.environ, "PYTHONHASHSEED": seed}
    done = subprocess.run(
        [sys.executable, "-m", "proxy.config_reader", str(file)], env=environment, capture_output=True
    )
    assert done.returncode == 0, done.stderr
    return ConfigRead.load(done.stdout).file()


def test_workers_are_told_the_same_by_every_process_that_reads(tmp_path: Path) -> None:
    file = tmp_path / "understudy.yaml"
    file.write_text(CONFIG, "utf-8")
    one, other = (read_with(seed, file) for seed in ("1", "2"))
    assert "x-three" in one.workers
    assert one == other
