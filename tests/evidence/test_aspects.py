"""Promise: several predictions of one answer are judged each by itself, under one error budget.

Each counts what a plan with it alone would count; what cannot be read as one says nothing of the others; kinds and
references are learned apart; a snapshot holds all of it.
"""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.evidence import Evidence
from proxy.model import Guard, Kind, Plan, PredictionSpec, Reading, Verdict
from proxy.model.reasons import Reason
from tests.evidence.gathered import gather
from tests.evidence.streams import cut, make_plan, make_reading

TOOLS = Guard("max_disagreement", 0.02, aspect="tools")
REFUSED = Guard("max_rate_increase", 0.02, aspect="refusal")
SPREAD = Guard("max_ks", 0.05, aspect="risk")
SPECS = (
    PredictionSpec("json", Kind.LABEL, name="tools"),
    PredictionSpec("json", Kind.LABEL, name="refusal"),
    PredictionSpec("json", Kind.SCORE, name="risk"),
)


def plan(*guards: Guard, **fields: object) -> Plan:
    return make_plan(*guards, prediction=PredictionSpec("none"), predictions=SPECS, **fields)


def reading(i: int, tools: tuple[str, str], refusal: tuple[bool, bool], risk: tuple[float, float]) -> Reading:
    """A pair of which each prediction read these two values."""
    kinds = zip((Kind.LABEL, Kind.LABEL, Kind.SCORE), (tools, refusal, risk), strict=True)
    parts = tuple(make_reading(i, live, candidate, kind=kind) for kind, (live, candidate) in kinds)
    return make_reading(i, None, None, aspects=parts)


def stream(n: int, seed: int, *, wrong: float = 0.0, refuses: float = 0.0) -> list[Reading]:
    rng = np.random.default_rng(seed)
    return [
        reading(
            i,
            ("a", "b" if rng.random() < wrong else "a"),
            (False, bool(rng.random() < refuses)),
            (x := float(rng.uniform(0.05, 0.95)), x),
        )
        for i in range(n)
    ]


def alone(readings: list[Reading], at: int) -> list[Reading]:
    """The pairs as a plan with this prediction alone reads them."""
    return [one.aspects[at] for one in readings]


@settings(max_examples=12)
@given(st.integers(0, 2**32), st.integers(0, 2), st.lists(st.integers(1, 300), min_size=1, max_size=4))
def test_each_is_judged_as_if_it_were_the_only_one(seed: int, at: int, sizes: list[int]) -> None:
    """The findings of one prediction are those of a plan that has no other; only roundings have keys of their own."""
    readings = stream(700, seed, wrong=0.05, refuses=0.03)
    guard = (TOOLS, REFUSED, SPREAD)[at]
    every = gather(plan(TOOLS, REFUSED, SPREAD), readings, tuple(sizes))
    only = gather(make_plan(Guard(guard.name, guard.limit), kind=SPECS[at].kind), alone(readings, at), (128,))
    one = next(f for f in every.assess().findings if f.key == guard.key)
    other = only.assess().findings[0]
    assert (one.value, one.low, one.high, one.pairs) == (other.value, other.low, other.high, other.pairs)
    assert one.aspect == guard.aspect


def test_what_fails_is_named_with_its_aspect_and_the_rest_is_not_blamed() -> None:
    found = gather(plan(TOOLS, REFUSED), stream(1500, 2, refuses=0.1)).assess()
    assert (found.verdict, found.causes) == (Verdict.FAIL, ("refusal.max_rate_increase",))
    by = {f.key: f for f in found.findings}
    assert by["refusal.max_rate_increase"].reason.startswith("refusal: rate increase now ")
    assert by["tools.max_disagreement"].verdict is not Verdict.FAIL


def test_two_guards_of_one_name_are_two() -> None:
    both = Guard("max_disagreement", 0.02, aspect="refusal"), TOOLS
    found = gather(plan(*both), stream(1500, 2, refuses=0.1)).assess()
    assert found.causes == ("refusal.max_disagreement",)
    values = {f.key: f.value for f in found.findings}
    assert values["tools.max_disagreement"] == 0.0
    assert values["refusal.max_disagreement"] == pytest.approx(0.1, abs=0.03)


