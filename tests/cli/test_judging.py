"""Keeps the promise that judging again says what was said then: recorded pairs fail and pass as they would have, a
journal's entry gives its own verdict back, and one that was tampered with does not."""

from __future__ import annotations

import asyncio
import math
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import orjson
import pytest

from proxy.cli.gate import gate, junit, report
from proxy.cli.judging import Bench, audit, judge
from proxy.controller.recordings import journal_entries
from proxy.controller.report import journal_detail
from proxy.controller.rollout_run import RolloutRun, fresh_evidence
from proxy.model import Arm, Guard, Kind, Outcome, Pair, Plan, PredictionSpec, Stage, State, Verdict
from proxy.model.reasons import Reason
from proxy.pairs.ledger import PairLedger
from proxy.pairs.recording import Recorded
from proxy.rollout.machine import begin
from tests.controller.controllers import NAME, running, to_canary, trial_of
from tests.controller.worker import HEAD, FakeWorker, answer

SPEC = PredictionSpec("v2", Kind.LABEL, "y")
PLAN = Plan(
    NAME,
    "r",
    "l",
    "c",
    "1",
    (Stage(State.SHADOW, 100.0),),
    (Guard("max_disagreement", 0.1), Guard("max_extra_errors", 0.1)),
    prediction=SPEC,
    latency_block=0.0,
)


def recorded(count: int, wrong: int = 0, broken: int = 0) -> list[Recorded]:
    """`count` pairs of which every `wrong`-th disagrees and every `broken`-th candidate answer is missing."""
    found = []
    for n in range(count):
        candidate = answer(1 if wrong and n % wrong == 0 else 0)
        if broken and n % broken == 0:
            candidate = Outcome(0, Reason.CONNECT)
        pair = Pair("t", 0, "w", n, f"i{n}", 1000.0 + n, Arm.LIVE, HEAD, b"", answer(0), candidate)
        found.append(Recorded(pair, n))
    return found


def test_other_guards_give_other_verdicts_on_the_same_pairs() -> None:
    pairs = recorded(1000, wrong=20)  # 5 % disagree
    loose = judge(PLAN, pairs)
    strict = judge(replace(PLAN, guards=(Guard("max_disagreement", 0.01),)), pairs)
    assert (loose.verdict, loose.failed_at) == (Verdict.PASS, 0)
    assert strict.verdict is Verdict.FAIL
    assert 0 < strict.failed_at < 1000
    assert loose.booked == {"compared": 1000, "live_failed": 0, "unparseable": 0}


