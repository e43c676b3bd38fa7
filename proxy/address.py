"""Addresses of sockets, `HOST:PORT`."""

from __future__ import annotations

import ipaddress
import re

ANYWHERE = frozenset({"0.0.0.0", "::"})  # noqa: S104  # compared with, not listened on
"""Hosts that mean every address of this machine."""


def address(value: str) -> tuple[str, int]:
    """Host and port of `HOST:PORT`; an IPv6 host stands in brackets. Raises `ValueError`.

    >>> address("[::1]:9090")
    ('::1', 9090)
    """
    match = re.fullmatch(r"(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9.-]+)):([0-9]{1,5})", value)
    if match is None or int(match[3]) > 65535:
        raise ValueError("not an address")
    if match[1]:
        ipaddress.IPv6Address(match[1])
    return match[1] or match[2], int(match[3])
