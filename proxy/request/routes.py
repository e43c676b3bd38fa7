"""The configuration as the hot path wants it: compiled once at reload, looked up many thousand times a second."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Final

from proxy.fields.document import JsonReader
from proxy.http.known_heads import KnownHeads
from proxy.http.request_head import Request, read_request, request_scanner
from proxy.json_pointer import last_member, parse_pointer
from proxy.model import State
from proxy.model.worker_config import OWN_PATHS, DualWriteSpec, HeaderSpec, RolloutSpec, RouteSpec, WorkerConfig
from proxy.request.counts import Counts, Meter, Meters
from proxy.request.fork import Fork
from proxy.request.legs import Upstream
from proxy.request.observing import Observer
from proxy.request.rollouts import Recent, RolloutSettings, Trial
from proxy.request.routing import MatchRule, Router

OWN = OWN_PATHS.encode()
"""Paths that begin so are the proxy's own."""
MAX_KNOWN = 1024
"""Heads of requests that a worker remembers."""
LONGEST_COPY = 600.0
"""`mirror.max_duration` when it is absent and no longer timeout asks for more, seconds."""


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
    """A route of the configuration. `serving` is the one trial with a weight above 0, if any."""

    def __init__(
        self,
        name: str,
        live: Upstream,
        trials: tuple[Trial, ...],
        counts: Counts,
        recent: Recent,
        idempotent: bool = False,
    ) -> None:
        self.name, self.live, self.trials, self.recent = name, live, trials, recent
        self.overhead = counts.overhead(name)
        self.sticky_header = self.sticky_cookie = self.override = b""
        self.sticky_json: tuple[str, ...] = ()
        self.dual_write: DualWrite | None = None
        self.reader = ANY_FIELD
        """Reads bodies for everything that looks at their fields, of this route or another that the body may choose."""
        self.member = b""
        """The member of JSON that holds the value in the events of a stream, where the file has a pointer to it."""
        self.is_grpc = self.reads_body = False
        self.max_pair = max((trial.settings.max_body for trial in trials), default=0)
        """Bytes of a body that may be waited for; `max_body`: that may be kept."""
        self.max_body = self.max_pair
        self.observer: Observer | None = None
        self.repeatable = idempotent or any(trial.settings.fallback for trial in trials)
        """Its requests may be sent twice: the file says so, or lets live answer in a candidate's place."""
        self.serving: Trial | None = None
        self.meters = Meters(counts, name, live.name)
        for trial in trials:
            trial.meters = Meters(counts, name, trial.pool.name)
        self.refresh()

    def refresh(self) -> None:
        """The trials' numbers have changed. At most one has a weight; should two, the first in the file serves."""
        self.serving = next((trial for trial in self.trials if trial.weight > 0), None)

    def observe(self, observer: Observer) -> None:
        """Some of its requests are observed for `drift`. What is kept for pairs is as long as the file says."""
        self.observer = observer
        self.max_body = self.max_pair or observer.settings.max_body

    def settle(self) -> None:
        """Everything is set."""
        changed = any(pool.set_json for pool in (self.live, *(trial.pool for trial in self.trials)))
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
    """Every route of one configuration, and the pattern that finds the headers they look at."""

    def __init__(self, rules: list[tuple[MatchRule, Route]], default: Route | None, names: frozenset[bytes]) -> None:
        self.all = [route for _, route in rules] + ([default] if default is not None else [])
        if default is not None:
            rules = [*rules, (MatchRule(), default)]
        self._router = Router(rules)
        self._headers = tuple({name for rule, _ in rules for name, _ in rule.headers})
        self.scanner: re.Pattern[bytes] = request_scanner(names)
        self.known: KnownHeads[Request] = KnownHeads(MAX_KNOWN)

    def read(self, head: bytes) -> Request:
        """What a head means and where it belongs; raises `HeadError`."""
        request = read_request(head, self.scanner)
        if request.length:
            request.upgrade = False  # an offer that is not taken up: the body would have to pass first
        request.route = request.fork = None
        if not request.path.startswith(OWN):
            self._belongs(request)
        return request

    def remember(self, request: Request) -> None:
        """Keep a head that has passed every check, for the next time: not one that must change, or whose body llhttp
        has to see."""
        if request.plain and request.length >= 0 and request.route is not None:
            self.known.keep(request)

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


def settings(route: str, rollout: RolloutSpec, candidate: Upstream, place: tuple[int, int]) -> RolloutSettings:
    """What a worker needs of one rollout; `place`: slot, workers."""
    patience = rollout.timeout if rollout.timeout is not None else candidate.timeout
    added, dropped = _head_rules(rollout.candidate, rollout.headers)
    return RolloutSettings(
        name=rollout.name,
        trial=rollout.trial,
        version=rollout.version,
        route=route,
        max_in_flight=part(rollout.max_in_flight, *place),
        max_body=rollout.max_body,
        max_memory=rollout.max_memory,
        timeout=patience,
        max_duration=rollout.max_duration if rollout.max_duration is not None else max(LONGEST_COPY, 2 * patience),
        drop=dropped,
        set_lines=added,
        fallback=rollout.fallback,
        fallback_after=rollout.fallback_after,
        hold=rollout.hold,
        noise_floor=round(rollout.noise_floor * 10_000),
        counts_users=rollout.counts_users,
        paced=rollout.paced,
        whole_requests=rollout.whole_requests,
    )


