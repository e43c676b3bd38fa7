"""Promise: the quick start works as it is typed: one candidate is promoted, the next one rolled back, no client sees an
error. Its blocks are run by one shell, as a reader runs them; only installing is left out, and ports are free ones."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from proxy.config import parse
from tests.docs.pages import ROOT, blocks, text
from tests.ports import free_port

PAGE = ROOT / "docs" / "quickstart.md"
INSTALL, *STEPS = blocks(PAGE, "sh")
DEADLINE = 240


def test_it_begins_by_installing_this() -> None:
    assert "pip install ." in INSTALL
    assert "pip" not in "".join(STEPS)


def test_the_configuration_shown_is_the_one_that_is_used() -> None:
    shown, edit = blocks(PAGE, "yaml")
    used = (ROOT / "config" / "quickstart" / "understudy.yaml").read_text("utf-8")
    assert shown in used
    after, _, before = edit.partition(" # was ")
    edited = parse(used.replace(f"live: {before.strip()}\n", after.strip() + "\n"))
    assert (edited.routes[0].live, dict(edited.plans)) == ("fraud-v2", {})


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_every_command_as_typed(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "config" / "quickstart", tmp_path / "config" / "quickstart")
    (tmp_path / ".quickstart").mkdir()
    ports = {port: str(free_port()) for port in ("8080", "9090", "9001", "9002")}
    with_ports = re.compile("|".join(ports))

    def ported(words: str) -> str:
        return with_ports.sub(lambda match: ports[match[0]], words)

    example = tmp_path / "config" / "quickstart" / "understudy.yaml"
    own = f"server: {{listen: 127.0.0.1:8080, workers: 1}}\nadmin: {{listen: 127.0.0.1:9090}}\n{example.read_text()}"
    example.write_text(ported(own))
    script = "\n".join(f"echo '=== {n}'\n{ported(step)}" for n, step in enumerate(STEPS))
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    env = os.environ | {"PATH": path, "UNDERSTUDY_ADMIN_URL": f"http://127.0.0.1:{ports['9090']}"}
    shell = subprocess.Popen(
        ["bash", "-e", "-o", "pipefail"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=tmp_path, env=env, start_new_session=True,
    )  # fmt: skip
    try:
        output, _ = shell.communicate(script, DEADLINE)
    finally:
        kill_session(shell.pid)
    assert shell.returncode == 0, output
    seen = dict(re.findall(r"=== (\d)\n(.*?)(?==== |\Z)", output, re.S))
    checked, served, climbed, then, broken = (seen[str(n)] for n in (1, 2, 3, 4, 5))
    assert "2. canary-20" in checked
    assert re.search(r"x-served-by: fraud-v1", served)
    assert '"data": [1]' in served
    assert re.search(r"answered by fraud-v1: \d+, fraud-v2: \d+\n$", climbed)
    assert "promoted" in then.splitlines()[0]
    decided = re.findall(r"fraud/fraud-v2 +(\w+) +\w+ +holds$", then, re.M)
    assert decided == ["began", "advanced", "promoted"]
    assert "status" not in broken.split("fraud/fraud-v2")[0].replace('{"status":"reloaded"', "")
    assert "rolled back" in broken
    assert "! disagreement now" in broken
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config"]


def kill_session(leader: int) -> None:
    """End what a failing script left running."""
    try:
        os.killpg(leader, signal.SIGKILL)
    except ProcessLookupError:
        return


def test_the_page_says_what_the_tests_do() -> None:
    assert "*promoted*" in text(PAGE)
    assert "*rolled\nback*" in text(PAGE) or "*rolled back*" in text(PAGE)
