"""One address of a URL of an upstream: where it is, what is open to it, and whether it works.

An endpoint that cannot be reached, that fails `EJECT_AFTER` times in a row, or that is silent for the upstream's
`timeout` `EJECT_AFTER_TIMEOUTS` times without a good answer in between, is left out for a while, twice as long each
time, unless all are out. When it returns it gets one request, and the others when that was answered. One that could not
be reached `EJECT_AFTER` times in a row is dialled once a second for legs that the client does not need (copies, and a
candidate that live can stand in for); in between they fail as the last attempt did.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from proxy.http.placement import Placement
from proxy.model.reasons import Reason
from proxy.request.clock import monotonic
from proxy.request.legs import APART
from proxy.worker.reader import Reader
from proxy.worker.upstream.absence import Absence
from proxy.worker.upstream.affinity import identity
from proxy.worker.upstream.keepalive import KeepAlive

if TYPE_CHECKING:
    from proxy.http.placement import PathRule
    from proxy.model.worker_config import HeaderSpec
    from proxy.request.legs import Inquiry, Leg, Piece
    from proxy.resolver import ResolvedName

IDLE = 4.0
"""Seconds after which an unused connection is closed where nothing else is said: before most model servers do it."""
UNHEALTHY_AFTER = 2
"""Health checks failed in a row; one that succeeds is enough to return."""
EJECT_AFTER = 3
EJECT_AFTER_TIMEOUTS = 3
EJECT_FIRST = 1.0
EJECT_LONGEST = 30.0


class PooledConnection(Reader):
    """A connection, as its endpoint and its pool hold it."""

    endpoint: Endpoint
    leg: Leg | None = None
    """What it carries."""

    def age(self, now: float) -> float:
        """For how long it has been idle."""
        raise NotImplementedError

    def start(self, leg: Leg) -> None:
        """Carry this leg."""
        raise NotImplementedError

    def drop(self) -> None:
        """Close at once."""
        raise NotImplementedError


class Endpoint:
    """One address. Times are monotonic seconds."""

    def __init__(
        self,
        url: str,
        idle_timeout: float = IDLE,
        host: str = "client",
        path: PathRule | None = None,
        headers: HeaderSpec | None = None,
        name: ResolvedName | None = None,
        wait: float = inf,
    ) -> None:
        parts = urlsplit(url)
        self.url = url
        self.secure = parts.scheme in ("https", "grpcs")
        self.host = parts.hostname or ""
        self.port = parts.port or (443 if self.secure else 80)
        self.name = name
        """The host name that is looked up; `None` where the URL gives an address."""
        self.address = self.host if name is None else ""
        """What is dialled; empty while the name has no address yet."""
        self.gone = False
        """It has left the name's addresses: what it carries ends, and no request goes to it any more."""
        own = parts.netloc if host == "url" else host
        self.own_host = b"" if host == "client" else own.encode()
        """The Host of what is sent here; empty when it is the client's."""
        base = parts.path.rstrip("/").encode()
        drop, add = (headers.dropped, headers.set) if headers is not None else (frozenset[str](), dict[str, str]())
        changed = self.own_host or base or path is not None or drop or add
        self.placement = Placement(self.own_host, base, path, sorted(drop), add) if changed else None
        """How requests are changed for it; `None` when they are not."""
        self.tls_name = self.host if host in ("client", "url") else urlsplit(f"//{host}").hostname or ""
        self.idle: dict[PooledConnection, None] = {}  # the last one used is taken first, so that the others can age
        self.keep = KeepAlive(idle_timeout)
        self.busy = 0
        self.healthy = True
        self.ready = False
        """A health check has succeeded, and it is healthy since."""
        self.failed_checks = 0
        self.absence = Absence(wait)
        self.unreachable = Reason.NONE
        """Why the last attempts to connect failed, once there have been `EJECT_AFTER` of them in a row."""
        self.dead_until = 0.0
        self._refusals = 0
        self.doubted = False
        """Something went wrong since the last good answer."""
        self.failures = 0
        self.timeouts = 0
        self.ejections = 0
        """How often it was left out since its last good answer."""
        self._out_until = 0.0
        self._tried_until = 0.0
        self.requests = self.errors = self.ejected = 0
        """Requests sent to it, those of them that failed or were late, and how often it was left out: totals."""
        self.identity = 0
        self.at(self.address)

    def at(self, address: str) -> None:
        """Its address is known now."""
        self.address = address
        self.identity = identity(f"{self.url} {address}".encode())
        if self.name is not None:
            self.failures = self.failed_checks = self._refusals = 0  # what failed was the lookup
            self.unreachable, self.healthy = Reason.NONE, True
            self._out_until = self.dead_until = 0.0

    @property
    def where(self) -> str:
        """Its address and port; the name's while that has no address."""
        host = self.address or self.host
        return f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"

    def state(self, now: float) -> str:
        """`up`, `ejected`, `unhealthy` (by its health checks), or `unknown` while its name has no address."""
        if not self.address:
            return "unknown"
        if not self.healthy:
            return "unhealthy"
        return "ejected" if now < self._out_until else "up"

    def works(self) -> bool:
        """Whether requests may go here now. The clock is asked only where something has gone wrong."""
        return self.healthy and ((self._out_until == 0.0 and self._tried_until == 0.0) or self.usable(monotonic()))

    def usable(self, now: float) -> bool:
        """Whether requests may go here."""
        return self.healthy and now >= self._out_until and now >= self._tried_until

    def reserve(self) -> None:
        """A connection, or a call, is busy from here on."""
        self.busy += 1

    def free(self) -> None:
        """It is idle, or has ended."""
        self.busy -= 1

    def carries(self) -> None:
        """A request is sent to it."""
        self.requests += 1

    def opening(self, leg: Leg) -> tuple[bytes, Piece]:
        """What a leg sends here first, changed as this URL wants it; and what is too long to be joined to that."""
        opening, behind, placement = leg.opens(), leg.behind, self.placement
        near = behind if isinstance(behind, bytes) and len(behind) <= APART else b""
        far = b"" if near else behind
        if leg.lines:
            if placement is None:
                return b"%b%b%b" % (leg.plain, leg.lines, near), far
            return placement.begin(leg.plain, leg.lines, near), far
        if placement is None:
            return opening, behind
        return placement.apply(opening, leg.plain, leg.adds_lines, leg.is_check, near), far

    def was_checked(self, good: bool, inquiry: Inquiry | None = None) -> None:
        """Enter the result of one health check. One that was sent because something was lost here needs no second."""
        self.failed_checks = 0 if good else self.failed_checks + (1 if inquiry is None else UNHEALTHY_AFTER)
        self.healthy = self.failed_checks < UNHEALTHY_AFTER
        self.ready = good or (self.ready and self.healthy)
        self.absence.checked(inquiry, good, monotonic())

    def leave(self) -> None:
        """Its name has other addresses now."""
        self.gone = True

    def tried(self, until: float) -> None:
        """One request finds out whether it works: no other goes to it until that is known, or until then."""
        self._tried_until = until

    def succeeded(self) -> None:
        """An answer came whole after it was `doubted`. A health check's is none: a server may answer those alone."""
        self.failures = self.timeouts = self.ejections = 0
        self._tried_until = 0.0
        self.doubted = False

    def reached(self, reason: Reason) -> None:
        """An attempt to connect has ended: well (`NONE`) or with a reason."""
        self._refusals = self._refusals + 1 if reason else 0
        self.unreachable = reason if self._refusals >= EJECT_AFTER else Reason.NONE
        self.dead_until = monotonic() + EJECT_FIRST
        if not reason:
            if not self.ejections:
                self._tried_until = 0.0  # see `Pool._race`
            return
        self.doubted = True
        self._eject(monotonic())
        if self.name is not None:
            self.name.doubt()

    def failed(self) -> None:
        """It broke off, or sent an invalid frame."""
        self.doubted = True
        self.errors += 1
        self.failures += 1
        if self.failures >= EJECT_AFTER:
            self.failures = EJECT_AFTER - 1  # on its return, one more failure is enough
            self._eject(monotonic())

    def timed_out(self) -> None:
        """It was silent for as long as the upstream's `timeout` allows. A copy that ran out of a shorter time of its
        own says nothing of the URL."""
        self.doubted = True
        self.errors += 1
        self.timeouts += 1
        if self.timeouts >= EJECT_AFTER_TIMEOUTS:
            self.timeouts = EJECT_AFTER_TIMEOUTS - 1
            self._eject(monotonic())

    def _eject(self, now: float) -> None:
        if now >= self._out_until:  # what fails together is one reason
            self._out_until = now + min(EJECT_LONGEST, EJECT_FIRST * 2.0**self.ejections)
            self.ejected += 1
            self.ejections = min(self.ejections + 1, 10)  # 2.0 ** 1100 does not exist
