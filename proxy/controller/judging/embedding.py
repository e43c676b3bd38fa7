"""How alike two answers are by the embeddings of a model: texts of many pairs in one request, each text once.

An `EmbeddingAsker` stands where a `JudgeAsker` does: `JudgeQueue` bounds what waits, `RolloutJudging` gives what comes
to the evidence in request order. Texts that come within `GATHER`, or while all requests are under way, go in one
request of at most `BATCH`; the last vectors are kept in memory.

Invariants
- A text that the model does not take (too long, empty, no vector for it) costs its own pairs and no others: what may be
  one text's fault is asked again in halves, within the same deadline. A model that takes none is asked three times.
- Vectors of two lengths are two models' (behind one address): such a pair says nothing, least of all that it differs.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Final

import orjson

from proxy.config.similarity import EmbedderConfig
from proxy.controller.judging.asker import Asks, JudgeAsker
from proxy.controller.judging.client import TRY_AGAIN, JudgeClient
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
DIVIDED: Final = frozenset({400, 413, 422, 500})
"""Statuses for which one text may be to blame, or their number (400 to 422). 500: also what an engine fails at."""

_Embedded = Vector | NotJudged
_TEXT, _NUMBER = "text", "number"


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
        super().__init__(name, config, secret, client or _client(config), clock)
        self._model = config.model
        self._most = BATCH
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
        """How alike the two texts are; never raises. Blank ones have no embedding: alike, and unlike others."""
        texts: list[str] = orjson.loads(body)
        blank = [not text.strip() for text in texts]
        if any(blank):
            may = await self.without_asking()
            return may if may.why is not None else Judgment(value=1.0 if all(blank) else 0.0)
        said = self._compared([await one for one in [self._wish(text) for text in texts]])
        self._count(said)
        return said

    def _compared(self, found: list[_Embedded]) -> Judgment:
        for one in found:
            if isinstance(one, NotJudged):
                return Judgment(why=one)
        one, other = (vector for vector in found if not isinstance(vector, NotJudged))
        if one.shape != other.shape:
            return Judgment(why=NotJudged.NOT_A_VERDICT)
        return Judgment(value=similarity_of(one, other))

    def _wish(self, text: str) -> Awaitable[_Embedded]:
        """The vector of a text, which is asked for at once where it is not known."""
        key, future = _key(text), asyncio.get_running_loop().create_future()
        if self.fate is None and (vector := self._vectors.get(key)) is not None:
            self._vectors.move_to_end(key)
            self.stats.cache_hits += 1
            future.set_result(vector)
            return future
        if (asked := self._asked.get(key)) is None:
            asked = self._asked[key] = future
            self._want(key, text, future)
        return asyncio.shield(asked)

    def _want(self, key: bytes, text: str, future: asyncio.Future[_Embedded]) -> None:
        self._wanted[key] = (text, future)
        if len(self._wanted) == 1:
            asyncio.get_running_loop().call_later(GATHER, self._send)
        elif len(self._wanted) % BATCH == 0:
            self._send()

    def _send(self) -> None:
        if not self._wanted:
            return
        task = asyncio.ensure_future(self._post())
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)

    async def _post(self) -> None:
        """One request, of what is wanted when its turn has come."""
        async with self._turn:
            batch = {key: self._wanted.pop(key) for key in list(self._wanted)[: self._most]}
            self._send()  # what is left
            if batch:
                await self._fetch(batch)

    async def _fetch(self, batch: dict[bytes, tuple[str, asyncio.Future[_Embedded]]]) -> None:
        """Ask for a batch; whatever comes of it, everybody who waits is told."""
        found: list[_Embedded] = [NotJudged.STOPPED] * len(batch)
        try:
            found = await self._each([text for text, _ in batch.values()], time.monotonic() + self.config.timeout)
        finally:
            for (key, (_, future)), vector in zip(batch.items(), found, strict=True):
                if not isinstance(vector, NotJudged):
                    self._keep(key, vector)
                self._asked.pop(key, None)
                if not future.done():
                    future.set_result(vector)

    def _keep(self, key: bytes, vector: Vector) -> None:
        self._vectors[key] = vector
        while len(self._vectors) > MOST_VECTORS:
            self._vectors.popitem(last=False)

    async def _each(self, texts: list[str], until: float, *, halved: bool = False) -> list[_Embedded]:
        """What comes for each text, in halves where not all are taken together."""
        found, divided = await self._together(texts, until)
        if not divided or len(texts) == 1 or not (halved or await self._takes_one(texts, until)):
            return found
        half = len(texts) // 2
        first = await self._each(texts[:half], until, halved=True)
        found = first + await self._each(texts[half:], until, halved=True)
        if divided == _NUMBER and not any(isinstance(one, NotJudged) for one in found):
            self._most = min(self._most, half)  # it was their number
        return found

    async def _takes_one(self, texts: list[str], until: float) -> bool:
        """Whether it takes the first of them by itself, or the last."""
        for text in (texts[0], texts[-1]):
            (found,), _ = await self._together([text], until)
            if not isinstance(found, NotJudged):
                return True
        return False

    async def _together(self, texts: list[str], until: float) -> tuple[list[_Embedded], str]:
        """What comes of one request for these, and what may be to blame: a text, their number, or neither ("")."""
        body, began = orjson.dumps({"model": self._model, "input": texts, "encoding_format": "float"}), time.monotonic()
        reply = await self._client.ask(body, until - began)
        seconds = time.monotonic() - began
        if reply.why is not None:
            return [reply.why] * len(texts), _NUMBER if reply.why is NotJudged.TOO_LARGE else ""
        if reply.status != 200:
            blamed = "" if reply.status not in DIVIDED else _TEXT if reply.status >= 500 else _NUMBER
            return [NotJudged.STATUS] * len(texts), blamed
        self.stats.took(seconds)
        if self.config.price is not None:
            self.stats.cost += self.config.price.price.of(TokenUsage(int(len(body) / BYTES_PER_TOKEN)), seconds)
        vectors = await asyncio.to_thread(read_embeddings, reply.body, len(texts))
        return ([NotJudged.NOT_A_VERDICT] * len(texts), _TEXT) if vectors is None else ([*vectors], "")

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


def _client(config: EmbedderConfig) -> JudgeClient:
    """One that does not ask again with the same texts where fewer may help."""
    return JudgeClient(config, most=MAX_EMBEDDINGS, again=TRY_AGAIN - DIVIDED)


def _key(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=16).digest()
