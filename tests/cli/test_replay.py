"""Keeps the promises of `judge` and `replay`: exit codes a pipeline can trust, for a good, a bad, a dead and a slow
candidate, with requests sent as they were recorded."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path

import orjson
import pytest

from proxy.pairs.recording import Recorded, header_line, line_of
from tests.cli.replays import CONFIG, pair, record, replayed, understudy
from tests.fakes import FakeModel, Mood
from tests.ports import free_port


@pytest.mark.parametrize(("wrong", "code", "verdict"), [(0.0, 0, "inconclusive"), (0.3, 1, "fail")])
def test_judge_answers_whether_the_guards_would_have_fired(
    tmp_path: Path, config: str, wrong: float, code: int, verdict: str
) -> None:
    result = understudy("judge", record(tmp_path / "p.jsonl", 400, wrong), "-c", config, "--json")
    assert result.exit_code == code, result.output
    report = orjson.loads(result.stdout)
    assert (report["verdict"], report["pairs"]) == (verdict, 400)
    assert (report["failed_at"] is not None) is (code == 1)


def test_judge_judges_each_version_of_a_file_by_itself(tmp_path: Path, config: str) -> None:
    """A file goes on when another version is tried; a good one is no excuse for a bad one, nor the other way round."""
    path = tmp_path / "p.jsonl"
    lines = [header_line("r/c", "hash")]
    for trial, wrong in (("r/c|l|1|v2", 0.3), ("r/c|l|2|v2", 0.0)):
        for number in range(400):
            one = pair(number, wrong)
            lines.append(line_of(Recorded(one.pair._replace(trial=trial), number)))
    path.write_bytes(b"".join(lines))
    told = understudy("judge", path, "-c", config, "--json")
    report = orjson.loads(told.stdout)
    assert (told.exit_code, report["trial"], report["verdict"]) == (1, "r/c|l|2|v2", "inconclusive")
    assert [(one["trial"], one["verdict"], one["pairs"]) for one in report["earlier"]] == [("r/c|l|1|v2", "fail", 400)]
    said = understudy("judge", path, "-c", config).stdout
    assert "r/c version 1: fail" in said
    assert "r/c version 2: inconclusive after 400 pairs" in said


def test_judge_says_why_answers_cannot_be_read(tmp_path: Path) -> None:
    path = tmp_path / "u.yaml"
    path.write_text(CONFIG.replace("output: predict", "output: predicted"))
    said = understudy("judge", record(tmp_path / "p.jsonl", 40), "-c", path).stdout
    why = "! live's answers cannot be read: missing_output at predicted: 40 of 40 pairs; check `prediction.output`"
    assert why in said
    assert "inconclusive after 40 pairs" in said


def test_judge_names_what_it_cannot_use(tmp_path: Path, config: str) -> None:
    recorded = record(tmp_path / "p.jsonl", 1)
    assert understudy("judge", recorded).exit_code == 2
    unknown = understudy("judge", recorded, "-c", config, "--rollout", "r/d")
    assert unknown.exit_code == 1
    assert "r/c" in unknown.stderr
    assert "does not begin" in understudy("judge", config, "-c", config).stderr
    url = "postgresql://me:secret@127.0.0.1:1/state"
    for result in (
        understudy("judge", url),
        understudy("replay", url, "-c", config, "--candidate", "http://127.0.0.1:1"),
    ):
        assert result.exit_code != 0
        assert "secret" not in result.output
        assert "recorded file" in result.stderr or "postgresql://me@127.0.0.1:1/state" in result.stderr


async def test_replay_passes_a_good_candidate_without_judging_latency_against_another_day(
    tmp_path: Path, config: str
) -> None:
    result = await replayed(tmp_path, config, Mood(), "--junit", tmp_path / "out.xml")
    assert result.exit_code == 0, result.output
    report = orjson.loads(result.stdout)
    assert (report["verdict"], report["left_out"]) == ("pass", ["p99_latency"])
    assert report["booked"]["compared"] == 400
    assert '<skipped message="no live timings"/>' in (tmp_path / "out.xml").read_text()


@pytest.mark.parametrize(
    ("mood", "said"), [(Mood(wrong=0.3), "disagreement"), (Mood(mode="error"), "failures in a row")]
)
async def test_replay_fails_a_bad_candidate(tmp_path: Path, config: str, mood: Mood, said: str) -> None:
    result = await replayed(tmp_path, config, mood)
    assert result.exit_code == 1, result.output
    report = orjson.loads(result.stdout)
    assert report["verdict"] == "fail"
    assert said in report["sentence"]


async def test_replay_without_enough_evidence_is_no_pass_unless_asked_for(tmp_path: Path, config: str) -> None:
    few = await replayed(tmp_path, config, Mood(), count=5)
    assert (few.exit_code, orjson.loads(few.stdout)["verdict"]) == (1, "inconclusive")
    assert (await replayed(tmp_path, config, Mood(), "--allow-inconclusive", count=5)).exit_code == 0


async def test_replay_asks_live_anew_and_then_judges_latency_too(tmp_path: Path, config: str) -> None:
    live = await FakeModel("l").start()
    result = await replayed(tmp_path, config, Mood(delay=0.05), "--live", live.url, count=200)
    await live.stop()
    report = orjson.loads(result.stdout)
    assert report["left_out"] == []
    assert live.requests == 200
    latency = next(finding for finding in report["findings"] if finding["guard"] == "p99_latency")
    assert latency["pairs"] > 0


@pytest.mark.parametrize("option", ["--candidate", "--live"])
async def test_an_address_where_nobody_listens_is_told_at_once(tmp_path: Path, config: str, option: str) -> None:
    recorded = record(tmp_path / "p.jsonl", 40)
    model = await FakeModel("c").start()
    nobody = f"http://127.0.0.1:{free_port()}"
    servers = {"--candidate": model.url, "--live": model.url, option: nobody}
    command = ("replay", recorded, "-c", config, *(word for pair in servers.items() for word in pair))
    result = await asyncio.to_thread(understudy, *command, "--junit", tmp_path / "out.xml")
    await model.stop()
    assert (result.exit_code, model.requests) == (2, 0)
    assert f"{option}: cannot reach {nobody}: connection refused" in result.stderr
    assert not (tmp_path / "out.xml").exists()


async def test_a_server_without_tls_is_no_answer_to_https(tmp_path: Path, config: str) -> None:
    closed = asyncio.Event()

    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
        closed.set()

    async with await asyncio.start_server(plain, "127.0.0.1", 0) as server:
        url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        recorded = record(tmp_path / "p.jsonl", 4)
        result = await asyncio.to_thread(understudy, "replay", recorded, "-c", config, "--candidate", url)
        await asyncio.wait_for(closed.wait(), 5.0)
    assert (result.exit_code, f"cannot reach {url}: TLS: " in result.stderr) == (2, True)


async def test_replay_sends_no_more_than_it_is_allowed(tmp_path: Path, config: str) -> None:
    result = await replayed(tmp_path, config, Mood(), "--limit", 120)
    assert orjson.loads(result.stdout)["pairs"] == 120


@pytest.mark.parametrize(
    ("mood", "verdict"), [(Mood(), "pass"), (Mood(wrong=0.5), "fail"), (Mood(mode="error"), "fail")]
)
async def test_replay_stops_at_the_verdict_when_asked_to(tmp_path: Path, config: str, mood: Mood, verdict: str) -> None:
    result = await replayed(tmp_path, config, mood, "--until-verdict", count=5000)
    report = orjson.loads(result.stdout)
    assert (report["verdict"], report["pairs"] < 1000) == (verdict, True)
    assert report["pairs"] == (report["tripped_at"] or report["failed_at"] or report["pairs"] // 100 * 100)


async def test_replay_sends_nothing_for_a_url_or_a_report_that_cannot_be(tmp_path: Path, config: str) -> None:
    recorded = record(tmp_path / "p.jsonl", 1)
    command = ("replay", recorded, "-c", config, "--candidate")
    assert understudy(*command, "127.0.0.1:9").exit_code == 2
    assert "--live" in understudy(*command, "http://127.0.0.1:9", "--live", "nowhere").stderr
    model = await FakeModel("c").start()
    result = await asyncio.to_thread(understudy, *command, model.url, "--junit", tmp_path / "no" / "x.xml")
    await model.stop()
    assert (result.exit_code, result.stdout, model.requests) == (1, "", 0)
    assert "cannot write" in result.stderr
