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
from zlib import crc32

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
# grpcio starts its own threads again in every forked child; one that forks to change its user is ours for a while
# before it is the program it becomes, and those threads end it when its files are closed. It costs 14 ms a child, too.
os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"

import pytest
from _pytest.assertion.rewrite import PYC_TAIL, _read_pyc, _rewrite_test, _write_pyc, assertstate_key, get_cache_dir
from _pytest.doctest import DoctestModule
from hypothesis import settings

from proxy.request import machine
from tests.postgres import mortal_postgres, postgres, postgres_cluster, postgres_server

settings.register_profile(
    "repeatable", derandomize=True, deadline=None, database=None, max_examples=60, print_blob=True
)
settings.register_profile("search", derandomize=False, deadline=None, print_blob=True)
settings.load_profile("repeatable")

__all__ = ["mortal_postgres", "postgres", "postgres_cluster", "postgres_server"]
"""Fixtures of all tests: a server that several folders had would be made once for each."""

TESTS = Path(__file__).parent
LONGEST = {
    "tests/calibration/test_calibration.py",
    "tests/e2e/test_costs.py",
    "tests/worker/test_cancellation.py",
    "tests/worker/test_timeouts.py",
}
"""Each takes half a minute or more of computing or of waiting."""


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


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The order in which several processes take files: the longest first, and the small ones at the end, so that all
    end together. In between a file's place is drawn from its name: those of one folder wait alike, or compute alike,
    and four that wait leave the cores idle."""
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: place_of(item.nodeid.partition("::")[0]))


def place_of(file: str) -> tuple[bool, bool, int]:
    """What to sort a file by, given as node ids begin."""
    return file not in LONGEST, not file.startswith("tests/"), crc32(file.encode())


def pytest_collection_finish() -> None:
    """What is there now stays until the end: no rubbish is looked for in it."""
    gc.freeze()
    gc.enable()


@pytest.hookimpl(wrapper=True)
def pytest_collect_file(file_path: Path) -> Iterator[None]:
    """No doctests are looked for in test files, and none where there are none: each process of a run would import what
    is never run there (scikit-learn and a model that is trained, with it)."""
    found: list[pytest.Collector] = yield
    return [one for one in found if not isinstance(one, DoctestModule) or has_examples(file_path)]


def has_examples(path: Path) -> bool:
    """Whether a file may have doctests of its own."""
    return not path.name.startswith("test_") and b">>> " in path.read_bytes()


@pytest.fixture(autouse=True)
def no_surprises() -> Iterator[None]:
    """No request has met an event that its table has no row for."""
    machine.surprises.clear()
    yield
    assert not machine.surprises
