"""Questions that wait for a judge: bounded in number, in bytes and in time, asked in the order in which they came.

Which pairs there is room for must not depend on what they say: whoever puts questions looks at `has_room` before the
first one of a pair, and then there is room for all of the pair or for none; so the queue may exceed its bytes by the
questions of one pair. A pair whose verdict needs no judge waits for its turn like the others, and shares their fate.

A question is put together only when its turn has come, from the bytes of its pair, so that what waits costs memory and
no time. A question that finds the queue full, or waits for too long, is not judged: no pair waits for a judge.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from proxy import logs
from proxy.controller.judging.asker import JudgeAsker
from proxy.controller.judging.gate import AnchorGate
from proxy.judges.question import JudgeQuestion
from proxy.judges.verdict import Judgment, NotJudged

log = logging.getLogger("understudy.judging")

MAX_WAIT = 300.0
"""Seconds that a question waits for its turn: the evidence of later pairs waits behind it."""
MAX_BYTES = 32 << 20
"""Bytes of requests and answers that wait for one judge, from which on no pair is let in."""


@dataclass(slots=True)
class WaitingQuestion:
    """One that waits: whether somebody still wants to know; what makes it, which gives `None` where there is nothing to
    judge, and is `None` where the verdict is known without asking; whom to tell the verdict, with whether the
    candidate's answer stood first; and how many bytes it keeps."""

    wanted: Callable[[], bool]
    make: Callable[[], JudgeQuestion | None] | None
    tell: Callable[[Judgment, bool], None]
    size: int
    since: float = 0.0


class JudgeQueue:
    """The queue of one judge, and the tasks that ask it."""

    def __init__(self, asker: JudgeAsker, clock: Callable[[], float] = time.monotonic) -> None:
        self.asker = asker
        self.gate = AnchorGate(asker)
        self._clock = clock
        self._waiting: deque[WaitingQuestion] = deque()
        self._bytes = 0
        self._idle = 0
        self._wake = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._closed = False

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def has_room(self) -> bool:
        """Whether another pair may wait, whatever it holds."""
        return len(self._waiting) < self.asker.config.max_waiting and self._bytes < MAX_BYTES

    def put(self, question: WaitingQuestion) -> None:
        """Let a question of a pair for which there was room wait for its turn."""
        if self._closed:
            self._tell_not(question, NotJudged.STOPPED)
            return
        question.since = self._clock()
        self._waiting.append(question)
        self._bytes += question.size
        self._wake.set()
        if len(self._waiting) > self._idle and len(self._tasks) < self.asker.config.concurrency:
            self._tasks.append(asyncio.create_task(self._work()))

    async def _work(self) -> None:
        while not self._closed:
            while not self._waiting:
                self._wake.clear()
                self._idle += 1
                try:
                    await self._wake.wait()
                finally:
                    self._idle -= 1
            await self._one(self._take())

    def _take(self) -> WaitingQuestion:
        question = self._waiting.popleft()
        self._bytes -= question.size
        return question

    async def _one(self, question: WaitingQuestion) -> None:
        """Ask one; whatever happens, it is told."""
        if (wanted := question.wanted()) is False or self._clock() - question.since > MAX_WAIT:
            self._tell_not(question, NotJudged.WAITED if wanted else NotJudged.STOPPED)
            return
        found, first = Judgment(why=NotJudged.STOPPED), False
        try:
            asked = question.make() if question.make is not None else None
            if question.make is None:
                found = await self.asker.without_asking()
            elif asked is None:
                found = self.asker.refuse(NotJudged.UNREADABLE)
            else:
                first = asked.candidate_first
                found = await self.asker.ask(asked.body)
        except Exception:  # a bug with one question must not end the asking, and must not be hidden
            logs.unexpected(log, "controller.judging_broke")
        finally:
            question.tell(found, first)

    def _tell_not(self, question: WaitingQuestion, why: NotJudged) -> None:
        question.tell(self.asker.refuse(why), False)

    def dump(self) -> dict[str, Any]:
        """What the next process goes on with, as JSON values."""
        return {**self.asker.dump(), **self.gate.dump()}

    def load(self, kept: Mapping[str, Any]) -> None:
        """Go on with what `dump` gave; raises `KeyError`, `TypeError` or `ValueError` when it is not that."""
        self.asker.load(kept)
        self.gate.load(kept)

    async def close(self) -> None:
        """Ask nothing more: what waits is not judged, what is under way is given up."""
        self._closed = True
        while self._waiting:
            self._tell_not(self._take(), NotJudged.STOPPED)
        for task in self._tasks:
            task.cancel()
        for task in self._tasks:
            with suppress(asyncio.CancelledError):
                await task
        await self.gate.close()
        await self.asker.close()
