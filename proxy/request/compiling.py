"""One route of the file → one `CompiledRoute`: what is looked up many thousand times a second is worked out once.

A route depends on its part of the file, on the pools of the upstreams that it names, and on how often its trials were
begun anew. As long as these stand as they were it goes on as it is (`still_says`), with whatever refers to it. To
compile one changes nothing that requests see: trials and observers, which outlive their routes, are named only.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from proxy.fields.document import JsonReader
from proxy.json_pointer import Pointer, last_member, parse_pointer
from proxy.model import trial_name
from proxy.model.worker_config import DualWriteSpec, HeaderSpec, RolloutSpec, RouteSpec
from proxy.request.counts import Counts, Meters
from proxy.request.legs import Upstream
from proxy.request.rollouts import Recent, RolloutSettings
from proxy.request.routes import DualWrite, Route, Routes, part
from proxy.request.routing import MatchRule

LONGEST_COPY: Final = 600.0
"""`mirror.max_duration` when it is absent and no longer timeout asks for more, seconds."""
ALWAYS: Final[frozenset[bytes]] = frozenset({b"grpc-timeout"})
"""Headers that are looked at in every call of gRPC."""


class RouteTrial:
    """A trial of a route as the file has it: its settings, its candidate, and the meters of its legs on this route."""

    def __init__(self, settings: RolloutSettings, pool: Upstream, meters: Meters) -> None:
        self.settings, self.pool, self.meters = settings, pool, meters


class CompiledRoute:
    """A route, and what it was made of. `rate` is how many of its requests are observed a second by this worker."""

    rate: float | None = None

    def __init__(self, spec: RouteSpec, rule: MatchRule, route: Route, trials: tuple[RouteTrial, ...]) -> None:
        self.spec, self.rule, self.route, self.trials = spec, rule, route, trials
        self._pools = _pools(route, trials)
        wanted = {path for path, _ in rule.json} | ({route.sticky_json} - {()})
        for pool in self._pools:
            wanted.update(pool.pointers)
        self.wanted: frozenset[Pointer] = frozenset(wanted)
        """Fields of a body that are looked for, if this may be its route."""
        self.reads_whole = any(pool.reads_whole for pool in self._pools)
        """More must be known of it than where they stand."""
        self.is_checked = any(one.pool.is_checked for one in trials)
        """Whether health checks say of a candidate whether it is ready."""
        dropped = [one.settings.drop for one in trials]
        if route.dual_write is not None:
            dropped.append(route.dual_write.drop)
        named = frozenset({route.sticky_header, route.override, *(name for name, _ in rule.headers)})
        self.looked_at = named.union(*dropped) - {b""}
        """Headers that it looks at or takes out."""

    def still_says(self, spec: RouteSpec, pools: Mapping[str, Upstream], again: Mapping[str, int]) -> bool:
        """Whether this part of the file would come to the same once more."""
        if spec is not self.spec:
            return False
        for pool in self._pools:
            if pools.get(pool.name) is not pool:
                return False
        asked = zip(spec.rollouts, self.trials, strict=True)
        return all(trial_name(one.trial, again.get(one.trial, 0)) == made.settings.trial for one, made in asked)

    def count_on(self, counts: Counts) -> None:
        """Its counters are named once more, so that they are among the last to be forgotten."""
        for pool in self._pools:
            Meters(counts, self.route.name, pool.name)

    def observed_at(self, rate: float) -> None:
        """Some of its requests are observed."""
        self.rate = rate


def _pools(route: Route, trials: Sequence[RouteTrial]) -> tuple[Upstream, ...]:
    second = () if route.dual_write is None else (route.dual_write.pool,)
    return (route.live, *[one.pool for one in trials], *second)


def compile_route(
    item: RouteSpec,
    pools: Mapping[str, Upstream],
    again: Mapping[str, int],
    recent: Recent,
    counts: Counts,
    place: tuple[int, int],
    grpc: bool,
) -> CompiledRoute:
    """What a route comes to. `again` says how often trials were begun anew, by the names that the file gives them;
    `place`: slot, workers."""
    trials = tuple([_trial(item.name, one, pools[one.candidate], again, counts, place) for one in item.rollouts])
    longest = max([one.settings.max_body for one in trials], default=0)
    repeatable = item.idempotent or any(one.settings.fallback for one in trials)
    route = Route(item.name, pools[item.live], counts, recent, longest, repeatable)
    route.is_grpc = grpc
    if item.dual_write is not None:
        other = item.dual_write.upstream
        route.dual_write = dual_write(item.dual_write, pools[other], Meters(counts, item.name, other))
    route.sticky_header = item.sticky_header.lower().encode()
    route.sticky_cookie = item.sticky_cookie.lower().encode()
    route.sticky_json = parse_pointer(item.sticky_json)
    route.override = item.override.lower().encode()
    route.member = last_member(iter(item.pointers))
    route.settle([one.pool for one in trials])
    made = CompiledRoute(item, _rule(item), route, trials)
    if item.observations_per_second is not None:
        made.observed_at(item.observations_per_second / place[1])
    return made


def _trial(
    route: str, one: RolloutSpec, pool: Upstream, again: Mapping[str, int], counts: Counts, place: tuple[int, int]
) -> RouteTrial:
    name = trial_name(one.trial, again.get(one.trial, 0))
    return RouteTrial(settings(route, one, pool, place, name), pool, Meters(counts, route, pool.name))


def settings(
    route: str, rollout: RolloutSpec, candidate: Upstream, place: tuple[int, int], trial: str
) -> RolloutSettings:
    """What a worker needs of one rollout; `place`: slot, workers."""
    patience = rollout.timeout if rollout.timeout is not None else candidate.timeout
    added, dropped = _head_rules(rollout.candidate, rollout.headers)
    return RolloutSettings(
        name=rollout.name,
        trial=trial,
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
    added = "".join([f"{name}: {value}\r\n" for name, value in lines.items()]).encode("latin-1")
    return added, frozenset([name.encode() for name in (*rules.dropped, *lines)] + [b"expect"])


def _rule(item: RouteSpec) -> MatchRule:
    """Which requests belong to a route."""
    headers = tuple([(name.lower().encode(), value.encode("latin-1")) for name, value in item.headers.items()])
    methods = frozenset([method.encode() for method in item.methods])
    fields = tuple([(parse_pointer(pointer), json.loads(value)) for pointer, value in item.json.items()])
    return MatchRule(item.path.encode(), methods, headers, fields, item.default)


class BodyReader:
    """One reader looks for the fields of all routes, for which of them a body belongs to may be known by it only."""

    def __init__(self, wanted: frozenset[Pointer] = frozenset(), whole: bool = False) -> None:
        self.wanted, self.whole = wanted, whole
        self.reader = JsonReader(sorted(wanted), whole)

    def for_these(self, routes: Iterable[CompiledRoute]) -> BodyReader:
        """The one for these routes: this, where it looks for the same."""
        all_of_them = list(routes)
        wanted = frozenset().union(*[one.wanted for one in all_of_them])
        whole = any(one.reads_whole for one in all_of_them)
        return self if (wanted, whole) == (self.wanted, self.whole) else BodyReader(wanted, whole)


def put_together(
    compiled: Sequence[CompiledRoute], default: CompiledRoute | None, before: Routes | None, *, grpc: bool
) -> Routes:
    """The routes of the listener for HTTP or for gRPC, in the file's order."""
    names = frozenset().union(*[one.looked_at for one in compiled])
    last = None if default is None else default.route
    rules = [(one.rule, one.route) for one in compiled]
    return Routes(rules, last, names | ALWAYS if grpc else names, before)
