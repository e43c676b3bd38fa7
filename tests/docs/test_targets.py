"""Promise: a target of the Makefile runs the tests that it says, the slow ones among them: `-m 'not slow'` holds only
for whoever types pytest alone."""

from __future__ import annotations

import re
import shlex
import tomllib

import pytest

from tests.docs.pages import ROOT, text

RECIPES = re.sub(r"\\\n\s*", " ", text(ROOT / "Makefile"))
RUNS = re.findall(r"^\t.*(?:/pytest|-m pytest) (.*)$", RECIPES, re.M)


@pytest.mark.parametrize("run", RUNS)
def test_each_run_of_pytest_says_which_tests_it_selects(run: str) -> None:
    assert "-m" in shlex.split(run)


def test_pytest_alone_leaves_slow_ones_out() -> None:
    options = tomllib.loads(text(ROOT / "pyproject.toml"))["tool"]["pytest"]["ini_options"]["addopts"]
    assert shlex.split(options)[-2:] == ["-m", "not slow"]


@pytest.mark.parametrize("target", ["test-guard", "test-protocol", "test-key"])
def test_the_files_of_a_target_for_one_kind_of_change_exist(target: str) -> None:
    recipe = re.search(rf"^{target}:.*\n\t(.*)", RECIPES, re.M)
    assert recipe is not None
    names = dict(re.findall(r"^(\w+) := (.*)", RECIPES, re.M))
    words = re.sub(r"\$\((\w+)\)", lambda name: names.get(name[1], name[0]), recipe[1])
    files = re.findall(r"tests/\S+", words)
    assert len(files) > 5
    assert [file for file in files if not (ROOT / file).exists()] == []
