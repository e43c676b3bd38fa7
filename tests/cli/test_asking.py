"""Promise: recorded and replayed pairs are judged by the judge of their prediction, within its budget and in their
order; a second run asks nothing."""

from __future__ import annotations

import asyncio
import json
import os
import stat
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiohttp import web
from click.testing import CliRunner, Result

from proxy.cli import main
from proxy.cli.asking import judge_trials_with
from proxy.cli.judging import Judgement
from proxy.config import Config, parse
from proxy.model import Arm, Outcome, Pair, Verdict
from proxy.pairs.recording import Recorded, header_line, line_of
from tests.controller.judging.test_gate import anchor_file, right
from tests.e2e.harness import served
from tests.stand_in_judge import StandInJudge

TEXT = """
upstreams: {v1: {url: http://127.0.0.1:1}, v2: {url: http://127.0.0.1:2}}
judges:
  helpful: {url: URL, model: large, share: 100%, concurrency: 4, price: {input: 1000, output: 0}, MORE}
routes:
  - name: chat
    live: v1
    predictions: {quality: {protocol: openai, output: text, kind: text, judge: helpful}}
    rollouts: [{candidate: v2, shadow: 100%, latency_block: 0s, guards: {quality: {min_win_rate: -10pp}}}]
"""
HEAD = b"POST /v1/chat/completions HTTP/1.1\r\ncontent-type: application/json\r\n\r\n"
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n"


def config(url: str, more: str = "max_cost: 1000/day") -> Config:
    return parse(TEXT.replace("URL", url).replace("MORE", more), environ={})


def said(text: str) -> Outcome:
    message = {"role": "assistant", "content": text}
    body = orjson.dumps({"object": "chat.completion", "choices": [{"index": 0, "message": message}]})
    return Outcome(200, head=ANSWER, body=body, seconds=0.1, first=0.1)


def recorded(number: int, live: str, candidate: str, trial: str = "t") -> Recorded:
    body = orjson.dumps({"messages": [{"role": "user", "content": f"question {number}"}]})
    pair = Pair(
        trial, 0, "w", number, f"{trial}-{number}", float(number), Arm.LIVE, HEAD, body, said(live), said(candidate)
    )
    return Recorded(pair, number)


WORSE = [recorded(n, f"live {n} " + "x" * 50, f"candidate {n}") for n in range(300)]


async def judged(config: Config, pairs: list[Recorded], path: Path | None) -> tuple[Judgement, dict[str, Any]]:
    trials, (summary,) = await judge_trials_with(config, config.plans["chat/v2"], pairs, path)
    return list(trials.values())[-1], summary


async def test_a_worse_candidate_fails_at_the_same_pair_each_time_and_a_second_run_asks_nothing(tmp_path: Path) -> None:
    judge, path = StandInJudge(), tmp_path / "verdicts.jsonl"
    async with judge.listening() as url:
        first, summary = await judged(config(url), WORSE, path)
        assert first.verdict is Verdict.FAIL
        assert 0 < first.failed_at < 300
        assert (len(judge.asked), summary["asked"], summary["cost"]) == (300, 300, pytest.approx(300.0))
        assert judge.most_under_way <= 4
        again, summary = await judged(config(url), WORSE, path)
        assert (again.failed_at, again.assessment, len(judge.asked)) == (first.failed_at, first.assessment, 300)
        assert (summary["known"], summary["cost"]) == (300, 0.0)
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    assert b"question" not in path.read_bytes()


async def test_each_trial_of_a_file_has_its_own_evidence(tmp_path: Path) -> None:
    same = [recorded(n, f"same {n}", f"same {n}", "u") for n in range(300)]
    judge = StandInJudge()
    async with judge.listening() as url:
        trials, _ = await judge_trials_with(config(url), config(url).plans["chat/v2"], [*WORSE, *same], None)
    findings = {trial: one.assessment.findings[0] for trial, one in trials.items()}
    assert {trial: one.verdict for trial, one in findings.items()} == {"t": Verdict.FAIL, "u": Verdict.PASS}
    assert "300 tied" in findings["u"].reason
    assert len(judge.asked) == 300, "two equal answers are a tie, about which nobody is asked"


async def test_the_budget_holds_over_runs_and_what_is_beyond_is_not_judged(tmp_path: Path) -> None:
    judge, path = StandInJudge(), tmp_path / "verdicts.jsonl"
    async with judge.listening() as url:
        small = config(url, "max_cost: 150/day")
        one, summary = await judged(small, WORSE, path)
        asked = len(judge.asked)
        assert 0 < asked <= 150
        assert summary["not_judged"] == {"budget": 300 - asked}
        assert f"{300 - asked} of 300 pairs drawn were not judged" in one.assessment.findings[0].reason
        _, summary = await judged(small, WORSE, path)
        assert (len(judge.asked), summary["known"]) == (asked, asked)


