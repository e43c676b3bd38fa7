"""Promise: each alarm is reported once and ended once, over restarts and other configurations too, and what is
watched of predictions is what most of the first answers are."""

from __future__ import annotations

import random
from typing import Any

import pytest

from proxy.config import parse
from proxy.controller.drift.source import DriftSource, drift_sources
from proxy.controller.drift.watch import EARLY, LONG, DriftWatch, FieldChange, alarms_in, learned, load_watch
from proxy.model import Kind, Prediction
from proxy.model.reasons import Reason
from proxy.predictions.observing import Observed

CONFIG = """
upstreams: {{v1: {{url: 'http://127.0.0.1:1', version: "{version}"}}}}
routes:
  - name: r
    live: v1
    prediction: {{protocol: json, kind: {kind}}}
    drift:
      inputs: {{amount: {{pointer: /amount{limits}}}, country: {{header: x-country, kind: label}}}}
      reference: {{first: 200}}
      alarms: {alarms}
"""


def source(version: str = "1", kind: str = "number", limits: str = "", alarms: str = "1 per 90d") -> DriftSource:
    return drift_sources(parse(CONFIG.format(version=version, kind=kind, limits=limits, alarms=alarms)))["r"]


class Days:
    """Requests, one a second."""

    def __init__(self) -> None:
        self.now, self.draw = 1_764_000_000.0, random.Random(5)

    def one(self, mean: float = 10.0, **more: Any) -> Observed:
        self.now += 1.0
        amount = self.draw.gauss(mean, 2.0)
        inputs = {"amount": amount, "country": self.draw.choice(["DE", "FR"])}
        return Observed(self.now, inputs, {"": Prediction(Kind.NUMBER, (amount + self.draw.gauss(0, 1),))}, **more)

    def fill(self, watch: DriftWatch, seconds: int, mean: float = 10.0) -> list[FieldChange]:
        """What changed in so many seconds."""
        found = []
        for _ in range(seconds):
            watch.take(self.one(mean))
            found += watch.look(self.now)
        return found


def restarted(watch: DriftWatch, of: DriftSource | None = None) -> DriftWatch:
    found = load_watch(of or watch.source, watch.dump())
    assert found is not None
    return found


def test_an_alarm_begins_and_ends_once_over_restarts() -> None:
    days, watch = Days(), DriftWatch(source(), 0.0)
    assert days.fill(watch, 400) == []
    found = [change for change in days.fill(watch, 400, mean=14.0) if change.alarm.field == "amount"]
    assert [change.began for change in found] == [True]
    watch = restarted(watch)
    assert days.fill(watch, 50, mean=14.0) == []
    assert watch.alarms["amount"] == found[0].alarm
    ended = [change for change in days.fill(watch, 2000) if change.alarm.field == "amount"]
    assert [(change.began, change.alarm) for change in ended] == [(False, found[0].alarm)]
    assert "amount" not in restarted(watch).alarms


def test_what_is_saved_is_all_of_it() -> None:
    days, watch = Days(), DriftWatch(source(), 0.0)
    days.fill(watch, 600)
    again = restarted(watch)
    twin = Days()
    twin.now, twin.draw = days.now, random.Random(9)
    days.draw = random.Random(9)
    days.fill(watch, 300, mean=11.0)
    twin.fill(again, 300, mean=11.0)
    assert again.findings() == watch.findings()
    assert (again.read, again.last_at, again.alarms) == (watch.read, watch.last_at, watch.alarms)


def test_another_version_of_live_or_other_fields_are_learned_anew() -> None:
    days, watch = Days(), DriftWatch(source(), 0.0)
    days.fill(watch, 300)
    days.fill(watch, 400, mean=20.0)
    assert load_watch(source(version="2"), watch.dump()) is None
    assert {alarm.field for alarm in alarms_in(watch.dump())} == {"amount", "prediction"}
    over = watch.ended("it is not watched any more")
    assert {(one.began, one.alarm.field, one.reason) for one in over} == {
        (False, "amount", "it is not watched any more"),
        (False, "prediction", "it is not watched any more"),
    }


def test_other_expectations_keep_the_fields_of_which_they_say_nothing() -> None:
    days, watch = Days(), DriftWatch(source(), 0.0)
    days.fill(watch, 300)
    days.fill(watch, 400, mean=20.0)
    over = watch.replan(source(limits=", min: 0"))
    assert [(one.began, one.alarm.field) for one in over] == [(False, "amount")]
    states = {one.field: one.state for one in watch.findings()}
    assert states == {"amount": "learning", "country": "steady", "prediction": "drifting"}
    assert watch.replan(source(limits=", min: 0", alarms="2 per 90d")) == []
    assert {one.field: one.state for one in watch.findings()} == states


