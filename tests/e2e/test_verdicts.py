"""Verdicts on whole trials: bytes of answers in, the end of the rollout out, five seeds each.

The real path of a pair without processes: answers as model servers write them are read, counted, assessed every 100
pairs, and the rollout's machine is advanced. One trial more goes through the running program.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from proxy.evidence import Evidence
from proxy.model import Arm, Guard, Kind, Outcome, Pair, Plan, PredictionSpec, Stage, State
from proxy.predictions import read_pair
from proxy.rollout.events import Looked, RolloutState
from proxy.rollout.machine import advance, begin
from tests.e2e.harness import route, running
from tests.fakes import Load, answer, model_process, question, set_mood

PAIRS = 5000
SEEDS = range(5)
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n"
REQUEST = b"POST /r/infer HTTP/1.1\r\ncontent-type: application/json\r\n\r\n"
SHADOW, CANARY = Stage(State.SHADOW, 100.0, min_pairs=1000), Stage(State.CANARY, 5.0, min_pairs=1000)
GUARDS = (
    Guard("max_disagreement", 0.02),
    Guard("p99_latency", 1.5, relative=True),  # 1.2x passes after some 4,500 pairs in the median, too late for 5,000
    Guard("median_latency", 1.2, relative=True),
    Guard("max_extra_errors", 0.002),
)


def _plan(*stages: Stage) -> Plan:
    return Plan(
        name="r/new",
        route="r",
        live="old",
        candidate="new",
        version="1",
        stages=stages,
        guards=GUARDS,
        prediction=PredictionSpec("v2", Kind.LABEL, "predict"),
        latency_block=0.0,
    )


def _pair(number: int, source: random.Random, rollout: RolloutState, wrong: float, weight: float) -> Pair:
    """A pair of two answers that take about 10 ms, half of it the request's own doing and half the server's."""
    body = question(source.getrandbits(48))
    shared = source.gauss(0, 0.35)
    live, candidate = (0.01 * math.exp(shared + source.gauss(0, 0.35)) for _ in range(2))
    return Pair(
        trial=rollout.trial,
        stage=rollout.entry,
        worker="w",
        sequence=number,
        id=f"{number}",
        time=number * 0.01,
        served=Arm.CANDIDATE if source.random() < weight else Arm.LIVE,
        request_head=REQUEST,
        request_body=body,
        live=Outcome(200, head=HEAD, body=answer("old", body), seconds=live, first=live),
        candidate=Outcome(200, head=HEAD, body=answer("new", body, wrong), seconds=candidate, first=candidate),
    )


def _trial(plan: Plan, seed: int, wrong_in: dict[State, float], pairs: int = PAIRS) -> tuple[RolloutState, list[str]]:
    """Judge pairs of a candidate that is wrong in a share of answers, by state; gives the stages it was in, too."""
    source = random.Random(seed)
    evidence = Evidence.begin(plan, seed=source.getrandbits(64))
    rollout, _ = begin(plan, 0.0)
    evidence.enter_stage(rollout.entry)
    names = [plan.stages[0].name]
    for start in range(0, pairs, 100):
        wrong = wrong_in.get(rollout.state, 0.0)
        batch = [_pair(n, source, rollout, wrong, rollout.weight / 10_000) for n in range(start, start + 100)]
        evidence.add([read_pair(plan.prediction, pair) for pair in batch])
        looked = Looked(
            now=(start + 100) * 0.01,
            assessment=evidence.assess(),
            stage_pairs=evidence.stage_pairs,
            stage_candidate_pairs=evidence.stage_candidate_pairs,
        )
        after, _ = advance(rollout, looked, plan)
        if after.entry != rollout.entry:
            evidence.enter_stage(after.entry)
            names.append(after.state if after.state is State.PROMOTED else plan.stages[after.stage].name)
        rollout = after
        if rollout.state in (State.PROMOTED, State.ROLLED_BACK):
            break
    return rollout, names


@pytest.mark.parametrize("seed", SEEDS)
def test_a_perfect_candidate_passes_and_is_never_rolled_back(seed: int) -> None:
    rollout, _ = _trial(_plan(SHADOW), seed, {})
    assert rollout.state is State.PROMOTED


@pytest.mark.parametrize("seed", SEEDS)
def test_a_candidate_wrong_on_5_percent_is_rolled_back_for_it(seed: int) -> None:
    rollout, names = _trial(_plan(SHADOW), seed, {State.SHADOW: 0.05})
    assert rollout.state is State.ROLLED_BACK
    assert names == ["shadow"]
    assert "disagree" in rollout.reason


@pytest.mark.parametrize("seed", SEEDS)
def test_a_candidate_good_in_shadow_and_bad_as_a_canary_stops_at_its_first_canary_stage(seed: int) -> None:
    plan = _plan(SHADOW, CANARY, Stage(State.CANARY, 25.0, min_pairs=1000))
    rollout, names = _trial(plan, seed, {State.CANARY: 0.05}, pairs=4 * PAIRS)
    assert names == ["shadow", "canary-5"]
    assert rollout.state is State.ROLLED_BACK


def _whole_and(done: Callable[[dict[str, Any]], bool]) -> Callable[[dict[str, Any]], bool]:
    """`done`, and at every look a ledger that adds up and has lost nothing, since nothing is in the way."""

    def checked(rollout: dict[str, Any]) -> bool:
        ledger = rollout["ledger"]
        assert ledger["sampled"] == sum(count for part, count in ledger.items() if part != "sampled"), ledger
        assert ledger["link_full"] == 0, ledger
        return done(rollout)

    return checked


async def test_the_running_program_rolls_back_a_canary_that_turns_bad(tmp_path: Path) -> None:
    stages = [{"shadow": "100%", "min_pairs": 200}, {"canary": "20%", "min_pairs": 200}, {"canary": "50%"}]
    guards = {"max_disagreement": "5%", "max_extra_errors": "5%"}
    async with model_process("live") as (_, live), model_process("new") as (_, new):
        config = {
            "upstreams": {"live": {"url": live}, "new": {"url": new}},
            "routes": [route("r", "live", "new", stages, guards=guards, latency_block="0s")],
        }
        async with running(tmp_path, config) as understudy:
            url = f"{understudy.data_url}/r/infer"
            async with Load(url, wrong={"new": 0.0}) as load:
                canary = await understudy.until("r/new", _whole_and(lambda rollout: rollout["state"] == "canary"))
                assert canary["stage"]["name"] == "canary-20"
                assert load.problems() == []
                await set_mood(new, wrong=0.3)
                end = await understudy.until("r/new", _whole_and(lambda rollout: rollout["state"] != "canary"))
    assert end["state"] == "rolled_back"
    assert end["weight"] == 0
    failed = [finding["guard"] for finding in end["findings"] if finding["verdict"] == "fail"]
    assert failed == ["max_disagreement"]
