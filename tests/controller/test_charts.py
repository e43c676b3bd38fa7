"""Promise: what is drawn of a rollout is what happened in it, whatever was predicted, in bounded memory."""

from __future__ import annotations

import math
from dataclasses import replace

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.controller.charts import POINTS, Charts, unit
from proxy.controller.prediction_chart import LABELS, OTHER, RECENT
from proxy.model import (
    Arm,
    Assessment,
    Finding,
    Guard,
    Kind,
    Plan,
    Prediction,
    PredictionSpec,
    Reading,
    Stage,
    State,
    Verdict,
)
from proxy.model.reasons import Reason
from tests.evidence.streams import deep_size

PLAN = Plan("r/c", "r", "l", "c", "1", (Stage(State.SHADOW, 100.0),), (Guard("max_disagreement", 0.02),))


def reading(kind: Kind, live: object, candidate: object, times: tuple[float, float] = (0.01, 0.02)) -> Reading:
    one = (Prediction(kind, (live,)), Prediction(kind, (candidate,)))
    none = Reason.NONE
    return Reading(
        0, "w", 0, "i", 0.0, Arm.LIVE, none, none, *one, None, *times, 0.0, 0.0, True, False, False, 0
    )  # fmt: skip


def look(charts: Charts, now: float, value: float, evidence: float = 0.5) -> None:
    finding = Finding("max_disagreement", None, Verdict.INCONCLUSIVE, value, 0.0, 1.0, 0.02, evidence, 9, None, "")
    charts.look(now, Assessment(Verdict.INCONCLUSIVE, (finding,)), 5.0)


def test_nothing_yet_is_drawn_as_nothing() -> None:
    shown = Charts().shown(PLAN, 0.0)
    assert (shown["pairs"], shown["latency"], shown["predictions"]) == (0, None, None)
    assert shown["history"] == {"time": [], "weight": [], "guards": {}}


def test_labels_are_counted_live_by_candidate() -> None:
    charts = Charts()
    charts.add([reading(Kind.LABEL, "cat", "cat")] * 3 + [reading(Kind.LABEL, "cat", "dog")], PLAN)
    assert charts.shown(PLAN, 0.0)["predictions"]["labels"] == {"names": ["cat", "dog"], "counts": [[3, 1], [0, 0]]}


def test_rare_labels_share_a_row_and_none_is_lost() -> None:
    charts = Charts()
    charts.add([reading(Kind.LABEL, f"label {n % 40}", f"label {n % 37}") for n in range(1000)], PLAN)
    labels = charts.shown(PLAN, 0.0)["predictions"]["labels"]
    assert len(labels["names"]) == LABELS + 1
    assert labels["names"][-1] == OTHER
    assert sum(map(sum, labels["counts"])) == 1000


def test_numbered_labels_stand_in_the_order_of_numbers() -> None:
    charts = Charts()
    charts.add([reading(Kind.LABEL, n, n) for n in (10, 9, 2, 1)], PLAN)
    assert charts.shown(PLAN, 0.0)["predictions"]["labels"]["names"] == ["1", "2", "9", "10"]


def test_probabilities_show_the_top_class_and_how_sure_it_is() -> None:
    charts = Charts()
    charts.add([reading(Kind.PROBABILITIES, (0.9, 0.1), (0.3, 0.7))] * 5, PLAN)
    found = charts.shown(PLAN, 0.0)["predictions"]
    assert found["labels"] == {"names": ["0", "1"], "counts": [[0, 5], [0, 0]]}
    assert (sum(found["values"]["live"]), sum(found["values"]["candidate"])) == (5, 5)
    assert found["values"]["live"].index(5) > found["values"]["candidate"].index(5)


@given(st.lists(st.tuples(*[st.floats(-1e300, 1e300)] * 2), min_size=1, max_size=50))
def test_any_numbers_fall_into_the_bins_of_both_arms(values: list[tuple[float, float]]) -> None:
    charts = Charts()
    charts.add([reading(Kind.NUMBER, a, b) for a, b in values], PLAN)
    drawn = charts.shown(PLAN, 0.0)["predictions"]["values"]
    assert sum(drawn["live"]) == sum(drawn["candidate"]) == len(values)
    orjson.dumps(drawn)


def test_quantiles_are_those_of_the_times() -> None:
    charts = Charts()
    charts.add([reading(Kind.LABEL, 1, 1, (n / 1000, n / 500)) for n in range(1, 101)], PLAN)
    found = charts.shown(PLAN, 0.0)["latency"]
    assert found["quantiles"]["live"]["p50"] == pytest.approx(0.0505)
    assert found["quantiles"]["candidate"]["p50"] == pytest.approx(0.101)
    assert sum(found["live"]) == sum(found["candidate"]) == 100


