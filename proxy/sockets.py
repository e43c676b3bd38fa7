"""Addresses as people write them, and listening sockets made from them."""

from __future__ import annotations

import socket

from proxy.config.names import address as parts
from proxy.errors import UnderstudyError

ANYWHERE = ("0.0.0.0", "::")  # noqa: S104  # compared with, not listened on
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


def reachable(listen: str, port: int) -> str:
    """Where others may reach what listens on `HOST:PORT`, at `port` if that is not 0: an address that means all of this
    machine's leads nowhere from another one, so its name stands there instead.

    >>> reachable("10.0.0.7:9090", 0), reachable("[::1]:0", 4711)
    ('10.0.0.7:9090', '[::1]:4711')
    """
    host, own = parts(listen)
    return show((socket.gethostname() if host in ANYWHERE else host, port or own))