async def test_what_is_beyond_the_budget_does_not_count_though_it_needs_no_judge_or_is_known(tmp_path: Path) -> None:
    """Every second pair is of equal answers, a tie that costs nothing: the budget must not leave the ties alone."""
    half = [one if n % 2 else recorded(n, f"same {n}", f"same {n}") for n, one in enumerate(WORSE)]
    judge, path = StandInJudge(), tmp_path / "verdicts.jsonl"
    async with judge.listening() as url:
        small = config(url, "max_cost: 150/day")
        for _ in range(2):
            one, summary = await judged(small, half, path)
            asked = len(judge.asked)
            assert 0 < asked < 140
            counted = 300 - summary["not_judged"]["budget"]
            assert abs(counted - 2 * asked) <= 4, "of both sorts as many, but for those under way at once"
            assert f"{300 - counted} of 300 pairs drawn were not judged" in one.assessment.findings[0].reason


async def test_a_judge_that_is_down_leaves_it_open(tmp_path: Path) -> None:
    judge = StandInJudge(mood="nonsense")
    async with judge.listening() as url:
        one, summary = await judged(config(url), WORSE[:40], tmp_path / "v.jsonl")
    assert one.verdict is Verdict.INCONCLUSIVE
    assert summary["not_judged"] == {"not_json": 40}


async def test_a_judge_that_changes_midway_gives_no_evidence_and_its_verdicts_are_not_kept(tmp_path: Path) -> None:
    path = tmp_path / "verdicts.jsonl"
    judge = StandInJudge()

    def turning(request: str, first: str, second: str) -> str:
        if request.startswith("q") and len(request) < 4:
            return right(request, first, second) if len(judge.asked) < 250 else "second"
        if len(judge.asked) < 250:
            return "tie"
        return "first" if first.startswith("live") else "second"

    judge.verdict = turning
    async with judge.listening() as url:
        with_anchors = config(url, f"anchors: {anchor_file(tmp_path)}")
        one, summary = await judged(with_anchors, WORSE, path)
    assert summary["anchors"] == "changed"
    assert one.verdict is Verdict.INCONCLUSIVE
    assert "judge has changed" in one.assessment.findings[0].reason
    assert len(path.read_bytes().splitlines()) < 300


async def test_a_torn_line_of_the_file_is_asked_again(tmp_path: Path) -> None:
    judge, path = StandInJudge(), tmp_path / "verdicts.jsonl"
    async with judge.listening() as url:
        await judged(config(url), WORSE[:10], path)
        lines = path.read_bytes().splitlines(keepends=True)
        path.write_bytes(b"".join(lines[:5]) + lines[5][:20])
        await judged(config(url), WORSE[:10], path)
        assert len(judge.asked) == 15
        assert all(isinstance(json.loads(line), dict) for line in path.read_text().splitlines()[7:])


async def test_replay_and_judge_say_what_the_judge_said_and_cost(tmp_path: Path) -> None:
    async def handle(request: web.Request) -> web.Response:
        return web.Response(body=said("short").body, content_type="application/json")

    app = web.Application()
    app.router.add_post("/v1/chat/completions", handle)
    lines = [header_line("chat/v2", "hash"), *map(line_of, WORSE)]
    (tmp_path / "pairs.jsonl").write_bytes(b"".join(lines))
    judge = StandInJudge()
    async with judge.listening() as url, served(app) as model:
        (tmp_path / "u.yaml").write_text(TEXT.replace("URL", url).replace("MORE", "max_cost: 1000/day"))
        common = [str(tmp_path / "pairs.jsonl"), "-c", str(tmp_path / "u.yaml")]

        async def run(*arguments: str) -> Result:
            return await asyncio.to_thread(CliRunner().invoke, main, [*arguments])

        for _ in range(2):
            replayed = await run("replay", *common, "--candidate", model, "--rate", "1000")
            assert replayed.exit_code == 1, replayed.output
            assert "fail      quality: win rate now 0 % (" in replayed.output
            assert len(judge.asked) == 300
        assert "judge helpful: 0 verdicts, 300 more from memory" in replayed.output
        other = await run("judge", *common, "--json", "--verdicts", str(tmp_path / "other.jsonl"))
        assert other.exit_code == 1, other.output
        report = json.loads(other.stdout)
        assert (report["judges"][0]["asked"], report["judges"][0]["cost"]) == (300, 300.0)
        assert len(judge.asked) == 600
