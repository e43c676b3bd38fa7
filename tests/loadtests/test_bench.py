"""Promise: the harness of the benchmarks has each workload in a mode only through proxies that carry it, compares
within a round, and leaves what others wrote into RESULTS alone."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from loadtests.bench import report
from loadtests.bench.load import Interval, arrivals, open_loop
from loadtests.bench.processes import Bench
from loadtests.bench.proxies import BEFORE, PROXIES, before
from loadtests.bench.rounds import Measured, chosen, ratio
from loadtests.bench.tables import HEAD, lines_of, table
from loadtests.bench.workloads import FORWARD, MIRROR, WORKLOADS, Workload


def interval(cpu: float) -> Interval:
    return Interval(rate=100.0, cpu=cpu, tree=2 * cpu, p50=1.0, p99=2.0)


@pytest.mark.parametrize("workload", WORKLOADS, ids=lambda one: one.key)
def test_each_workload_goes_through_understudy_and_a_proxy_to_compare_with(workload: Workload) -> None:
    for mode in workload.modes:
        names = chosen(workload, mode)
        assert "Understudy" in names
        assert {"nginx", "Envoy"} <= set(names)
        assert all(workload.kind in PROXIES[name].carries for name in names)
        assert mode != MIRROR or all(PROXIES[name].mirrors for name in names)


def test_the_keys_are_one_each() -> None:
    assert len({one.key for one in WORKLOADS}) == len(WORKLOADS)


def test_ratios_are_of_the_same_round() -> None:
    rounds = {"ours": [interval(1), interval(20)], "theirs": [interval(2), interval(40)]}
    assert ratio(rounds, "ours", "theirs", lambda one: one.cpu) == 0.5


def test_a_line_has_a_cell_for_each_head_and_says_what_is_missing() -> None:
    measured = Measured(
        WORKLOADS[0], MIRROR, {"Understudy": [interval(1)], "Envoy": [interval(4)]}, {"Understudy": 99.0}
    )
    measured.missing.append("nginx")
    ours, _ = lines_of(measured)
    assert ours.count("|") == HEAD[0].count("|") == HEAD[1].count("|")
    assert "| 0.25 | 0.25 | 99.0 % |" in ours
    assert table([measured])[-1] == "Not installed: nginx."
    assert "Not installed" not in "".join(table([Measured(WORKLOADS[0], FORWARD, {"Envoy": [interval(1)]})]))


def test_the_build_before_a_change_is_beside_ours_in_every_workload(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SystemExit):
        before(tmp_path)
    (tmp_path / "proxy").mkdir()
    monkeypatch.setitem(PROXIES, BEFORE, before(tmp_path))
    assert all(BEFORE in chosen(workload, mode) for workload in WORKLOADS for mode in workload.modes)
    measured = Measured(WORKLOADS[0], FORWARD, {"Understudy": [interval(1)], BEFORE: [interval(4)]})
    assert table([measured])[-1] == f"{WORKLOADS[0].title}, forward: worker 0.25 × before, tree 0.25 × before."


def test_a_report_replaces_itself_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "RESULTS.md"
    monkeypatch.setattr(report, "RESULTS", file)
    file.write_text("# Results\n\nbefore\n\n<!-- a -->\nold\n<!-- /a -->\n\nafter\n")
    report.write(["new"], "<!-- a -->", "<!-- /a -->")
    assert file.read_text() == "# Results\n\nbefore\n\n<!-- a -->\nnew\n<!-- /a -->\n\nafter\n"
    report.write(["more"], "<!-- b -->", "<!-- /b -->")
    assert file.read_text().endswith("after\n\n<!-- b -->\nmore\n<!-- /b -->\n")


@pytest.mark.skipif(not (shutil.which("gcc") and shutil.which("taskset")), reason="the load is programs in C")
def test_events_are_timed_from_when_they_were_sent_over_all_streams_and_their_ends() -> None:
    bench = Bench()
    try:
        live = bench.streams(20, 1, "one")  # each of two streams ends after 42 ms, and is asked for again
        p50, p99 = arrivals(bench, live, 2, 0.4)
        assert 0 < p50 <= p99
        assert p50 < 1e5  # 100 ms: not the time since the machine was started
        p50, p99 = open_loop(bench, bench.backend(), 0.2, 100)
        assert 0 < p50 <= p99
    finally:
        bench.close()
