"""Promise: `status` is read by a person and by a program, goes on with `--watch`, and draws nothing a client chose."""

from __future__ import annotations

import io
import json
import re
import sys

import click
import pytest

from proxy.cli.table import follow, overview
from proxy.controller.admin.fleet_view import FleetView, LeaderView, ReplicaView
from tests.cli.admins import ROLLOUT, FakeAdmin, run


def test_status_is_a_table_that_a_person_can_read(admin: FakeAdmin) -> None:
    result = run("status", admin=admin)
    assert result.exit_code == 0
    row = next(line for line in result.output.splitlines() if line.strip().startswith("max_disagreement  "))
    assert re.split(r" {2,}", row.strip()) == [
        "max_disagreement", "1.3%", "0.9% … 1.8%", "2%", "14%", "2,310 pairs", "5.7 min", "inconclusive",
    ]  # fmt: skip
    for part in (
        "canary-5 (2 of 3), weight 5%",
        "Waits for 340 more pairs.",
        "2,310 compared, 90 shed",
        "3 timeout",
        "mismatched responses: 4 status class",
        "! tenant",
        "! live's answers cannot be read: missing_output at /a?[2J: 2 of 9 pairs",
        "1.13x",
        "21ms   20.2ms … 1.5s   250ms",
    ):
        assert part in result.output


def test_what_is_found_of_users_is_said_of_users_in_its_unit(admin: FakeAdmin) -> None:
    of_users = {"of": "users", "guard": "max_outcome_drop", "pairs": 1200}
    points = {"value": 0.0042, "low": -0.01, "high": 0.019, "limit": 0.01, "unit": "points"}
    admin.rollouts = [ROLLOUT | {"findings": [ROLLOUT["findings"][0] | of_users | points]}]
    row = next(line for line in run("status", admin=admin).output.splitlines() if "max_outcome_drop" in line)
    assert re.split(r" {2,}", row.strip())[1:6] == ["0.42pp", "-1pp … 1.9pp", "1pp", "14%", "1,200 users"]


def test_several_are_a_line_each_the_worst_first(admin: FakeAdmin) -> None:
    def one(name: str, state: str, **changes: object) -> dict[str, object]:
        return ROLLOUT | {"name": name, "state": state, "findings": [], "owner": "a team", "reason": None} | changes

    fail = [ROLLOUT["findings"][0] | {"verdict": "fail", "evidence": 1.0}]
    admin.rollouts = [
        one("r/promoted", "promoted"),
        one("r/young", "shadow"),
        one("r/stalled", "canary", stalled=True),
        one("r/out", "rolled_back", reason="it was wrong\x1b"),
        one("r/failing", "canary", findings=fail),
        one("r/near", "shadow", findings=[ROLLOUT["findings"][0] | {"verdict": "inconclusive", "evidence": 0.6}]),
    ]
    told = click.unstyle(run("status", admin=admin).output).split("\n\n")[0].splitlines()
    assert [line.split()[0] for line in told] == [
        "r/out", "r/failing", "r/stalled", "r/near", "r/young", "r/promoted",
    ]  # fmt: skip
    assert re.split(r" {2,}", told[0]) == [
        "r/out", "a team", "rolled back", "canary-5 5%", "inconclusive", "it was wrong?",
    ]  # fmt: skip
    assert "Waits for 340 more pairs." in told[2]


def test_a_refused_configuration_is_told_last(admin: FakeAdmin) -> None:
    assert "refused" not in run("status", admin=admin).output
    admin.refused = {"error": "u.yaml: 1 mistake\n  line 3: bad\x1b", "at": "2026-11-30T09:00:00Z", "by": "watch"}
    told = run("status", admin=admin).output
    assert told.endswith("(watch); an earlier one is in force\n  u.yaml: 1 mistake\n    line 3: bad?\n")


def test_what_a_client_named_cannot_move_the_cursor(admin: FakeAdmin) -> None:
    assert "\x1b" not in click.unstyle(overview([ROLLOUT]))


def test_status_as_json_is_what_the_api_said(admin: FakeAdmin) -> None:
    assert json.loads(run("status", "--json", admin=admin).output) == {"rollouts": [ROLLOUT]}
    assert json.loads(run("status", "credit/credit-v2", "--json", admin=admin).output) == ROLLOUT


