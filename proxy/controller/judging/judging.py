"""All judges of the configuration in force, and which rollouts they judge.

A judge outlives reloads that do not change it, with what waits for it; one whose key, budget or share changed goes on
with what it has spent and said. What the judges know is dumped for the store and loaded by the next controller.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from proxy import logs
from proxy.config import Config
from proxy.config.judges import JudgeConfig
from proxy.config.similarity import EmbedderConfig
from proxy.controller.judging.asker import JudgeAsker
from proxy.controller.judging.embedding import EmbeddingAsker
from proxy.controller.judging.queue import JudgeQueue
from proxy.controller.judging.rollout_judging import JudgedAspect, RolloutJudging
from proxy.controller.rollout_run import RolloutRun

log = logging.getLogger("understudy.judging")

DELIVER = 0.05
"""Seconds in which verdicts are gathered before they are counted: a look may follow each time."""


class Judging:
    """The judges at work. `verdicts_came` is called with a rollout whose evidence got some."""

    def __init__(self, verdicts_came: Callable[[RolloutRun], None]) -> None:
        self.queues: dict[str, JudgeQueue] = {}
        self._verdicts_came = verdicts_came
        self._kept: dict[str, Any] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._closed = False

    # --- configuration -----------------------------------------------------------------------------------------------

    def configure(self, config: Config, runs: Mapping[str, RolloutRun], secret: str) -> None:
        """Have the judges of a configuration at work for the rollouts that it names (`runs`, by name); `secret` keys
        what is drawn."""
        used = {spec.judge for run in runs.values() for spec in run.plan.aspects if spec.judge}
        wanted = {name: judge for name, judge in config.asked.items() if name in used}
        for name in [name for name in self.queues if wanted.get(name) != self.queues[name].asker.config]:
            self._end(name)
        for name, judge in wanted.items():
            if name not in self.queues:
                self.queues[name] = self._begun(name, judge, secret)
            self.queues[name].gate.listeners.clear()
        for run in runs.values():
            self._assign(run)
        for name, queue in self.queues.items():
            judged = (run for run in runs.values() if any(spec.judge == name for spec in run.plan.aspects))
            queue.gate.assigned({run.name: run.plan.trial for run in judged})

    def _begun(self, name: str, judge: JudgeConfig, secret: str) -> JudgeQueue:
        if isinstance(judge, EmbedderConfig):
            queue = JudgeQueue(EmbeddingAsker(name, judge, secret))
        else:
            queue = JudgeQueue(JudgeAsker(name, judge, secret))
        if name in self._kept:
            try:
                queue.load(self._kept[name])
            except (KeyError, TypeError, ValueError) as error:
                logs.event(log, "judge.past_unreadable", logging.WARNING, judge=name, error=type(error).__name__)
        return queue

    def _end(self, name: str) -> None:
        queue = self.queues.pop(name)
        self._kept[name] = queue.dump()
        task = asyncio.ensure_future(queue.close())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    def _assign(self, run: RolloutRun) -> None:
        """Give a rollout its judges; what waits for those that it has already goes on."""
        named = [(n, spec) for n, spec in enumerate(run.plan.aspects) if spec.judge in self.queues]
        queues = [self.queues[spec.judge] for _, spec in named]
        before = run.judging
        places = [(n, spec.name, queue) for (n, spec), queue in zip(named, queues, strict=True)]
        if before is None or [(one.index, one.name, one.queue) for one in before.aspects] != places:
            run.judging = self._judging(run, [JudgedAspect(*place) for place in places])
        for queue in queues:
            if run.judging is not None:
                queue.gate.listeners[run.name] = run.judging.anchors_said

    def _judging(self, run: RolloutRun, aspects: list[JudgedAspect]) -> RolloutJudging | None:
        """The judging of a rollout by these; what waits for other judges says nothing, what they said stays counted."""
        before = run.judging
        if before is not None:
            same = before.is_of_present_trial
            before.forget()
            for one in aspects if same else ():
                one.counts = next((old.counts for old in before.aspects if old.name == one.name), one.counts)
        return RolloutJudging(run, aspects, run.reader.bounds, self._later(run)) if aspects else None

    def _later(self, run: RolloutRun) -> Callable[[Callable[[], None]], object]:
        def plan(deliver: Callable[[], None]) -> object:
            def due() -> None:
                deliver()
                if not self._closed:
                    self._verdicts_came(run)

            return asyncio.get_running_loop().call_later(DELIVER, due)

        return plan

    # --- life --------------------------------------------------------------------------------------------------------

    def load(self, kept: Mapping[str, Any]) -> None:
        """Take up what an earlier controller has dumped, before `configure`."""
        self._kept = dict(kept)

    def dump(self) -> dict[str, Any]:
        """What each judge has spent and said, also those that are not at work: their budgets are not for twice."""
        return {**self._kept, **{name: queue.dump() for name, queue in self.queues.items()}}

    def deliver(self, runs: Iterable[RolloutRun]) -> None:
        """Give the evidence all verdicts that are known now."""
        for run in runs:
            if run.judging is not None:
                run.judging.deliver()

    async def close(self) -> None:
        """Ask nothing more, for good."""
        self._closed = True
        for name in list(self.queues):
            self._end(name)
        await asyncio.gather(*self._closing, return_exceptions=True)
