"""Promise: what is wrong with one text costs its own pairs and no others; a model of embeddings that is broken, slow,
or two models in one, costs pairs, which are counted, and never says that two answers differ."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml
from aiohttp import web

from proxy.controller.judging import embedding
from proxy.controller.judging.embedding import BATCH, EmbeddingAsker
from proxy.judges.cosine import read_embeddings
from proxy.judges.question import MAX_SHOWN
from proxy.judges.verdict import Judgment, NotJudged
from tests.controller.controllers import eventually
from tests.controller.judging.test_embedding import TEXT, StandInEmbedder, asking, cosine, embed, likeness
from tests.e2e.harness import running
from tests.e2e.test_judges import Clients, chat

BAD = "the bad one"


@dataclass
class Faulty(StandInEmbedder):
    """One that answers a text with what `vector` gives, a request with what `first` gives unless that is `None`, and
    none before `free`."""

    vector: Callable[[str], Any] = embed
    first: Callable[[list[str]], web.Response | None] = lambda _: None
    free: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.free.set()

    async def handle(self, request: web.Request) -> web.Response:
        """One request."""
        texts = (await request.json())["input"]
        self.batches.append(texts)
        await self.free.wait()
        entries = [{"index": n, "embedding": self.vector(text)} for n, text in enumerate(texts)]
        return self.first(texts) or web.json_response({"data": entries})


def refusing(status: int) -> Faulty:
    return Faulty(first=lambda texts: web.Response(status=status) if BAD in texts else None)


def saying(vector: Any) -> Faulty:
    return Faulty(vector=lambda text: vector if text == BAD else embed(text))


FAULTS = {
    **{f"status {status}": (refusing(status), NotJudged.STATUS) for status in (400, 413, 422, 500)},
    "null": (saying(None), NotJudged.NOT_A_VERDICT),
    "nan": (saying([float("nan")] * 64), NotJudged.NOT_A_VERDICT),
    "zero": (saying([0.0] * 64), NotJudged.NOT_A_VERDICT),
    "longer": (saying([1.0] * 65), NotJudged.NOT_A_VERDICT),
    "too large": (saying([1e39] * 64), NotJudged.NOT_A_VERDICT),
}


async def wave(asker: EmbeddingAsker, count: int, *, bad: int = -1, name: str = "text") -> list[Judgment]:
    pairs = [(f"{name} {n}", BAD if n == bad else f"{name} is {n}") for n in range(count)]
    return await asyncio.wait_for(asyncio.gather(*(likeness(asker, *pair) for pair in pairs)), 60)


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("place", [0, 17, 31])
async def test_a_text_that_is_not_taken_costs_its_own_pair(fault: str, place: int) -> None:
    embedder, why = FAULTS[fault]
    embedder.batches.clear()
    async with asking(embedder, timeout="60s") as asker:
        found = await wave(asker, 32, bad=place)
        assert asker.stats.not_judged == {why: 1}
        assert found[place] == Judgment(why=why)
        for n, one in enumerate(found):
            assert n == place or one.value == pytest.approx(cosine(f"text {n}", f"text is {n}"), abs=1e-6)
    assert len(embedder.batches) <= 2 + 2 * 6  # by itself first, then in halves


@pytest.mark.parametrize("status", [400, 401, 500])
async def test_a_model_that_takes_nothing_is_not_asked_for_every_half(status: int) -> None:
    embedder = Faulty(first=lambda _: web.Response(status=status))
    async with asking(embedder) as asker:
        found = await wave(asker, 32)
        assert {one.why for one in found} == {NotJudged.STATUS}
        assert asker.stats.not_judged == {NotJudged.STATUS: 32}
        assert asker.down
    assert len(embedder.batches) <= 3


async def test_a_model_that_takes_fewer_texts_is_sent_no_more_of_them() -> None:
    embedder = Faulty(first=lambda texts: web.Response(status=422) if len(texts) > 20 else None)
    async with asking(embedder, concurrency=1) as asker:
        assert all(one.value is not None for one in await wave(asker, 64))
        before = len(embedder.batches)
        assert all(one.value is not None for one in await wave(asker, 64, name="later"))
    assert max(map(len, embedder.batches[:before])) == BATCH
    assert max(map(len, embedder.batches[before:])) <= 20


async def test_a_passing_fault_does_not_make_requests_smaller_for_good() -> None:
    embedder = Faulty(first=lambda texts: web.Response(status=500) if len(embedder.batches) == 1 else None)
    async with asking(embedder) as asker:
        assert all(one.value is not None for one in await wave(asker, 32))
        assert all(one.value is not None for one in await wave(asker, 32, name="later"))
    assert len(embedder.batches[-1]) == BATCH


async def test_vectors_of_two_lengths_say_nothing() -> None:
    """Two models behind one address: nothing of it is the candidate's."""
    embedder = Faulty()
    async with asking(embedder) as asker:
        await likeness(asker, "one", "two")
        embedder.vector = lambda _: [1.0, 2.0]
        assert await likeness(asker, "one", "three") == Judgment(why=NotJudged.NOT_A_VERDICT)
        assert asker.stats.not_judged == {NotJudged.NOT_A_VERDICT: 1}
        assert (await likeness(asker, "three", "four")).value == pytest.approx(1.0)