def test_a_fleet_is_told_who_leads_and_who_is_cut_off(admin: FakeAdmin) -> None:
    assert "fleet" not in run("status", admin=admin).output  # a version that knows of none
    leader = ReplicaView("host-1", "10.0.0.1:9091", "leader", "0.1.0", "0f3a", 2, 0.0, 0.0)
    away = ReplicaView("host-2\x1b", "10.0.0.2:9091", "standby", "0.1.0", "0f3a", 1, None, None, connected=False)
    admin.fleet = FleetView(LeaderView("host-1", "10.0.0.1:9091", 0.0), 3, (away, leader)).shown()
    told = run("status", admin=admin).output
    assert "fleet: host-1 leads since 1970-01-01T00:00:00.000Z, term 3" in told
    assert "host-2?  stands by  1 worker, cut off" in told
    admin.fleet = FleetView(None, 3, (away,)).shown()
    assert "fleet: nobody leads now" in run("status", admin=admin).output


def test_status_without_rollouts_says_what_to_do(admin: FakeAdmin) -> None:
    admin.rollouts = []
    assert "Name a candidate" in run("status", admin=admin).output


def interrupted_at_the_third(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses of a watch, seconds, of which a person breaks off the third."""
    naps: list[float] = []

    def nap(seconds: float) -> None:
        naps.append(seconds)
        if len(naps) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr("proxy.cli.table.time.sleep", nap)
    return naps


def test_status_says_which_addresses_are_left_out(admin: FakeAdmin) -> None:
    shown = run("status", admin=admin).output
    assert "credit-v1: 1 of 2 addresses used by all workers" in shown
    assert "  10.0.0.2:80 left out by 1 of 2 workers, 1,200 errors, left out 3 times so far" in shown
    assert "credit-v2:" not in shown, "one address that is used needs no line"
    assert "other:" not in shown


def test_watch_draws_again_until_interrupted(admin: FakeAdmin, monkeypatch: pytest.MonkeyPatch) -> None:
    naps = interrupted_at_the_third(monkeypatch)
    result = run("status", "--watch", "--interval", "0.5", admin=admin)
    assert (result.exit_code, naps, len(admin.asked)) == (0, [0.5] * 3, 15)


def test_watch_as_json_is_a_line_each_time(admin: FakeAdmin, monkeypatch: pytest.MonkeyPatch) -> None:
    interrupted_at_the_third(monkeypatch)
    lines = run("status", "--watch", "--json", admin=admin).stdout.splitlines()
    assert [json.loads(line) for line in lines] == [{"rollouts": [ROLLOUT]}] * 3


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_is_drawn_over_from_the_top_and_nothing_old_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal, texts = Terminal(), iter(["long line\nand another", "short"])

    def nap(seconds: float) -> None:
        if "short" in terminal.getvalue():
            raise KeyboardInterrupt

    monkeypatch.setattr("proxy.cli.table.time.sleep", nap)
    monkeypatch.setattr(sys, "stdout", terminal)
    with pytest.raises(KeyboardInterrupt):
        follow(lambda: next(texts), 2.0, as_json=False)
    _, first, second = terminal.getvalue().split("\x1b[H")[-3:]
    assert first.startswith("long line\x1b[K\nand another\x1b[K\n\x1b[K\n")
    assert second.startswith("short\x1b[K\n\x1b[K\n")
    assert second.endswith("\x1b[J")
    assert "again every 2 s" in second


def test_watch_outlives_a_controller_that_restarts_but_not_a_first_refusal(
    admin: FakeAdmin, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = iter([(503, b"<html>"), None])

    def nap(seconds: float) -> None:
        try:
            admin.answer = next(answers)
        except StopIteration:
            raise KeyboardInterrupt from None

    monkeypatch.setattr("proxy.cli.table.time.sleep", nap)
    result = run("status", "--watch", admin=admin)
    assert (result.exit_code, len(admin.asked)) == (0, 11)
    before, after = result.stdout.split("refused (503): Service Unavailable")
    assert "credit/credit-v2" in before
    assert "credit/credit-v2" in after
    admin.answer = (503, b"<html>")
    assert run("status", "--watch", admin=admin).exit_code == 1
