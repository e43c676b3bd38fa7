"""A fake worker: both links over real sockets, pairs made by hand. It shows what it was told and when."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson

from proxy.model import Arm, Lane, Outcome, Pair, Table
from proxy.pairs import link
from proxy.pairs.channel import Channel
from proxy.pairs.link import Frame

HEAD = b"POST /v2/models/m/infer HTTP/1.1\r\nhost: x\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n"
DEADLINE = 10.0


def answer(label: object) -> Outcome:
    body = orjson.dumps(
        {"model_name": "m", "outputs": [{"name": "y", "datatype": "INT64", "shape": [1], "data": [label]}]}
    )
    return Outcome(200, head=OK, body=body, seconds=0.01, first=0.01)


class FakeWorker:
    """One worker process, as far as the controller can tell. `acks=False` keeps quiet about tables."""

    def __init__(self, runtime: Path, slot: int = 0, name: str = "w0", pid: int = 1, *, acks: bool = True) -> None:
        self.runtime, self.slot, self.name, self.pid, self.acks = runtime, slot, name, pid, acks
        self.first_body = 0  # what the body of its first request says
        self.tables: list[Table] = []
        self.table, self.lost = Table(0), False
        self.counted: dict[str, dict[str, int]] = {}
        self.ready: dict[str, bool] = {}
        self._sequence: dict[str, int] = {}
        self._index: dict[str, int] = {}
        self._changed, self._closed = asyncio.Event(), asyncio.Event()
        self._pairs = Channel(lambda *_: None)
        self._tables = Channel(self._heard)

    async def connect(self) -> FakeWorker:
        loop = asyncio.get_running_loop()
        self._closed.clear()
        self._pairs, self._index = Channel(lambda *_: None, self._lost), {}
        self._tables = Channel(self._heard, self._lost)
        await loop.create_unix_connection(lambda: self._pairs, str(self.runtime / "pairs.sock"))
        await loop.create_unix_connection(lambda: self._tables, str(self.runtime / "tables.sock"))
        hello: dict[str, Any] = {"slot": self.slot, "pid": self.pid, "worker": self.name}
        hello |= {"table": self.table, "lost": self.lost}
        for channel in (self._pairs, self._tables):
            channel.send(link.note(Frame.HELLO, hello))
        return self

    @property
    def waiting(self) -> int:
        """Bytes that the kernel has not taken of the link for pairs."""
        return self._pairs.waiting

    def say(self, frames: bytes) -> None:
        """Send these on the link for pairs."""
        self._pairs.send(frames)

    def sequence(self, trial: str) -> int:
        """How many requests of a trial have been sampled."""
        return self._sequence.get(trial, 0)

    async def ended(self) -> None:
        """Wait until both links are closed by the other end."""
        async with asyncio.timeout(DEADLINE):
            await self._closed.wait()

    def _lost(self, _: Channel) -> None:
        if self._pairs.ended and self._tables.ended:
            self._closed.set()

    def disconnect(self) -> None:
        self._pairs.close()
        self._tables.close()

    def _heard(self, channel: Channel, kind: Frame, payload: bytes) -> None:
        if kind is Frame.ALIVE:
            return
        assert kind is Frame.TABLE
        self.table, self.lost = link.decode_table(payload), False
        self.tables.append(self.table)
        if self.acks:
            channel.send(link.note(Frame.ACK, {"number": self.table.number, "term": self.table.term}))
        self._changed.set()

    def lane(self, rollout: str) -> Lane | None:
        lanes = self.tables[-1].lanes if self.tables else ()
        return next((lane for lane in lanes if lane.rollout == rollout), None)

    async def until(self, true: Callable[[], object]) -> None:
        """Wait for a table after which `true()` holds."""
        async with asyncio.timeout(DEADLINE):
            while not true():
                self._changed.clear()
                await self._changed.wait()

    async def weight(self, rollout: str, weight: int) -> None:
        await self.until(lambda: (lane := self.lane(rollout)) is not None and lane.weight == weight)

    # --- pairs -------------------------------------------------------------------------------------------------------

    def send(
        self,
        trial: str,
        live: Outcome,
        candidate: Outcome,
        *,
        stage: int = 0,
        served: Arm = Arm.LIVE,
        skip: int = 0,
        slot: bool = False,
    ) -> Pair:
        """Send the next pair of a trial (after `skip` sampled ones that are still under way)."""
        if trial not in self._index:
            self._index[trial] = len(self._index)
            self._pairs.send(link.note(Frame.TRIAL, {"index": self._index[trial], "trial": trial}))
        sequence = self._sequence.get(trial, 0) + skip
        self._sequence[trial] = sequence + 1
        body = orjson.dumps(
            {"inputs": [{"name": "x", "shape": [1], "datatype": "INT64", "data": [self.first_body + sequence]}]}
        )
        name = f"{self.name}-{sequence}"
        pair = Pair(trial, stage, self.name, sequence, name, 1000.0 + sequence, served, HEAD, body, live, candidate)
        pair = pair._replace(latency_slot=slot)
        self._pairs.send(link.encode_pair(pair, self._index[trial]))
        return pair

    def good(self, trial: str, count: int, **more: Any) -> None:
        for n in range(count):
            self.send(trial, answer(n % 3), answer(n % 3), **more)

    def bad(self, trial: str, count: int, **more: Any) -> None:
        for n in range(count):
            self.send(trial, answer(n % 3), answer(n % 3 + 1), **more)

    def mark(self, trial: str) -> None:
        self._pairs.send(link.encode_mark(self._index[trial], self._sequence[trial]))

    def counts(self, trial: str, **ledger: int) -> None:
        sequence = self._sequence.get(trial, 0)
        report = {"sampled": sequence, "sent": sequence, "shed": 0, "too_large": 0, "link_full": 0, **ledger}
        self._pairs.send(
            link.note(
                Frame.COUNTS,
                {"ledger": {trial: report}, "requests": [["r", "l", "served", "200", 7]], "ready": self.ready},
            )
        )
