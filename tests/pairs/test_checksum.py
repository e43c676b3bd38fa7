"""Promise: a long body is known by the same number whichever library reckons it, and however the body came."""

from __future__ import annotations

import subprocess
import sys
import zlib

from hypothesis import given
from hypothesis import strategies as st

from proxy.pairs.checksum import rest_of
from tests.worker.test_cuts import cut


@given(st.binary(max_size=5000), st.lists(st.integers(0, 5000), max_size=4))
def test_it_is_the_crc_of_zlib_however_the_body_was_cut(body: bytes, cuts: list[int]) -> None:
    parts = [memoryview(part) if number % 2 else part for number, part in enumerate(cut(body, cuts))]
    assert rest_of(*parts) == len(body).to_bytes(8, "little") + zlib.crc32(body).to_bytes(4, "little")


def test_where_zlib_ng_is_not_installed_it_is_reckoned_by_zlib() -> None:
    without = "import sys; sys.modules['zlib_ng'] = None; from proxy.pairs import checksum; "
    said = "print(checksum.crc32.__module__, checksum.rest_of(b'long').hex())"
    done = subprocess.run([sys.executable, "-c", without + said], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["zlib", rest_of(b"long").hex()]
