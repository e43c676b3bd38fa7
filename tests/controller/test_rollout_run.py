"""Keeps a trial's promises: a crossed budget is seen without a whole look, looks keep to their share of a core, delayed
truth and the lead time find their pair, and a new trial has nothing of the old one."""

from __future__ import annotations

from dataclasses import replace

import pytest

from proxy.cli.table import overview
from proxy.config import Mirror
from proxy.controller import rollout_run as module
from proxy.controller.report import lead_json, rollout_json
from proxy.controller.rollout_run import RolloutRun, fresh_evidence
from proxy.model import Arm, Guard, Kind, Outcome, Pair, Plan, PredictionSpec, Stage, State, Verdict
from proxy.model.price import Price
from proxy.model.reasons import Reason
from proxy.pairs.ledger import PairLedger
from proxy.rollout.machine import begin
from proxy.rollout.pair_budget import PairPace
from tests.controller.worker import HEAD, answer

PLAN = Plan(
    "r/c", "r", "l", "c", "1", (Stage(State.SHADOW, 100.0),), (Guard("max_disagreement", 0.1),),
    prediction=PredictionSpec("v2", Kind.LABEL, "y"), signed_off_at=900.0, lead_time_slo=200.0,
)  # fmt: skip


def make(plan: Plan = PLAN) -> RolloutRun:
    rollout, _ = begin(plan, 1000.0)
    return RolloutRun(plan, rollout, fresh_evidence(plan), PairLedger())


def pair(number: int, candidate: Outcome, **more: object) -> Pair:
    one = Pair("t", 0, "w", number, f"i{number}", 1000.0 + number, Arm.LIVE, HEAD, b"%d" % number, answer(0), candidate)
    return one._replace(**more)  # type: ignore[arg-type]


def serving(trial: RolloutRun) -> RolloutRun:
    """The same with weight: its candidate answers some users."""
    trial.rollout = replace(trial.rollout, state=State.CANARY, weight=500)
    return trial