def dual_write(asked: DualWriteSpec, pool: Upstream, meters: Meters) -> DualWrite:
    """What a worker needs of a call that both arms get before the answer."""
    lines, dropped = _head_rules(asked.upstream, asked.headers)
    longest = max(LONGEST_COPY, 2 * pool.timeout)
    return DualWrite(pool, asked.timeout, longest, dropped, lines, meters.copy)


def _head_rules(candidate: str, rules: HeaderSpec) -> tuple[bytes, frozenset[bytes]]:
    """The lines added to a copy's head, and the headers left out of it."""
    lines = {"x-shadow": candidate, **{name.lower(): value for name, value in rules.set.items()}}
    added = "".join(f"{name}: {value}\r\n" for name, value in lines.items()).encode("latin-1")
    return added, frozenset({name.encode() for name in (*rules.dropped, *lines)} | {b"expect"})


def compile_routes(
    config: WorkerConfig,
    pools: Mapping[str, Upstream],
    trial_for: Callable[[RolloutSettings, Upstream], Trial],
    recent_for: Callable[[str], Recent],
    observer_for: Callable[[str, Upstream, float], Observer],
    counts: Counts,
    place: tuple[int, int],
    grpc: bool = False,
) -> Routes:
    """Those for HTTP or for gRPC. `trial_for`, `recent_for`, `observer_for` keep what survives a reload; `place`:
    slot, workers."""
    rules: list[tuple[MatchRule, Route]] = []
    names: set[bytes] = {b"grpc-timeout"} if grpc else set()
    for item in (route for route in config.routes if config.upstreams[route.live].grpc is grpc):
        candidates = ((one, pools[one.candidate]) for one in item.rollouts)
        trials = tuple(trial_for(settings(item.name, one, pool, place), pool) for one, pool in candidates)
        recent = recent_for(f"{item.name}|{item.live}")
        route = Route(item.name, pools[item.live], trials, counts, recent, item.idempotent)
        route.is_grpc = grpc
        if item.dual_write is not None:
            other = item.dual_write.upstream
            route.dual_write = dual_write(item.dual_write, pools[other], Meters(counts, item.name, other))
        if item.observations_per_second is not None:
            route.observe(observer_for(item.name, route.live, item.observations_per_second / place[1]))
        _set_keys(route, item)
        rules.append((rule := _rule(item), route))
        names |= _looked_at(rule, route)
    default, last = config.default, None
    if default is not None and config.upstreams[default.live].grpc is grpc:
        recent = recent_for(f"{default.name}|{default.live}")
        last = Route(default.name, pools[default.live], (), counts, recent, default.idempotent)
        last.settle()
    if not grpc:
        _share_reader(rules, last)
    return Routes(rules, last, frozenset(names))


def _share_reader(rules: list[tuple[MatchRule, Route]], last: Route | None) -> None:
    """One reader looks for the fields of all, for which route a body belongs to may be known by it only."""
    routes = [route for _, route in rules] + ([last] if last is not None else [])
    wanted = {path for rule, _ in rules for path, _ in rule.json}
    for route in routes:
        wanted |= {route.sticky_json} - {()}
        for pool in (route.live, *(trial.pool for trial in route.trials)):
            wanted.update(pool.pointers)
        if route.dual_write is not None:
            wanted.update(route.dual_write.pool.pointers)
    reader = JsonReader(sorted(wanted))
    for route in routes:
        route.reader = reader


def _set_keys(route: Route, item: RouteSpec) -> None:
    """What in a request says which arm answers it, and in a stream's event what it brings."""
    route.sticky_header = item.sticky_header.lower().encode()
    route.sticky_cookie = item.sticky_cookie.lower().encode()
    route.sticky_json = parse_pointer(item.sticky_json)
    route.override = item.override.lower().encode()
    route.member = last_member(iter(item.pointers))
    route.settle()


def _rule(item: RouteSpec) -> MatchRule:
    """Which requests belong to a route."""
    headers = tuple((name.lower().encode(), value.encode("latin-1")) for name, value in item.headers.items())
    methods = frozenset(method.encode() for method in item.methods)
    fields = tuple((parse_pointer(pointer), json.loads(value)) for pointer, value in item.json.items())
    return MatchRule(item.path.encode(), methods, headers, fields, item.default)


def _looked_at(rule: MatchRule, route: Route) -> frozenset[bytes]:
    """The headers that a route looks at or takes out."""
    dropped = frozenset().union(*(trial.settings.drop for trial in route.trials))
    if route.dual_write is not None:
        dropped |= route.dual_write.drop
    return (dropped | {route.sticky_header, route.override, *(name for name, _ in rule.headers)}) - {b""}


def is_unjudged(trial: Trial) -> bool:
    """Whether a lost controller must take this trial's traffic away: only a promoted candidate keeps it."""
    return trial.state is not State.PROMOTED
