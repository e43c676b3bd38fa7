"""Promise: the similarity of two answers is the cosine of their embeddings, asked for in batches, each text once, and
late like a verdict; a model that is down or answers nonsense costs pairs, which are counted, and nothing else."""

from __future__ import annotations

import asyncio
import math
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
import yaml
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from proxy.cli.asking import judge_trials_with
from proxy.config import parse
from proxy.config.judges import JudgeConfig
from proxy.config.similarity import EmbedderConfig, SimilarityConfig
from proxy.config.words import describe
from proxy.controller.judging.embedding import BATCH, EmbeddingAsker
from proxy.judges.cosine import read_embeddings, similarity_of
from proxy.judges.verdict import Judgment, NotJudged
from proxy.model import Verdict
from tests.cli.test_asking import recorded
from tests.config.files import mistakes
from tests.e2e.harness import running, served
from tests.e2e.test_judges import Clients, chat

WIDTH = 64
TEXT = """
upstreams:
  v1: {url: http://127.0.0.1:1}
  v2: {url: http://127.0.0.1:2}
  embedder: {url: URL, headers: {set: {authorization: "Bearer sk-embed-0123456789"}}, price: {input: 1000}}
routes:
  - name: chat
    live: v1
    predictions:
      alike: {protocol: openai, output: text, kind: text, similarity: {upstream: embedder, model: small}}
    rollouts: [{candidate: v2, shadow: 100%, on_pass: hold, latency_block: 0s, guards: {alike: {min_similarity: 0.8}}}]
"""


def embed(text: str) -> list[float]:
    """Hashed words: texts with the same words are alike, others are not."""
    vector = [0.0] * WIDTH
    for word in text.split() or [""]:
        vector[zlib.crc32(word.encode()) % WIDTH] += 1.0
    return vector


def cosine(one: str, other: str) -> float:
    a, b = embed(one), embed(other)
    return sum(x * y for x, y in zip(a, b, strict=True)) / math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))


@dataclass
class StandInEmbedder:
    """An OpenAI-compatible model of embeddings; `mood` `nonsense` leaves one vector out, `busy` answers 401."""

    mood: str = ""
    batches: list[list[str]] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)

    async def handle(self, request: web.Request) -> web.Response:
        """One request."""
        texts = (await request.json())["input"]
        self.batches.append(texts)
        self.keys.append(request.headers.get("authorization", ""))
        if self.mood == "busy":
            return web.json_response({"error": "sk-embed-0123456789"}, status=401)
        data = [{"index": n, "embedding": embed(text)} for n, text in enumerate(texts)]
        return web.json_response({"data": data[1:] if self.mood == "nonsense" else data[::-1]})

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[str]:
        """Where it listens."""
        app = web.Application(client_max_size=1 << 24)
        app.router.add_post("/v1/embeddings", self.handle)
        async with served(app) as url:
            yield url


@asynccontextmanager
async def asking(embedder: StandInEmbedder, **more: Any) -> AsyncIterator[EmbeddingAsker]:
    async with embedder.listening() as url:
        config = parse(TEXT.replace("URL", url), environ={})
        rule = SimilarityConfig.model_validate({"upstream": "embedder", "model": "small", **more})
        asker = EmbeddingAsker(rule.asker, EmbedderConfig.of(rule, config.upstreams["embedder"]), "secret")
        try:
            yield asker
        finally:
            await asker.close()


async def likeness(asker: EmbeddingAsker, one: str, other: str) -> Judgment:
    return await asker.ask(asker.question("asked", one, other).body)


async def test_it_is_the_cosine_of_what_the_model_says() -> None:
    embedder = StandInEmbedder()
    async with asking(embedder) as asker:
        found = await likeness(asker, "a red house", "a blue house")
        assert found.value == pytest.approx(cosine("a red house", "a blue house"), abs=1e-6)
        assert (await likeness(asker, "x", "x")).value == pytest.approx(1.0)
    assert embedder.keys[0] == "Bearer sk-embed-0123456789"


async def test_many_pairs_are_one_request_and_no_text_is_sent_twice() -> None:
    embedder = StandInEmbedder()
    async with asking(embedder) as asker:
        found = await asyncio.gather(*(likeness(asker, f"text {n}", "the same") for n in range(100)))
        assert all(one.value is not None for one in found)
        texts = [text for batch in embedder.batches for text in batch]
        assert len(texts) == len(set(texts)) == 101
        assert max(map(len, embedder.batches)) <= BATCH
        assert len(embedder.batches) <= 3
        await likeness(asker, "text 1", "text 2")
        assert len([text for batch in embedder.batches for text in batch]) == 101
        assert asker.stats.cost > 0


