"""Promise: a reload is whole or nothing for every request, keeps what has not changed (routes, pools, trials), and no
client waits for it, whatever tables, errors, other reloads or an end come in between."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy import logs
from proxy.model import Lane, State, Table
from proxy.model.config_pieces import finish, read_config_note
from proxy.model.worker_config import WorkerConfig
from proxy.pairs import link
from proxy.worker import in_force
from proxy.worker.in_force import in_slices
from proxy.worker.process import Worker
from tests.worker.configs import config_frame, for_worker
from tests.worker.rig import Model, always, eventually, ok, read_answer, rig

NAMES = ("a", "b", "c")
Routes = dict[str, tuple[int, int]]
"""Of each route: live's timeout, and the size of its candidate's longest body, 0 where it has none."""
files = st.dictionaries(st.sampled_from(NAMES), st.tuples(st.integers(1, 2), st.integers(0, 2)), min_size=1)


def text(routes: Routes, **also: str) -> str:
    """A file with these routes, in this order."""
    upstreams = {"sorry": "{url: 'http://127.0.0.1:9'}"}
    lines = []
    for name, (timeout, size) in routes.items():
        upstreams[name] = f"{{url: 'http://127.0.0.1:1', timeout: {timeout}s}}"
        rollout = ""
        if size:
            upstreams[f"{name}2"] = "{url: 'http://127.0.0.1:2'}"
            mirror, plan = f"mirror: {{max_body: {size}MB}}", "stages: [{shadow: 100%, min_pairs: 10}]"
            rollout = f", rollouts: [{{candidate: {name}2, {mirror}, {plan}}}]"
        lines.append(f"  - {{name: {name}, match: {{path: /{name}}}, live: {name}{rollout}}}")
    named = "".join(f"  {name}: {value}\n" for name, value in {**upstreams, **also}.items())
    return f"upstreams:\n{named}default: {{live: sorry}}\nroutes:\n" + "\n".join(lines)


def worker_with(config: WorkerConfig) -> Worker:
    """A worker without sockets."""
    one = Worker(0, 1, Path(), asyncio.get_running_loop())
    one.configure(config)
    return one


def read(worker: Worker, file: str) -> WorkerConfig:
    """A file as a worker gets and reads it."""
    return finish(worker._in_force.read(read_config_note(config_frame(1, file)[5:])[1]))


def table(worker: Worker, number: int, again: int = 0) -> Table:
    """One that gives every trial a weight of its own."""
    trials = [trial.settings.trial.partition("|again")[0] for trial in worker.trials.values()]
    names = [f"{one}|again {again}" if again else one for one in trials]
    return Table(number, tuple(Lane(one, one, State.CANARY, 1 + number, 10_000, 1, again=again) for one in names))


def seen(worker: Worker) -> dict[str, Any]:
    """What requests see of a worker: where each belongs, and what is done with it."""
    routes, found = worker.context.routes, {}
    for name in (*NAMES, "other"):
        route = routes.read(b"GET /%b HTTP/1.1\r\nhost: a\r\n\r\n" % name.encode()).route
        assert route is not None
        trials = [(trial.settings, trial.pool.name, trial.weight) for trial in route.trials]
        found[name] = route.name, route.live.timeout, route.max_body, trials, route.serving in (*route.trials, None)
        assert worker.pools[route.live.name] is route.live
        assert all(worker.pools[trial.pool.name] is trial.pool for trial in route.trials)
        assert all(worker.trials[trial.settings.trial] is trial for trial in route.trials)
    assert [route.name for route in routes.all] == [one.spec.name for one in worker._in_force.compiled]
    return found


@given(st.lists(st.tuples(files, st.integers(0, 1)), min_size=1, max_size=5))
def test_a_reload_comes_to_the_same_as_a_start_and_keeps_what_is_the_same(every: list[tuple[Routes, int]]) -> None:
    async def run() -> None:
        worker = worker_with(for_worker(text({"a": (1, 1)})))
        before: Routes = {"a": (1, 1)}
        for number, (routes, again) in enumerate(every, 1):
            had = {one.spec.name: one.route for one in worker._in_force.compiled}
            pools, trials, kept = worker.pools, worker.trials, worker._table.again
            worker.configure(read(worker, text(routes)))
            for name, route in {one.spec.name: one.route for one in worker._in_force.compiled}.items():
                same = name == "default" or before.get(name) == routes[name]
                assert (route is had.get(name)) >= (same and number > 1 and bool(kept) == bool(worker._table.again))
                assert same or route is not had.get(name)
            for name, pool in pools.items():
                stays = worker.pools.get(name) is pool
                assert pool.closing is not stays
                assert stays or name not in before or before[name][0] != routes.get(name, (0, 0))[0]
            assert set(worker._maker._made_of) == set(worker.pools.values())
            assert all(worker.trials[name] is trial for name, trial in trials.items() if name in worker.trials)
            worker._take(table(worker, number, again))
            fresh = worker_with(for_worker(text(routes)))
            fresh._take(worker._table)
            assert seen(worker) == seen(fresh)
            before = routes
        await asyncio.sleep(0)

    asyncio.run(run())


OLD: Routes = {"a": (1, 1), "b": (1, 1), "c": (1, 0)}
NEW: Routes = {"b": (2, 1), "a": (2, 2), "c": (1, 0)}


def steps_of(worker: Worker, file: str) -> Iterator[None]:
    """A reload, step by step."""
    return worker._take_up(read(worker, file))


def view(file: Routes, one: Table) -> dict[str, Any]:
    """What requests see of a worker that began with this file, and has this table."""
    worker = worker_with(for_worker(text(file)))
    worker._take(one)
    return seen(worker)


async def test_a_request_sees_the_old_file_or_the_new_one_and_the_last_table_at_any_step() -> None:
    first = worker_with(for_worker(text(OLD)))
    tables = table(first, 1), table(first, 2, again=1)
    views = [[view(OLD, one), view(NEW, one)] for one in tables]
    assert all(old != new for old, new in views)
    assert views[0] != views[1]
    for at in range(1000):
        worker, last, files = worker_with(for_worker(text(OLD))), 0, [0]
        worker._take(tables[0])
        for number, _ in enumerate(steps_of(worker, text(NEW))):
            files.append(views[last].index(seen(worker)))
            if number == at:
                worker._take(tables[last := 1])
                files.append(views[last].index(seen(worker)))
        assert files == sorted(files)
        assert seen(worker) == views[last][1], f"table at step {at}"
        if not last:
            return
    raise AssertionError("so many steps")


async def test_a_reload_that_is_refused_or_given_up_leaves_everything_and_no_pool() -> None:
    worker = worker_with(for_worker(text(OLD)))
    made: list[Any] = []
    one = worker._maker._one
    worker._maker._one = lambda *given: made.append(one(*given)) or made[-1]  # type: ignore[method-assign]
    before, pools = seen(worker), worker.pools
    tls = "{url: 'https://127.0.0.1:1', tls: {ca: /nowhere}}"
    with pytest.raises(OSError, match="nowhere"):
        finish(steps_of(worker, text(NEW, last=tls)))  # type: ignore[arg-type]
    ended, given_up = False, 0
    while not ended:
        given_up += 1
        draft = worker._in_force.draft(read(worker, text(NEW)), worker._table)
        try:
            for _ in range(given_up):
                next(draft)
        except StopIteration as end:
            ended = True
            worker._in_force.discard(end.value)
        draft.close()
    assert seen(worker) == before
    assert worker.pools is pools
    assert all(pool.closing for pool in made if pool not in pools.values())
    assert not any(pool.closing for pool in pools.values())
    assert set(worker._maker._made_of) == set(pools.values())


async def test_steps_leave_the_loop_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(in_force, "SLICE", 0.0)
    worker = worker_with(for_worker(text(OLD)))
    task = asyncio.ensure_future(in_slices(worker._take_up(read(worker, text(NEW)))))
    turns = 0
    while not task.done():
        turns += 1
        await asyncio.sleep(0)
    assert turns > 2 * len(worker.pools)


async def test_pools_that_others_have_replaced_meanwhile_are_no_matter_when_a_draft_is_given_up() -> None:
    worker = worker_with(for_worker(text(OLD)))
    before, maker = dict(worker.pools), worker._maker
    given_up = finish(maker.make(read(worker, text(NEW)).upstreams, before))
    in_force = finish(maker.make(read(worker, text({"z": (2, 1)})).upstreams, {}))
    maker.settle(in_force)
    maker.discard(given_up, before)
    assert set(maker._made_of) == set(in_force.values())


async def test_others_get_most_of_the_loop() -> None:
    def busy() -> Iterator[None]:
        for _ in range(20):
            until = perf_counter() + in_force.SLICE
            while perf_counter() < until:
                pass
            yield

    began = perf_counter()
    await in_slices(busy())  # type: ignore[arg-type]
    assert perf_counter() - began > 19 * in_force.REST > 3 * 20 * in_force.SLICE


FILE = """
server: {listen: '127.0.0.1:0'}
upstreams:
  one: {url: '{0}'}
  two: {url: '{1}'}
  sorry: {url: '{0}'}