def test_an_answer_that_never_came_has_no_time() -> None:
    charts = Charts()
    charts.add([reading(Kind.LABEL, 1, 1, (0.01, math.nan))] * 3 + [reading(Kind.LABEL, 1, 1)], PLAN)
    found = charts.shown(PLAN, 0.0)["latency"]
    assert (sum(found["live"]), sum(found["candidate"])) == (4, 1)


def test_long_ones_are_cut_and_only_the_recent_are_kept() -> None:
    charts = Charts()
    charts.add([reading(Kind.LABEL, "old" * 10**5, "old")], PLAN)
    charts.add([reading(Kind.LABEL, "new", "new")] * RECENT, PLAN)
    shown = charts.shown(PLAN, 0.0)
    assert shown["pairs"] == RECENT
    assert shown["predictions"]["labels"]["names"] == ["new"]


def test_vectors_and_texts_are_not_kept() -> None:
    charts = Charts()
    charts.add([reading(Kind.TEXT, "a" * 10**6, "b")], PLAN)
    assert charts.shown(PLAN, 0.0)["predictions"] is None


def test_history_is_bounded_and_spans_the_trial() -> None:
    charts = Charts()
    for second in range(10_000):
        look(charts, 1000.0 + second, second / 10_000)
    history = charts.shown(PLAN, 0.0)["history"]
    times = history["time"]
    assert POINTS / 2 <= len(times) <= POINTS
    assert times == sorted(times)
    assert times[0] == 1000.0
    assert times[-1] > 10_900
    assert len(history["guards"]["max_disagreement"]["evidence"]) == len(times)


def test_history_goes_on_where_it_was_saved_and_stays_bounded() -> None:
    charts, other = Charts(), Charts()
    for second in range(3 * POINTS):
        look(charts, 1000.0 + second, second / 10_000)
    other.load(orjson.loads(orjson.dumps(charts.dump())))
    assert other.shown(PLAN, 0.0)["history"] == charts.shown(PLAN, 0.0)["history"]
    for second in range(3 * POINTS, 20 * POINTS):
        look(other, 1000.0 + second, second / 10_000)
        look(charts, 1000.0 + second, second / 10_000)
    assert orjson.dumps(other.dump()) == orjson.dumps(charts.dump())
    assert len(other.dump()["points"]) <= POINTS


def test_looks_that_follow_closely_are_one_point() -> None:
    charts = Charts()
    for tenth in range(20):
        look(charts, 1000.0 + tenth / 10, 0.01)
    assert len(charts.shown(PLAN, 0.0)["history"]["time"]) == 2


@pytest.mark.parametrize(
    ("guard", "expected"),
    [
        (Guard("p99_latency", 1.2, relative=True), "times"),
        (Guard("median_latency", 0.25), "seconds"),
        (Guard("max_extra_errors", 0.002), "percent"),
        (Guard("max_psi", 0.2), "number"),
    ],
)
def test_a_guard_has_its_unit(guard: Guard, expected: str) -> None:
    assert unit(guard) == expected


def test_many_who_look_cost_one_drawing_a_second() -> None:
    charts = Charts()
    charts.add([reading(Kind.LABEL, "a", "a")], PLAN)
    first = charts.shown(PLAN, 10.0)
    charts.add([reading(Kind.LABEL, "b", "b")], PLAN)
    assert charts.shown(PLAN, 10.9) is first
    assert charts.shown(PLAN, 11.1)["pairs"] == 2
    assert charts.shown(PLAN, 5.0) is not first  # a clock that was set back


def test_rows_of_different_length_are_drawn_too() -> None:
    charts = Charts()
    charts.add(
        [reading(Kind.PROBABILITIES, (0.9, 0.1), (0.2, 0.3, 0.5)), reading(Kind.PROBABILITIES, (1.0,), (1.0,))], PLAN
    )
    assert charts.shown(PLAN, 0.0)["predictions"]["labels"] == {"names": ["0", "2"], "counts": [[1, 1], [0, 0]]}


