"""Judges of recorded or replayed pairs: asked a few at a time, in the order of the file, and each question once.

Verdicts are kept in a file beside the recording, by a hash of the question: a second run over the same pairs asks
nothing and costs nothing (embeddings are not kept, but asked for anew). The file holds no request and no answer, but
the judge's reasons, which may quote them: it is for its owner only, as recordings are.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterable, Iterable
from contextlib import aclosing
from pathlib import Path
from typing import IO, Any, NamedTuple

import orjson

from proxy import private
from proxy.cli.judging import Bench, Judgement, Verdicts
from proxy.config import Config
from proxy.config.judges import JudgeConfig
from proxy.config.similarity import EmbedderConfig
from proxy.controller.judging.asker import JudgeAsker
from proxy.controller.judging.embedding import EmbeddingAsker
from proxy.controller.judging.gate import AnchorGate
from proxy.errors import UnderstudyError
from proxy.evidence.input.dedup import RecentBodies
from proxy.judges.anchors import ROUND_EVERY
from proxy.judges.budget import JudgeSpending
from proxy.judges.cases import JudgedCase, answer_text, case_of, given_value, judged_item, request_text
from proxy.judges.drawing import is_drawn
from proxy.judges.question import JudgeQuestion, cache_key
from proxy.judges.verdict import Judgment, NotJudged
from proxy.model import Pair, Plan, Prediction, Reading
from proxy.model.judged import Judged
from proxy.pairs.recording import Recorded
from proxy.predictions.bounds import Bounds

SECRET = "recordings"
"""What keys the drawing for recorded pairs: the same in each run, so that a question is known again."""
AHEAD = 64
"""Pairs whose verdicts are waited for at once; each judge has its own `concurrency` among them."""
ANCHORS_WITHIN = 1800.0
"""Seconds in which a judge must have answered enough anchors, or nothing can be said."""


class Said(NamedTuple):
    """A verdict on one question, whether it was known before, and the key that it is kept by."""

    judgment: Judgment
    candidate_first: bool
    known: bool
    key: bytes


class OfflineJudges:
    """The judges of a plan. `path` is the file of verdicts, `None` for none."""

    def __init__(self, config: Config, plan: Plan, path: Path | None) -> None:
        self._plan, self._bounds = plan, Bounds.of(plan.max_body)
        names = {spec.judge for spec in plan.aspects if spec.judge}
        self.askers = {name: _asker(name, config.asked[name]) for name in sorted(names)}
        self.gates = {name: AnchorGate(asker) for name, asker in self.askers.items()}
        self.not_judged: Counter[str] = Counter()
        self._turns = {name: asyncio.Semaphore(one.config.concurrency) for name, one in self.askers.items()}
        self._out: set[str] = set()  # judges whose budget was spent in this run: from there on no pair counts
        self._recent: dict[tuple[str, str], RecentBodies] = {}
        self._file = None if path is None or not names else _opened(path)
        if path is not None and names:
            self._take(path)

    def _take(self, path: Path) -> None:
        for line in path.read_bytes().splitlines():
            try:
                kept = orjson.loads(line)
                asker = self.askers.get(kept["judge"])
                if asker is not None and "spending" in kept:
                    asker.spending = JudgeSpending(tuple((int(hour), float(money)) for hour, money in kept["spending"]))
                elif asker is not None:
                    asker.cache.take([(kept["key"], kept["verdict"], kept["reason"])])
            except (orjson.JSONDecodeError, KeyError, TypeError, ValueError):
                continue  # the last line of a run that was killed; its question is asked again

    # --- one pair ----------------------------------------------------------------------------------------------------

    def begin(self, pair: Pair, reading: Reading) -> list[tuple[str, str, Judged, JudgedCase]]:
        """The cases of a pair, drawn in the order of the file: aspect, judge, item, case."""
        parts, found = reading.aspects or (reading,), []
        for spec, part in zip(self._plan.aspects, parts, strict=False):
            asker = self.askers.get(spec.judge)
            if asker is None or not is_drawn(asker.key, pair.id, asker.config.share):
                continue
            case = case_of(reading, part, floored=self._plan.noise_floor > 0, embedded=spec.embedded)
            recent = self._recent.setdefault((pair.trial, spec.name), RecentBodies())
            if case is not None and recent.news([reading.request_hash], [reading.time])[0]:
                found.append((spec.name, spec.judge, judged_item(spec.name, reading), case))
        return found

    async def verdicts(self, pair: Pair, cases: Iterable[tuple[str, str, Judged, JudgedCase]]) -> Verdicts:
        """What the judges say of a pair."""
        items, none, fresh = [], [], []
        for aspect, judge, item, case in cases:
            value, floor, why = case.value, case.floor, NotJudged.UNREADABLE if case.unreadable else None
            if case.live_pair is None and case.pair is None and why is None:
                why = await self._why_not(judge)
            for answers, floored in ((case.live_pair, True), (case.pair, False)):
                if answers is None or why is not None:
                    continue
                said = await self._ask(judge, pair, answers)
                why = said.judgment.why
                given = given_value(said.judgment, candidate_first=said.candidate_first) if why is None else 0.0
                value, floor = (value, given) if floored else (given, floor)
                if said.judgment.winner and not said.known:
                    self.gates[judge].stamp()
                    fresh.append((judge, said))
            if why is None and value is not None:
                items.append(item._replace(value=value, floor=floor))
            else:
                none.append(aspect)
                self.not_judged[(why or NotJudged.UNREADABLE).value] += 1
        return Verdicts(items, none, fresh)

    async def _ask(self, judge: str, pair: Pair, answers: tuple[Prediction, Prediction]) -> Said:
        asker = self.askers[judge]
        request = request_text(pair.request_head, pair.request_body, self._bounds)
        if not request:
            return Said(Judgment(why=NotJudged.UNREADABLE), candidate_first=False, known=True, key=b"")
        question: JudgeQuestion = asker.question(request, *map(answer_text, answers))
        key = cache_key(asker.config.endpoint, question.body)
        async with self._turns[judge]:
            if key in asker.cache:
                async with asker.paying:  # its turn comes after those before it in the file
                    pass
            known = None if self._is_out(judge) else asker.recall(key)
            if known is not None:
                return Said(known, question.candidate_first, known=True, key=key)
            found = await asker.ask(question.body) if not self._is_out(judge) else asker.refuse(NotJudged.BUDGET)
            if found.why is NotJudged.BUDGET:
                self._out.add(judge)
        return Said(found, question.candidate_first, known=False, key=key)

    async def _why_not(self, judge: str) -> NotJudged | None:
        """Why a pair that needs no judge does not count: it shares what befalls those before it in the file."""
        async with self._turns[judge], self.askers[judge].paying:
            why = NotJudged.BUDGET if self._is_out(judge) else self.askers[judge].fate
            if why is not None:
                self.askers[judge].refuse(why)
            return why

    def _is_out(self, judge: str) -> bool:
        """Whether the budget is spent. Verdicts that an earlier run has paid for count all the same up to the first one
        that this run cannot pay for: so it gives what that run gave, and the same for each pair whatever it says."""
        return judge in self._out and not self.askers[judge].has_budget

    # --- what may count ----------------------------------------------------------------------------------------------

    async def let_go(self, bench: Bench, held: list[Verdicts], *, last: bool = False) -> None:
        """Give the bench what is held, once the anchors allow it: after each hundred verdicts, and at the end."""
        fresh = sum(len(one.fresh) for one in held)
        anchored = [gate for gate in self.gates.values() if gate.record is not None]
        if anchored and fresh and not last and fresh < ROUND_EVERY:
            return
        for gate in anchored if fresh else ():
            if not await gate.settle(ANCHORS_WITHIN):
                name = gate.asker.name
                raise UnderstudyError(f"judge {name}: its anchors had no verdicts ({gate.asker.stats.last_why})")
        moved = {name for name, gate in self.gates.items() if gate.moved}
        for one in held:
            bench.judged(one)
            for judge, said in one.fresh:
                if judge not in moved:
                    self._keep(judge, said)
        held.clear()
        for spec in self._plan.aspects:
            if spec.judge in moved:
                bench.judge_moved(spec.name)

    def _keep(self, judge: str, said: Said) -> None:
        if self._file is not None:
            line = {"judge": judge, "key": said.key.hex()}
            line |= {"verdict": said.judgment.winner, "reason": said.judgment.reason}
            self._file.write(orjson.dumps(line) + b"\n")
            self._file.flush()

    @property
    def summary(self) -> list[dict[str, Any]]:
        """What each judge was asked and cost, for the report."""
        found = []
        for name, asker in self.askers.items():
            stats, anchors = asker.stats, self.gates[name].shown()
            figures = {"asked": sum(stats.answered.values()), "known": stats.cache_hits, "cost": stats.cost}
            failed = {why.value: n for why, n in sorted(stats.not_judged.items())}
            first = {"first": asker.first.rate, "anchors": anchors["state"] if anchors is not None else None}
            found.append({"judge": name, **figures, "not_judged": failed, **first})
        return found

    async def close(self) -> None:
        """Note what was spent, and let go of connections and the file."""
        for name, asker in self.askers.items():
            await self.gates[name].close()
            await asker.close()
            if self._file is not None and asker.config.max_cost is not None:
                self._file.write(orjson.dumps({"judge": name, "spending": asker.spending.hours}) + b"\n")
        if self._file is not None:
            self._file.close()


def _asker(name: str, config: JudgeConfig) -> JudgeAsker:
    if isinstance(config, EmbedderConfig):
        return EmbeddingAsker(name, config, SECRET)
    return JudgeAsker(name, config, SECRET)


def _opened(path: Path) -> IO[bytes]:
    try:
        return open(path, "ab", opener=private.opener)
    except OSError as error:
        raise UnderstudyError(f"cannot write {path}: {error.strerror or error}") from error


async def judged_pairs(
    judges: OfflineJudges, pairs: AsyncIterable[tuple[Recorded, Reading]]
) -> AsyncGenerator[tuple[Recorded, Reading, Verdicts], None]:
    """Pairs with their readings and what the judges say of them, in their order."""
    waiting: list[tuple[Recorded, Reading, asyncio.Task[Verdicts]]] = []
    try:
        async for recorded, reading in pairs:
            cases = judges.begin(recorded.pair, reading)
            waiting.append((recorded, reading, asyncio.create_task(judges.verdicts(recorded.pair, cases))))
            while waiting and (len(waiting) >= AHEAD or waiting[0][2].done()):
                first, read, task = waiting.pop(0)
                yield first, read, await task
        while waiting:
            first, read, task = waiting.pop(0)
            yield first, read, await task
    finally:
        for _, _, task in waiting:
            task.cancel()


async def judge_trials_with(
    config: Config, plan: Plan, pairs: Iterable[Recorded], path: Path | None
) -> tuple[dict[str, Judgement], list[dict[str, Any]]]:
    """What recorded pairs come to for each trial, as `judging.judge_trials`, with what judges say of them; and what
    each judge was asked."""
    judges, benches, held = OfflineJudges(config, plan, path), dict[str, Bench](), dict[str, list[Verdicts]]()
    reader = Bench(plan)

    async def readings() -> AsyncGenerator[tuple[Recorded, Reading], None]:
        for recorded in pairs:
            yield recorded, reader.read(recorded)

    try:
        async with aclosing(judged_pairs(judges, readings())) as judged:
            async for recorded, reading, verdicts in judged:
                trial = recorded.pair.trial
                bench = benches[trial] = benches.pop(trial) if trial in benches else Bench(plan)
                mine = held.setdefault(trial, [])
                mine.append(verdicts)
                await judges.let_go(bench, mine)
                bench.add(recorded, reading)
        for trial, bench in benches.items():
            await judges.let_go(bench, held[trial], last=True)
        return {trial: bench.judgement() for trial, bench in benches.items()}, judges.summary
    finally:
        await judges.close()
