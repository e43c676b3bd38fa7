"""Promise: reload, drain, a lost controller and new certificates cost no request and no connection."""

from __future__ import annotations

import asyncio
import gc
import time

import pytest

from proxy.model import Lane, State
from proxy.pairs import link
from proxy.pairs.link import Frame
from proxy.worker.process import QUIET, SILENCE
from tests.request.test_exchange import PLAIN, SHADOW
from tests.worker.configs import config_frame, for_worker
from tests.worker.rig import PATIENCE, Call, Model, always, eventually, ok, read_answer, rig

ASK = b"POST /infer HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"


async def test_reload_keeps_connections_and_takes_new_routes() -> None:
    one, two = Model(always(ok(b"one"))), Model(always(ok(b"two")))
    async with rig(PLAIN, (one, two)) as it:
        reader, writer = await it.connect()
        for _ in range(2):  # the second one is known to the connection, head and route
            writer.write(ASK)
            assert (await read_answer(reader))[2] == b"one"
        old = it.worker.pools["m"]
        text = PLAIN.replace("{0}", two.url)
        it.control.send(config_frame(2, text))
        await eventually(lambda: len(it.replies) == 2)
        assert it.replies[1] == (Frame.RESULT, {"generation": 2, "ok": True, "error": ""})
        assert old.open == 0
        writer.write(ASK)
        assert (await read_answer(reader))[2] == b"two"
        await eventually(lambda: one.open == 0)
        writer.close()


async def test_reload_keeps_the_connections_of_upstreams_that_stay() -> None:
    model = Model()
    async with rig(PLAIN, (model,)) as it:
        assert (await it.ask())[0] == 200
        text = PLAIN.replace("{0}", model.url).replace("name: all", "name: other")
        it.control.send(config_frame(2, text))
        await eventually(lambda: len(it.replies) == 2)
        assert (await it.ask())[0] == 200
        assert model.connections == 1


async def test_a_worker_that_serves_looks_for_garbage() -> None:
    """While it is imported, it does not."""
    gc.disable()
    try:
        async with rig(PLAIN, (Model(),)):
            assert gc.isenabled()
    finally:
        gc.enable()


async def test_reload_of_a_bad_file_changes_nothing() -> None:
    model = Model()
    async with rig(PLAIN, (model,)) as it:
        it.control.send(
            config_frame(
                2, PLAIN.replace("{0}", model.url).replace("server: {", "server: {tls: {cert: none, key: none}, ")
            )
        )
        await eventually(lambda: len(it.replies) == 2)
        assert it.replies[1][1]["ok"] is False
        assert it.replies[1][1]["error"]
        assert (await it.ask())[0] == 200


async def test_a_trial_begun_anew_has_numbers_of_its_own_and_outlives_a_reload() -> None:
    """Only the routing table says so; the pairs under way stay with the trial that sampled them."""
    live, candidate = Model(always(ok(b"{}"))), Model(always(ok(b"{}")))
    async with rig(SHADOW, (live, candidate)) as it:
        await it.lane()
        await it.ask()
        (first,) = it.worker.trials
        again = Lane("r/v2", f"{first}|again 2", State.SHADOW, 0, 10_000, 0, again=2)
        await it.controller.publish(again)
        await it.ask()
        it.control.send(config_frame(2, SHADOW.replace("{0}", live.url).replace("{1}", candidate.url)))
        await eventually(lambda: len(it.replies) == 2)
        await it.ask()
        await eventually(lambda: len(it.controller.pairs) == 3, "three pairs")
        found = sorted((pair.trial, pair.sequence) for pair in it.controller.pairs)
        assert found == [(first, 0), (again.trial, 0), (again.trial, 1)]
        await it.controller.publish(Lane("r/v2", first, State.SHADOW, 0, 10_000, 0))
        await it.ask()
        await eventually(lambda: len(it.controller.pairs) == 4)
        assert (it.controller.pairs[-1].trial, it.controller.pairs[-1].sequence) == (first, 1)