def test_an_answer_that_is_of_another_kind_draws_with_its_like() -> None:
    """With `kind: auto` it is asked of each answer: a single probability of 0.5 is a number."""
    charts = Charts()
    charts.add([reading(Kind.PROBABILITIES, (0.9, 0.1), (0.2, 0.8)), reading(Kind.NUMBER, 0.5, 0.5)], PLAN)
    charts.add([reading(Kind.PROBABILITIES, (0.9, 0.1), (0.9, 0.1))], PLAN)
    predictions = charts.shown(PLAN, 0.0)["predictions"]
    assert predictions["labels"] == {"names": ["0", "1"], "counts": [[1, 1], [0, 0]]}
    assert sum(predictions["values"]["live"]) == 2
    charts.add([reading(Kind.NUMBER, 0.5, 0.5)], PLAN)
    assert charts.shown(PLAN, 2.0)["predictions"]["kind"] == "number"


def test_many_classes_take_no_more_memory_than_few() -> None:
    charts, classes = Charts(), 5_000
    for n in range(20):
        row = tuple((n + i) / 1e8 for i in range(classes))
        charts.add([reading(Kind.PROBABILITIES, row, row), reading(Kind.LABEL, "l" * 10_000, "l" * 10_000)], PLAN)
    assert deep_size(charts._predictions[""]._recent) < 40 * 1_000


def test_scores_and_numbers_show_their_divergences_whatever_the_guards() -> None:
    charts = Charts()
    charts.add([reading(Kind.SCORE, n % 97 / 97, min(1.0, n % 97 / 97 + 0.2)) for n in range(900)], PLAN)
    shown = {one["name"]: one for one in charts.shown(PLAN, 0.0)["predictions"]["divergences"]}
    assert shown.keys() == {"psi", "jensen_shannon", "ks", "wasserstein"}
    assert all(one["low"] <= one["value"] <= one["high"] for one in shown.values())
    assert shown["ks"]["value"] == pytest.approx(0.2, abs=0.03)
    assert shown["wasserstein"]["value"] == pytest.approx(0.18, abs=0.03)
    wild = Charts()
    wild.add([reading(Kind.NUMBER, *[(1e308, -1e308), (0.0, 0.0)][n % 2]) for n in range(40)], PLAN)
    orjson.dumps(wild.shown(PLAN, 0.0))
    labels = Charts()
    labels.add([reading(Kind.LABEL, 1, 2)], PLAN)
    assert labels.shown(PLAN, 0.0)["predictions"]["divergences"] == []


def test_each_of_several_predictions_is_drawn_by_itself() -> None:
    specs = PredictionSpec("json", Kind.LABEL, name="tools"), PredictionSpec("json", Kind.SCORE, name="risk")
    plan = replace(PLAN, prediction=PredictionSpec("none"), predictions=specs)
    charts = Charts()
    parts = reading(Kind.LABEL, "a", "b"), reading(Kind.SCORE, 0.25, 0.75)
    whole = reading(Kind.LABEL, "", "")._replace(live=None, candidate=None, aspects=parts)
    charts.add([whole] * 5, plan)
    shown = charts.shown(plan, 0.0)
    assert (shown["pairs"], shown["predictions"], list(shown["aspects"])) == (5, None, ["tools", "risk"])
    assert shown["aspects"]["tools"]["labels"]["counts"] == [[0, 5], [0, 0]]
    assert shown["aspects"]["risk"]["values"]["edges"][0] == 0.0
    assert Charts().shown(plan, 0.0)["aspects"] == {"tools": None, "risk": None}


def test_refusals_are_counted_by_what_reads_them_else_by_how_texts_open() -> None:
    reads = PredictionSpec("openai", Kind.LABEL, "refusal", name="refusal"), PredictionSpec("openai", name="said")
    plan = replace(PLAN, prediction=PredictionSpec("none"), predictions=reads)
    charts, texts = Charts(), Charts()
    for number in range(4):
        marked = reading(Kind.LABEL, number == 0, True)
        said = reading(Kind.TEXT, "I'm sorry, I can't.", f"Four is {'x' * 1000}")
        whole = said._replace(
            live_first=0.5, first=math.nan, live_tokens=10 * number, tokens=20, aspects=(marked, said)
        )
        charts.add([whole], plan)
        texts.add([said], replace(PLAN, prediction=PredictionSpec("openai", Kind.TEXT)))
    shown = charts.shown(plan, 0.0)["arms"]
    assert shown["live"] == {"first_seconds": None, "tokens": 20.0, "refusals": 0.25}
    assert shown["candidate"] == {"first_seconds": None, "tokens": 20.0, "refusals": 1.0}
    assert texts.shown(PLAN, 0.0)["arms"]["live"]["refusals"] == 1.0
    assert texts.shown(PLAN, 0.0)["arms"]["candidate"]["refusals"] == 0.0
