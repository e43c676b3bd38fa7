"""Promise: the quick start works as it is typed: one candidate is promoted, the next one rolled back, no client sees an
error. Its blocks are run by one shell, as a reader runs them; only installing is left out, and ports are free ones."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from proxy.config import parse
from tests.docs.pages import ROOT, blocks, text
from tests.docs.typed import typed

PAGE = ROOT / "docs" / "quickstart.md"
INSTALL, *STEPS = blocks(PAGE, "sh")


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
    example = tmp_path / "config" / "quickstart" / "understudy.yaml"
    seen = typed(STEPS, tmp_path, example, ("9001", "9002"))
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


def test_the_page_says_what_the_tests_do() -> None:
    assert "*promoted*" in text(PAGE)
    assert "*rolled\nback*" in text(PAGE) or "*rolled back*" in text(PAGE)
