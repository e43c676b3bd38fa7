"""A name server of the tests' own (RFC 1035, UDP): answers as it is told, late, with a failure, or not at all."""

from __future__ import annotations

import asyncio
import ipaddress
import struct
from dataclasses import dataclass, field
from typing import Any

A, AAAA = 1, 28
NXDOMAIN, SERVFAIL = 3, 2


@dataclass
class DnsServer(asyncio.DatagramProtocol):
    """Names and their addresses. `silent` ones are heard and not answered, `failing` ones get SERVFAIL, and every
    answer waits for `delay` seconds."""

    addresses: dict[str, tuple[str, ...]] = field(default_factory=dict)
    silent: set[str] = field(default_factory=set)
    failing: set[str] = field(default_factory=set)
    delay: float = 0.0
    asked: list[str] = field(default_factory=list)

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        name, end = _name(data, 12)
        self.asked.append(name)
        if name not in self.silent:
            answer = self._answer(data, name, struct.unpack_from(">H", data, end)[0], end + 4)
            asyncio.get_running_loop().call_later(self.delay, self._transport.sendto, answer, addr)

    def _answer(self, data: bytes, name: str, kind: int, end: int) -> bytes:
        found = [ipaddress.ip_address(one) for one in self.addresses.get(name, ())]
        rows = [one.packed for one in found if one.version == (6 if kind == AAAA else 4)] if kind in (A, AAAA) else []
        code = SERVFAIL if name in self.failing else 0 if found else NXDOMAIN
        if code:
            rows = []
        head = data[:2] + struct.pack(">HHHHH", 0x8180 | code, 1, len(rows), 0, 0)
        records = (b"\xc0\x0c" + struct.pack(">HHIH", kind, 1, 0, len(packed)) + packed for packed in rows)
        return head + data[12:end] + b"".join(records)


def _name(data: bytes, at: int) -> tuple[str, int]:
    labels = []
    while size := data[at]:
        labels.append(data[at + 1 : at + 1 + size].decode("ascii").lower())
        at += 1 + size
    return ".".join(labels), at + 1


async def serve(server: DnsServer, host: str, port: int = 53) -> asyncio.DatagramTransport:
    """Listen; close the transport to end it."""
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(lambda: server, (host, port))
    return transport
