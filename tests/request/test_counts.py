"""What a worker counts: of names that left the file only so many are kept."""

from __future__ import annotations

from proxy.model import Leg
from proxy.model.reasons import Reason
from proxy.pairs import link
from proxy.pairs.link import Frame
from proxy.request.counts import MOST_GONE, Counts, Meters
from tests.worker.rig import Model, Rig, eventually, rig


def test_a_name_for_each_deployment_costs_nothing_in_the_end() -> None:
    counts = Counts()
    refusals = counts.meter("", "", Leg.SERVED)
    refusals.count(404)
    for n in range(3 * MOST_GONE):
        candidate, rollout = f"c{n}", f"r/c{n}"
        counts.overhead("r")
        counts.overhead(f"route-{n}")
        live, copies = Meters(counts, "r", "live"), Meters(counts, "r", candidate)
        live.served.add(200, 0.01)
        copies.copy.add(200, 0.01)
        counts.fallback(rollout, Reason.TIMEOUT)
        counts.came_early(rollout)
        counts.forget({"r", f"route-{n}"}, {"live", candidate}, {rollout})
    report = counts.report()
    assert ["", "", Leg.SERVED, "404", 1] in report["requests"], "what belongs to no route stays"
    assert ["r", "live", Leg.SERVED, "200", 3 * MOST_GONE] in report["requests"], "what the file names goes on"
    assert counts.meter("r", f"c{2 * MOST_GONE}", Leg.COPY).codes == {200: 1}, "one that comes back goes on"
    assert len(report["requests"]) == MOST_GONE + 3
    assert len(report["durations"]) == MOST_GONE + 3
    assert len(report["overhead"]) == MOST_GONE + 2
    assert len(report["fallbacks"]) == len(report["before_table"]) == MOST_GONE + 1


async def test_a_worker_forgets_upstreams_that_left_the_file_long_ago() -> None:
    model = Model()
    text = "server: {listen: '127.0.0.1:0'}\nupstreams: {NAME: {url: '{0}'}}\nroutes: []\ndefault: {live: NAME}\n"
    async with rig(text.replace("NAME", "m0"), (model,)) as it:
        await it.ask()
        for n in range(1, MOST_GONE + 2):
            assert told_of(it) == {"m0"}
            told = text.replace("NAME", f"m{n}").replace("{0}", model.url)
            it.control.send(link.note(Frame.CONFIG, {"generation": n + 1, "text": told, "directory": "."}))
        await eventually(lambda: len(it.replies) == MOST_GONE + 2)
        await it.ask()
        assert told_of(it) == {f"m{MOST_GONE + 1}"}


def told_of(it: Rig) -> set[str]:
    """The upstreams of which a worker reports."""
    return {upstream for _, upstream, *_ in it.worker.context.counts.report()["requests"] if upstream}
