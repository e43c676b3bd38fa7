"""What a worker reports, each second: the totals of COUNTS.

With hundreds of routes they take several milliseconds. So the figures are gathered in steps between requests; what
the controller must find in the order of the pairs (the ledger) is taken when the report is sent, and costs little.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import orjson

from proxy.model.config_pieces import StepsTo, finish
from proxy.request.counts import Counts
from proxy.resolver import Resolver
from proxy.worker.books import TrialBooks
from proxy.worker.context import WorkerContext
from proxy.worker.in_force import InForce, in_slices
from proxy.worker.upstream.pool import Pool

AT_ONCE = 16
"""Upstreams of one step: a tenth of a millisecond."""

_Rows = list[list[Any]]
Resolvers = Mapping[str, Resolver]


class WorkerReports:
    """Sends them."""

    def __init__(
        self, context: WorkerContext, books: TrialBooks, in_force: InForce, resolvers: Callable[[], Resolvers]
    ) -> None:
        self._context, self._books, self._in_force, self._resolvers = context, books, in_force, resolvers
        self._refused_tables = 0
        self._begun = self._sent = 0  # the last report that was begun, and the last of those that are sent

    def refused(self) -> None:
        """A table of a former leader was not taken."""
        self._refused_tables += 1

    async def send_in_slices(self, then: Callable[[], object]) -> None:
        """Report soon, without a turn of the loop that clients would feel, and call `then`. It is not sent if one that
        was begun later has been: totals never fall, least of all behind the last report."""
        self._begun += 1
        number, found = self._begun, await in_slices(self._figures())
        if number > self._sent:
            self._send(number, found)
        then()

    def send(self) -> None:
        """Report now."""
        self._begun += 1
        self._send(self._begun, finish(self._figures()))

    def _figures(self) -> StepsTo[dict[str, object]]:
        return figures(self._context.counts, self._in_force.pools, self._resolvers())

    def _send(self, number: int, totals: dict[str, object]) -> None:
        publisher, in_force = self._context.publisher, self._in_force
        self._sent = number
        for recent in in_force.recents.values():
            recent.refresh()
        publisher.exposed(in_force.trials.values())
        publisher.flush()  # a report goes behind the pairs that it counts as sent, or they would seem lost
        totals |= {"ready": (ready := in_force.ready), "ledger": self._books.ledger(ready)}
        totals |= {"observed": self._books.observed(), "request_log": self._context.request_log.dropped}
        totals["refused_tables"] = self._refused_tables
        if publisher.counts(totals):
            self._books.told(in_force.trials)


def figures(counts: Counts, pools: Mapping[str, Pool], resolvers: Resolvers) -> StepsTo[dict[str, object]]:
    """The parts of COUNTS that need not be of one moment: requests, connections, lookups, endpoints."""
    found: dict[str, object] = yield from counts.report_in_steps()
    found["lookups"] = [[name, resolver.failures] for name, resolver in list(resolvers.items())]
    connections, endpoints, unhashed, paths = _Rows(), _Rows(), _Rows(), _Rows()
    for number, (name, pool) in enumerate(list(pools.items())):
        connections += ([name, *row] for row in zip(("idle", "busy", "waiting"), pool.counts, strict=True))
        endpoints += ([name, *row] for row in pool.rows)
        if pool.settings.hash_key:
            unhashed.append([name, pool.balancer.unhashed])
        if pool.settings.path:
            paths.append([name, pool.settings.path.missed])
        if not number % AT_ONCE:
            yield
    found |= {"unhashed": unhashed, "paths": paths}
    found["connections"] = orjson.Fragment(orjson.dumps(connections))  # text by now, as most of a report is
    yield
    found["endpoints"] = orjson.Fragment(orjson.dumps(endpoints))
    yield
    return found
