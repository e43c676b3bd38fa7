"""Names of requests: one of our own for each (UUID version 7, RFC 9562, 5.7), and what a client's must look like."""

from __future__ import annotations

import re

_ID = re.compile(rb"[\x21-\x7e]{1,128}")


def valid_id(value: bytes) -> bool:
    """Whether a client's request id is taken over: 1 to 128 visible ASCII characters."""
    return _ID.fullmatch(value) is not None


def uuid7_time(milliseconds: int) -> bytes:
    """The first part of a UUID version 7 (RFC 9562, 5.7), up to the version digit, from epoch milliseconds.

    >>> uuid7_time(0x017F22E279B0)
    b'017f22e2-79b0-7'
    """
    time = b"%012x" % milliseconds
    return b"%b-%b-7" % (time[:8], time[8:])


def uuid7_tails(random: bytes) -> list[bytes]:
    """The rest of a UUID version 7, one for every 10 random bytes.

    >>> uuid7_tails(bytes.fromhex("cc318c4dc0c0c07398ff"))
    [b'cc3-98c4-dc0c0c07398f']
    """
    digits = [random[at : at + 10].hex() for at in range(0, len(random) - 9, 10)]
    variants = "89ab"
    return [f"{d[:3]}-{variants[int(d[3], 16) & 3]}{d[4:7]}-{d[7:19]}".encode() for d in digits]
