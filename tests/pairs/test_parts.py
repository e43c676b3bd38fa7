"""Promise: the parts of the ledger are one closed set (`model.PARTS`), which workers, controller, console, rules and
pages name alike."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest

from proxy.model import BOOKED, DROPPED, PARTS, REPORTED, Ledger
from proxy.model.reasons import REASONS
from proxy.pairs.ledger import PairLedger, WorkerLedger
from proxy.predictions.reading import booking
from proxy.request import machine
from tests.worker.test_publisher import trial

ROOT = Path(__file__).resolve().parents[2]
CONSOLE = (ROOT / "proxy/controller/console/widgets.js").read_text("utf-8")
WATCHED = [*(ROOT / "config/prometheus").glob("*.yml"), *(ROOT / "config/grafana").glob("*.json")]


def test_what_is_booked_is_a_part_and_the_rest_is_reported() -> None:
    assert set(BOOKED) < set(PARTS)
    assert {booking(reason) for reason in REASONS} | {"late"} == set(BOOKED)
    assert set(PairLedger()._results) == set(BOOKED)
    assert {each.name for each in fields(WorkerLedger)} >= set(REPORTED), "WorkerLedger lacks a field"


def test_a_sample_ends_as_a_part_that_workers_report() -> None:
    assert set(machine.OUTCOMES) == {"sent", *DROPPED}, "OUTCOMES of request/machine.py"


@pytest.mark.parametrize("part", DROPPED)
async def test_a_worker_reports_it_and_the_ledger_shows_it(part: str) -> None:
    one, ledger = trial(), PairLedger()
    one.settle_dropped(one.begin(), part)
    account = ledger.account("w")
    account.report(one.ledger)
    assert ledger.ledger() == Ledger(sampled=1, **{part: 1})
    assert (ledger.ledger().pending, account.known) == (0, 1)


def test_the_console_explains_each() -> None:
    listed = re.search(r"ledgerParts = \[(.*?)\]", CONSOLE)
    helped = re.search(r"PART_HELP = \{(.*?)\n\};", CONSOLE, re.S)
    assert listed is not None
    assert helped is not None
    shown = re.findall(r'"(\w+)"', listed[1])
    assert [part for part in shown if part != "pending"] == list(PARTS)
    assert sorted(re.findall(r"^  (\w+): ", helped[1], re.M)) == sorted(shown)


def test_rules_and_dashboard_ask_for_parts_that_there_are() -> None:
    asked = {
        part
        for path in WATCHED
        for labels in re.findall(r"understudy_pairs_total\{(.*?)\}", path.read_text("utf-8"))
        for value in re.findall(r'\bresult=~?\\*"(.*?)\\*"', labels)
        for part in value.split("|")
    }
    assert asked
    assert asked <= set(PARTS)


def test_the_page_of_operations_says_what_to_do_about_each() -> None:
    rows = re.findall(r"^\| (`.*?) \|", (ROOT / "docs/operations.md").read_text("utf-8"), re.M)
    named = {word for row in rows for word in re.findall(r"`(\w+)`", row)}
    assert set(PARTS) - {"compared"} <= named
