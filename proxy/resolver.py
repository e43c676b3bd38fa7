"""Host names, looked up where a name server that hangs holds up nobody but those who ask for that very name.

An event loop looks names up in a few threads that everything shares (libuv has four), and `getaddrinfo` cannot be
interrupted: a few lookups that hang stop every other one. Here each name has a thread of its own, while it is looked up
and no longer, and at most one. The threads are daemons, so a process ends without waiting for them.

Answers are kept: a name that is known is never waited for again. It is looked up anew in the background, and its last
good addresses stay while that fails.

Invariants
- A literal address passes through no thread.
- At most one lookup of a name is under way, however many ask, and it outlives those who stop waiting for it.
- Everything but the lookup itself happens on the event loop.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import socket
import threading
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import TypeVar

from proxy.logs import event

log = logging.getLogger("understudy.resolver")

RENEW_AFTER_FAILURE = 1.0
"""Seconds between two lookups because of addresses that do not answer: whoever has moved is found soon."""

LookUp = Callable[[str], tuple[str, ...]]
"""The addresses of a name; blocks, and raises `OSError` or `UnicodeError`."""
T = TypeVar("T")
MAX_ADDRESSES = 256
"""Addresses of one name that are used; of more, the same ones each time."""


def system(host: str) -> tuple[str, ...]:
    """What the system knows of a name: /etc/hosts, DNS, whatever else it is set up to ask."""
    return tuple(dict.fromkeys(str(found[4][0]) for found in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)))


def is_address(host: str) -> bool:
    """Whether a host is an address already.

    >>> is_address("10.0.0.7"), is_address("fe80::1%eth0"), is_address("localhost")
    (True, True, False)
    """
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


class ResolvedName:
    """One host name and its last good addresses; a literal address is its own and stays so."""

    def __init__(self, host: str, look_up: LookUp) -> None:
        self.host = host
        self.literal = is_address(host)
        self.addresses: tuple[str, ...] = (host,) if self.literal else ()
        self.failures = 0
        """Lookups that failed, over all."""
        self._look_up = look_up
        self._error: OSError | UnicodeError | None = None
        self.asked = 0.0
        """When it was last looked up, monotonic; 0 before it is."""
        self._under_way: asyncio.Event | None = None
        self._followers: dict[Callable[[], None], None] = {}

    @property
    def busy(self) -> bool:
        """Whether it is being looked up."""
        return self._under_way is not None

    async def known(self) -> tuple[str, ...]:
        """Its addresses: at once when they are known, else as soon as they are. Raises what the lookup raised."""
        if not self.addresses:
            await self.renew().wait()
            if not self.addresses:
                assert self._error is not None
                raise self._error
        return self.addresses

    def follow(self, told: Callable[[], None]) -> None:
        """Call `told` whenever a lookup has brought other addresses than the one before."""
        self._followers[told] = None

    def unfollow(self, told: Callable[[], None]) -> None:
        """Call it no more."""
        self._followers.pop(told, None)

    def doubt(self) -> None:
        """One of its addresses could not be reached: look it up before its time, but not at once again."""
        if not self.literal and monotonic() - self.asked >= RENEW_AFTER_FAILURE:
            self.renew()

    def renew(self) -> asyncio.Event:
        """Look it up unless that is under way already; the event is set when the lookup has ended."""
        if self._under_way is None:
            self._under_way = asyncio.Event()
            self.asked = monotonic()
            loop = asyncio.get_running_loop()
            try:
                threading.Thread(target=self._run, args=(loop,), name=f"lookup {self.host}", daemon=True).start()
            except RuntimeError as error:  # no thread to be had: as good as a name server that is gone
                loop.call_soon(self._ended, (), OSError(str(error)))
        return self._under_way

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        """The thread: everything that may hang is here."""
        found: tuple[str, ...] = ()
        problem: OSError | UnicodeError | None = None
        try:
            found = self._look_up(self.host)
        except (OSError, UnicodeError) as error:  # the latter of a name that cannot be one
            problem = error
        try:
            loop.call_soon_threadsafe(self._ended, found, problem)
        except RuntimeError:  # the loop is closed: nobody wants to know any more
            return

    def _ended(self, found: tuple[str, ...], error: OSError | UnicodeError | None) -> None:
        under_way, self._under_way = self._under_way, None
        if found:
            found = self._bounded(found)
            if self._error is not None:
                event(log, "name.found", host=self.host, addresses=list(found))
            elif self.addresses and set(found) != set(self.addresses):
                event(log, "name.changed", host=self.host, addresses=list(found))
            changed = set(found) != set(self.addresses)
            self.addresses, self._error = found, None
            for told in list(self._followers) if changed else ():
                told()
        else:
            error = error or OSError(f"{self.host} has no address")
            if self._error is None:
                event(log, "name.failed", logging.WARNING, host=self.host, error=str(error), kept=list(self.addresses))
            self._error = error
            self.failures += 1
        if under_way is not None:
            under_way.set()

    def _bounded(self, found: tuple[str, ...]) -> tuple[str, ...]:
        if len(found) <= MAX_ADDRESSES:
            return found
        used = tuple(sorted(found)[:MAX_ADDRESSES])  # an answer in another order is no other answer
        if set(used) != set(self.addresses):
            event(log, "name.too_many", logging.WARNING, host=self.host, found=len(found), used=MAX_ADDRESSES)
        return used


class Resolver:
    """The names of one upstream, or of whoever else must not wait for others' names."""

    def __init__(self, look_up: LookUp = system) -> None:
        self._look_up = look_up
        self._names: dict[str, ResolvedName] = {}

    def name(self, host: str) -> ResolvedName:
        """The one place where a host's addresses are kept."""
        found = self._names.get(host)
        if found is None:
            found = self._names[host] = ResolvedName(host, self._look_up)
        return found

    @property
    def busy(self) -> bool:
        """Whether a lookup is under way."""
        return any(name.busy for name in self._names.values())

    @property
    def failures(self) -> int:
        """Lookups that failed."""
        return sum(name.failures for name in self._names.values())

    async def connect(self, host: str, attempt: Callable[[str], Awaitable[T]], seconds: float) -> T:
        """What `attempt` makes of the first address of `host` that it can be made of; raises what the last one raised,
        `TimeoutError` after `seconds`.

        Several addresses share what is left of `seconds`, so that one that swallows packets does not use up the time of
        all the others (as Go's `net.Dialer` does it).
        """
        until = monotonic() + seconds
        async with asyncio.timeout(seconds):
            addresses = await self.name(host).known()
        for left, address in zip(range(len(addresses), 0, -1), addresses, strict=True):
            try:
                async with asyncio.timeout(max(0.0, until - monotonic()) / left):
                    return await attempt(address)
            except OSError as error:  # `TimeoutError` and `ssl.SSLError` are such
                last = error
        raise last