def test_answers_of_another_form_are_no_question_of_accuracy() -> None:
    plan = replace(PLAN, guards=(Guard("max_response_mismatch", 0.01), Guard("max_extra_errors", 0.1)))
    good = gate(plan, judge(plan, recorded(500)))
    assert good.sentence == "pass: compatible and reliable, after 500 pairs"
    page = Outcome(200, head=b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\n\r\n", body=b"<html>")
    pairs = [Recorded(one.pair._replace(candidate=page), one.request_hash) for one in recorded(100)]
    bad = gate(
        replace(plan, prediction=PredictionSpec("none")), judge(replace(plan, prediction=PredictionSpec("none")), pairs)
    )
    assert bad.verdict is Verdict.FAIL
    assert "response mismatch now 100 %" in bad.sentence
    assert "100 by media type" in bad.sentence
    assert report(NAME, bad)["response_mismatches"] == {"media_type": 100}


def test_a_wrong_prediction_is_told_and_nobodys_failure() -> None:
    plan = replace(PLAN, prediction=replace(SPEC, output="yy"))
    judged = judge(plan, recorded(30))
    assert (judged.booked["unparseable"], judged.candidate_failures, judged.tripped_at) == (30, {}, 0)
    told = report(NAME, gate(plan, judged))
    assert told["unparseable"] == {"missing_output": 30}
    assert told["why_unparseable"].startswith("live's answers cannot be read: missing_output at yy: 30 of 30 pairs; ")
    assert report(NAME, gate(PLAN, judge(PLAN, recorded(30))))["why_unparseable"] is None


def test_failures_in_a_row_trip_the_wire() -> None:
    judgement = judge(PLAN, [*recorded(50), *recorded(30, broken=1)])
    assert judgement.verdict is Verdict.FAIL
    assert judgement.tripped_at == 50 + PLAN.consecutive_failures
    assert judgement.candidate_failures == {"connect": 30}


def test_repeated_bodies_are_told_by_the_hash_that_was_recorded() -> None:
    same = [replace(one, request_hash=7) for one in recorded(500, wrong=1)]
    assert judge(PLAN, same).verdict is not Verdict.FAIL
    assert judge(PLAN, recorded(500, wrong=1)).verdict is Verdict.FAIL


# --- the gate --------------------------------------------------------------------------------------------------------


def test_the_gate_says_in_a_sentence_what_is_good_and_what_is_not() -> None:
    guards = (*PLAN.guards, Guard("p99_latency", 0.001))
    plan = replace(PLAN, guards=guards)
    slow = gate(plan, judge(plan, recorded(2000)))
    assert slow.verdict is Verdict.FAIL
    assert slow.sentence.startswith("fail: accurate and reliable, but p99")
    fine = gate(PLAN, judge(PLAN, recorded(2000)))
    assert (fine.verdict, fine.sentence) == (Verdict.PASS, "pass: accurate and reliable, after 2000 pairs")
    few = gate(PLAN, judge(PLAN, recorded(3)))
    assert few.verdict is Verdict.INCONCLUSIVE
    assert few.sentence.startswith("inconclusive after 3 pairs")


def test_without_live_timings_relative_latency_is_left_out_not_failed() -> None:
    plan = replace(PLAN, guards=(*PLAN.guards, Guard("p99_latency", 1.2, relative=True)))
    untimed = [
        replace(one, pair=one.pair._replace(live=one.pair.live._replace(seconds=math.nan, first=math.nan)))
        for one in recorded(2000)
    ]
    result = gate(plan, judge(plan, untimed), live_timed=False)
    assert (result.verdict, list(result.left_out)) == (Verdict.PASS, ["p99_latency"])
    assert gate(plan, judge(plan, untimed)).verdict is Verdict.INCONCLUSIVE


@pytest.mark.parametrize(
    ("pairs", "failures"),
    [(recorded(2000), 0), (recorded(2000, wrong=2), 1), (recorded(3), 1), (recorded(30, broken=1), 2)],
)
def test_the_junit_report_counts_what_it_holds(pairs: list[Recorded], failures: int) -> None:
    result = gate(PLAN, judge(PLAN, pairs))
    suite = ElementTree.fromstring(junit(NAME, result))
    assert int(suite.attrib["failures"]) == len(suite.findall(".//failure")) == failures
    assert int(suite.attrib["tests"]) == len(suite.findall("testcase"))
    assert suite.findtext("system-out") == result.sentence
    assert orjson.loads(orjson.dumps(report(NAME, result)))["pairs"] == len(pairs)


# --- the journal -----------------------------------------------------------------------------------------------------


async def test_every_entry_of_a_journal_gives_its_verdict_back(tmp_path: Path) -> None:
    async with running(tmp_path) as controller:
        worker = await FakeWorker(tmp_path).connect()
        await to_canary(controller, worker)
        worker.bad(trial_of(controller), 200, stage=1)
        await worker.weight(NAME, 0)
        worker.disconnect()
    entries = await asyncio.to_thread(lambda: list(journal_entries(tmp_path / "u.db", NAME)))
    audits = [audit(entry, evidence) for entry, evidence in entries]
    assert [(one.kind, one.now) for one in audits] == [
        ("began", "inconclusive"),
        ("advanced", "pass"),
        ("rolled_back", "fail"),
    ]
    assert [one.differences for one in audits] == [(), (), ()]
    tampered = audit(entries[2][0], entries[1][1])
    assert not tampered.holds
    assert any("verdict was fail, is pass" in difference for difference in tampered.differences)
    assert audit(entries[2][0], b"garbage").differences[0].startswith("cannot be judged again")


DROP = Guard("max_outcome_drop", 0.02, False, 1.0, outcome="conversion", within=60.0, in_points=True)


def test_a_guard_on_users_is_said_to_be_not_judged_and_holds_no_pass_back() -> None:
    plan = replace(PLAN, guards=(*PLAN.guards, DROP))
    result = gate(plan, judge(plan, recorded(1000)))
    assert result.verdict is Verdict.PASS
    assert "(max_outcome_drop not judged here: it counts users" in result.sentence
    assert report(NAME, result)["left_out"] == ["max_outcome_drop"]
    found = ElementTree.fromstring(junit(NAME, result))
    (case,) = [one for one in found.iter() if one.get("name") == "max_outcome_drop"]
    assert "counts users" in case[0].attrib["message"]
    assert found.get("skipped") == "1"


def test_an_entry_of_a_canary_is_judged_with_its_users_and_one_of_the_shadow_without() -> None:
    """What had passed on pairs alone waited for users: without these it would say pass."""
    plan = replace(PLAN, guards=(*PLAN.guards, DROP), stages=(*PLAN.stages, Stage(State.CANARY, 50.0)))
    run = RolloutRun(plan, begin(plan, 1000.0)[0], fresh_evidence(plan), PairLedger())
    bench = Bench(plan)
    run.evidence.enter_stage(0)
    run.evidence.add([bench.read(one) for one in recorded(1000)])
    found = {}
    for state, weight in ((State.SHADOW, 0), (State.CANARY, 5000)):
        run.rollout = replace(run.rollout, state=state, weight=weight)
        run.entered()
        run.look(2000.0, None)
        detail = journal_detail(run, run.rollout, run.rollout, "")
        entry = {"number": 1, "rollout": NAME, "time": 0.0, "kind": "paused", "reason": "", "detail": detail}
        again = audit(orjson.loads(orjson.dumps(entry)), run.evidence.dump())
        found[state] = again.now, again.differences
    assert found == {State.SHADOW: ("pass", ()), State.CANARY: ("inconclusive", ())}
