"""Promise: `min_win_rate` counts a judge's verdicts as other guards count pairs: each request once, however they come,
for FAIL and PASS, by stage, segment and user."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.config.effort import pairs_to_pass
from proxy.evidence import Evidence, EvidenceError
from proxy.evidence.process import discordance, paired_scores
from proxy.evidence.rules.win_rate import FLOOR_VALUES, VALUES, WinRate
from proxy.model import Guard, Kind, PredictionSpec, Segments, Verdict
from tests.evidence.streams import cut, make_plan, make_reading
from tests.evidence.verdicts import GUARD, WORDS, drawn, found, plan_of, told, verdict, verdicts

# --- what it says ----------------------------------------------------------------------------------------------------


def test_a_candidate_that_loses_fails_and_one_that_does_not_passes() -> None:
    worse, even = told(plan_of(), verdicts("lwl", 600)).assess(), told(plan_of(), verdicts("lw", 2000)).assess()
    assert (worse.verdict, worse.causes) == (Verdict.FAIL, ("min_win_rate",))
    assert worse.findings[0].value == pytest.approx(1 / 3)
    assert (even.verdict, even.findings[0].value) == (Verdict.PASS, 0.5)
    better = told(plan_of(), verdicts("wwl", 200)).assess()
    assert better.verdict is Verdict.PASS


def test_a_tie_is_half_a_win() -> None:
    assert found(told(plan_of(), verdicts("wtl", 30))).value == 0.5
    assert found(told(plan_of(), verdicts("wttt", 40))).value == pytest.approx(0.625)
    assert found(told(plan_of(), verdicts("t", 40))).value == 0.5


def test_the_finding_says_what_was_judged_and_what_was_not() -> None:
    evidence = told(plan_of(), verdicts("wltl", 100))
    evidence.not_judged("", 7)
    reason = found(evidence).reason
    assert reason.startswith("win rate now 37.5 % (")
    assert "limit 45 %" in reason
    assert "25 won, 25 tied, 50 lost" in reason
    assert "7 of 107 pairs drawn were not judged" in reason
    passing = found(told(plan_of(Guard("min_win_rate", 0.4)), verdicts("wl", 60))).reason
    assert "judged pairs (" in passing
    assert found(Evidence.begin(plan_of(), 1)).reason.endswith("no verdict of the judge counts yet")


def test_live_against_itself_is_what_it_is_compared_with() -> None:
    """A judge that prefers whatever is said a second time finds live's own second answer better too."""
    plan = plan_of(Guard("min_win_rate", 0.4), noise_floor=0.5)
    alike = told(plan, [verdict(i, 1.0 if i % 3 else -1.0, floor=1.0 if (i + 1) % 3 else -1.0) for i in range(900)])
    assert found(alike).value == pytest.approx(0.5)
    assert alike.assess().verdict is Verdict.PASS
    worse = told(plan, [verdict(i, 0.0, floor=1.0 if i % 3 else -1.0) for i in range(900)])
    assert found(worse).value == pytest.approx(0.5 - 1 / 6)
    assert worse.assess().verdict is Verdict.FAIL
    assert "beyond live's win rate against itself, which counts as 50 %" in found(worse).reason


def test_under_a_noise_floor_a_verdict_without_one_says_nothing_and_is_told() -> None:
    evidence = told(plan_of(noise_floor=0.5), verdicts("l", 500))
    assert found(evidence).value is None
    assert "500 verdicts do not count, since live was not judged against itself" in found(evidence).reason


def test_a_pass_takes_about_as_long_as_said() -> None:
    guard = Guard("min_win_rate", 0.4)
    said = pairs_to_pass(guard)
    items = verdicts("wlttlwlwwl", round(1.6 * said))
    assert told(plan_of(guard), items).assess().verdict is Verdict.PASS
    assert told(plan_of(guard), items[: round(0.25 * said)]).assess().verdict is Verdict.INCONCLUSIVE


# --- each request once -----------------------------------------------------------------------------------------------


