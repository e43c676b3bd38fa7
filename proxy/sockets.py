"""Addresses as people write them, and listening sockets made from them."""

from __future__ import annotations

import socket

from proxy.config.units import address as parts
from proxy.errors import UnderstudyError

BACKLOG = 1024
"""Connections that may wait in the kernel for one listening socket."""


def listen(address: str, *, share: bool) -> socket.socket:
    """A listening socket on `address`; `share` sets SO_REUSEPORT. Raises `UnderstudyError` naming the address."""
    host, port = parts(address)
    sock = None
    try:
        family, kind, protocol, _, where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        sock = socket.socket(family, kind, protocol)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if share:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind(where)
        sock.listen(BACKLOG)
        sock.setblocking(False)
    except OSError as error:
        if sock is not None:
            sock.close()
        raise UnderstudyError(f"cannot listen on {address}: {error.strerror or error}") from error
    return sock


def show(address: tuple[str, int]) -> str:
    """`host:port` of an address, as a person would type it.

    >>> show(("::1", 80)), show(("127.0.0.1", 80))
    ('[::1]:80', '127.0.0.1:80')
    """
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
