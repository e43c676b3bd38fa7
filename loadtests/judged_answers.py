"""Real answers of language models with real verdicts of a judge, through recordings and `understudy judge`.

    python loadtests/judged_answers.py FOLDER [--orders 5]

FOLDER holds `MODEL.v1.jsonl.gz` and `MODEL.v2.jsonl.gz`, one JSON object a line: `id`, `instruction`, `answer` and
`preference` (of the answer over a reference model's, 0 to 1, by a judge); from the public results of tatsu-lab's
alpaca_eval, which are not part of this repository. Two files of one version make a pair of models on the same requests,
both judged against the same reference: the answer that the judge preferred more often wins, equal preferences tie.

Each pair of models becomes a recording in a random order of its requests. `understudy judge` reads it and asks a
stand-in judge on this machine, which looks the verdict up, over HTTP, with everything that lies between: drawn orders,
closed schema, cache. Other guards read the same recordings. Writes a table to standard output.
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import json
import os
import random
import re
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import yaml
from aiohttp import web

from proxy.model import Arm, Outcome, Pair
from proxy.pairs.recording import Recorded, header_line, line_of

HEAD = b"POST /v1/chat/completions HTTP/1.1\r\ncontent-type: application/json\r\n\r\n"
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n"
PART = re.compile(r"<<<[A-Z ]+ [0-9a-f]{16}>>>\n(.*?)\n<<<END [0-9a-f]{16}>>>", re.DOTALL)
CONTESTS = (
    ("llama-2-7b-chat-hf.v1", "vicuna-13b.v1"),
    ("vicuna-13b.v1", "llama-2-7b-chat-hf.v1"),
    ("claude-2.v1", "llama-2-70b-chat-hf.v1"),
    ("llama-2-70b-chat-hf.v1", "claude-2.v1"),
    ("gpt4.v1", "claude-2.v1"),
    ("claude-2.v1", "gpt-3.5-turbo-1106.v1"),
    ("gpt4.v1", "gpt-3.5-turbo-1106.v1"),
    ("gpt-3.5-turbo-1106.v1", "gpt4.v1"),
    ("gpt4_1106_preview.v1", "gpt4.v1"),
    ("llama-2-70b-chat-hf.v1", "llama-2-7b-chat-hf.v1"),
    ("gpt-3.5-turbo-1106.v2", "gpt-3.5-turbo-1106_concise.v2"),
    ("gpt-3.5-turbo-1106_concise.v2", "gpt-3.5-turbo-1106.v2"),
    ("claude-2.1.v2", "gpt-3.5-turbo-1106.v2"),
    ("gpt-3.5-turbo-1106.v2", "vicuna-7b.v2"),
)
"""Live and candidate."""
CLOSE = 0.1
"""Preferences of version 2 are weights: nearer ones than this are a tie."""
GUARDS: dict[str, dict[str, Any]] = {
    "-5pp": {"quality": {"min_win_rate": "-5pp"}},
    "-10pp": {"quality": {"min_win_rate": "-10pp"}},
    "words 0.2": {"quality": {"min_similarity": 0.2}},
    "refusal +2%": {"refusal": {"max_rate_increase": "2%"}},
    "length 0.2": {"quality": {"max_mean_shift": 0.2}},
}
"""What is judged, each by itself: the judge at two limits, the similarity of words, refusals, the length of answers."""


@dataclass
class Contest:
    """Two models on the same requests: id, instruction, the answers of live and candidate, their preferences."""

    live: str
    candidate: str
    rows: list[tuple[str, str, str, str, float, float]]

    @property
    def values(self) -> list[float]:
        """Of each request what the candidate's answer is worth: 1 won, ½ tied, 0 lost."""
        return [0.5 + 0.5 * sign(theirs - ours) for *_, ours, theirs in self.rows]


def sign(difference: float) -> int:
    return (difference > CLOSE) - (difference < -CLOSE)


def read(folder: Path, name: str) -> dict[str, dict[str, Any]]:
    with gzip.open(folder / f"{name}.jsonl.gz", "rt", encoding="utf-8") as file:
        return {row["id"]: row for row in map(json.loads, file)}


def contest(folder: Path, live: str, candidate: str) -> Contest:
    ours, theirs = read(folder, live), read(folder, candidate)
    rows = [
        (key, ours[key]["instruction"], ours[key]["answer"], theirs[key]["answer"], ours[key]["preference"],
         theirs[key]["preference"])
        for key in ours.keys() & theirs.keys()
    ]  # fmt: skip
    return Contest(live, candidate, sorted(rows))


