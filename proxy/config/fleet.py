"""A fleet in the file: where this replica's links are taken, how it is reached, and what is wrong with that."""

from __future__ import annotations

from typing import Protocol

from proxy.address import address
from proxy.config.names import is_loopback
from proxy.config.text import Path
from proxy.config.types import Duration, FilePath, Listen, Section
from proxy.units import duration

SHORTEST, LONGEST = 2.0, 60.0
"""Bounds of a lease, seconds: shorter, a busy machine would lose it; longer, a frozen leader would be waited for."""

_ANY = ("0.0.0.0", "::")  # noqa: S104 - looked for, not listened on
_HERE: Path = ("fleet",)


class _Blame(Protocol):
    """Notes mistakes, and knows what is blamed already (`checks._Blamer`)."""

    def __call__(self, path: Path, problem: str, hint: str = "") -> None: ...

    def is_broken(self, path: Path) -> bool: ...


class FleetTls(Section):
    """Mutual TLS between the replicas."""

    cert: FilePath
    """Certificate chain that this replica shows, PEM."""
    key: FilePath
    """Its private key, PEM."""
    ca: FilePath
    """The fleet's own authority, PEM: whoever has a certificate of it may be a replica. It must sign nothing else."""


class Fleet(Section):
    """Replicas that share a store make one decision: one of them leads, the others pass pairs on to it."""

    listen: Listen
    """Address on which this replica takes the links of the others while it leads."""
    advertise: Listen | None = None
    """Where the others reach that; `listen` when absent."""
    tls: FleetTls | None = None
    """Mutual TLS on these links; required unless all of it is on loopback."""
    lease: Duration = 10.0
    """How long a leader leads without renewing its lease in the store. If a leader is frozen, another replica leads
    after this time; if its process or connection has ended, at once."""

    @property
    def reached_at(self) -> str:
        """`HOST:PORT` by which the other replicas reach this one."""
        return self.advertise or self.listen


def check_fleet(fleet: Fleet | None, shared: bool, blame: _Blame) -> None:
    """Note every mistake of `fleet`; `shared`: the store is one that replicas share."""
    path = _HERE
    if fleet is None:
        if shared and not blame.is_broken(path):
            hint = "`fleet: {listen: HOST:PORT}`, or a `path` for one replica alone"
            blame(("store", "url"), "replicas that share it must reach each other, and there is no `fleet`", hint)
        return
    if not shared and not blame.is_broken(("store",)):
        blame(path, "needs a store that the replicas share", "`store: {url: 'postgresql://USER@HOST/DATABASE'}`")
    host, port = address(fleet.reached_at)
    key = "advertise" if fleet.advertise else "listen"
    if host in _ANY and not blame.is_broken((*path, "advertise")):
        blame((*path, key), f"{fleet.reached_at} is no address that others can reach", "set `advertise: HOST:PORT`")
    for name, value in (("listen", fleet.listen), ("advertise", fleet.advertise)):
        if value is not None and address(value)[1] == 0 and (port == 0 or name == "listen"):
            blame((*path, name), "port 0 is another one at every start, which the others could not know")
    if fleet.tls is None and not (is_loopback(fleet.listen) and is_loopback(fleet.reached_at)):
        blame(path, f"{fleet.listen} is open to others", "set `tls: {cert: …, key: …, ca: …}`, or use 127.0.0.1")
    if not SHORTEST <= fleet.lease <= LONGEST:
        limits = f"{duration(SHORTEST)} to {duration(LONGEST)}"
        blame((*path, "lease"), f"{duration(fleet.lease)} is not within {limits}")
