"""How alike two answers are by the embeddings of a model: texts of many pairs in one request, each text once.

An `EmbeddingAsker` stands where a `JudgeAsker` does: `JudgeQueue` bounds what waits, `RolloutJudging` gives what comes
to the evidence in request order. Texts that come within `GATHER` go in one request of at most `BATCH`; the last vectors
are kept in memory.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

import orjson

from proxy.config.similarity import EmbedderConfig
from proxy.controller.judging.asker import Asks, JudgeAsker
from proxy.controller.judging.client import JudgeClient
from proxy.judges.cosine import MAX_EMBEDDINGS, Vector, read_embeddings, similarity_of
from proxy.judges.question import BYTES_PER_TOKEN, MAX_SHOWN, JudgeQuestion
from proxy.judges.verdict import Judgment, NotJudged
from proxy.model.price import TokenUsage

BATCH: Final = 64
"""Texts of one request."""
GATHER: Final = 0.02
"""Seconds in which texts are gathered for one request."""
MOST_VECTORS: Final = 2000
"""Vectors that are kept, the last ones used: some 12 MB of 1,536 numbers each."""

_Embedded = Vector | NotJudged


class EmbeddingAsker(JudgeAsker):
    """A model that makes embeddings at work."""

    def __init__(
        self,
        name: str,
        config: EmbedderConfig,
        secret: str,
        client: Asks | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(name, config, secret, client or JudgeClient(config, most=MAX_EMBEDDINGS), clock)
        self._model = config.model
        self._turn = asyncio.Semaphore(config.at_once)
        self._vectors: OrderedDict[bytes, Vector] = OrderedDict()
        self._wanted: dict[bytes, tuple[str, asyncio.Future[_Embedded]]] = {}
        self._asked: dict[bytes, asyncio.Future[_Embedded]] = {}
        self._sending: set[asyncio.Task[None]] = set()

    def question(self, request: str, live: str, candidate: str) -> JudgeQuestion:
        """Two texts, of which the request is no part; of a long one the end is left out."""
        texts = [text[:MAX_SHOWN].encode("utf-8", "replace").decode() for text in (live, candidate)]
        return JudgeQuestion(orjson.dumps(texts), candidate_first=True)

    async def ask(self, body: bytes, *, anew: bool = False) -> Judgment:
        """How alike the two texts are; never raises."""
        texts: list[str] = orjson.loads(body)
        found = [await self._embedded(text) for text in self._all_wanted(texts)]
        why = next((one for one in found if isinstance(one, NotJudged)), None)
        if why is not None:
            said = Judgment(why=why)
        else:
            one, other = (vector for vector in found if not isinstance(vector, NotJudged))
            said = Judgment(value=similarity_of(one, other))
        self._count(said)
        return said

    def _all_wanted(self, texts: list[str]) -> list[str]:
        """Ask for all of them before one is waited for."""
        for text in texts:
            key = _key(text)
            if key not in self._vectors and key not in self._asked:
                future: asyncio.Future[_Embedded] = asyncio.get_running_loop().create_future()
                self._asked[key] = future
                self._want(key, text, future)
        return texts

    async def _embedded(self, text: str) -> _Embedded:
        key = _key(text)
        if (vector := self._vectors.get(key)) is not None:
            self._vectors.move_to_end(key)
            self.stats.cache_hits += 1
            return vector
        future = self._asked.get(key)
        return NotJudged.STOPPED if future is None else await asyncio.shield(future)

    def _want(self, key: bytes, text: str, future: asyncio.Future[_Embedded]) -> None:
        self._wanted[key] = (text, future)
        if len(self._wanted) == 1:
            asyncio.get_running_loop().call_later(GATHER, self._send)
        elif len(self._wanted) >= BATCH:
            self._send()

    def _send(self) -> None:
        if not self._wanted:
            return
        batch, self._wanted = self._wanted, {}
        task = asyncio.ensure_future(self._post(batch))
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)

    async def _post(self, batch: dict[bytes, tuple[str, asyncio.Future[_Embedded]]]) -> None:
        """One request; whatever comes of it, everybody who waits is told."""
        found: list[Vector] | NotJudged = NotJudged.STOPPED
        try:
            async with self._turn:
                found = await self._vectors_of([text for text, _ in batch.values()])
        finally:
            for place, (key, (_, future)) in enumerate(batch.items()):
                vector: _Embedded = found if isinstance(found, NotJudged) else found[place]
                if not isinstance(vector, NotJudged):
                    self._keep(key, vector)
                self._asked.pop(key, None)
                if not future.done():
                    future.set_result(vector)

    def _keep(self, key: bytes, vector: Vector) -> None:
        self._vectors[key] = vector
        while len(self._vectors) > MOST_VECTORS:
            self._vectors.popitem(last=False)

    async def _vectors_of(self, texts: list[str]) -> list[Vector] | NotJudged:
        body, began = orjson.dumps({"model": self._model, "input": texts, "encoding_format": "float"}), time.monotonic()
        reply = await self._client.ask(body, self.config.timeout)
        seconds = time.monotonic() - began
        if reply.why is not None:
            return reply.why
        if reply.status != 200:
            return NotJudged.STATUS
        self.stats.took(seconds)
        if self.config.price is not None:
            self.stats.cost += self.config.price.price.of(TokenUsage(int(len(body) / BYTES_PER_TOKEN)), seconds)
        vectors = await asyncio.to_thread(read_embeddings, reply.body, len(texts))
        return NotJudged.NOT_A_VERDICT if vectors is None else vectors

    async def close(self) -> None:
        """Ask for nothing more."""
        for task in list(self._sending):
            task.cancel()
        await asyncio.gather(*self._sending, return_exceptions=True)
        for _, future in self._wanted.values():
            if not future.done():
                future.set_result(NotJudged.STOPPED)
        self._wanted.clear()
        await super().close()


def _key(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=16).digest()
