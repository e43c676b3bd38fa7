"""A peer that is full: what waits for it is charged, and how fast it takes it is seen where it shows, in the kernel.

While more waits for a peer than its transport likes (64 KiB), `Taking` stands beside it. Up to `server.limits.buffer`
of its answer is taken from the model meanwhile, so that an answer which ends by then costs the model no more than its
own time; beyond that the model is not read. What the peer has taken is what has left our buffer *and* the kernel's: the
kernel holds megabytes, and says that there is room again only when a third of that is free.

Invariant: what is charged is given back once, by `end`.
"""

from __future__ import annotations

import asyncio
import fcntl
import socket
import struct
import sys
import termios
from typing import TYPE_CHECKING, Final, Protocol

from mypy_extensions import mypyc_attr

from proxy.worker.pace import GRACE, Pace

if TYPE_CHECKING:
    from proxy.worker.limits import ClientLimits

_INT: Final = struct.Struct("i")
_RESET: Final = struct.pack("ii", 1, 0)


class Memory(Protocol):
    """Where what is held for slow clients is counted: the worker's context."""

    limits: ClientLimits

    def charge(self, size: int) -> bool:
        """Count `size` bytes more (or less); whether there is room for them."""


@mypyc_attr(allow_interpreted_subclasses=True)
class Taking:
    """What waits for one peer, which takes it in portions of `portion`. Bytes, and monotonic seconds."""

    def __init__(self, memory: Memory, now: float, portion: int = 0) -> None:
        self._memory = memory
        rate = memory.limits.min_rate
        self._pace = Pace(rate, now)
        self._patience = min(GRACE + portion / rate, memory.limits.idle)
        self._charged = 0
        self._left = self.unread()

    def waiting(self) -> int:
        """What we hold."""
        raise NotImplementedError

    def unread(self) -> int:
        """What the peer has not taken, wherever it is."""
        return self.waiting()

    def fits(self, more: int = 0) -> bool:
        """Charge what waits, `more` of which has just been given; whether yet more may come."""
        self._left += more
        size = self.waiting()
        change, self._charged = size - self._charged, size
        return self._memory.charge(change) and size < self._memory.limits.buffer

    def behind(self, now: float) -> float:
        """Seconds that the peer is behind the least rate."""
        left = self.unread()
        self._pace.moved(max(0, self._left - left), now)
        self._left = left
        return self._pace.behind(now)

    def is_late(self, now: float) -> bool:
        """Whether it is to be cut off."""
        return self.behind(now) >= self._patience

    def begin(self, now: float) -> None:
        """It is waited for again, as if anew."""
        self._left = self.unread()
        self._pace.begin(now)

    def end(self) -> None:
        """It takes again, or is gone."""
        self._memory.charge(-self._charged)
        self._charged = 0


class SocketTaking(Taking):
    """What waits in a transport's buffer."""

    def __init__(self, transport: asyncio.WriteTransport, memory: Memory, now: float) -> None:
        self._transport = transport
        sock = transport.get_extra_info("socket")
        self._number: int = sock.fileno()
        super().__init__(memory, now, _segment(sock))  # what is taken shows in whole segments only

    def waiting(self) -> int:
        return self._transport.get_write_buffer_size()

    def unread(self) -> int:
        return self._transport.get_write_buffer_size() + _in_kernel(self._number)


def reset(transport: asyncio.WriteTransport) -> None:
    """Close with RST, so that the peer takes nothing for whole and the kernel keeps nothing for it (socket(7),
    `SO_LINGER`)."""
    transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    transport.abort()


def _in_kernel(number: int) -> int:
    """Bytes that the peer has not acknowledged (tcp(7), SIOCOUTQ); 0 where the kernel does not say."""
    try:
        found: int = _INT.unpack(fcntl.ioctl(number, termios.TIOCOUTQ, bytes(4)))[0]
    except (OSError, ValueError):  # the latter of a socket that is closed
        return 0
    return found


def _segment(sock: socket.socket) -> int:
    """Bytes of the longest segment, on most networks 1,448, on loopback up to 64 KiB; 0 where the kernel is silent."""
    try:
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 20)
        return int.from_bytes(info[16:20], sys.byteorder)  # `tcpi_snd_mss` (linux/tcp.h)
    except (AttributeError, OSError):
        return 0