def test_a_repeat_is_no_new_evidence_to_fail() -> None:
    once = told(plan_of(), verdicts("lwl", 90))
    thrice = told(plan_of(), [one._replace(id=f"{one.id}-{n}") for one in verdicts("lwl", 90) for n in range(3)])
    assert once.log_e() == thrice.log_e()
    assert np.array_equal(once.counts, thrice.counts)


def test_a_body_that_comes_often_and_loses_each_time_does_not_hide() -> None:
    """40 % of the requests are one body, on which the candidate always loses."""
    guard = Guard("min_win_rate", 0.4)
    items = verdicts("wl", 2000)
    hot = [one._replace(key=1, value=-1.0) if i % 5 < 2 else one for i, one in enumerate(items)]
    assert told(plan_of(guard), items).assess().verdict is Verdict.PASS
    seen = told(plan_of(guard), hot)
    assert seen.assess().verdict is Verdict.INCONCLUSIVE
    assert found(seen).value_with_repeats == pytest.approx(0.3, abs=0.01)
    assert "repeats included" in found(seen).reason


def test_nor_in_the_stage_that_is_to_be_passed() -> None:
    """The body begins to come often in the second stage only: over the trial it is few of the requests."""
    guard = Guard("min_win_rate", 0.4)
    evidence = told(plan_of(guard), verdicts("wwl", 6000))
    evidence.enter_stage(1)
    items = [one._replace(key=one.key + 10_000, stage=1) for one in verdicts("wl", 1000)]
    evidence.judged([one._replace(key=1, value=-1.0) if i % 5 < 2 else one for i, one in enumerate(items)])
    assert evidence.assess().verdict is Verdict.INCONCLUSIVE
    evenly = told(plan_of(guard), verdicts("wwl", 6000))
    evenly.enter_stage(1)
    evenly.judged(items)
    assert evenly.assess().verdict is Verdict.PASS


def test_of_a_users_requests_one_counts() -> None:
    plan = plan_of(cluster_by="header x-user")
    evidence = told(plan, verdicts("l", 400, cluster="u1"))
    assert found(evidence).pairs <= 2
    assert found(told(plan, verdicts("l", 400))).pairs == 400  # without a user each stands for itself


def test_losses_that_come_together_count_less() -> None:
    rng = np.random.default_rng(3)
    apart = [-1.0 if lost else 1.0 for lost in rng.random(900) < 0.6]
    together = [-1.0 if lost else 1.0 for lost in np.repeat(rng.random(90) < 0.6, 10)]
    sizes = [
        found(told(plan_of(), [verdict(i, v) for i, v in enumerate(each)])).burst_size for each in (apart, together)
    ]
    assert sizes[0] < 2.5
    assert sizes[1] > 5
    clumped = [verdict(i, value) for i, value in enumerate(together)]
    first = told(plan_of(), clumped[:600])
    second = first.follower()
    for whole in (first.merge(second), second.merge(first)):  # what one knows of them is kept
        assert found(whole).burst_size > 4
    first.change_limits(plan_of(Guard("min_win_rate", 0.4)))
    assert found(first).burst_size > 4


# --- stages, segments, limits, the watch -----------------------------------------------------------------------------


def test_a_pass_needs_verdicts_of_the_present_stage() -> None:
    evidence = told(plan_of(), verdicts("wwl", 400))
    assert evidence.assess().verdict is Verdict.PASS
    evidence.enter_stage(1)
    evidence.judged([one._replace(key=one.key + 5000) for one in verdicts("wwl", 400)])  # of the stage before
    assert evidence.assess().verdict is Verdict.INCONCLUSIVE
    evidence.judged([one._replace(key=one.key + 9000, stage=1) for one in verdicts("wwl", 400)])
    assert evidence.assess().verdict is Verdict.PASS


def test_a_segment_in_which_it_loses_is_named() -> None:
    plan = plan_of(segments=Segments(header="x-tenant", top=3))
    items = [
        one._replace(segment="b" if i % 4 == 0 else "a", value=-1.0 if i % 4 == 0 else one.value)
        for i, one in enumerate(verdicts("wwwl", 2400))
    ]
    evidence = told(plan, items)
    assert evidence.assess().verdict is Verdict.FAIL
    assert found(evidence, "b").value == 0.0
    assert "mostly in b" in found(evidence).reason


