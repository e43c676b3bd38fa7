"""A judge at work: each question is looked up, paid for and asked, once.

Whoever has a question awaits `ask`, which never raises and never takes longer than the judge's `timeout`: `JudgeQueue`
for the controller, a bounded number of tasks for `understudy judge` and `replay`.

Which pairs get no verdict must not depend on what they say, so all of them pass the same gates in the same order, those
that need no judge and those whose verdict is known as well: is there a budget for the largest question there can be;
has the judge answered the last question. Else a judge that is down, or paid for no longer, would leave the verdicts
that cost nothing, which are ties of equal answers, and make any candidate live's equal.
"""

from __future__ import annotations

import asyncio
import logging
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from proxy import logs
from proxy.config.judges import JudgeConfig
from proxy.controller.admin.judge_metrics import JUDGE_BOUNDS
from proxy.controller.judging.client import JudgeClient, JudgeReply
from proxy.judges.budget import JudgeSpending, afford, lacks, settle_spending, spent_now
from proxy.judges.cache import VerdictCache
from proxy.judges.drawing import judge_key
from proxy.judges.largest import LargestCosts, reckoned_cost
from proxy.judges.position import FirstRate
from proxy.judges.question import (
    ANSWER_TOKENS,
    BYTES_PER_TOKEN,
    Asking,
    JudgeQuestion,
    cache_key,
    question_about,
)
from proxy.judges.verdict import Judgment, NotJudged, read_verdict
from proxy.model.price import TokenUsage
from proxy.money import MoneyBudget

log = logging.getLogger("understudy.judging")

DOWN_AFTER = 5
"""Questions in a row without a verdict after which a judge is said not to answer."""
FATE = 300.0
"""Seconds for which a question without a verdict speaks for pairs that need none, when nothing is asked after it."""
KEPT_OVER_RESTARTS, KEPT_REASON = 1000, 200
"""Verdicts, the last ones, that are saved for the next controller, and characters of their reasons."""
MASKED = "…"


class Asks(Protocol):
    """What puts a question to a judge: a `JudgeClient`."""

    async def ask(self, body: bytes, within: float) -> JudgeReply: ...
    async def close(self) -> None: ...


@dataclass(slots=True)
class JudgeStats:
    """What a judge has been asked since this process began. `answered` counts verdicts by winner, `not_judged` the rest
    by reason, `counted` answers that did not say how many tokens they took. `buckets` is a histogram over
    `JUDGE_BOUNDS`, `seconds` the sum of what is in it."""

    answered: Counter[str] = field(default_factory=Counter)
    not_judged: Counter[NotJudged] = field(default_factory=Counter)
    cache_hits: int = 0
    cost: float = 0.0
    counted: int = 0
    buckets: list[int] = field(default_factory=lambda: [0] * (len(JUDGE_BOUNDS) + 1))
    seconds: float = 0.0
    failing: int = 0  # questions in a row without a verdict
    last_why: str = ""

    def took(self, seconds: float) -> None:
        """An answer came after so long."""
        self.buckets[bisect_left(JUDGE_BOUNDS, seconds)] += 1
        self.seconds += seconds