def test_what_is_accepted_is_learned_and_its_alarm_is_over() -> None:
    days, watch = Days(), DriftWatch(source(), 0.0)
    days.fill(watch, 300)
    days.fill(watch, 400, mean=20.0)
    change = watch.accept("amount")
    assert change is not None
    assert (change.began, change.alarm.field) == (False, "amount")
    assert watch.accept("country") is None
    assert days.fill(watch, 1000, mean=20.0) == []
    assert {one.state for one in watch.findings() if one.field != "prediction"} == {"steady"}
    with pytest.raises(KeyError):
        watch.accept("nobody")


def test_the_kind_of_a_prediction_is_that_of_most_of_the_first_answers() -> None:
    days, watch = Days(), DriftWatch(source(kind="auto"), 0.0)
    odd = days.one()
    odd.said[""] = Prediction(Kind.LABEL, (7,))
    watch.take(odd)
    days.fill(watch, 30)
    assert [(one.name, one.kind) for one in watch.fields] == [
        ("amount", Kind.NUMBER),
        ("country", Kind.LABEL),
        ("prediction", Kind.NUMBER),
    ]
    assert watch.problems == []
    assert restarted(watch).fields == watch.fields


def test_a_prediction_that_cannot_be_read_is_a_problem_and_holds_nothing_up() -> None:
    days, watch = Days(), DriftWatch(source(kind="auto"), 0.0)
    for _ in range(EARLY):
        watch.take(Observed(days.now, days.one().inputs, {}, {"": Reason.NOT_JSON}))
    assert [one.name for one in watch.fields] == ["amount", "country"]
    assert watch.problems == ["prediction: no answer could be read, so it is not watched yet"]
    assert watch.unreadable == {("", Reason.NOT_JSON): EARLY}
    assert restarted(watch).problems == watch.problems


def test_a_prediction_is_watched_once_it_can_be_read() -> None:
    """One bad minute at the start is no reason to leave it alone for good."""
    days, watch = Days(), DriftWatch(source(kind="auto"), 0.0)
    for _ in range(EARLY):
        watch.take(Observed(days.now, days.one().inputs, {}, {"": Reason.NOT_JSON}))
        watch.look(days.now)
    watch = restarted(watch)
    days.fill(watch, 150)
    assert watch.problems == []
    assert [one.name for one in watch.fields] == ["amount", "country", "prediction"]
    assert "learning" not in {one.state for one in watch.findings() if one.field != "prediction"}  # they went on
    days.fill(watch, 150)
    assert {one.state for one in watch.findings()} == {"steady"}
    assert "prediction" in {one.alarm.field for one in days.fill(restarted(watch), 400, mean=20.0)}


def test_an_input_that_is_hardly_ever_there_is_a_problem() -> None:
    days, watch = Days(), DriftWatch(source(), 0.0)
    for _ in range(LONG):
        one = days.one()
        one.inputs["country"] = None
        watch.take(one)
        watch.look(days.now)
    (problem,) = watch.problems
    assert problem == "country: has a value in 0 of 1,000 observations, so what is normal cannot be learned"
    assert restarted(watch).problems == watch.problems
    days.fill(watch, 20)
    assert watch.problems == []


def test_what_a_candidate_served_says_nothing_of_predictions() -> None:
    """Neither that they are missing: with a canary at half of the traffic that would be an alarm."""
    days, watch = Days(), DriftWatch(source(), 0.0)
    days.fill(watch, 400)
    for second in range(1200):
        one = days.one(served_by_candidate=second % 2 == 0)
        if one.served_by_candidate:
            one.said.clear()
        watch.take(one)
        assert watch.look(days.now) == []
    (missing,) = [one for one in watch.findings() if one.field == "prediction"]
    assert missing.state == "steady"


def test_a_recording_is_the_reference_where_it_says_enough() -> None:
    days = Days()
    of = source()
    found = learned(of, [days.one() for _ in range(500)])
    watch = DriftWatch(of, 0.0)
    watch.refer_to(found)
    days.fill(watch, 50)
    assert {one.state for one in watch.findings()} == {"steady"}
    assert {change.alarm.field for change in days.fill(watch, 400, mean=20.0)} == {"amount", "prediction"}
    with pytest.raises(ValueError, match=r"what is expected of amount does not hold in it: .*invalid"):
        learned(source(limits=", min: 10"), [days.one() for _ in range(500)])
    with pytest.raises(ValueError, match="50 values of amount among 50 requests, expected at least 100"):
        learned(of, [days.one() for _ in range(50)])
