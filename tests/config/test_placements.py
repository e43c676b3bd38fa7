"""Promise: every placement of `docs/placements.md` is a configuration that loads, is warned of nothing, and is in the
table at its top."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from proxy.config import parse
from proxy.config.words import describe

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "placements.md").read_text("utf-8")
SECTIONS = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", PAGE, re.DOTALL | re.MULTILINE))


def anchor(title: str) -> str:
    return re.sub(r"[^a-z0-9 -]", "", title.lower()).replace(" ", "-")


@pytest.mark.parametrize("title", SECTIONS)
def test_each_loads(title: str, tmp_path: Path) -> None:
    (text,) = re.findall(r"```yaml\n(.*?)```", SECTIONS[title], re.DOTALL)
    for name in re.findall(r"file:/run/secrets/([^}]+)", text):
        (tmp_path / name).write_text("s3cret")
    config = parse(text.replace("/run/secrets", str(tmp_path)), environ={"THEIR_KEY": "s3cret"})
    assert len(config.upstreams) >= 2
    assert config.plans
    assert "share address" not in describe(config)


def test_the_table_names_them_all() -> None:
    assert re.findall(r"^\| \[[^]]+\]\(#([^)]+)\)", PAGE, re.MULTILINE) == [anchor(title) for title in SECTIONS]
    assert len(SECTIONS) == 10
