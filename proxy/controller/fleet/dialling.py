"""A connection from a standby to its leader: TLS, REPLICA, and the leader's WELCOME, all within `CONNECT`."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from proxy.address import address as parts
from proxy.controller.fleet.links import patient
from proxy.pairs import replicas
from proxy.pairs.channel import Channel
from proxy.pairs.link import Frame, LinkError
from proxy.pairs.replicas import LINK_VERSION, ReplicaHello, Welcome

CONNECT = 3.0
"""Seconds."""
QUEUE = 1024 * 1024
"""Bytes that wait here for the leader before nothing more is read of the worker they come from."""


CLOSED = "the other end closed the connection without a word: its log says why. It may not take our certificate"
"""A server that refuses a certificate under TLS 1.3 does so when the client believes to be connected."""


class NotTakenError(OSError):
    """The leader, or who was taken for it, does not let this replica in."""


@dataclass(frozen=True, slots=True)
class LeaderAddress:
    """Whom to follow: `HOST:PORT` and the term at least that it must have; and with which certificates."""

    address: str
    term: int
    context: ssl.SSLContext | None


class LeaderLink(Channel):
    """The standby's end. `on_full` is told when more than `QUEUE` waits to be sent, and when that is over; `error` is
    what ended it."""

    def __init__(
        self,
        on_frame: Callable[[Channel, Frame, bytes], None],
        on_close: Callable[[Channel], None],
        on_full: Callable[[bool], None] = lambda full: None,
    ) -> None:
        super().__init__(on_frame, on_close)
        self.on_full = on_full
        self.error: Exception | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        assert self._transport is not None
        self._transport.set_write_buffer_limits(high=QUEUE, low=QUEUE // 4)
        sock: Any = transport.get_extra_info("socket")
        if isinstance(sock, socket.socket) or hasattr(sock, "setsockopt"):  # uvloop has a class of its own
            patient(sock)

    def connection_lost(self, error: Exception | None) -> None:
        self.error = error
        super().connection_lost(error)

    def pause_writing(self) -> None:
        self.on_full(True)

    def resume_writing(self) -> None:
        self.on_full(False)

    def pass_on(self, data: list[bytes]) -> None:
        """Write parts of a stream of frames. The bound is kept by who is told of `on_full`."""
        if self._transport is not None:
            for part in data:
                self._transport.write(part)


async def dial(
    to: LeaderAddress,
    hello: ReplicaHello,
    on_frame: Callable[[Channel, Frame, bytes], None],
    on_close: Callable[[Channel], None],
    on_full: Callable[[bool], None] = lambda full: None,
) -> tuple[LeaderLink, Welcome]:
    """A link that the leader has taken; `on_frame` hears what follows.

    Raises `OSError` (`NotTakenError` where the leader says why), `TimeoutError` and `LinkError`."""
    loop = asyncio.get_running_loop()
    welcomed: asyncio.Future[Welcome] = loop.create_future()

    def first(channel: Channel, kind: Frame, payload: bytes) -> None:
        if kind is not Frame.WELCOME:
            raise LinkError(f"{kind.name} before WELCOME")
        if not welcomed.done():
            welcomed.set_result(replicas.decode_welcome(payload))
        channel.hand_to(on_frame, on_close)  # at once: more may have come with it

    def lost(_: Channel) -> None:
        if not welcomed.done():
            welcomed.set_exception(link.error if isinstance(link.error, ssl.SSLError) else NotTakenError(CLOSED))

    link = LeaderLink(first, lost, on_full)
    host, port = _host_and_port(to.address)
    limit = None if to.context is None else CONNECT
    try:
        async with asyncio.timeout(CONNECT):
            await loop.create_connection(lambda: link, host, port, ssl=to.context, ssl_handshake_timeout=limit)
            link.send(replicas.encode_hello(hello))
            welcome = await welcomed
        _check(welcome, to)
    except BaseException:
        link.hand_to(_nothing, None)
        link.abort()
        if welcomed.done() and not welcomed.cancelled():
            welcomed.exception()  # has been looked at
        raise
    return link, welcome


def _host_and_port(address: str) -> tuple[str, int]:
    try:
        return parts(address)
    except ValueError:
        raise NotTakenError(f"the leader's address in the store, {address!r}, is no HOST:PORT") from None


def _check(welcome: Welcome, to: LeaderAddress) -> None:
    if welcome.refused:
        raise NotTakenError(f"{welcome.name or to.address} refuses this replica: {welcome.refused}")
    if not replicas.neighbours(welcome.link_version):
        raise NotTakenError(f"{welcome.name} speaks link version {welcome.link_version}, expected {LINK_VERSION} ± 1")
    if welcome.term < to.term:
        raise NotTakenError(f"{welcome.name} leads term {welcome.term}, which is over: {to.term} has begun")


def _nothing(channel: Channel, kind: Frame, payload: bytes) -> None:
    """Whoever is released is not heard any more."""