@pytest.mark.parametrize(("mood", "why"), [("busy", NotJudged.STATUS), ("nonsense", NotJudged.NOT_A_VERDICT)])
async def test_what_goes_wrong_is_a_pair_that_says_nothing(mood: str, why: NotJudged) -> None:
    embedder = StandInEmbedder(mood)
    async with asking(embedder) as asker:
        assert await likeness(asker, "one", "two") == Judgment(why=why)
        assert asker.stats.not_judged == {why: 1}
        embedder.mood = ""
        assert (await likeness(asker, "one", "two")).value is not None
        assert "sk-embed" not in repr((asker.dump(), asker.stats, asker.config))


async def test_the_end_tells_everybody_who_waits() -> None:
    embedder = StandInEmbedder()
    async with asking(embedder) as asker:
        waiting = asyncio.ensure_future(likeness(asker, "one", "two"))
        await asyncio.sleep(0)
        await asker.close()
        assert (await asyncio.wait_for(waiting, 20)).why is NotJudged.STOPPED


@given(st.binary(max_size=40), st.integers(1, 3))
def test_no_answer_raises(body: bytes, count: int) -> None:
    assert read_embeddings(body, count) is None


@given(st.lists(st.floats(-1e30, 1e30), min_size=1, max_size=5), st.lists(st.floats(-1, 1), max_size=5))
def test_a_similarity_is_between_0_and_1(one: list[float], other: list[float]) -> None:
    found = similarity_of(np.array(one, np.float32), np.array(other, np.float32))
    assert 0.0 <= found <= 1.0
    for broken in ([None], ["a"], [[1.0]], [float("nan")], [0.0, 0.0], {}):
        entries = {"data": [{"index": 0, "embedding": broken}]}
        assert read_embeddings(orjson.dumps(entries), 1) is None


@pytest.mark.parametrize(
    ("other", "verdict"), [("the same words in another order", Verdict.PASS), ("nothing like it", Verdict.FAIL)]
)
async def test_a_recording_is_judged_by_it(other: str, verdict: Verdict) -> None:
    """Words in common would be the same for both orders; what counts is what the model says."""
    pairs = [recorded(n, f"order another in words same the {n}", f"{other} {n}") for n in range(400)]
    embedder = StandInEmbedder()
    async with embedder.listening() as url:
        config = parse(TEXT.replace("URL", url), environ={})
        plan = config.plans["chat/v2"]
        trials, (summary,) = await judge_trials_with(config, plan, pairs, None)
    finding = trials["t"].assessment.findings[0]
    assert (finding.guard, finding.verdict) == ("min_similarity", verdict)
    assert finding.value == pytest.approx(
        np.mean([cosine(f"order another in words same the {n}", f"{other} {n}") for n in range(400)]), abs=0.02
    )
    assert summary["judge"] == "similarity:embedder/small"


def test_mistakes_and_words_of_the_file() -> None:
    text = TEXT.replace("URL", "http://127.0.0.1:3")
    assert "`alike.min_similarity` is the cosine of embeddings by small of embedder" in " ".join(
        describe(parse(text, environ={})).split()
    )
    assert "embedder is not used" not in describe(parse(text, environ={}))
    here = "routes[0].predictions.alike.similarity"
    for old, new, path, said in (
        ("upstream: embedder", "upstream: embeder", f"{here}.upstream", "did you mean `embedder`?"),
        ("kind: text", "kind: label", here, "of kind `label`"),
        ("model: small", "model: small, timeout: 0s", f"{here}.timeout", "more than 0"),
    ):
        found = mistakes(text.replace(old, new))
        assert said in found[path], (new, found)
    other = parse(text.replace("model: small", "model: large"), environ={}).plans["chat/v2"].trial
    assert other != parse(text, environ={}).plans["chat/v2"].trial
    assert isinstance(parse(text, environ={}).asked["similarity:embedder/small"], JudgeConfig)


@pytest.mark.slow
async def test_a_whole_proxy_rolls_back_what_says_something_else(tmp_path: Path) -> None:
    embedder = StandInEmbedder()
    async with (
        chat("live", lambda _: 3) as live,
        chat("candidate", lambda _: 9) as candidate,
        embedder.listening() as url,
    ):
        tree = yaml.safe_load(TEXT.replace("URL", url))
        tree["upstreams"]["v1"]["url"], tree["upstreams"]["v2"]["url"] = live, candidate
        async with running(tmp_path, tree) as understudy:
            clients = Clients(understudy.data_url)
            async with clients.asking():
                ended = await understudy.until("chat/v2", lambda now: now["state"] == "rolled_back", 60)
            metrics = await understudy.metrics()
    assert clients.wrong == 0
    assert ended["reason"].startswith("alike: similarity now ")
    assert ended["similarities"][0]["compared"] > 0
    assert 'understudy_embedded_pairs_total{aspect="alike",rollout="chat/v2"}' in metrics
    assert "sk-embed" not in understudy.output + metrics + repr(ended)
