"""How much of each prompt do engines find in their prefix caches, with and without `balance: {hash: prefix}`?

    python -m loadtests.prefix_cache [--conversations 160] [--at-once 16]

Two arms of `ENGINES` engines, live and a candidate that gets a copy of every request. An engine keeps the blocks of the
prompts that it has seen, the least recently used ones leave, and a block that is not there costs `PER_BLOCK` seconds.
Conversations of `TURNS` turns run at once, each of them one after the other as clients do: every turn repeats all that
was said. Shown for both rules and each arm: the share of blocks that were found, and the median time of an answer in
the engine. What clients see depends on how busy the machine is: clients and engines share one process.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import tempfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from tests.e2e.harness import running

ENGINES = 4
TURNS = 6
BLOCK = 64
"""Characters of a prompt that are kept or lost together."""
KEPT = 1_500
"""Blocks that one engine keeps: about a quarter of what the conversations that run at once need in all."""
PER_BLOCK, BASE = 0.0004, 0.004
RULES: dict[str, Any] = {"least_loaded": "least_loaded", "hash: prefix": {"hash": "prefix"}}


class Engine:
    """An OpenAI-like server with a prefix cache."""

    def __init__(self) -> None:
        self.found = self.blocks = 0
        self.seconds: list[float] = []
        self._kept: OrderedDict[int, None] = OrderedDict()
        self.url = ""

    async def start(self) -> Engine:
        app = web.Application()
        app.router.add_post("/v1/chat/completions", self._answer)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def stop(self) -> None:
        await self._runner.cleanup()

    async def _answer(self, request: web.Request) -> web.Response:
        asked = await request.json()
        prompt = "\n".join(f"{message['role']}: {message['content']}" for message in asked["messages"])
        missing = self._look(prompt)
        seconds = BASE + PER_BLOCK * missing
        self.seconds.append(seconds)
        await asyncio.sleep(seconds)
        message = {"role": "assistant", "content": f"{len(prompt)} " + "so it is. " * 40}
        return web.json_response({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]})

    def _look(self, prompt: str) -> int:
        """Blocks from the first one on that is not kept; all of them are kept now."""
        chain, missing, broken = 0, 0, False
        for at in range(0, len(prompt) - BLOCK + 1, BLOCK):
            chain = hash((chain, prompt[at : at + BLOCK]))
            broken = broken or chain not in self._kept
            missing += broken
            self.blocks += 1
            self._kept[chain] = None
            self._kept.move_to_end(chain)
        self.found = self.found + (len(prompt) // BLOCK - missing)
        while len(self._kept) > KEPT:
            self._kept.popitem(last=False)
        return missing


async def converse(session: aiohttp.ClientSession, url: str, number: int) -> None:
    """One conversation, turn by turn."""
    words = random.Random(number)
    rules = f"You are the assistant of tenant {number % 5}. " + "Be brief, be kind, be right. " * 25
    messages = [{"role": "system", "content": rules}]
    for _ in range(TURNS):
        text = " ".join(str(words.randrange(10**6)) for _ in range(80))
        messages.append({"role": "user", "content": text})
        async with session.post(url, json={"model": "m", "messages": messages}) as answer:
            assert answer.status == 200, await answer.text()
            said = json.loads(await answer.read())["choices"][0]["message"]
        messages.append(said)


async def measure(rule: Any, conversations: int, at_once: int) -> tuple[list[float], dict[str, float]]:
    """Hit rates of live and candidate, and medians of what their engines took, seconds."""
    arms = {arm: [await Engine().start() for _ in range(ENGINES)] for arm in ("live", "candidate")}
    upstreams = {arm: {"urls": [one.url for one in engines], "balance": rule} for arm, engines in arms.items()}
    rollout = {
        "candidate": "candidate",
        "stages": [{"shadow": "100%", "min_time": "1h"}],
        "guards": {"max_extra_errors": "5%"},
    }
    config = {"upstreams": upstreams, "routes": [{"name": "chat", "live": "live", "rollouts": [rollout]}]}
    waiting = iter(range(conversations))
    with tempfile.TemporaryDirectory() as folder:
        async with running(Path(folder), config) as understudy, aiohttp.ClientSession() as session:

            async def client() -> None:
                for number in waiting:
                    await converse(session, f"{understudy.data_url}/v1/chat/completions", number)

            await asyncio.gather(*(client() for _ in range(at_once)))
            await asyncio.sleep(1.0)  # the last copies
    rates = [sum(e.found for e in engines) / sum(e.blocks for e in engines) for engines in arms.values()]
    took = {arm: statistics.median(s for e in engines for s in e.seconds) for arm, engines in arms.items()}
    for engine in (engine for engines in arms.values() for engine in engines):
        await engine.stop()
    return rates, took


async def main(conversations: int, at_once: int) -> None:
    """Both rules, one after the other."""
    print(f"{conversations} conversations of {TURNS} turns, {at_once} at once, {ENGINES} engines an arm, two workers")
    print("| balance | found, live | found, candidate's copies | engine, live | engine, candidate |")
    print("|---|---|---|---|---|")
    for name, rule in RULES.items():
        rates, took = await measure(rule, conversations, at_once)
        shown = [f"{rate:.0%}" for rate in rates] + [f"{1000 * s:.1f} ms" for s in took.values()]
        print(f"| `{name}` | {' | '.join(shown)} |")


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--conversations", type=int, default=160)
    options.add_argument("--at-once", type=int, default=16)
    given = options.parse_args()
    asyncio.run(main(given.conversations, given.at_once))
