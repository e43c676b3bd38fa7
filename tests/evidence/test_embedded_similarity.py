"""Promise: `min_similarity` by embeddings counts similarities that come later than their pairs, in [0, 1], or what is
lost beyond live's with itself; nothing of the pair's own words counts for it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from proxy.evidence import Evidence
from proxy.model import EMBEDDER, Finding, Guard, Kind, Plan, PredictionSpec, Verdict
from proxy.model.judged import Judged
from tests.evidence.streams import make_plan, make_reading

SPEC = PredictionSpec("openai", Kind.TEXT, "text", judge=f"{EMBEDDER}e/m")


def plan(limit: float, noise_floor: float = 0.0) -> Plan:
    return make_plan(Guard("min_similarity", limit), prediction=SPEC, noise_floor=noise_floor)


def item(number: int, value: float, floor: float | None = None) -> Judged:
    return Judged("", f"r{number}", number, "w", 0, float(number), value, floor)


def found(one: Plan, items: list[Judged]) -> Finding:
    evidence = Evidence.begin(one, 7)
    evidence.enter_stage(0)
    evidence.add([make_reading(n, "some words", "others", kind=Kind.TEXT) for n in range(len(items))])
    evidence.judged(items)
    again = Evidence.load(one, evidence.dump())
    assert again.assess() == evidence.assess()
    (finding,) = evidence.assess().findings
    return finding


@pytest.mark.parametrize(("value", "verdict"), [(0.95, Verdict.PASS), (0.4, Verdict.FAIL), (0.8, Verdict.INCONCLUSIVE)])
def test_what_came_is_what_counts(value: float, verdict: Verdict) -> None:
    finding = found(plan(0.8), [item(n, value) for n in range(400)])
    assert finding.verdict is verdict
    assert finding.value == pytest.approx(value, abs=1 / 256)
    assert finding.pairs == 400


def test_nothing_counts_before_it_comes() -> None:
    assert found(plan(0.8), []).value is None


def test_under_a_noise_floor_the_loss_beyond_live_with_itself_counts() -> None:
    """Two answers of live are 0.7 alike, and so are live's and the candidate's: nothing is lost."""
    equal = found(plan(0.9, 0.5), [item(n, 0.7, 0.7) for n in range(600)])
    worse = found(plan(0.9, 0.5), [item(n, 0.3, 0.7) for n in range(600)])
    without = found(plan(0.9, 0.5), [item(n, 0.3) for n in range(600)])
    assert (equal.verdict, worse.verdict, without.value) == (Verdict.PASS, Verdict.FAIL, None)


def test_another_model_of_embeddings_is_another_trial() -> None:
    one = plan(0.8)
    assert replace(one, prediction=replace(SPEC, judge_asks="other")).trial != one.trial
    assert replace(one, prediction=replace(SPEC, judge="")).trial != one.trial