async def test_blank_texts_are_alike_and_unlike_others_without_asking() -> None:
    embedder = refusing(400)
    async with asking(embedder) as asker:
        assert [(await likeness(asker, *pair)).value for pair in (("", "two"), ("one", " \n"), ("", " "))] == [0, 0, 1]
    assert not embedder.batches


async def test_what_is_known_when_a_pair_comes_is_not_forgotten_before_its_other_text_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(embedding, "MOST_VECTORS", 1)
    async with asking(Faulty()) as asker:
        await likeness(asker, "one", "known")
        assert asker.stats.cache_hits == 0
        assert (await likeness(asker, "new words", "known")).value == pytest.approx(cosine("new words", "known"))
        assert asker.stats.cache_hits == 1


async def test_texts_gather_while_every_request_is_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedding, "GATHER", 0.0)
    embedder = Faulty()
    embedder.free.clear()
    async with asking(embedder, concurrency=1, timeout="60s") as asker:
        waiting = [asyncio.ensure_future(likeness(asker, "one", "two"))]
        await eventually(lambda: len(embedder.batches) == 1)
        for n in range(30):
            waiting.append(asyncio.ensure_future(likeness(asker, f"text {n}", f"text is {n}")))
            for _ in range(5):
                await asyncio.sleep(0)  # what is due now is done
        embedder.free.set()
        assert all(one.value is not None for one in await asyncio.wait_for(asyncio.gather(*waiting), 60))
    assert [len(batch) for batch in embedder.batches] == [2, 60]


async def test_a_busy_model_is_asked_again_in_its_time() -> None:
    headers = {"retry-after": "1"}
    embedder = Faulty(first=lambda _: web.Response(status=429, headers=headers) if len(embedder.batches) < 2 else None)
    async with asking(embedder, timeout="60s") as asker:
        assert (await likeness(asker, "one", "two")).value is not None
        embedder.first, headers["retry-after"] = lambda _: web.Response(status=429, headers=headers), "600"
        assert (await asyncio.wait_for(likeness(asker, "three", "four"), 30)).why is NotJudged.STATUS
    assert len(embedder.batches) == 3


async def test_a_model_that_hangs_costs_the_pairs_of_its_time() -> None:
    embedder = Faulty()
    embedder.free.clear()
    async with asking(embedder, timeout="200ms", concurrency=1) as asker:
        assert {one.why for one in await wave(asker, 64)} == {NotJudged.TIMEOUT}
        assert asker.stats.not_judged == {NotJudged.TIMEOUT: 64}
        embedder.free.set()
    async with asking(embedder, timeout="60s") as asker:
        assert (await likeness(asker, "one", "two")).value is not None


async def test_of_a_long_text_the_beginning_is_sent() -> None:
    embedder = Faulty()
    async with asking(embedder) as asker:
        assert (await likeness(asker, "word " * 200_000, "word")).value == pytest.approx(1.0)
    assert max(map(len, embedder.batches[0])) == MAX_SHOWN


def test_a_number_beyond_float32_is_not_read() -> None:
    body = orjson.dumps({"data": [{"index": 0, "embedding": [1.0, 1e39]}]})
    assert read_embeddings(body, 1) is None


@pytest.mark.slow
async def test_no_client_notices_a_model_that_hangs(tmp_path: Path) -> None:
    embedder = Faulty()
    embedder.free.clear()
    async with (
        chat("live", lambda _: 3) as live,
        chat("candidate", lambda _: 9) as candidate,
        embedder.listening() as url,
    ):
        tree = yaml.safe_load(TEXT.replace("URL", url).replace("model: small", "model: small, timeout: 200ms"))
        tree["upstreams"]["v1"]["url"], tree["upstreams"]["v2"]["url"] = live, candidate
        async with running(tmp_path, tree) as understudy:
            clients = Clients(understudy.data_url)
            async with clients.asking():
                shown = await understudy.until(
                    "chat/v2", lambda now: now["similarities"][0]["not_judged"].get("timeout", 0) > 50, 60
                )
            metrics = await understudy.metrics()
        embedder.free.set()
    assert clients.wrong == 0
    assert (shown["state"], shown["similarities"][0]["compared"]) == ("shadow", 0)
    assert shown["similarities"][0]["down"]
    assert 'reason="timeout"' in metrics