def test_a_limit_that_is_changed_judges_what_comes_from_then_on() -> None:
    evidence = told(plan_of(), verdicts("llw", 60))
    before = evidence.log_e()
    evidence.change_limits(plan_of(Guard("min_win_rate", 0.3)))
    assert found(evidence).pairs == 0
    assert evidence.log_e() == pytest.approx(before, abs=1.0)
    evidence.judged(verdicts("wl", 100, key=0)[:1])
    assert found(evidence).pairs == 1


def test_after_promotion_a_model_that_begins_to_lose_is_found() -> None:
    evidence = told(plan_of(), [])
    evidence.enter_stage(1, promoted=True)

    def minutes(text: str, start: int, n: int) -> bool:
        for minute in range(start, start + n):
            evidence.add([make_reading(minute, "a", "a", kind=Kind.TEXT, time=60.0 * minute, stage=1)])
            items = verdicts(text, 20, stage=1)
            evidence.judged([one._replace(key=1000 * minute + i, time=60.0 * minute) for i, one in enumerate(items)])
            if evidence.crossed():
                return True
        return False

    assert not minutes("wl", 0, 60)
    assert minutes("lllw", 60, 60)
    assert evidence.assess().causes == ("min_win_rate",)


def test_after_promotion_a_repeat_is_none_of_the_distinct_requests() -> None:
    evidence = told(plan_of(), [])
    evidence.enter_stage(1, promoted=True)
    evidence.add([make_reading(0, "a", "a", kind=Kind.TEXT, time=0.0, stage=1)])
    evidence.judged([verdict(i, -1.0, stage=1, key=7, time=1.0) for i in range(30)])
    watch = evidence._state.watch
    assert watch is not None
    assert watch.counts.sum(axis=1).tolist() == [1, 29]


# --- however they come -----------------------------------------------------------------------------------------------

STREAM = [
    one._replace(
        key=i % 70 if i % 9 == 0 else one.key,
        segment="ab"[i % 2],
        stage=int(i > 200),
        cluster=f"u{i % 11}",
        time=i / 7,
        floor=(1.0, 0.0, -1.0)[i % 3],
    )
    for i, one in enumerate(verdicts("wltllwtwwl", 400))
]


@settings(max_examples=25)
@given(st.lists(st.integers(1, 50), min_size=1, max_size=6), st.booleans())
def test_however_it_is_cut_and_restarted_the_state_is_the_same(sizes: list[int], restarts: bool) -> None:
    plan = plan_of(segments=Segments(header="x", top=3), cluster_by="header y", noise_floor=0.2, latency_block=0.1)
    whole, pieces = told(plan, STREAM), Evidence.begin(plan, 7)
    pieces.enter_stage(0)
    for batch in cut(STREAM, sizes):
        pieces.judged(batch)
        if restarts:
            pieces = Evidence.load(plan, pieces.dump())
    assert pieces.dump() == whole.dump()
    assert pieces.assess(10.0) == whole.assess(10.0)


@given(st.permutations(range(30)))
def test_in_which_order_two_workers_are_heard_makes_no_difference_to_the_counts(order: list[int]) -> None:
    items = [verdict(i, WORDS["wlt"[i % 3]], worker=f"w{i % 2}") for i in range(30)]
    assert np.array_equal(told(plan_of(), [items[i] for i in order]).counts, told(plan_of(), items).counts)


def test_two_halves_merge_to_the_whole() -> None:
    plan = plan_of(latency_block=0.1)
    items = verdicts("wltll", 300)
    whole = told(plan, items)
    first = told(plan, items[:150])
    second = first.follower()
    second.judged(items[150:])
    second.not_judged("", 3)
    one, other = first.merge(second), second.merge(first)
    assert one.dump() == other.dump()
    assert np.array_equal(one.counts, whole.counts)
    assert one.log_e() == pytest.approx(whole.log_e())
    assert "3 of 303 pairs drawn" in found(one).reason


