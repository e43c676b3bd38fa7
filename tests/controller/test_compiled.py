"""Promise: compiled or not, the same pairs make the same readings, evidence and findings, to the bit. (Where nothing is
compiled, two processes with other hashes of texts do.)"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import orjson

from tests.controller.same_pairs import digests

ROOT = Path(__file__).resolve().parents[2]
INTERPRETED = """
import runpy, sys
from importlib.machinery import SOURCE_SUFFIXES, FileFinder, SourceFileLoader

class Plain:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name.split(".")[0] == "proxy":
            for folder in path or [sys.argv[1]]:
                if (spec := FileFinder(folder, (SourceFileLoader, SOURCE_SUFFIXES)).find_spec(name)) is not None:
                    return spec

sys.meta_path.insert(0, Plain)
runpy.run_module("tests.controller.same_pairs", run_name="__main__")
assert all(str(module.__file__).endswith(".py") for name, module in sys.modules.items() if name.startswith("proxy."))
"""


def test_the_same_pairs_are_the_same_evidence() -> None:
    command = [sys.executable, "-c", INTERPRETED, str(ROOT)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, check=False, timeout=120)
    assert not done.returncode, done.stderr.decode()
    assert orjson.loads(done.stdout) == digests()
