"""Promise: a candidate that has not yet answered a health check well, or does not any more, gets nothing: live serves,
nothing is sampled and nothing counts. The controller is told. Without health checks everything is as it was."""

from __future__ import annotations

import pytest

from proxy.worker.upstream.endpoint import Endpoint
from tests.worker.rig import Call, Model, eventually, ok, rig

CONFIG = """
server: {listen: '127.0.0.1:0'}
upstreams: {v1: {url: '{0}'}, v2: {url: '{1}', health: {path: /ready, interval: 20ms}}}
routes: [{name: m, live: v1, rollouts: [{candidate: v2, shadow: 100%}]}]
"""


class Loading(Model):
    """A model whose health check says what it is told to; it answers everything else by that as well."""

    def __init__(self) -> None:
        self.loaded = False

        async def script(call: Call) -> None:
            await call.read_body()
            await call.send(ok(status=b"200 OK" if self.loaded else b"503 Loading"))

        super().__init__(script)

    @property
    def asked(self) -> int:
        return sum(not call.head.startswith(b"GET /ready ") for call in self.calls)


@pytest.mark.parametrize("weight", [0, 5_000, 10_000])
async def test_a_candidate_that_is_loading_gets_nothing_until_it_is_ready(weight: int) -> None:
    live, candidate = Model(), Loading()
    async with rig(CONFIG, (live, candidate)) as it:
        await it.lane(weight)
        for _ in range(10):
            status, headers, _ = await it.ask()
            assert (status, headers["x-served-by"]) == (200, "v1")
        await eventually(lambda: it.controller.counts.get("ready") == {it.trial.settings.trial: False})
        assert (candidate.asked, it.trial.sampled) == (0, 0)
        candidate.loaded = True
        await eventually(lambda: it.trial.ready)
        for _ in range(10):
            assert (await it.ask())[0] == 200
        await eventually(lambda: len(it.controller.pairs) == 10)
        assert all(pair.candidate.status == 200 for pair in it.controller.pairs)
        await eventually(lambda: it.controller.counts.get("ready") == {it.trial.settings.trial: True})
        await it.settled()


async def test_one_that_restarts_gets_nothing_meanwhile() -> None:
    live, candidate = Model(), Loading()
    candidate.loaded = True
    async with rig(CONFIG, (live, candidate)) as it:
        await it.lane(10_000)
        await eventually(lambda: it.trial.ready)
        assert (await it.ask())[1]["x-served-by"] == "v2"
        candidate.loaded = False
        await eventually(lambda: not it.trial.ready)
        before = candidate.asked
        answers = [await it.ask() for _ in range(5)]
        assert {(status, headers["x-served-by"]) for status, headers, _ in answers} == {(200, "v1")}
        assert candidate.asked == before
        candidate.loaded = True
        await eventually(lambda: it.trial.ready)
        assert (await it.ask())[1]["x-served-by"] == "v2"


async def test_one_that_cannot_be_reached_is_not_ready_either() -> None:
    async with rig(CONFIG.replace("'{1}'", "'http://127.0.0.1:1'"), (Model(),)) as it:
        await it.lane()
        await eventually(lambda: it.controller.counts.get("ready") == {it.trial.settings.trial: False})
        assert (await it.ask())[0] == 200
        assert it.trial.sampled == 0


async def test_without_health_checks_refused_connections_are_failures() -> None:
    config = CONFIG.replace("'{1}', health: {path: /ready, interval: 20ms}", "'http://127.0.0.1:1'")
    async with rig(config, (Model(),)) as it:
        await it.lane()
        assert (await it.ask())[0] == 200
        await eventually(lambda: it.controller.pairs)
        assert it.controller.pairs[0].candidate.reason == "connect"
        assert it.controller.counts.get("ready", {}) == {}


def test_one_good_check_makes_it_ready_and_two_bad_ones_unready() -> None:
    endpoint = Endpoint("http://a:1")
    said = []
    for good in (False, True, False, True, False, False, False, True):
        endpoint.was_checked(good)
        said.append(endpoint.ready)
    assert said == [False, True, True, True, True, False, False, True]