def test_of_several_predictions_each_has_its_own_verdicts() -> None:
    specs = tuple(PredictionSpec("openai", Kind.TEXT, name=name, judge=name) for name in ("tone", "truth"))
    guards = tuple(Guard("min_win_rate", 0.45, aspect=name) for name in ("tone", "truth"))
    evidence = told(plan_of(*guards, predictions=specs), [])
    evidence.judged(verdicts("l", 60, aspect="tone") + verdicts("w", 90, aspect="truth"))
    by = {one.key: one for one in evidence.assess().findings}
    assert (by["tone.min_win_rate"].value, by["tone.min_win_rate"].pairs) == (0.0, 60)
    assert (by["truth.min_win_rate"].value, by["truth.min_win_rate"].pairs) == (1.0, 90)
    assert evidence.assess().causes == ("tone.min_win_rate",)


def test_labels_that_come_late_have_blocks_of_their_own() -> None:
    """Verdicts come within seconds and labels an hour later: neither pushes the other's into another block."""
    drop = Guard("max_quality_drop", 0.1)
    plan = make_plan(
        GUARD,
        drop,
        latency_block=0.1,
        prediction=PredictionSpec("json", Kind.LABEL, label_delay=100.0, judge="helpful"),
    )
    evidence = Evidence.begin(plan, 7)
    evidence.judged(verdicts("wwl", 700))
    for i in range(700):
        evidence.add([make_reading(i, 1, 1, kind=Kind.LABEL)])
        evidence.outcome(f"r{i - 50}", 1)
    assert [one.verdict for one in evidence.assess().findings] == [Verdict.PASS, Verdict.PASS]


# --- the bets --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [0.3, 0.45, 0.5, 0.6])
def test_without_a_floor_they_are_the_bets_on_two_rates(limit: float) -> None:
    """Won and lost are two rates on the same pairs, and the win rate is ½ less half their difference."""
    margin = 2 * (0.5 - limit)
    ours = np.exp(paired_scores.score_fail_bets(VALUES, 0.5 - limit))
    bet = paired_scores.BETS / (1 + margin)
    assert np.allclose(ours, [1 - bet * margin, 1 + bet * (1 - margin), 1 - bet * (1 + margin)])
    theirs = np.exp(discordance.discordance_fail_bets(margin))  # by another grid, and equal where the shares are
    assert np.allclose(theirs[:, 0] - 1, (ours[:, 0] - 1) * discordance.BETS[0] / paired_scores.BETS[0])


@pytest.mark.parametrize("values", [VALUES, FLOOR_VALUES])
def test_more_wins_never_bring_a_fail_nearer(values: tuple[float, ...]) -> None:
    rule = WinRate(values)
    counts = np.full(len(values), 20)
    better, worse = counts.copy(), counts.copy()
    better[values.index(-0.5)] += 5
    worse[values.index(0.5)] += 5
    assert rule.log_fail(better, 0.45) < rule.log_fail(counts, 0.45) < rule.log_fail(worse, 0.45)
    assert rule.log_pass(better, 0.45) > rule.log_pass(counts, 0.45) > rule.log_pass(worse, 0.45)


def test_the_interval_holds_the_truth_at_every_look() -> None:
    """At 5 % of the streams at most; here of 60."""
    missed = 0
    for seed in range(60):
        evidence = Evidence.begin(plan_of(), seed)
        items = drawn(np.random.default_rng(seed), 400, won=0.25, tied=0.3)  # a win rate of 40 %
        outside = False
        for batch in cut(items, (50,)):
            evidence.judged(batch)
            one = found(evidence)
            outside |= not one.low <= 0.4 <= one.high
        missed += outside
    assert missed <= 6


def test_evidence_of_other_verdicts_does_not_merge() -> None:
    with pytest.raises(EvidenceError):
        told(plan_of(), []).merge(told(plan_of(noise_floor=0.2), []))