@pytest.mark.parametrize("weight", [False, True])
@pytest.mark.parametrize("wrong", [0, 1])
def test_a_crossed_budget_is_seen_at_once_and_agrees_with_the_look(
    wrong: int, weight: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for share in ("LOOK_SHARE", "PATIENT_SHARE"):
        monkeypatch.setattr(module, share, 1e9)
    trial = serving(make()) if weight else make()
    seen = []
    for number in range(200):
        trial.take(pair(number, answer(wrong)))
        trial.flush()
        crossed = trial.crossed()
        seen.append(crossed)
        assert crossed is (trial.look(2000.0, None).assessment.verdict is Verdict.FAIL)
    assert any(seen) is bool(wrong)


def test_looking_keeps_to_its_share_which_is_less_while_the_candidate_answers_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    trial = make()
    assert trial.may_look()
    trial.look(1000.0, None)
    monkeypatch.setattr(module, "LOOK_SHARE", 1e9)
    monkeypatch.setattr(module, "PATIENT_SHARE", 1e-9)
    trial.crossed()
    assert not trial.may_look()
    assert not trial.crossed()
    serving(trial)
    assert trial.may_look()
    monkeypatch.setattr(module, "LOOK_SHARE", 1e-9)
    trial.crossed()
    assert not trial.may_look()
    assert not trial.crossed()


def test_a_look_that_is_to_have_a_canary_begin_is_not_put_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that begins as a canary enters it at a look: users had it half a second later than need be."""
    trial = make(replace(PLAN, stages=(Stage(State.CANARY, 20.0),)))
    assert trial.rollout.weight == 0
    trial.look(1000.0, None)
    monkeypatch.setattr(module, "LOOK_SHARE", 1e9)
    monkeypatch.setattr(module, "PATIENT_SHARE", 1e-9)
    assert trial.may_look()


def test_an_unchanged_trial_is_not_looked_at_twice() -> None:
    trial = make()
    first = trial.look(1000.0, None)
    assert trial.look(1001.0, None).assessment is first.assessment
    trial.take(pair(0, answer(0)))
    trial.flush()
    assert trial.look(1002.0, None).assessment is not first.assessment


def test_a_report_without_news_is_no_reason_to_look_or_to_save() -> None:
    trial = make()
    totals = {"sampled": 3, "shed": 1, "sent": 2}
    trial.counts("w", totals)
    first = trial.look(1000.0, None)
    trial.unsnapshot = False
    trial.counts("w", totals)
    assert trial.look(1001.0, None).assessment is first.assessment
    assert not trial.unsnapshot
    trial.counts("w", {**totals, "sampled": 4, "shed": 2})
    assert trial.unsnapshot
    assert trial.look(1002.0, None).assessment is not first.assessment


def test_forecasts_follow_traffic_that_stops_and_then_rest() -> None:
    trial = make()
    trial.look(1000.0, None)
    for number in range(200):
        trial.take(pair(number, answer(0)))
    trial.flush()
    busy = trial.look(1010.0, None).assessment
    assert trial.look(1010.5, None).assessment is busy
    slower = trial.look(1020.0, None).assessment
    assert slower is not busy
    assert trial.look(1.0e6, None).rate == 0.0
    over = trial.look(1.0e6 + 1, None).assessment
    assert trial.look(2.0e6, None).assessment is over


def test_delayed_truth_is_joined_once_and_without_a_guard_it_is_shown() -> None:
    trial = make(replace(PLAN, guards=(Guard("max_quality_drop", 0.1),)))
    trial.take(pair(0, answer(1)))
    assert not trial.outcome("i8", 0)
    assert trial.outcome("i0", 0)
    assert not trial.outcome("i0", 0)
    assert rollout_json(trial)["outcomes"] is None  # the guard has a finding of its own
    assert rollout_json(trial)["labels"] == {"counted": 0, "unlabelled": 0, "left_out": 0, "waiting": 1}
    without = make()
    for number in range(40):
        without.take(pair(number, answer(number % 2)))  # live says 0, the candidate 1 every other time
    assert not without.outcome("i99", 0)
    assert all(without.outcome(f"i{number}", 0) for number in range(40))
    assert not without.outcome("i0", 0)
    assert (rollout_json(without)["outcomes"], rollout_json(without)["labels"]["waiting"]) == (None, 40)
    assert "delayed labels: 0 counted, 40 waiting" in overview([rollout_json(without)])
    kept = PairLedger.load(without.pair_ledger.dump())  # as after a restart: what waits still waits
    without.pair_ledger.outcomes = kept.outcomes
    without.take(pair(40, answer(0))._replace(time=1e9))
    without.flush()
    looked = without.look(2000.0, None).assessment
    assert [finding.guard for finding in looked.findings] == ["max_disagreement"]
    known = rollout_json(without)["outcomes"]
    assert (known["joined"], known["live_loss"], known["candidate_loss"]) == (40, 0.0, 0.5)
    assert known["drop"]["low"] < known["drop"]["value"] == 0.5 < known["drop"]["high"]
    assert PairLedger.load(without.pair_ledger.dump()).outcomes.shown() == known
    assert "by 40 outcomes: mean loss of live 0, of the candidate 0.5; quality drop 0.5" in overview(
        [rollout_json(without)]
    )


def test_quality_that_drops_fails_the_candidate() -> None:
    trial = make(replace(PLAN, guards=(Guard("max_quality_drop", 0.1),)))
    for number in range(300):
        trial.take(pair(number, answer(1)))
        assert trial.outcome(f"i{number}", 0)  # live said 0, and that was right
    assert trial.look(2000.0, None).assessment.verdict is Verdict.INCONCLUSIVE  # label_delay has not passed
    trial.take(pair(300, answer(1))._replace(time=1e9))
    trial.flush()
    assert trial.look(2000.0, None).assessment.verdict is Verdict.FAIL


def test_lead_time_runs_from_sign_off_to_the_first_answer_at_full_weight() -> None:
    trial = make()
    trial.rollout = replace(trial.rollout, state=State.PROMOTED, entry=3)
    trial.take(pair(50, answer(0)._replace(seconds=0.5), served=Arm.CANDIDATE, stage=2))  # of the stage before
    assert lead_json(trial) is None
    trial.take(pair(60, answer(0)._replace(seconds=0.5), served=Arm.CANDIDATE, stage=3))
    trial.take(pair(90, answer(0)._replace(seconds=0.5), served=Arm.CANDIDATE, stage=3))
    assert lead_json(trial) == {"seconds": 160.5, "slo_seconds": 200.0, "within_slo": True}
    assert rollout_json(trial)["lead_time"]["within_slo"] is True


def test_a_new_trial_has_nothing_of_the_old_one() -> None:
    trial = make()
    for number in range(30):
        trial.take(pair(number, Outcome(0, Reason.CONNECT)))
    trial.flush()
    assert trial.tripwire.tripped
    trial.renew(replace(PLAN, version="2"), {})
    assert not trial.tripwire.tripped
    assert (trial.ledger.sampled, trial.evidence.compared, trial.sample_pairs.shown("worst", 9, ())) == (0, 0, [])


def test_a_pair_that_comes_twice_is_counted_once() -> None:
    """Whatever made it come twice: the second has no place in the request order, so it must not wait for one."""
    trial = make()
    for number in (0, 0, 1):
        trial.take(pair(number, answer(0)))
    trial.flush()
    trial.counts("w", {"sampled": 2, "sent": 2})
    assert (trial.ledger.sampled, trial.ledger.compared, trial.ledger.pending) == (2, 2, 0)


def test_a_trial_of_a_name_that_was_used_before_counts_from_there() -> None:
    trial = make()
    trial.renew(PLAN, {"w": {"sampled": 50, "sent": 40, "shed": 10}})
    trial.mark("w", 50)
    trial.take(pair(50, answer(0)))
    trial.flush()
    trial.counts("w", {"sampled": 53, "sent": 41, "shed": 11})
    ledger = trial.ledger
    assert (ledger.sampled, ledger.compared, ledger.shed, ledger.link_full, ledger.pending) == (3, 1, 1, 0, 1)


def test_a_token_budget_is_shown_and_turns_the_share_that_workers_are_told() -> None:
    trial = make()
    assert (trial.told(), trial.afford(0.0, PairPace()), rollout_json(trial)["token_budget"]) == (
        trial.lane,
        False,
        None,
    )
    trial.budget.limit(600, None)
    assert trial.told() == replace(trial.lane, affords=100)  # it starts small
    trial.afford(0.0, PairPace())
    usage = b'{"model_name": "m", "outputs": [], "usage": {"total_tokens": 250}}'
    for number in range(3):
        trial.take(pair(number, Outcome(200, head=answer(0).head, body=usage)))
    trial.flush()
    trial.counts("w", {"sampled": 3, "sent": 3})
    assert trial.afford(1.0, PairPace())
    assert trial.told().affords == 0
    shown = rollout_json(trial)["token_budget"]
    assert shown == {"limit": 600, "last_minute": 750, "total": 750, "share": 0.0}
    assert not trial.afford(30.0, PairPace())
    assert trial.afford(61.5, PairPace()), "a minute later there is a budget again"
    assert trial.told().affords > 0
    trial.renew(PLAN, {})
    assert (trial.told().affords, trial.budget.tokens.total) == (100, 750)


PRICED = replace(PLAN, live_price=Price(second=1.0), candidate_price=Price(second=2.0), currency="EUR")


def test_what_answers_and_copies_cost_is_shown_and_goes_on_after_the_end() -> None:
    trial = make(PRICED)
    assert rollout_json(make())["cost"] is None
    for number in range(4):
        trial.take(pair(number, answer(0)._replace(seconds=0.02), served=Arm.CANDIDATE if number == 3 else Arm.LIVE))
    trial.flush()
    cost = rollout_json(trial)["cost"]
    assert cost == {
        "currency": "EUR",
        "pairs": 4,
        "live": {"total": pytest.approx(0.04), "mean": pytest.approx(0.01)},
        "candidate": {"total": pytest.approx(0.16), "mean": pytest.approx(0.04)},
        "ratio": pytest.approx(4.0),
        "copies": pytest.approx(3 * 0.04 + 0.01),
        "counted": 0,
    }
    text = overview([rollout_json(trial)])
    assert "an answer costs EUR 0.01 of live, EUR 0.04 of the candidate (4.00 x live's, mean of 4 pairs)" in text
    assert "copies have cost EUR 0.13" in text
    trial.rollout = replace(trial.rollout, state=State.ROLLED_BACK)
    trial.take(pair(4, answer(0)._replace(seconds=0.5)))
    trial.flush()
    late = rollout_json(trial)["cost"]
    assert (late["pairs"], late["copies"]) == (4, pytest.approx(1.13))


def test_a_budget_of_money_is_shown_and_turns_the_share() -> None:
    trial = make(PRICED)
    assert rollout_json(trial)["cost_budget"] is None
    trial.budget.follow(Mirror.model_validate({"max_cost": "24/day"}))
    assert trial.told().affords == 10, "it starts smaller than a minute's"
    trial.afford(0.0, PairPace())
    for number in range(2):
        trial.take(pair(number, answer(0)._replace(seconds=0.4)))
    trial.flush()
    trial.counts("w", {"sampled": 2, "sent": 2})
    assert trial.afford(1.0, PairPace()), "1.60 of 2 that an hour may cost: not at this pace"
    assert trial.told().affords == 1
    trial.take(pair(2, answer(0)._replace(seconds=0.4)))
    trial.flush()
    trial.counts("w", {"sampled": 3, "sent": 3})
    assert trial.afford(2.0, PairPace())
    assert trial.told().affords == 0
    shown = rollout_json(trial)["cost_budget"]
    assert (shown["limit"], shown["amount"], shown["period_seconds"]) == ("24/day", 24.0, 86400.0)
    assert (shown["in_period"], shown["total"], shown["share"]) == (pytest.approx(2.4), pytest.approx(2.4), 0.0)
    said = "copies: EUR 2.40 in the last day of EUR 24.00 allowed, enough for 0 of the pairs"
    assert said in overview([rollout_json(trial)])
    assert trial.afford(3700.0, PairPace()), "an hour later there is money for more"
    trial.renew(PRICED, {})
    assert trial.budget.money.spending.in_period == pytest.approx(2.4), "spent is spent, whatever is tried next"


def test_a_limit_of_pairs_is_shown_and_turns_the_share_too_and_the_lesser_one_holds() -> None:
    trial = make()
    assert rollout_json(trial)["pair_budget"] is None
    trial.budget.limit(None, 50)
    assert trial.told().affords == 100, "it starts small"
    trial.afford(0.0, PairPace())
    trial.counts("w", {"sampled": 10})
    assert trial.afford(1.0, PairPace()), "1,000 requests a second"
    assert trial.told().affords == 475
    assert rollout_json(trial)["pair_budget"] == {"limit": 50, "share": 0.0475}
    trial.budget.limit(600, 50)
    assert trial.told().affords == 100, "the tokens'"
    trial.budget.limit(None, "auto")
    assert trial.told().affords == 10_000
    assert trial.afford(2.0, PairPace(share=0.2))
    assert trial.told().affords == 2_000
    trial.renew(PLAN, {})
    assert trial.told().affords == 2_000


def test_a_protocol_left_open_is_told_once_it_is_known(caplog: pytest.LogCaptureFixture) -> None:
    open_plan = replace(PLAN, prediction=PredictionSpec("auto", Kind.LABEL, "y"))
    trial = make(open_plan)
    v2 = b"POST /v2/models/m/infer HTTP/1.1\r\n\r\n"
    with caplog.at_level("INFO", "understudy.trials"):
        assert rollout_json(trial)["protocol"] is None
        trial.take(pair(0, answer(0), request_head=b"POST /unknown HTTP/1.1\r\n\r\n"))
        assert rollout_json(trial)["protocol"] is None
        for number in (1, 2):
            trial.take(pair(number, answer(0), request_head=v2))
    assert rollout_json(trial)["protocol"] == "v2"
    assert [record.message for record in caplog.records] == ["prediction.recognised"]


def test_the_sample_ratio_is_reported_in_canary_and_only_there() -> None:
    trial = make()
    assert rollout_json(trial)["sample_ratio"] is None
    trial.rollout = replace(trial.rollout, state=State.CANARY, weight=500, entry=1)
    trial.entered()
    for n in range(200):
        trial.take(pair(n, answer(0), served=Arm.CANDIDATE if n % 2 else Arm.LIVE, stage=1))
    trial.flush()
    ratio = rollout_json(trial)["sample_ratio"]
    assert (ratio["candidate_pairs"], ratio["pairs"], ratio["expected"]) == (100, 200, 0.05)
    assert ratio["log_bayes_factor"] > 50.0  # half, where one in twenty was due


def test_latency_blocks_do_not_wait_for_a_worker_that_is_gone() -> None:
    trial = make(replace(PLAN, guards=(Guard("median_latency", 1.2, relative=True),), warmup=0))
    for number, worker in enumerate(("gone", "here", "here", "here")):
        trial.take(pair(number if worker == "gone" else number - 1, answer(0), worker=worker, time=1000.0 + number))
    trial.flush()
    assert trial.look(1010.0, None).assessment.findings[0].pairs == 0
    trial.gone("gone")
    trial.close_account("gone")
    trial.take(pair(3, answer(0), worker="here", time=1004.0))
    trial.flush()
    assert trial.look(1011.0, None).assessment.findings[0].pairs == 4
