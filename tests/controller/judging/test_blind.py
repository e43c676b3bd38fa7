"""Promise: whether a drawn pair is judged does not depend on what it says: under a full queue, a budget that runs out
or a judge that is down, long answers, short ones, equal ones, failures and known ones fare the same."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import orjson
import pytest

from proxy.config.judges import JudgeConfig
from proxy.config.similarity import EmbedderConfig
from proxy.controller.judging import queue as module
from proxy.controller.judging import rollout_judging
from proxy.controller.judging.asker import FATE, JudgeAsker
from proxy.controller.judging.client import JudgeReply
from proxy.controller.judging.embedding import EmbeddingAsker
from proxy.controller.judging.queue import JudgeQueue
from proxy.judges.budget import spent_now
from proxy.judges.verdict import NotJudged
from proxy.model import Outcome, Reading
from proxy.model.reasons import Reason
from tests.controller.controllers import eventually
from tests.controller.judging.test_rollout_judging import Queue, Run, pair, reading

LONG = "word " * 8000
KINDS: dict[str, dict[str, Any]] = {
    "short": {"live": "a", "candidate": "b"},
    "long": {"live": LONG, "candidate": LONG + "!"},
    "equal": {"live": "a", "candidate": "a"},
    "failed": {"live": "a", "candidate": None, "fault": Reason.TIMEOUT},
    "known": {"live": "known", "candidate": "before"},
}
PRICE = {"input": 1000.0, "output": 10_000.0}
LARGEST = 82.0  # some 76,000 tokens, and a verdict


class Judge:
    """A judge without a network; `released` lets it answer, `status` is what it answers with."""

    def __init__(self) -> None:
        self.asked, self.status, self.usage = 0, 200, {"prompt_tokens": 1000, "completion_tokens": 50}
        self.released = asyncio.Event()
        self.released.set()

    async def ask(self, body: bytes, within: float) -> JudgeReply:
        self.asked += 1
        await self.released.wait()
        content = orjson.dumps({"reason": "so", "verdict": "tie"}).decode()
        message = {"role": "assistant", "content": content}
        said = {"choices": [{"message": message, "finish_reason": "stop"}], "usage": self.usage}
        return JudgeReply(self.status, orjson.dumps(said), sent=True)

    async def close(self) -> None: ...


def asking(judge: Judge, clock: Callable[[], float] = time.time, **more: Any) -> JudgeQueue:
    given = {"url": "http://judge", "model": "m", "share": "100%", "price": PRICE, **more}
    return JudgeQueue(JudgeAsker("helpful", JudgeConfig.model_validate(given), "secret", judge, clock))


def offered(run: Run, number: int, kind: str) -> Reading:
    """A pair of this kind, its answers as large as they read."""
    one = reading(number, **KINDS[kind])
    size = max(len(text.rows[0]) for text in (one.live, one.candidate) if text is not None)  # type: ignore[arg-type]
    answer = Outcome(200, body=b"x" * size)
    asked = pair(0 if kind == "known" else number)._replace(id=f"w-{number}", live=answer, candidate=answer)
    run.judging.offer(asked, one)
    return one


async def fate(run: Run, queue: JudgeQueue, number: int, kind: str) -> str:
    """What becomes of it: why it is not judged, or `judged`."""
    counts = run.judging.aspects[0].counts
    before, verdicts = sum(counts.not_judged.values()), sum(counts.verdicts.values())
    run.judging.ready([offered(run, number, kind)])

    def over() -> bool:
        run.deliver()
        return sum(counts.not_judged.values()) > before or sum(counts.verdicts.values()) > verdicts

    await eventually(over)
    return counts.last_why if sum(counts.not_judged.values()) > before else "judged"


async def known(run: Run, queue: JudgeQueue) -> None:
    """Have the verdict of `known` known."""
    assert await fate(run, queue, 0, "known") == "judged"


async def test_a_queue_that_is_nearly_full_has_room_for_all_or_for_none(monkeypatch: pytest.MonkeyPatch) -> None:
    for size, expected in ((5000, "waits"), (1500, "queue_full")):
        monkeypatch.setattr(module, "MAX_BYTES", size)  # a pair that waits takes some 2,000
        for kind in KINDS:
            judge = Judge()
            queue = asking(judge, concurrency=1)
            run = Run(queue)
            await known(run, queue)
            judge.released.clear()
            offered(run, 1, "short")
            await eventually(lambda judge=judge: judge.asked == 2)
            waits = pair(2)._replace(live=Outcome(200, body=b"x" * 380))
            run.judging.offer(waits, reading(2))
            offered(run, 3, kind)
            assert (run.judging.aspects[0].counts.last_why or "waits") == expected, kind
            judge.released.set()
            await queue.close()


@pytest.mark.parametrize("kind", KINDS)
async def test_a_queue_that_is_full_by_number_refuses_all(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for most, rollouts in ((1, 20_000), (1000, 2)):
        monkeypatch.setattr(rollout_judging, "MOST_WAITING", rollouts)
        judge = Judge()
        queue = asking(judge, concurrency=1, max_waiting=most)
        run = Run(queue)
        await known(run, queue)
        judge.released.clear()
        offered(run, 1, "short")
        await eventually(lambda judge=judge: judge.asked == 2)
        offered(run, 2, "short")
        assert await fate(run, queue, 3, kind) == "queue_full"
        assert queue.asker.stats.not_judged[NotJudged.QUEUE_FULL] == 1
        judge.released.set()
        await queue.close()


async def test_a_pair_with_two_questions_has_room_for_both(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_BYTES", 1000)
    queue = asking(Judge())
    run = Run(queue, noise_floor=0.5)
    run.judging.offer(pair(0)._replace(live=Outcome(200, body=b"x" * 9000)), reading(0, LONG, LONG + "!", again="c"))
    assert (len(queue), queue.has_room) == (2, False)
    await queue.close()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("left", "expected"), [(1.0, "budget"), (10.0, "budget"), (LARGEST / 1.1, "budget"), (LARGEST * 1.1, "judged")]
)
async def test_a_budget_affords_any_pair_or_none(kind: str, left: float, expected: str) -> None:
    judge = Judge()
    queue = asking(judge, max_cost="1000/day")
    run = Run(queue)
    await known(run, queue)
    judge.usage = {"prompt_tokens": int(1000 * (1000 - queue.asker.spent - left)), "completion_tokens": 0}
    spent = queue.asker.spending
    queue.asker.spending = spent._replace(hours=((spent.hours[0][0], 1000.0 - left),))
    judge.usage = {"prompt_tokens": 1, "completion_tokens": 1}
    assert await fate(run, queue, 1, kind) == expected
    await queue.close()


@pytest.mark.parametrize("kind", KINDS)
async def test_a_judge_that_is_down_leaves_no_pair_that_counts(kind: str) -> None:
    judge = Judge()
    queue = asking(judge)
    run = Run(queue)
    await known(run, queue)
    judge.status = 500
    assert await fate(run, queue, 1, "short") == "status"
    assert await fate(run, queue, 2, kind) == "status"
    judge.status = 200
    assert await fate(run, queue, 3, "long") == "judged"
    assert await fate(run, queue, 4, kind) == "judged"
    await queue.close()


async def test_one_failure_long_ago_does_not_keep_equal_answers_from_counting(monkeypatch: pytest.MonkeyPatch) -> None:
    judge = Judge()
    queue = asking(judge)
    run = Run(queue)
    judge.status = 500
    assert await fate(run, queue, 1, "short") == "status"
    began = time.monotonic()
    monkeypatch.setattr("proxy.controller.judging.asker.time.monotonic", lambda: began + FATE + 60)
    assert queue.asker.fate is None
    await queue.close()


@pytest.mark.parametrize("kind", ["short", "equal", "failed", "known", "blank"])
async def test_a_model_of_embeddings_that_is_down_leaves_no_pair_that_counts(kind: str) -> None:
    class Embeddings(Judge):
        async def ask(self, body: bytes, within: float) -> JudgeReply:
            data = [{"index": n, "embedding": [1.0, 0.5]} for n, _ in enumerate(orjson.loads(body)["input"])]
            return JudgeReply(self.status, orjson.dumps({"data": data}), sent=True)

    model = Embeddings()
    config = EmbedderConfig.model_construct(url="http://e", model="m", share=1.0, headers={}, price=None, proxy="off")
    asker = EmbeddingAsker("similarity:e", config, "secret", model)
    queue = JudgeQueue(asker)
    run = Run(queue)
    await known(run, queue)
    model.status = 503
    given = {"live": " ", "candidate": "b"} if kind == "blank" else KINDS[kind]
    assert await fate(run, queue, 1, "short") == "status"
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(KINDS, "this", given)
        assert await fate(run, queue, 2, "this") == "status"
    await queue.close()


async def test_one_dear_answer_sets_more_aside_until_the_period_ends_and_no_longer() -> None:
    judge, now = Judge(), [0.0]
    queue = asking(judge, lambda: now[0], max_cost="1000/day")
    asker = queue.asker
    judge.usage = {"prompt_tokens": 500_000, "completion_tokens": 0}
    await asker.ask(asker.question("r", "a", "b").body)
    judge.usage = {"prompt_tokens": 10, "completion_tokens": 0}
    assert asker.has_budget
    await asker.ask(asker.question("r", "a", "c").body)
    assert not asker.has_budget, "another one like it is not left"
    now[0] = 86_400.0
    asked = [asker.question("r", "a", str(n)).body for n in range(3)]
    for body in asked:
        assert (await asker.ask(body)).winner
    asker.spending = asker.spending._replace(hours=((24, 1000.0 - 2 * LARGEST),))
    assert asker.has_budget
    await queue.close()


async def test_what_is_under_way_is_waited_for_and_not_refused() -> None:
    judge = Judge()
    judge.released.clear()
    queue = asking(judge, max_cost="100/day")
    asker = queue.asker
    both = [asyncio.ensure_future(asker.ask(asker.question("r", "a", text).body)) for text in "bc"]
    await eventually(lambda: judge.asked == 1)
    judge.released.set()
    assert [said.winner for said in await asyncio.gather(*both)] == ["tie", "tie"]
    assert asker.config.max_cost is not None
    assert spent_now(asker.spending, asker.config.max_cost, time.time()) == pytest.approx(3.0)
    await queue.close()


async def test_the_wait_for_what_is_under_way_ends() -> None:
    judge = Judge()
    judge.released.clear()
    queue = asking(judge, max_cost="100/day", timeout="50ms")
    asker = queue.asker
    first = asyncio.ensure_future(asker.ask(asker.question("r", "a", "b").body))
    await eventually(lambda: judge.asked == 1)
    assert (await asker.ask(asker.question("r", "a", "c").body)).why is NotJudged.WAITED
    judge.released.set()
    assert (await first).winner
    await queue.close()


@pytest.mark.parametrize("kind", KINDS)
async def test_pairs_that_cost_nothing_wait_for_what_is_under_way_like_the_others(kind: str) -> None:
    judge = Judge()
    queue = asking(judge, max_cost="100/day")
    run = Run(queue)
    await known(run, queue)
    judge.released.clear()
    judge.usage = {"prompt_tokens": 50_000, "completion_tokens": 0}
    offered(run, 1, "short")
    await eventually(lambda: judge.asked == 2)
    offered(run, 2, kind)
    for _ in range(20):
        await asyncio.sleep(0)
    assert queue.asker.paying.locked(), "it waits until it is known what is left"
    judge.released.set()
    assert await fate(run, queue, 3, kind) == "budget"
    counts = run.judging.aspects[0].counts
    await eventually(lambda: counts.not_judged["budget"] == 2)
    assert sum(counts.verdicts.values()) <= 2
    await queue.close()


@pytest.mark.parametrize("candidate", ["b", "a", None], ids=["differs", "the same", "failed"])
def test_a_pair_of_which_only_the_beginning_came_is_not_judged_whatever_was_answered(candidate: str | None) -> None:
    """A worker had cut it that had not heard of the judge: half a request is no question, even where it can be read."""
    queue = Queue()
    run = Run(queue)
    one = reading(0, candidate=candidate, fault=Reason.TIMEOUT if candidate is None else Reason.NONE)
    run.judging.offer(pair(0)._replace(request_rest=bytes(12)), one)
    run.judging.ready([one, run.offer(1)])
    queue.answer(0)
    run.deliver()
    assert [item.id for item in run.items] == ["r1"], "the next one is asked about, and does not wait"
    assert (run.judging.aspects[0].counts.not_judged, run.not_judged) == ({"cut": 1}, {"": 1})