async def test_a_worker_is_ready_when_its_first_table_is_in_force_and_counts_what_came_before() -> None:
    live, candidate = Model(always(ok(b"{}"))), Model(always(ok(b"{}")))
    async with rig(SHADOW, (live, candidate), greets=False) as it:
        await eventually(lambda: it.controller.tables, "a worker on tables.sock")
        for _ in range(3):
            assert (await it.ask())[0] == 200  # the port is open all the while
        assert (await it.ask(path=b"/-/readyz", method=b"GET"))[0] == 503
        assert not it.replies
        await it.controller.publish(Lane("r/v2", next(iter(it.worker.trials)), State.SHADOW, 0, 10_000, 0))
        await eventually(lambda: it.replies, "READY")
        assert (await it.ask(path=b"/-/readyz", method=b"GET"))[0] == 200
        await it.ask()
        await eventually(lambda: len(it.controller.pairs) == 1)
        it.worker._send_report()
        await eventually(lambda: it.controller.counts.get("before_table") == [["r/v2", 3]])
        assert it.trial.sampled == 1


async def test_a_worker_without_a_controller_calls_itself_ready_after_a_while(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Live does not need one. It goes on counting what nobody could decide on."""
    monkeypatch.setattr("proxy.worker.process.FIRST_TABLE", 0.2)
    live, candidate = Model(always(ok(b"{}"))), Model(always(ok(b"{}")))
    async with rig(SHADOW, (live, candidate), greets=False) as it:
        await eventually(lambda: it.replies, "READY")
        assert (await it.ask())[0] == 200
        assert it.worker.context.counts.report()["before_table"] == [("r/v2", 1)]
    assert "table.missing" in capsys.readouterr().err


async def test_reload_lets_a_request_in_flight_finish() -> None:
    go = asyncio.Event()

    async def script(call: Call) -> None:
        await call.read_body()
        await go.wait()
        await call.send(ok(b"old"))

    one, two = Model(script), Model()
    async with rig(PLAIN, (one, two)) as it:
        asked = asyncio.create_task(it.ask())
        await eventually(lambda: one.calls)
        text = PLAIN.replace("{0}", two.url)
        it.control.send(config_frame(2, text))
        await eventually(lambda: len(it.replies) == 2)
        go.set()
        assert (await asked)[2] == b"old"
        await eventually(lambda: one.open == 0)


async def test_drain() -> None:
    """What is in flight is answered, readiness fails first, idle connections end, then the worker leaves."""
    go = asyncio.Event()

    async def script(call: Call) -> None:
        await call.read_body()
        await go.wait()
        await call.send(ok())

    model = Model(script)
    async with rig(PLAIN, (model,)) as it:
        idle_reader, idle_writer = await it.connect()
        reader, writer = await it.connect()
        writer.write(ASK)
        await eventually(lambda: model.calls)
        it.control.send(link.note(Frame.DRAIN, {"delay": 0.1}))
        await eventually(lambda: it.worker.context.draining)
        status, headers, _ = await it.ask(path=b"/-/readyz", method=b"GET")
        assert (status, headers["connection"]) == (503, "close")
        await asyncio.sleep(3 * QUIET)  # longer than a worker stays that has nothing in hand
        go.set()
        status, headers, _ = await read_answer(reader)
        assert (status, headers["connection"]) == (200, "close")
        assert await asyncio.wait_for(idle_reader.read(), PATIENCE) == b""
        await asyncio.wait_for(asyncio.shield(it.task), PATIENCE)
        writer.close()
        idle_writer.close()


async def test_supervisor_gone_is_drain() -> None:
    async with rig(PLAIN, (Model(),)) as it:
        it.control.close()
        await asyncio.wait_for(asyncio.shield(it.task), PATIENCE)


async def test_lost_controller_takes_the_weight_away_and_gives_it_back() -> None:
    live, candidate = Model(always(ok(b"live"))), Model(always(ok(b"candidate")))
    config = SHADOW.replace("server: {", "server: {controller_lost: 100ms, ")
    async with rig(config, (live, candidate)) as it:
        await it.lane(weight=9_999)
        assert (await it.ask())[1]["x-served-by"] == "v2"
        await it.controller.stop()
        await eventually(lambda: it.trial.weight == 0)
        assert (await it.ask())[1]["x-served-by"] == "v1"
        for name in ("pairs.sock", "tables.sock"):
            (it.controller.runtime / name).unlink(missing_ok=True)
        await it.controller.start()
        await eventually(lambda: it.controller.tables)
        hello = it.controller.hellos[-1]
        assert hello["lost"]
        assert [lane["weight"] for lane in hello["table"]["lanes"]] == [9_999], "its own doing, not the table's"
        await it.lane(weight=9_999)
        assert (await it.ask())[1]["x-served-by"] == "v2"


async def test_lost_controller_leaves_a_promoted_candidate() -> None:
    live, candidate = Model(), Model()
    config = SHADOW.replace("server: {", "server: {controller_lost: 100ms, ")
    async with rig(config, (live, candidate)) as it:
        await it.lane(weight=10_000, state=State.PROMOTED)
        await it.controller.stop()
        await eventually(lambda: it.worker._lost)
        assert it.trial.weight == 10_000


async def test_a_reload_while_the_controller_is_lost_gives_no_weight_back() -> None:
    config = SHADOW.replace("server: {", "server: {controller_lost: 100ms, ")
    models = (Model(), Model())
    async with rig(config, models) as it:
        await it.lane(weight=9_999)
        await it.controller.stop()
        await eventually(lambda: it.trial.weight == 0)
        text = config.replace("{0}", models[0].url).replace("{1}", models[1].url)
        it.worker.configure(for_worker(text))
        assert it.trial.weight == 0
        assert all(route.serving is None for route in it.worker.context.routes.all)


async def test_a_controller_that_is_silent_is_lost_though_its_socket_is_open() -> None:
    config = SHADOW.replace("server: {", "server: {controller_lost: 100ms, ")
    async with rig(config, (Model(), Model())) as it:
        await it.lane(weight=9_999)
        for _ in range(3):
            it.worker._controller_heard -= SILENCE - 0.5  # as long as may be
            for channel in it.controller.tables:
                channel.send(link.frame(Frame.ALIVE, b""))
            await eventually(lambda: time.monotonic() - it.worker._controller_heard < 1.0)
            it.worker._look_for_controller(time.monotonic())
            assert it.trial.weight == 9_999, "it was heard"
        it.worker._controller_heard -= SILENCE
        await eventually(lambda: it.trial.weight == 0)
        await eventually(lambda: it.controller.hellos[-1]["lost"])
        await eventually(lambda: it.controller.tables)
        await it.lane(weight=9_999)
        assert it.trial.weight == 9_999


async def test_lost_link_is_counted_and_slows_nobody() -> None:
    live, candidate = Model(), Model()
    async with rig(SHADOW, (live, candidate)) as it:
        await it.lane()
        await it.controller.stop()
        await eventually(lambda: it.worker.context.publisher._channel is None)
        for _ in range(5):
            assert (await it.ask())[0] == 200
        await it.settled()
        assert it.trial.link_full == 5


async def test_lane_of_another_trial_is_ignored() -> None:
    async with rig(SHADOW, (Model(), Model())) as it:
        lane = link.Lane("r/v2", "another trial", State.CANARY, 10_000, 10_000, 1)
        await it.controller.publish(lane)
        assert (await it.ask())[1]["x-served-by"] == "v1"
        assert it.trial.sampled == 0


async def test_a_trial_that_comes_back_says_anew_what_is_settled() -> None:
    """The controller began it afresh, and would wait for the sequences of the first time."""
    models = Model(always(ok(b'{"a":1}'))), Model(always(ok(b'{"a":1}')))
    async with rig(SHADOW, models) as it:
        await it.lane()
        first = it.trial.settings.trial
        for _ in range(3):
            await it.ask()
        await eventually(lambda: len(it.controller.pairs) == 3)
        text = SHADOW.replace("{0}", models[0].url).replace("{1}", models[1].url)
        for generation, version in ((2, ", version: b"), (3, "")):
            it.controller.marks.clear()
            changed = text.replace("timeout: 300ms", f"timeout: 300ms{version}")
            it.control.send(config_frame(generation, changed))
            await eventually(lambda generation=generation: len(it.replies) == generation, "RESULT")
        assert it.trial.settings.trial == first
        await eventually(lambda: it.controller.marks.get(first) == 3, "the mark")


async def test_a_trial_that_is_over_is_reported_to_the_end_and_then_no_more() -> None:
    """Or a thousand reloads later each report would be about a thousand trials that nobody waits for."""
    models = Model(always(ok(b'{"a":1}'))), Model(always(ok(b'{"a":1}')))
    async with rig(SHADOW, models) as it:

        async def version(number: int) -> None:
            text = SHADOW.replace("{0}", models[0].url).replace("{1}", models[1].url)
            changed = text.replace("timeout: 300ms", f"timeout: 300ms, version: '{number}'")
            done = len(it.replies) + 1
            it.control.send(config_frame(done, changed))
            await eventually(lambda: len(it.replies) == done, "RESULT")
            await it.lane()

        async def report() -> dict[str, dict[str, int]]:
            it.controller.counts = {}
            it.worker._send_report()
            await eventually(lambda: it.controller.counts, "COUNTS")
            return dict(it.controller.counts["ledger"])

        trials = []
        for number in range(40):
            await version(number)
            trials.append(it.trial.settings.trial)
            await it.ask()
            await it.settled()
            said = await report()
            assert said[trials[-1]]["sent"] == 1
            assert number == 0 or set(said) <= set(trials[-2:]), "the last one once more at most"
        publisher = it.worker.context.publisher
        assert len(it.worker._books.open) <= 2
        assert max(publisher._index.values()) <= 2, "numbers on the link are used again"
        assert len(publisher._marked) <= 2
        await version(0)
        assert it.trial.settings.trial == trials[0]
        await it.ask()
        await it.settled()
        assert (await report())[trials[0]] == {**it.trial.ledger, "sampled": 2, "sent": 2}
        assert it.controller.pairs[-1].sequence == 1, "sequences go on"
        it.worker._books.tell_all()  # as when a controller connects
        await report()
        await eventually(lambda: set(it.controller.counts["ledger"]) >= set(trials), "all that are over")
        await eventually(lambda: len(it.controller.counts["ledger"]) <= 2, "the next report")


async def test_a_worker_that_leaves_says_last_what_became_of_everything() -> None:
    async with rig(SHADOW, (Model(always(ok(b'{"a":1}'))), Model(always(ok(b'{"a":1}'))))) as it:
        await it.lane()
        for _ in range(3):
            await it.ask()
        await it.settled()
        it.worker._timers["report"].cancel()  # the next one would have come after the end
        it.control.send(link.note(Frame.DRAIN, {"delay": 0.0}))
        await asyncio.wait_for(asyncio.shield(it.task), PATIENCE)
        await eventually(
            lambda: it.controller.counts.get("ledger", {}).get(it.trial.settings.trial, {}).get("sent") == 3
        )


async def test_counts() -> None:
    async with rig(SHADOW, (Model(), Model())) as it:
        await it.lane()
        await it.ask()
        await it.ask(path=b"/nowhere")
        await it.settled()
        await eventually(
            lambda: it.controller.counts.get("ledger", {}).get(it.trial.settings.trial, {}).get("sent") == 1
        )
        requests = {tuple(row[:4]): row[4] for row in it.controller.counts["requests"]}
        assert requests == {
            ("r", "v1", "served", "200"): 1,
            ("r", "v2", "copy", "200"): 1,
            ("", "", "served", "no_route"): 1,
        }
        durations = {tuple(row[:3]): row for row in it.controller.counts["durations"]}
        assert sum(durations["r", "v1", "served"][3]) == 1
        assert sum(it.controller.counts["overhead"][0][1]) == 1
