"""The configuration that a worker serves by, and how another takes its place: between two requests, whole or not at
all, and without a turn of the loop that clients would feel.

What has not changed stays: pools with their connections, routes with whatever refers to them. The rest is made in steps
(`draft`), behind the back of those who are served, and put into force in one (`switch`). What outlives a configuration
(trials, observers, counts) is touched by the second only.

Invariants
- A draft holds as long as nothing else is put into force, and tables name the versions, and the trials begun anew, that
  it was made with.
- Until `switch` nothing that serves has changed; a draft that is given up has its new pools closed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from dataclasses import dataclass
from time import perf_counter
from typing import TypeVar

from proxy.model import Table
from proxy.model.config_pieces import KnownPieces, StepsTo
from proxy.model.worker_config import WorkerConfig
from proxy.request.compiling import BodyReader, CompiledRoute, compile_route, put_together
from proxy.request.rollouts import Recent, Trial
from proxy.request.routes import Routes
from proxy.worker.books import TrialBooks
from proxy.worker.context import WorkerContext
from proxy.worker.upstream.pool import Pool
from proxy.worker.upstream.pools import PoolMaker

T = TypeVar("T")
SLICE, REST = 0.0005, 0.002
"""Seconds of such work in one turn of the loop, in a worker that serves, and seconds without: a fifth of the worker, so
that of the requests that meet a reload only every fifth waits, half a slice."""
PATIENT = 1.0
"""Seconds after which it rests no more: thousands of routes are to be taken up before the supervisor stops waiting."""


async def in_slices(steps: StepsTo[T]) -> T:
    """What comes of steps that are done a few at a time, between whatever else the loop has to do."""
    try:
        began = perf_counter()
        until = began + SLICE
        while True:
            try:
                next(steps)
            except StopIteration as end:
                result: T = end.value
                return result
            if perf_counter() >= until:
                await asyncio.sleep(REST if perf_counter() - began < PATIENT else 0.0)
                until = perf_counter() + SLICE
    finally:
        steps.close()


@dataclass(frozen=True)
class Draft:
    """A configuration that may be put into force: `asked` is what the supervisor sent, `config` the same with the
    versions of a routing table. `after` says how many were in force before it."""

    asked: WorkerConfig
    config: WorkerConfig
    table: Table
    after: int
    pools: dict[str, Pool]
    compiled: dict[str, CompiledRoute]
    routes: Routes
    calls: Routes
    reader: BodyReader
    trials: dict[str, Trial]
    """Those of routes that go on."""
    new: list[CompiledRoute]
    """Routes that the last one does not have, or has as others; `gone`: those of the last one that this one has not."""
    gone: list[CompiledRoute]
    watched: list[CompiledRoute]
    """Routes with a candidate whose health is checked: of no other can it change whether it is ready."""
    names: tuple[set[str], set[str], set[str]]
    """Of routes, upstreams and rollouts."""


class InForce:
    """What is in force: nothing before the first `switch`."""

    def __init__(self, context: WorkerContext, books: TrialBooks, maker: PoolMaker, place: tuple[int, int]) -> None:
        self._context, self._books, self._maker, self._place = context, books, maker, place
        self._known = KnownPieces()
        self._compiled: dict[str, CompiledRoute] = {}
        self._reader = BodyReader()
        self._routes: tuple[Routes | None, Routes | None] = None, None
        self._again: dict[str, int] = {}
        self._switches = 0
        self.recents: dict[str, Recent] = {}
        self._watched: list[CompiledRoute] = []
        self.asked: WorkerConfig | None = None
        self.config: WorkerConfig | None = None
        self.pools: dict[str, Pool] = {}
        self.trials: dict[str, Trial] = {}

    @property
    def compiled(self) -> Collection[CompiledRoute]:
        """Every route."""
        return self._compiled.values()

    @property
    def turned(self) -> list[CompiledRoute]:
        """Routes with a candidate that has become ready, or is no more, since they were told."""
        return [one for one in self._watched if any(trial.ready is not trial.pool.ready for trial in one.route.trials)]

    @property
    def ready(self) -> dict[str, bool]:
        """What health checks say of candidates, by trial, where one has ended."""
        trials = [trial for one in self._watched for trial in one.route.trials]
        return {trial.settings.trial: trial.pool.ready for trial in trials if trial.pool.checked}

    def read(self, text: bytes) -> StepsTo[WorkerConfig]:
        """The configuration in a CONFIG; raises `ValueError`."""
        return self._known.read(text)

    async def read_certificates(self, asked: WorkerConfig, table: Table) -> None:
        """Those that `draft` will ask for, in another thread: it may take a second, and no client is to wait for it.
        Raises `OSError` and `ssl.SSLError`."""
        upstreams = list(self._known.with_versions(asked, table.versions).upstreams.values())
        if any(one.has_tls for one in upstreams):
            await asyncio.get_running_loop().run_in_executor(None, self._maker.contexts.make, upstreams)

    def is_of(self, table: Table, before: Table) -> bool:
        """Whether this table, which comes after `before`, asks for nothing that must be made anew."""
        return self.asked is None or (table.versions == before.versions and table.again == self._again)

    def holds(self, draft: Draft, table: Table) -> bool:
        """Whether a draft may still be put into force, now that this is the last table."""
        same = draft.table.versions == table.versions and draft.table.again == table.again
        return same and draft.after == self._switches

    def draft(self, asked: WorkerConfig, table: Table) -> StepsTo[Draft]:
        """Make what is not there yet. Raises `OSError` and `ssl.SSLError`, and then nothing has changed."""
        config, after = self._known.with_versions(asked, table.versions), self._switches
        yield
        pools = yield from self._maker.make(config.upstreams, self.pools)
        try:
            compiled = yield from self._compile(config, pools, table.again)
            reader = self._reader.for_these([one for one in compiled.values() if not one.route.is_grpc])
            yield
            routes = _routes(compiled, self._routes[0], grpc=False)
            yield
            calls = _routes(compiled, self._routes[1], grpc=True)
            yield
            trials, new, gone = self._compare(compiled)
            watched = [one for one in compiled.values() if one.is_checked]
            names = {one.name for one in config.routes}, set(config.upstreams), _rollouts(config)
            yield
        except BaseException:
            self._maker.discard(pools, self.pools)
            raise
        made = pools, compiled, routes, calls, reader, trials, new, gone, watched, names
        return Draft(asked, config, table, after, *made)

    def _compare(
        self, compiled: dict[str, CompiledRoute]
    ) -> tuple[dict[str, Trial], list[CompiledRoute], list[CompiledRoute]]:
        """What goes on, what is new, and what is gone."""
        new = [one for key, one in compiled.items() if self._compiled.get(key) is not one]
        gone = [one for key, one in self._compiled.items() if compiled.get(key) is not one]
        left = {one.settings.trial for route in gone for one in route.trials}
        return {name: trial for name, trial in self.trials.items() if name not in left}, new, gone

    def discard(self, draft: Draft) -> None:
        """It is not put into force."""
        self._maker.discard(draft.pools, self.pools)

    def _compile(
        self, config: WorkerConfig, pools: dict[str, Pool], again: dict[str, int]
    ) -> StepsTo[dict[str, CompiledRoute]]:
        """Every route, by its name; that of the default by none."""
        compiled: dict[str, CompiledRoute] = {}
        every = [(route.name, route) for route in config.routes]
        for key, spec in every if config.default is None else [*every, ("", config.default)]:
            before = self._compiled.get(key)
            if before is None or not before.still_says(spec, pools, again):
                recent = self.recents.setdefault(f"{spec.name}|{spec.live}", Recent())
                grpc = config.upstreams[spec.live].grpc
                before = compile_route(spec, pools, again, recent, self._context.counts, self._place, grpc)
            compiled[key] = before
            yield
        return compiled

    def switch(self, draft: Draft) -> list[Pool]:
        """Put a draft into force; the pools to be closed, which nothing that begins from now on asks."""
        trials = draft.trials
        for one in draft.new:
            self._enlist(one)
            trials.update((trial.settings.trial, trial) for trial in one.route.trials)
        self._look_at_bodies(draft)
        self._context.route(draft.routes, draft.calls)
        for one in draft.gone:  # their names are forgotten later than those that went before
            one.count_on(self._context.counts)
        self._context.counts.forget(*draft.names)
        self._maker.settle(draft.pools)
        old, self.pools, self.trials = self.pools, draft.pools, trials
        self._compiled, self._reader, self._routes = draft.compiled, draft.reader, (draft.routes, draft.calls)
        self._watched = draft.watched
        self.asked, self.config, self._again = draft.asked, draft.config, draft.table.again
        self._switches += 1
        return [pool for name, pool in old.items() if self.pools.get(name) is not pool]

    def _enlist(self, one: CompiledRoute) -> None:
        """A route is put into force, with its trials as they stand, or new ones."""
        found = []
        for made in one.trials:
            trial = self._books.take(made.settings, made.pool, made.settings.trial in self.trials)
            trial.counted_by(made.meters)
            found.append(trial)
        one.route.take(tuple(found))

    def _look_at_bodies(self, draft: Draft) -> None:
        """What is looked for in bodies, and how many requests are observed."""
        for one in draft.compiled.values() if draft.reader is not self._reader else draft.new:
            if not one.route.is_grpc:
                one.route.read_by(draft.reader.reader)
        for one in draft.compiled.values():
            if one.rate is not None:
                one.route.observe(self._books.observer(one.route.name, one.route.live, one.rate))


def _rollouts(config: WorkerConfig) -> set[str]:
    return {one.name for route in config.routes for one in route.rollouts}


def _routes(compiled: dict[str, CompiledRoute], before: Routes | None, *, grpc: bool) -> Routes:
    """Those of the listener for HTTP or for gRPC, in the file's order."""
    mine = [one for key, one in compiled.items() if key and one.route.is_grpc is grpc]
    last = compiled.get("")
    return put_together(mine, last if last is not None and last.route.is_grpc is grpc else None, before, grpc=grpc)
