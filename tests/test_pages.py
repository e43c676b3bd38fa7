"""Promise: what the pages at the top of the repository show works as it is written."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from proxy.cli import main
from proxy.config import load, parse
from proxy.config.words import describe

ROOT = Path(__file__).resolve().parents[1]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.M))


def text(page: Path) -> str:
    return page.read_text("utf-8")


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def commands(page: Path) -> list[list[str]]:
    """Every line of a code block that calls `understudy`, in words, without what follows in the shell."""
    blocks = re.findall(r"^```\w*\n(.*?)^```", text(page), re.S | re.M)
    lines = [line.strip().removeprefix("$ ") for block in blocks for line in block.splitlines()]
    return [
        re.split(r"\s+[#|>&]", line)[0].split() for line in lines if line.removeprefix("$ ").startswith("understudy ")
    ]


def test_the_configuration_in_the_readme_is_fifteen_lines_and_means_what_it_is_said_to() -> None:
    (block,) = re.findall(r"```yaml\n(.*?)```", text(ROOT / "README.md"), re.S)
    lines = [line for line in block.splitlines() if line.strip() and not line.startswith("#")]
    assert len(lines) <= 15
    config = parse(block)
    assert config.plans == load(ROOT / "config" / "quickstart.yaml").plans
    plan = config.plans["fraud/fraud-v2"]
    assert [stage.name for stage in plan.stages] == ["shadow", "canary-5"]
    assert (plan.false_rollback_rate, plan.false_promotion_rate) == (0.01, 0.05)
    assert "4,500 latency pairs" in describe(config)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_command_that_is_shown_exists_with_its_options(page: Path) -> None:
    for words in commands(page):
        command = main.commands[words[1]]
        known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
        assert {word.partition("=")[0] for word in words[2:] if re.match(r"--?[a-z]", word)} <= known, words


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_target_and_every_link_that_is_named_exists(page: Path) -> None:
    assert set(re.findall(r"(?:^|`)make ([a-z-]+)", text(page), re.M)) <= TARGETS
    for link in re.findall(r"\]\((?!https?:|#|mailto:)([^)#]+)", text(page)):
        assert (page.parent / link).exists(), f"{name(page)} leads to {link}, which is not there"


def test_these_tests_are_not_blind() -> None:
    assert ["understudy", "status", "--watch"] in commands(ROOT / "README.md")
    assert isinstance(main, click.Group)
    assert {"demo", "test", "ci"} <= TARGETS
