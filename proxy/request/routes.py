"""The configuration as the hot path wants it: compiled once at reload, looked up many thousand times a second."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from proxy.fields.document import JsonReader
from proxy.http.alike_heads import read_alike
from proxy.http.known_heads import LONGEST, KnownHeads
from proxy.http.request_head import MEANT, Request, read_request, request_scanner
from proxy.model import State
from proxy.model.worker_config import OWN_PATHS
from proxy.request.counts import Counts, Meter, Meters
from proxy.request.fork import Fork
from proxy.request.legs import Upstream
from proxy.request.observing import Observer
from proxy.request.rollouts import Recent, Trial
from proxy.request.routing import MatchRule, Router

OWN = OWN_PATHS.encode()
"""Paths that begin so are the proxy's own."""
MAX_KNOWN = 1024
"""Heads of requests that a worker remembers."""

MAX_BODY: Final = 8 * 1024 * 1024
"""Bytes of the longest call that is written to both; a longer one goes to live alone, and is counted as `too_large`."""
MAX_MEMORY: Final = 64 * 1024 * 1024
"""Bytes of such calls that one worker holds at a time, for each route."""


class DualWrite:
    """What the owner asks for, as the hot path wants it. Seconds and bytes."""

    max_body = MAX_BODY
    memory = 0

    def __init__(
        self, pool: Upstream, timeout: float, longest: float, drop: frozenset[bytes], set_lines: bytes, meter: Meter
    ) -> None:
        self.pool, self.timeout, self.longest = pool, timeout, longest
        self.drop, self.set_lines, self.meter = drop, set_lines, meter

    def charge(self, size: int) -> bool:
        """Count `size` bytes more (or less) that are held; whether there is room for them."""
        self.memory += size
        return self.memory <= MAX_MEMORY


ANY_FIELD: Final = JsonReader()
"""A reader that looks for nothing in particular: making one takes as long as the rest of a route."""


class Route:
    """A route of the configuration. `serving` is the one trial with a weight above 0, if any.

    It is made without its trials, which an older one of the same name may have: it is given them when it is put into
    force.
    """

    def __init__(
        self, name: str, live: Upstream, counts: Counts, recent: Recent, max_pair: int = 0, repeatable: bool = False
    ) -> None:
        self.name, self.live, self.recent = name, live, recent
        self.trials: tuple[Trial, ...] = ()
        self.overhead = counts.overhead(name)
        self.sticky_header = self.sticky_cookie = self.override = b""
        self.sticky_json: tuple[str, ...] = ()
        self.dual_write: DualWrite | None = None
        self.reader = ANY_FIELD
        """Reads bodies for everything that looks at their fields, of this route or another that the body may choose."""
        self.member = b""
        """The member of JSON that holds the value in the events of a stream, where the file has a pointer to it."""
        self.is_grpc = self.reads_body = False
        self.max_pair = max_pair
        """Bytes of a body that may be waited for; `max_body`: that may be kept."""
        self.max_body = self.max_pair
        self.observer: Observer | None = None
        self.repeatable = repeatable
        """Its requests may be sent twice: the file says so, or lets live answer in a candidate's place."""
        self.serving: Trial | None = None
        self.meters = Meters(counts, name, live.name)

    def take(self, trials: tuple[Trial, ...]) -> None:
        """It is put into force, with these trials."""
        self.trials = trials
        self.refresh()

    def refresh(self) -> None:
        """The trials' numbers have changed. At most one has a weight; should two, the first in the file serves."""
        self.serving = next((trial for trial in self.trials if trial.weight > 0), None)

    def observe(self, observer: Observer) -> None:
        """Some of its requests are observed for `drift`. What is kept for pairs is as long as the file says."""
        self.observer = observer
        self.max_body = self.max_pair or observer.settings.max_body

    def read_by(self, reader: JsonReader) -> None:
        """Bodies are read by this one from now on."""
        self.reader = reader

    def settle(self, candidates: Sequence[Upstream] = ()) -> None:
        """Everything is set."""
        changed = any(pool.set_json for pool in (self.live, *candidates))
        self.reads_body = changed or bool(self.sticky_json) or self.dual_write is not None

    def sticky_key(self, request: Request) -> bytes:
        """What keeps one user on one arm; nothing when the head does not say."""
        if self.sticky_header:
            return request.value(self.sticky_header)
        return request.cookie(self.sticky_cookie) if self.sticky_cookie else b""

    def fallback_after(self, trial: Trial) -> float:
        """Seconds after which live is asked too."""
        fixed = trial.settings.fallback_after
        return self.recent.after if fixed is None else fixed


class Routes:
    """Every route of one configuration, and the pattern that finds the headers they look at, which is that of the last
    one (`before`) where the headers are the same."""

    def __init__(
        self,
        rules: list[tuple[MatchRule, Route]],
        default: Route | None,
        names: frozenset[bytes],
        before: Routes | None = None,
    ) -> None:
        self.all = [route for _, route in rules] + ([default] if default is not None else [])
        if default is not None:
            rules = [*rules, (MatchRule(), default)]
        self._router = Router(rules)
        self._headers = tuple({name for rule, _ in rules for name, _ in rule.headers})
        self.names_read = names
        same = before is not None and before.names_read == names
        self.scanner: re.Pattern[bytes] = before.scanner if before is not None and same else request_scanner(names)
        self.known: KnownHeads[Request] = KnownHeads(MAX_KNOWN)
        self._fixed = MEANT.union(self._headers)

    def read(self, head: bytes) -> Request:
        """What a head means and where it belongs; raises `HeadError`."""
        request = read_request(head, self.scanner)
        if request.length:
            request.upgrade = False  # an offer that is not taken up: the body would have to pass first
        request.route = request.fork = None
        if not request.path.startswith(OWN):
            self._belongs(request)
        return request

    def recall(self, data: bytes, last: Request | None) -> Request | None:
        """What the head means with which `data` begins, if an equal one is known, or one like it came before it on its
        connection (`last`)."""
        if last is not None and data.startswith(last.head):
            return last
        head = data[: data.find(b"\r\n\r\n") + 4]
        known = self.known.equal(head)
        if known is None and last is not None and len(head) <= LONGEST:
            known = read_alike(head, last, self._fixed)
        return known

    def remember(self, request: Request) -> bool:
        """Keep a head that has passed every check, for the next time: not one that must change, or whose body llhttp
        has to see. Whether it may come again."""
        if not request.plain or request.length < 0 or request.route is None:
            return False
        return self.known.keep(request)

    def names(self, path: bytes) -> bool:
        """Whether a route is for exactly this path."""
        return self._router.is_exact(path)

    def _belongs(self, request: Request) -> None:
        """Set the route of a request, and the fork where its body will say which it is."""
        headers = {name: request.value(name) for name in self._headers}
        choices = self._router.choices(request.path, request.method, headers)
        if choices and choices[0][0].json:
            most = max(route.max_pair for _, route in choices)
            request.fork = fork = Fork(choices, most, choices[0][1].is_grpc)
            request.route = fork.otherwise or choices[0][1]
        elif choices:
            request.route = choices[0][1]


def part(total: int, slot: int, workers: int) -> int:
    """This worker's part of a total; never 0, so with more workers than units the sum is a little larger.

    >>> [part(10, slot, 4) for slot in range(4)]
    [3, 3, 2, 2]
    """
    return max(1, total // workers + (1 if slot < total % workers else 0))


def is_unjudged(trial: Trial) -> bool:
    """Whether a lost controller must take this trial's traffic away: only a promoted candidate keeps it."""
    return trial.state is not State.PROMOTED
