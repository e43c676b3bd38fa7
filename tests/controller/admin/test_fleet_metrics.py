"""Promise: a fleet is counted by what its replicas do, how far they are behind and how their files differ."""

from __future__ import annotations

from proxy.controller.admin.interface import FleetCounts
from proxy.controller.admin.metrics import Metrics
from tests.controller.admin.test_metrics import FakeController, FakeSender


def test_a_fleet_is_counted_by_what_its_replicas_do_and_how_their_files_differ() -> None:
    text = Metrics(FakeController(), FakeSender()).render()[0].decode()
    for line in (
        'understudy_fleet_replicas{state="leader"} 1.0',
        'understudy_fleet_replicas{state="standby"} 1.0',
        'understudy_fleet_replicas{state="cut_off"} 1.0',
        "understudy_fleet_configurations 2.0",
        "understudy_fleet_term 3.0",
        'understudy_fleet_link_lag_seconds{replica="b"} 0.01',
        'understudy_fleet_clock_offset_seconds{replica="b"} 0.0',
        'understudy_fleet_links_refused_total{reason="tls"} 1.0',
        'understudy_fleet_links_refused_total{reason="name"} 0.0',
        'understudy_untimed_pairs_total{rollout="credit/v2"} 4.0',
        "understudy_refused_tables_total 2.0",
        'understudy_config_hash{hash="0f3a"} 1.0',
        "understudy_config_last_reload_successful 0.0",
        "understudy_config_last_reload_success_timestamp_seconds 1.7644e+09",
    ):
        assert line in text
    assert 'replica="c"' not in text  # nothing is known of one that is cut off


def test_a_standby_says_nothing_of_others_and_nothing_of_pairs() -> None:
    controller = FakeController(FleetCounts(leads=False, config_hash="0f3a", config_loaded=1.0), [])
    text = Metrics(controller, FakeSender()).render()[0].decode()
    assert "understudy_leader 0.0" in text
    assert "untimed_pairs_total{" not in text
    assert "links_refused_total{" not in text
    assert "understudy_config_last_reload_successful 1.0" in text
