from collections.abc import Iterator
from contextlib import closing

import pytest

from proxy.forks import ForkServer


@pytest.fixture(scope="module")
def forks() -> Iterator[ForkServer]:
    """One for all tests of a file: it has imported everything before the first of them is over."""
    with closing(ForkServer()) as server:
        yield server
