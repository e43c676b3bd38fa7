"""Addresses as people write them, and listening sockets made from them."""

from __future__ import annotations

import resource
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from proxy.address import ANYWHERE
from proxy.address import address as parts
from proxy.errors import AddressError


def raise_descriptors() -> int:
    """Let this process open as many files as it may be allowed; how many that is."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return most


BACKLOG = 1024
"""Connections that may wait in the kernel for one listening socket."""
PATIENCE = 45.0
"""Seconds that the children of a supervisor which was killed have to leave: they drain, for 30 s as they are set."""
TURN = 5.0
"""Seconds to wait for another process that is just about to listen."""


@dataclass(frozen=True, slots=True)
class Listening:
    """Listening sockets on one address that nobody else listens on. `owner` marks the process that made them and ends
    with it, `family` is inherited by its children: so the next process can tell who is there."""

    sockets: tuple[socket.socket, ...]
    owner: socket.socket | None
    family: socket.socket | None

    @property
    def where(self) -> tuple[str, int]:
        """Host and port that are listened on."""
        host, port = self.sockets[0].getsockname()[:2]
        return host, port

    @property
    def parts(self) -> tuple[socket.socket | None, ...]:
        """Owner, family, and the listening sockets; `of` makes the same from them."""
        return (self.owner, self.family, *self.sockets)

    @classmethod
    def of(cls, parts: Sequence[socket.socket | None]) -> Listening:
        """From `parts`."""
        owner, family, *rest = parts
        return cls(tuple(sock for sock in rest if sock is not None), owner, family)

    def close(self) -> None:
        """Let go of everything."""
        for sock in self.parts:
            if sock is not None:
                sock.close()


def listen_alone(address: str, count: int = 1, patience: float = PATIENCE) -> Listening:
    """`count` sockets that share an address with each other (SO_REUSEPORT) and with nobody else; if its port is 0, the
    kernel chooses once for all. Raises `AddressError` naming the address when somebody else listens there.

    SO_REUSEPORT alone would let any process of the same user in, and the kernel give it its share of the clients. So a
    socket without it is bound first, which fails beside any listener. Orphans, whose supervisor was killed and which
    drain, have `patience` seconds to leave.
    """
    deadline = time.monotonic() + patience
    while True:
        with _turn(parts(address)[1]):
            try:
                return _alone(address, count)
            except AddressError:
                if time.monotonic() > deadline or not _is_orphaned(address):
                    raise
        time.sleep(0.02)


def _alone(address: str, count: int) -> Listening:
    host, port = parts(address)
    if port:
        bound_socket(address, share=False).close()
    first = bound_socket(address, share=count > 1)
    same = address_text((host, first.getsockname()[1]))
    sockets = (first, *(bound_socket(same, share=True) for _ in range(count - 1)))
    for sock in sockets:
        sock.listen(BACKLOG)
    return Listening(sockets, _mark(f"owner {address}"), _mark(f"family {address}"))


def bound_socket(address: str, *, share: bool = False) -> socket.socket:
    """A socket on an address, not listening yet; `share`: with SO_REUSEPORT. Raises `AddressError`."""
    host, port = parts(address)
    sock = None
    try:
        family, kind, protocol, _, where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        sock = socket.socket(family, kind, protocol)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if share:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind(where)
        sock.setblocking(False)
    except OSError as error:
        if sock is not None:
            sock.close()
        raise AddressError(f"cannot listen on {address}: {error.strerror or error}") from error
    return sock


def _mark(what: str) -> socket.socket | None:
    """Hold a name for as long as the socket lives; `None` when somebody has it. Abstract names (of Linux) are made for
    this: they belong to the network namespace, as the ports do, and leave nothing behind."""
    mark = socket.socket(socket.AF_UNIX)
    try:
        mark.bind(f"\0understudy {what}")
    except OSError:
        mark.close()
        return None
    return mark


def _is_orphaned(address: str) -> bool:
    """Whether children of an Understudy on this address are there, and the one that started them is not."""
    owner, family = _mark(f"owner {address}"), _mark(f"family {address}")
    for mark in (owner, family):
        if mark is not None:
            mark.close()
    return owner is not None and family is None


@contextmanager
def _turn(port: int) -> Iterator[None]:
    """One process at a time looks who listens on a port and then listens there."""
    deadline = time.monotonic() + TURN
    while (mark := _mark(f"turn {port}")) is None and time.monotonic() < deadline:
        time.sleep(0.005)
    try:
        yield
    finally:
        if mark is not None:
            mark.close()


def address_text(address: tuple[str, int]) -> str:
    """`host:port` of an address, as a person would type it.

    >>> address_text(("::1", 80)), address_text(("127.0.0.1", 80))
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
    return address_text((socket.gethostname() if host in ANYWHERE else host, port or own))
