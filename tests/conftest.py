"""Before numpy is imported anywhere: one BLAS thread, as the program itself runs with. And how Hypothesis searches.

On a busy machine OpenBLAS's threads spin while they wait, and take several times the CPU of the small products that
they help with.

Two ways to search: `repeatable` (the default) tries the same examples on every machine, so that the gate says the same
of the same code; `search` tries new ones at every run (`make test-all`), and what it finds becomes an `@example`.
"""

import os
from collections.abc import Iterator

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import pytest
from hypothesis import settings

from proxy.request import machine

settings.register_profile("repeatable", derandomize=True, deadline=None, database=None, print_blob=True)
settings.register_profile("search", derandomize=False, deadline=None, print_blob=True)
settings.load_profile("repeatable")


@pytest.fixture(autouse=True)
def no_surprises() -> Iterator[None]:
    """No request has met an event that its table has no row for."""
    machine.surprises.clear()
    yield
    assert not machine.surprises
