"""Promise: with anchors a verdict counts only after the anchors asked since have said that the judge is what it was; a
judge that changes silences its guards, and nothing that it says afterwards counts."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest

from proxy.config.judges import JudgeConfig
from proxy.controller.judging import gate as module
from proxy.controller.judging.asker import JudgeAsker
from proxy.controller.judging.gate import AnchorGate
from proxy.controller.judging.queue import JudgeQueue
from proxy.judges.anchors import BASE_ROUNDS, ROUND, ROUND_EVERY
from proxy.judges.verdict import NotJudged
from tests.controller.controllers import eventually
from tests.stand_in_judge import StandInJudge

ANCHORS = 20


def anchor_file(folder: Path) -> str:
    """Anchors of which half have the better answer first, short as often as long."""
    lines = []
    for n in range(ANCHORS):
        good, bad = f"right {n}", f"wrong {n} " + "x" * (20 if n % 4 < 2 else 0)
        first = n % 2 == 0
        pair = {"first": good if first else bad, "second": bad if first else good}
        lines.append(orjson.dumps({"request": f"q{n}", **pair, "verdict": "first" if first else "second"}))
    (folder / "anchors.jsonl").write_bytes(b"\n".join(lines))
    return str(folder / "anchors.jsonl")


SIX = {f"q{n}" for n in range(6)}


def right(_request: str, first: str, _second: str) -> str:
    return "first" if first.startswith("right") else "second"


@asynccontextmanager
async def gated(folder: Path, judge: StandInJudge, **more: Any) -> AsyncIterator[AnchorGate]:
    async with judge.listening() as url:
        given = {"url": url, "model": "m", "anchors": anchor_file(folder), "concurrency": 8, "proxy": "off", **more}
        queue = JudgeQueue(JudgeAsker("helpful", JudgeConfig.model_validate(given), "secret"))
        try:
            yield queue.gate
        finally:
            await queue.close()


async def test_no_verdict_counts_before_the_judge_is_known_and_the_next_round_lets_go(tmp_path: Path) -> None:
    judge, told = StandInJudge(verdict=right), list[int]()
    async with gated(tmp_path, judge) as gate:
        gate.listeners["r"] = lambda: told.append(gate.held)
        first = gate.stamp()
        assert not gate.may_count(first)
        assert gate.may_count(0)
        await eventually(lambda: gate.record and gate.record.is_known)
        assert len(judge.asked) >= 2 * ANCHORS + BASE_ROUNDS * ROUND
        stamps = [gate.stamp() for _ in range(ROUND_EVERY)]
        await eventually(lambda: gate.may_count(stamps[-1]))
        assert told
        late = gate.stamp()
        assert not gate.may_count(late)
        shown = gate.shown()
        assert shown is not None
        assert (shown["state"], shown["constant"], shown["held"]) == ("unchanged", shown["answers"], 1)
        asked = len(judge.asked)
        assert set(judge.asked) == set(judge.asked[:asked])


async def test_a_few_verdicts_are_let_go_after_a_while(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LONGEST_HOLD", 0.05)
    async with gated(tmp_path, StandInJudge(verdict=right)) as gate:
        stamp = gate.stamp()
        await eventually(lambda: gate.may_count(stamp))


async def test_a_judge_that_changes_is_told_and_lets_nothing_go(tmp_path: Path) -> None:
    judge, told = StandInJudge(verdict=right), list[bool]()
    async with gated(tmp_path, judge) as gate:
        gate.listeners["r"] = lambda: told.append(gate.moved)
        gate.stamp()
        await eventually(lambda: gate.record and gate.record.is_known)
        judge.verdict = lambda *_: "second"
        last = [gate.stamp() for _ in range(ROUND_EVERY)][-1]
        await eventually(lambda: gate.moved)
        assert told[-1] is True
        assert not gate.may_count(last)
        asked = len(judge.asked)
        assert not gate.may_count(gate.stamp())
        shown = gate.shown()
        assert shown is not None
        assert (shown["state"], shown["evidence"], len(judge.asked)) == ("changed", 1.0, asked)


async def test_a_judge_that_is_down_confirms_nothing_and_goes_on_when_it_is_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FIRST_REST", 0.01)
    monkeypatch.setattr(module, "LONGEST_REST", 0.05)
    judge = StandInJudge(verdict=right)
    async with gated(tmp_path, judge) as gate:
        gate.stamp()
        await eventually(lambda: gate.record and gate.record.is_known)
        judge.mood = "nonsense"
        last = [gate.stamp() for _ in range(ROUND_EVERY)][-1]
        asked = len(judge.asked)
        await eventually(lambda: len(judge.asked) > asked + 3 * ROUND)
        assert not gate.may_count(last)
        judge.mood = "honest"
        await eventually(lambda: gate.may_count(last))


async def test_what_is_known_survives_a_restart_and_other_anchors_or_another_judge_begin_anew(tmp_path: Path) -> None:
    judge = StandInJudge(verdict=right)
    async with gated(tmp_path, judge) as gate:
        gate.stamp()
        await eventually(lambda: gate.record and gate.record.is_known)
        kept = orjson.loads(orjson.dumps({**gate.asker.dump(), **gate.dump()}))
        after = JudgeQueue(JudgeAsker("helpful", gate.asker.config, "secret"))
        after.load(kept)
        assert after.gate.record == gate.record
        other = JudgeQueue(JudgeAsker("helpful", gate.asker.config.model_copy(update={"model": "n"}), "secret"))
        other.load(kept)
        assert other.gate.record is not None
        assert other.gate.record.rounds == 0
        after.gate.load({**kept, "pairs": "other"})
        for broken in ({**kept, "anchors": [1]}, {**kept, "told": 3}):
            with pytest.raises((TypeError, ValueError)):
                after.load(broken)


async def test_a_judge_that_has_changed_may_be_one_for_a_new_trial(tmp_path: Path) -> None:
    judge = StandInJudge(verdict=right)
    async with gated(tmp_path, judge) as gate:
        gate.stamp()
        await eventually(lambda: gate.record and gate.record.is_known)
        judge.verdict = lambda request, first, second: "tie" if request in SIX else right(request, first, second)
        for _ in range(ROUND_EVERY):
            gate.stamp()
        await eventually(lambda: gate.moved)
        assert (gate.shown() or {})["state"] == "changed"
        gate.told = {"r/c": "trial 1"}
        gate.assigned({"r/c": "trial 1"})
        assert gate.moved
        gate.new_trial("r/c")
        assert not gate.moved
        gate.stamp()
        await eventually(lambda: gate.record and gate.record.is_known)


async def test_a_judge_that_calls_everything_a_tie_is_unfit(tmp_path: Path) -> None:
    judge = StandInJudge(verdict=lambda *_: "tie")
    async with gated(tmp_path, judge) as gate:
        stamp = gate.stamp()
        await eventually(lambda: gate.moved)
        assert not gate.may_count(stamp)
        assert (gate.shown() or {})["state"] == "unfit"
        assert len(judge.asked) == 2 * ANCHORS


async def test_enough_of_the_budget_is_left_for_the_anchors(tmp_path: Path) -> None:
    """What was paid for may count: pairs are refused before the round that lets their verdicts go cannot be paid."""
    judge = StandInJudge(verdict=lambda *texts: right(*texts) if texts[0].startswith("q") else "tie")
    price = {"input": 1000.0, "output": 0.0}
    async with gated(tmp_path, judge, price=price, max_cost="400/day") as gate:
        gate.start()
        await eventually(lambda: gate.record and gate.record.is_known)
        asker, stamps = gate.asker, []
        for n in range(600):
            if (await asker.ask(asker.question("r", f"{n}", "longer than that").body)).winner:
                stamps.append(gate.stamp())
        assert 0 < len(stamps) < 600
        assert asker.stats.not_judged[NotJudged.BUDGET] == 600 - len(stamps)
        assert await gate.settle(20)
        assert gate.may_count(stamps[-1])
        assert asker.spent <= 400.0


async def test_without_anchors_every_verdict_counts_at_once() -> None:
    config = JudgeConfig.model_validate({"url": "http://judge", "model": "m"})
    gate = JudgeQueue(JudgeAsker("helpful", config, "secret")).gate
    assert gate.may_count(gate.stamp())
    assert (gate.shown(), gate.held, gate.dump()) == (None, 0, {})