class JudgeAsker:
    """One judge of the configuration, `name`, with its cache, its budget and what it has said. `secret` keys what is
    drawn for it."""

    def __init__(
        self,
        name: str,
        config: JudgeConfig,
        secret: str,
        client: Asks | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.name, self.config = name, config
        self.key = judge_key(secret, name)
        self.asking = Asking(self.key, config.model, config.rubric_text, tuple(config.set_json.items()))
        self.cache = VerdictCache()
        self.stats = JudgeStats()
        self.first = FirstRate()
        self.spending = JudgeSpending()
        self._clock = clock
        self._largest = largest_costs(config, self.asking)
        self._failed: tuple[NotJudged, float] | None = None  # why the last question had no verdict, and when
        self.paying = asyncio.Lock()  # held by who waits for what is under way to leave enough for it
        self._settled = asyncio.Event()  # that what is under way now costs less than was reserved for it
        self._spent_in = -1  # the period of which it was said that its budget is spent
        self._client = client or JudgeClient(config)
        self._under_way: dict[bytes, asyncio.Future[Judgment]] = {}

    # --- questions ---------------------------------------------------------------------------------------------------

    def question(self, request: str, live: str, candidate: str) -> JudgeQuestion:
        """The question about a pair of answers."""
        return question_about(self.asking, request, live, candidate)

    async def ask(self, body: bytes, *, anew: bool = False) -> Judgment:
        """The judge's verdict on a question; never raises. An anchor's is asked for `anew`, although it may be known,
        and neither kept nor counted as one on a pair."""
        key, reserved = cache_key(self.config.endpoint, body), await self._reserve(anchor=anew)
        if isinstance(reserved, NotJudged):
            return self.refuse(reserved)
        if not anew:
            if self.fate is None and (known := self.cache.get(key)) is not None:
                self._release(reserved)
                self.stats.cache_hits += 1
                return Judgment(*known)
            if (same := self._under_way.get(key)) is not None:
                self._release(reserved)
                return await asyncio.shield(same)
        asked = self._paid(body, reserved, anchor=anew)
        found = await asked if anew else await self._known_to_be_asked(key, asked)
        if found.winner and not anew:
            self.first = self.first.add(found.winner)
            self.cache.put(key, found.winner, found.reason)
        self._count(found)
        return found

    async def _known_to_be_asked(self, key: bytes, asked: Awaitable[Judgment]) -> Judgment:
        """Ask, while whoever has the same question waits for the answer."""
        answer = asyncio.get_running_loop().create_future()
        self._under_way[key] = answer
        found = Judgment(why=NotJudged.STOPPED)
        try:
            found = await asked
        finally:
            del self._under_way[key]
            answer.set_result(found)
        return found

    def refuse(self, why: NotJudged) -> Judgment:
        """A question that is not asked, counted."""
        found = Judgment(why=why)
        if why is NotJudged.BUDGET:
            self._count(found)
        else:
            self.stats.not_judged[why] += 1
        return found

    async def without_asking(self) -> Judgment:
        """Whether a pair whose verdict needs no judge may count now: without `why` it may. It shares what befalls pairs
        that are asked about, the wait for what is under way included."""
        reserved = await self._reserve(anchor=False)
        if not isinstance(reserved, NotJudged):
            self._release(reserved)
        why = reserved if isinstance(reserved, NotJudged) else self.fate
        return Judgment() if why is None else self.refuse(why)

    def recall(self, key: bytes) -> Judgment | None:
        """The verdict that is known of a question and was paid for before; `None` where there is none."""
        known = self.cache.get(key)
        if known is None:
            return None
        self.stats.cache_hits += 1
        self._failed = None
        return Judgment(*known)

    @property
    def fate(self) -> NotJudged | None:
        """Why the last question had no verdict; `None` when it had one, or that was long ago."""
        failed = self._failed
        return failed[0] if failed is not None and time.monotonic() - failed[1] < FATE else None

    @property
    def has_budget(self) -> bool:
        """Whether the largest question there can be may still be asked in this period, and a round of anchors after
        it: without one, verdicts that are paid for cannot count."""
        limit, now = self.config.max_cost, self._clock()
        if limit is None or self._largest is None:
            return True
        return not lacks(self.spending, limit, self._largest.wanted(now, anchor=False), now)

    async def _reserve(self, *, anchor: bool) -> float | NotJudged:
        """Set aside what the largest question costs, as soon as what is under way leaves so much, first come, first
        served."""
        if self.config.max_cost is None or self._largest is None:
            return 0.0
        try:
            async with asyncio.timeout(self.config.timeout), self.paying:
                while (found := self._set_aside(self.config.max_cost, self._largest, anchor=anchor)) is None:
                    await self._settled.wait()
                return found
        except TimeoutError:
            return NotJudged.WAITED

    def _set_aside(self, limit: MoneyBudget, largest: LargestCosts, *, anchor: bool) -> float | NotJudged | None:
        """What was set aside; `None` as long as what is under way needs it."""
        now = self._clock()
        cost, wanted = largest.cost(now, anchor=anchor), largest.wanted(now, anchor=anchor)
        if lacks(self.spending, limit, wanted, now):
            return NotJudged.BUDGET
        if afford(self.spending, limit, wanted, now) is None:
            return None
        self.spending = self.spending._replace(reserved=self.spending.reserved + cost)
        return cost

    async def _paid(self, body: bytes, reserved: float, *, anchor: bool) -> Judgment:
        """Ask; of what was reserved, what it has cost is spent."""
        price = self.config.price
        cost, began = reckoned_cost(price.price, len(body)) if price is not None else 0.0, time.monotonic()
        try:
            reply = await self._client.ask(body, self.config.timeout)
            seconds = time.monotonic() - began
            found = Judgment(why=reply.why) if reply.why is not None else read_verdict(reply.status, reply.body)
            cost = self._came_to(body, reply, found, seconds)
        finally:
            self._settle(reserved, cost, anchor=anchor)
        if reply.status == 200:
            self.stats.took(seconds)
        return found._replace(reason=self._masked(found.reason))

    def _settle(self, reserved: float, cost: float, *, anchor: bool) -> None:
        self.stats.cost += cost
        limit, now = self.config.max_cost, self._clock()
        if limit is not None and self._largest is not None:
            self._largest.came_to(cost, now, anchor=anchor)
            self.spending = settle_spending(self.spending, limit, reserved, cost, now)
            self._wake()

    def _release(self, reserved: float) -> None:
        """Nothing is asked after all."""
        self.spending = self.spending._replace(reserved=max(0.0, self.spending.reserved - reserved))
        self._wake()

    def _wake(self) -> None:
        self._settled.set()
        self._settled = asyncio.Event()

    def _came_to(self, body: bytes, reply: JudgeReply, found: Judgment, seconds: float) -> float:
        """What a question has cost: by the tokens that the answer names, else counted from above. One that was refused
        costs nothing; one without an answer may have been worked on."""
        if reply.status not in (0, 200) or not reply.sent:
            return 0.0
        read, written = found.read, found.written
        if reply.status == 200 and (read < 0 or written < 0):
            self.stats.counted += 1
        read = read if read >= 0 else int(len(body) / BYTES_PER_TOKEN) + 1
        written = written if written >= 0 else max(ANSWER_TOKENS, int(len(reply.body) / BYTES_PER_TOKEN))
        return self._cost(read, written, seconds)

    def _cost(self, read: int, written: int, seconds: float) -> float:
        price = self.config.price
        return price.price.of(TokenUsage(read, written), seconds) if price is not None else 0.0

    def _masked(self, reason: str) -> str:
        for secret in self.config.secrets:
            reason = reason.replace(secret, MASKED)
        return reason

    def _count(self, found: Judgment) -> None:
        stats = self.stats
        if found.why is None:
            stats.answered[found.winner] += 1
            if stats.failing >= DOWN_AFTER:
                logs.event(log, "judge.answers", judge=self.name)
            stats.failing, self._failed = 0, None
            return
        stats.not_judged[found.why] += 1
        if found.why is NotJudged.BUDGET:
            period = int(self._clock() // self.config.max_cost.period) if self.config.max_cost is not None else 0
            if period != self._spent_in:
                self._spent_in = period
                logs.event(log, "judge.budget_spent", judge=self.name, limit=str(self.config.max_cost))
            return
        if found.why is NotJudged.WAITED:
            return
        self._failed = (found.why, time.monotonic())
        stats.failing, stats.last_why = stats.failing + 1, found.why.value
        if stats.failing == DOWN_AFTER:
            logs.event(log, "judge.no_answer", logging.WARNING, judge=self.name, why=found.why.value)

    # --- what is said and kept of it ---------------------------------------------------------------------------------

    @property
    def down(self) -> bool:
        """Whether its last questions all had no verdict."""
        return self.stats.failing >= DOWN_AFTER

    @property
    def spent(self) -> float:
        """Money spent in the present period of `max_cost`, or since this process began."""
        limit = self.config.max_cost
        return self.stats.cost if limit is None else spent_now(self.spending, limit, self._clock())

    def dump(self) -> dict[str, Any]:
        """What the next process goes on with, as JSON values."""
        kept = [list(entry) for entry in self.cache.latest(KEPT_OVER_RESTARTS, KEPT_REASON)]
        spending = self.spending
        if self.config.max_cost is not None and spending.reserved:
            spending = settle_spending(spending, self.config.max_cost, 0.0, spending.reserved, self._clock())
        return {"asks": self.config.identity, "spending": spending.hours, "first": list(self.first), "verdicts": kept}

    def load(self, kept: Mapping[str, Any]) -> None:
        """Go on with what `dump` gave; raises `KeyError`, `TypeError` or `ValueError` when it is not that."""
        self.spending = JudgeSpending(tuple((int(hour), float(money)) for hour, money in kept["spending"]))
        if kept["asks"] == self.config.identity:
            first, second = kept["first"]
            self.first = FirstRate(int(first), int(second))
            self.cache.take(kept["verdicts"])

    async def close(self) -> None:
        """Let go of the connections."""
        await self._client.close()


def largest_costs(config: JudgeConfig, asking: Asking) -> LargestCosts | None:
    """What is set aside for each question; `None` without `max_cost`."""
    if config.max_cost is None or config.price is None:
        return None
    return LargestCosts(asking, config.anchor_pairs, config.price.price, config.timeout, config.max_cost.period)