default: {live: sorry}
routes: [{name: r, match: {path: /infer}, live: NAME}]
"""


async def test_reloads_that_come_at_once_are_taken_in_their_order_and_answers_end_where_they_began(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(in_force, "SLICE", 0.0)
    free = asyncio.Event()

    async def slow(call: Any) -> None:
        await call.read_body()
        await free.wait()
        await call.send(ok(b'"one"'))

    models = Model(slow), Model(always(ok(b'"two"')))
    async with rig(FILE.replace("NAME", "one"), models) as it:
        reader, writer = await it.connect()
        writer.write(b"POST /infer HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\n{}")
        await eventually(lambda: models[0].calls)
        said, old = len(it.replies), it.worker.pools["one"]
        two = FILE.replace("NAME", "two").replace("{0}", models[0].url).replace("{1}", models[1].url)
        other = two.replace("  one:", "  uno:")
        bad = other.replace("uno: {url: 'http", "uno: {tls: {ca: nowhere.pem}, url: 'https")
        frames = [config_frame(n, file) for n, file in enumerate((two, bad, other), 2)]
        for frame in frames:
            it.control.send(frame)
        await eventually(lambda: len(it.replies) == said + 3, "RESULT of each")
        assert [(note["generation"], note["ok"]) for _, note in it.replies[said:]] == [(2, True), (3, False), (4, True)]
        assert list(it.worker.pools) == ["uno", "two", "sorry"]
        assert (old.closing, old.counts[1]) == (True, 1), "its last answer is under way"
        assert (await it.ask())[2] == b'"two"'
        free.set()
        assert (await read_answer(reader))[2] == b'"one"'
        await eventually(lambda: old.open == 0)
        writer.close()


async def test_a_worker_that_is_told_to_drain_during_a_reload_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(in_force, "SLICE", 0.0)
    models = Model(), Model()
    async with rig(FILE.replace("NAME", "one"), models) as it:
        file = FILE.replace("NAME", "two").replace("{0}", models[0].url).replace("{1}", models[1].url)
        it.control.send(config_frame(2, file) + link.note(link.Frame.DRAIN, {"delay": 0.0}))
        await asyncio.wait_for(asyncio.shield(it.task), 20.0)
        assert all(pool.closing for pool in it.worker.pools.values())


@pytest.mark.parametrize("where", ["read_certificates", "read", "draft"])
async def test_a_reload_that_breaks_is_answered_and_the_next_one_is_taken(
    where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was not answered: the supervisor waited, and told nobody why."""
    models = Model(), Model()
    async with rig(FILE.replace("NAME", "one"), models) as it:
        said, before = len(it.replies), logs.UNEXPECTED["config.reload_broke"]

        def broken(*_: Any) -> Any:
            raise RuntimeError("a bug")

        file = FILE.replace("NAME", "two").replace("{0}", models[0].url).replace("{1}", models[1].url)
        for generation in (2, 3):
            with monkeypatch.context() as patched:
                if generation == 2:
                    patched.setattr(it.worker._in_force, where, broken)
                it.control.send(config_frame(generation, file))
                await eventually(lambda count=said + generation - 1: len(it.replies) == count, "RESULT")
        assert [reply[1]["ok"] for reply in it.replies[said:]] == [False, True]
        assert "a bug" in it.replies[said][1]["error"]
        assert logs.UNEXPECTED["config.reload_broke"] == before + 1
