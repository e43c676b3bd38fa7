"""What a worker counts: many at a time, and each once; of names that left the file only so many are kept."""

from __future__ import annotations

from bisect import bisect_left

from hypothesis import given
from hypothesis import strategies as st

from proxy.model import LegKind
from proxy.model.reasons import Reason
from proxy.pairs import link
from proxy.request.counts import MOST_GONE, Counts, Histogram, Meter, Meters
from tests.worker.configs import config_frame
from tests.worker.rig import Model, Rig, eventually, rig


@given(st.lists(st.sampled_from(link.BOUNDS) | st.floats(0.0, 100.0), max_size=40), st.integers(1, 20))
def test_durations_are_put_into_buckets_as_one_by_one(few: list[float], times: int) -> None:
    durations, one_by_one = Histogram(), [0] * (len(link.BOUNDS) + 1)
    for seconds in few * times:
        durations.add(seconds)
        one_by_one[bisect_left(link.BOUNDS, seconds)] += 1
    buckets, total = durations.totals()
    assert buckets == one_by_one
    assert abs(total - sum(few) * times) <= 1e-9 * total
    assert durations.totals() == (buckets, total), "nothing is counted twice"


@given(st.lists(st.sampled_from([200, 404, 0])))
def test_statuses_in_a_row_are_counted_each(statuses: list[int]) -> None:
    meter = Meter()
    for at, status in enumerate(statuses):
        meter.add(status, 0.1)
        assert sum(meter.codes.values()) == at + 1
    meter.count(Reason.TIMEOUT)
    assert meter.codes == {**{one: statuses.count(one) for one in statuses}, Reason.TIMEOUT: 1}


def test_a_name_for_each_deployment_costs_nothing_in_the_end() -> None:
    counts = Counts()
    refusals = counts.meter("", "", LegKind.SERVED)
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
    assert ["", "", LegKind.SERVED, "404", 1] in report["requests"], "what belongs to no route stays"
    assert ["r", "live", LegKind.SERVED, "200", 3 * MOST_GONE] in report["requests"], "what the file names goes on"
    assert counts.meter("r", f"c{2 * MOST_GONE}", LegKind.COPY).codes == {200: 1}, "one that comes back goes on"
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
            it.control.send(config_frame(n + 1, told))
        await eventually(lambda: len(it.replies) == MOST_GONE + 2)
        await it.ask()
        assert told_of(it) == {f"m{MOST_GONE + 1}"}


def told_of(it: Rig) -> set[str]:
    """The upstreams of which a worker reports."""
    return {upstream for _, upstream, *_ in it.worker.context.counts.report()["requests"] if upstream}
