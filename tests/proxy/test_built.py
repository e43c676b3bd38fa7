"""Promise: what `setup.py` compiles is there: a file that has moved would leave every installation interpreted."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest
import setuptools

ROOT = Path(__file__).resolve().parents[2]


def test_every_file_that_is_compiled_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(setuptools, "setup", lambda **_: None)
    monkeypatch.setenv("UNDERSTUDY_COMPILE", "no")
    monkeypatch.chdir(ROOT)
    named = runpy.run_path("setup.py")["COMPILED"]
    assert len(named) > 30
    assert [name for name in named if not Path(name).is_file()] == []
    assert len(set(named)) == len(named)
