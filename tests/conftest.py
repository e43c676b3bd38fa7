"""Before numpy is imported anywhere: one BLAS thread, as the program itself runs with. And how Hypothesis searches.

On a busy machine OpenBLAS's threads spin while they wait, and take several times the CPU of the small products that
they help with.

Two ways to search: `repeatable` (the default) tries the same examples on every machine, so that the gate says the same
of the same code; `search` tries new ones at every run (`make test-all`), and what it finds becomes an `@example`.
"""

import gc
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import pytest
from _pytest.assertion.rewrite import PYC_TAIL, _read_pyc, _rewrite_test, _write_pyc, assertstate_key, get_cache_dir
from _pytest.doctest import DoctestModule
from hypothesis import settings

from proxy.request import machine

settings.register_profile("repeatable", derandomize=True, deadline=None, database=None, print_blob=True)
settings.register_profile("search", derandomize=False, deadline=None, print_blob=True)
settings.load_profile("repeatable")

TESTS = Path(__file__).parent


def pytest_configure(config: pytest.Config) -> None:
    """One of several processes compiles its part of the test files before it collects them all: in a fresh clone each
    would compile everything, 14 s of a core for the assertions of 400 files."""
    gc.disable()  # what is collected stays
    here: dict[str, Any] | None = getattr(config, "workerinput", None)
    if here is None or sys.dont_write_bytecode:
        return
    number, count = int(here["workerid"].removeprefix("gw")), here["workercount"]
    for path in sorted(TESTS.rglob("test_*.py"))[number::count]:
        compile_ahead(path, config)


def compile_ahead(path: Path, config: pytest.Config) -> None:
    """What pytest does at the import of a test file, without the import; it finds what is written here."""
    folder = get_cache_dir(path)
    folder.mkdir(parents=True, exist_ok=True)
    compiled = folder / (path.stem + PYC_TAIL)
    if _read_pyc(path, compiled) is None:
        source, code = _rewrite_test(path, config)
        _write_pyc(config.stash[assertstate_key], code, source, compiled)


def pytest_collection_finish() -> None:
    """What is there now stays until the end: no rubbish is looked for in it."""
    gc.freeze()
    gc.enable()


@pytest.hookimpl(wrapper=True)
def pytest_collect_file(file_path: Path) -> Iterator[None]:
    """No doctests are looked for in test files."""
    found: list[pytest.Collector] = yield
    doctests = not file_path.name.startswith("test_")
    return [one for one in found if doctests or not isinstance(one, DoctestModule)]


@pytest.fixture(autouse=True)
def no_surprises() -> Iterator[None]:
    """No request has met an event that its table has no row for."""
    machine.surprises.clear()
    yield
    assert not machine.surprises
