"""`proxy.resolver` for clients in aiohttp, whose own resolver uses threads that all lookups of the process share.

For webhooks and for replay: a receiver whose name server hangs delays no other, and no process waits for it to end.
"""

from __future__ import annotations

import socket
from time import monotonic

from aiohttp.abc import AbstractResolver, ResolveResult

from proxy.resolver import LookUp, Resolver, system

EVERY = 30.0
"""Seconds after which a name that is asked for is looked up again."""


class OwnResolver(AbstractResolver):
    """Gives aiohttp the addresses of a name, from a thread of that name's own."""

    def __init__(self, look_up: LookUp = system) -> None:
        self._resolver = Resolver(look_up)
        self._since: dict[str, float] = {}

    async def resolve(self, host: str, port: int = 0, family: int = socket.AF_INET) -> list[ResolveResult]:
        name = self._resolver.name(host)
        if monotonic() - self._since.get(host, 0.0) > EVERY:
            self._since[host] = monotonic()
            if not name.literal:
                name.renew()
        return [_found(host, address, port) for address in await name.known()]

    async def close(self) -> None:
        """Threads that hang are daemons, and nobody waits for them."""


def _found(host: str, address: str, port: int) -> ResolveResult:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    flags = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
    return {"hostname": host, "host": address, "port": port, "family": family, "proto": 0, "flags": flags}