@dataclass
class LookedUp:
    """The stand-in judge: it knows what the real one preferred."""

    known: dict[tuple[str, str], float] = field(default_factory=dict)
    asked: int = 0

    def learn(self, one: Contest) -> None:
        """Know the answers of two models."""
        self.known.clear()
        for _, asked, live, candidate, ours, theirs in one.rows:
            self.known[key_of(f"user: {asked}"), key_of(live)] = ours
            self.known[key_of(f"user: {asked}"), key_of(candidate)] = theirs

    async def handle(self, request: web.Request) -> web.Response:
        """One question."""
        self.asked += 1
        body = await request.json()
        asked, first, second = PART.findall(body["messages"][1]["content"])
        ahead = sign(self.known[key_of(asked), key_of(first)] - self.known[key_of(asked), key_of(second)])
        said = {"reason": "looked up", "verdict": {1: "first", 0: "tie", -1: "second"}[ahead]}
        message = {"role": "assistant", "content": orjson.dumps(said).decode()}
        usage = {"prompt_tokens": len(str(body)) // 4, "completion_tokens": 20}
        return web.json_response({"choices": [{"message": message}], "usage": usage})


def key_of(text: str) -> str:
    """A text by its two ends: of a long one the judge is not shown the middle."""
    clean = text.strip().encode("utf-8", "replace").decode()
    return f"{clean[:2000]}\0{clean[-2000:]}"


def said(text: str) -> Outcome:
    message = {"role": "assistant", "content": text}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    body = orjson.dumps({"object": "chat.completion", "choices": [choice]})
    return Outcome(200, head=ANSWER, body=body, seconds=0.1, first=0.1)


def record(path: Path, one: Contest, order: int) -> None:
    """The recording of a contest in one of its random orders; a request a second."""
    rows = list(one.rows)
    random.Random(f"{order} {one.live} {one.candidate}").shuffle(rows)
    lines = [header_line("chat/v2", "none")]
    for number, (name, asked, live, candidate, *_) in enumerate(rows):
        body = orjson.dumps({"model": "m", "messages": [{"role": "user", "content": asked}]})
        pair = Pair("t", 0, "w", number, name, float(number), Arm.LIVE, HEAD, body, said(live), said(candidate))
        lines.append(line_of(Recorded(pair, number)))
    path.write_bytes(b"".join(lines))


def config(path: Path, judge: str, guards: dict[str, Any]) -> None:
    read_as = {"protocol": "openai", "output": "text", "kind": "text"}
    predictions = {
        "quality": {**read_as, "judge": "looked-up"},
        "refusal": {"protocol": "openai", "output": "refusal", "kind": "label"},
    }
    rollout = {"candidate": "v2", "shadow": "100%", "guards": {**guards, "max_response_mismatch": "off"}}
    judges = {"looked-up": {"url": judge, "model": "looked-up", "share": "100%", "concurrency": 16, "proxy": "off"}}
    if "min_win_rate" not in str(guards):
        del predictions["quality"]["judge"]
    tree = {
        "upstreams": {"v1": {"url": "http://127.0.0.1:1"}, "v2": {"url": "http://127.0.0.1:2"}},
        "judges": judges,
        "routes": [{"name": "chat", "live": "v1", "predictions": predictions, "rollouts": [rollout]}],
    }
    path.write_text(yaml.safe_dump(tree))


async def judged(folder: Path, judge: str, guards: dict[str, Any]) -> dict[str, Any]:
    """What `understudy judge` says of the recording in a folder."""
    config(folder / "u.yaml", judge, guards)
    return await report_of(folder)


async def report_of(folder: Path) -> dict[str, Any]:
    """The report on `pairs.jsonl` by the configuration `u.yaml`, both in a folder."""
    command = (sys.executable, "-m", "proxy", "judge", "pairs.jsonl", "-c", "u.yaml", "--json", "--verdicts", "v.jsonl")
    process = await asyncio.create_subprocess_exec(
        *command, cwd=folder, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
    )  # fmt: skip
    out, _ = await process.communicate()
    report: dict[str, Any] = json.loads(out)
    return report


def in_a_cell(reports: list[dict[str, Any]]) -> str:
    """How the orders came out: `fail 200 (5)` is five orders that failed, at the median look of the 200th pair."""
    cells = []
    for word, key in (("fail", "failed_at"), ("pass", "passed_at")):
        at = sorted(one[key] for one in reports if one["verdict"] == word)
        if at:
            cells.append(f"{word} {at[len(at) // 2]} ({len(at)})")
    still = sum(one["verdict"] == "inconclusive" for one in reports)
    return ", ".join([*cells, *([f"open ({still})"] if still else [])])


async def main() -> None:
    """All contests in so many orders."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--orders", type=int, default=5)
    arguments = parser.parse_args()
    judge, app = LookedUp(), web.Application(client_max_size=1 << 24)
    app.router.add_post("/v1/chat/completions", judge.handle)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    print(f"| live → candidate | win rate over all | {' | '.join(GUARDS)} |\n|---|---|{'---|' * len(GUARDS)}")
    for live, candidate in CONTESTS:
        one = contest(arguments.folder, live, candidate)
        judge.learn(one)
        print(await row(one, url, arguments.orders), flush=True)
    await runner.cleanup()
    print(f"\n{judge.asked:,} questions were asked; each verdict once, whatever the order and the limit.")


async def row(one: Contest, url: str, orders: int) -> str:
    """The line of one contest."""
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in GUARDS}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        for order in range(orders):
            record(folder / "pairs.jsonl", one, order)
            for name, guards in GUARDS.items():
                found[name].append(await judged(folder, url, guards))
    values = one.values
    rate, ties = 100 * sum(values) / len(values), 100 * sum(value == 0.5 for value in values) / len(values)
    cells = " | ".join(in_a_cell(reports) for reports in found.values())
    return f"| {one.live} → {one.candidate} | {rate:.1f} % ({ties:.0f} % ties) | {cells} |"


if __name__ == "__main__":
    asyncio.run(main())