def test_an_answer_that_cannot_be_read_as_one_says_nothing_of_that_one_and_is_counted() -> None:
    readings = stream(900, 3)
    for i in range(0, 900, 3):
        tools = readings[i].aspects[0]._replace(live_fault=Reason.MISSING_OUTPUT, live=None)
        readings[i] = readings[i]._replace(aspects=(tools, *readings[i].aspects[1:]))
    by = {f.key: f for f in gather(plan(TOOLS, REFUSED), readings).assess().findings}
    assert (by["tools.max_disagreement"].pairs, by["refusal.max_rate_increase"].pairs) == (600, 900)
    assert "300 of live's answers could not be read as `tools`" in by["tools.max_disagreement"].reason
    assert "could not be read" not in by["refusal.max_rate_increase"].reason


def test_a_candidate_that_cannot_be_read_as_one_fails_there_only() -> None:
    readings = stream(900, 3)
    for i in range(0, 900, 9):
        tools = readings[i].aspects[0]._replace(fault=Reason.MISSING_OUTPUT, candidate=None)
        readings[i] = readings[i]._replace(fault=Reason.MISSING_OUTPUT, aspects=(tools, *readings[i].aspects[1:]))
    by = {f.key: f for f in gather(plan(TOOLS, REFUSED), readings).assess().findings}
    assert by["tools.max_disagreement"].value == pytest.approx(1 / 9, abs=0.002)
    assert by["refusal.max_rate_increase"].value == 0.0


def test_kinds_and_references_are_learned_apart() -> None:
    auto = tuple(PredictionSpec("json", name=spec.name) for spec in SPECS)
    some = make_plan(TOOLS, SPREAD, prediction=PredictionSpec("none"), predictions=auto)
    readings = stream(1200, 4)
    evidence = gather(some, readings[:40])
    assert evidence.kinds == dict.fromkeys(("tools", "refusal", "risk"), Kind.AUTO)
    evidence = gather(some, readings, (100,))
    assert evidence.kinds == {"tools": Kind.LABEL, "refusal": Kind.LABEL, "risk": Kind.SCORE}
    by = {f.key: f for f in evidence.assess().findings}
    assert by["tools.max_disagreement"].pairs == 1150
    assert by["risk.max_ks"].pairs == 1200 - 550
    assert gather(some, readings, (7, 300)).counts.tolist() == evidence.counts.tolist()


def test_a_snapshot_goes_on_as_if_nothing_had_happened() -> None:
    some, readings = plan(TOOLS, REFUSED, SPREAD), stream(1500, 5, wrong=0.02)
    whole = gather(some, readings)
    for at in (30, 400, 900):
        first = gather(some, readings[:at])
        loaded = Evidence.load(some, first.dump())
        for batch in cut(readings[at:], (64,)):
            loaded.add(batch)
        assert loaded.dump() == whole.dump()
        assert loaded.state_hash == whole.state_hash


def test_merging_adds_up_and_a_follower_counts_the_same() -> None:
    some = plan(TOOLS, REFUSED)
    one, readings = gather(some, stream(300, 6, wrong=0.1)), stream(900, 7, wrong=0.1)
    other = one.follower()
    other.add([r._replace(worker="w2", time=r.time + 300) for r in readings])
    both = one.merge(other)
    assert both.counts.sum() == one.counts.sum() + other.counts.sum()
    assert both.dump() == other.merge(one).dump()


def test_other_limits_of_one_close_its_epoch_only() -> None:
    some, readings = plan(TOOLS, REFUSED), stream(600, 8, wrong=0.01)
    evidence = gather(some, readings)
    pairs = {f.key: f.pairs for f in evidence.assess().findings}
    evidence.change_limits(plan(Guard("max_disagreement", 0.05, aspect="tools"), REFUSED))
    after = {f.key: f.pairs for f in evidence.assess().findings}
    assert pairs == {"tools.max_disagreement": 600, "refusal.max_rate_increase": 600}
    assert after == {"tools.max_disagreement": 0, "refusal.max_rate_increase": 600}


def test_what_is_read_another_way_is_another_trial() -> None:
    names = [plan(TOOLS).trial]
    for change in ({"pointer": "/x"}, {"kind": Kind.TEXT}, {"event": "no"}, {"name": "other"}, {"ignore": ("/id",)}):
        spec = PredictionSpec(**{"protocol": "json", "kind": Kind.LABEL, "name": "tools", **change})
        names.append(make_plan(TOOLS, prediction=PredictionSpec("none"), predictions=(spec, *SPECS[1:])).trial)
    names += [make_plan(prediction=PredictionSpec("json", Kind.SCORE, threshold=t)).trial for t in (None, 0.5, 0.8)]
    assert all(a != b for a, b in itertools.combinations(names, 2))
    assert plan(TOOLS).trial == plan(REFUSED).trial
