"""Promise: verdicts reach the evidence in request order per worker, those of drawn pairs and no others, whatever order
they come in; what is not judged holds up nobody and is counted."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import orjson
import pytest

from proxy import logs
from proxy.config.judges import JudgeConfig
from proxy.controller.judging import rollout_judging
from proxy.controller.judging.asker import JudgeAsker
from proxy.controller.judging.gate import AnchorGate
from proxy.controller.judging.queue import JudgeQueue, WaitingQuestion
from proxy.controller.judging.rollout_judging import JudgedAspect, RolloutJudging
from proxy.controller.judging.shown import judges_json
from proxy.controller.sample_pairs import SamplePairs
from proxy.evidence import Evidence
from proxy.judges.anchors import Anchor, begin_record
from proxy.judges.verdict import Judgment, NotJudged
from proxy.model import Arm, Kind, Outcome, Pair, Plan, Prediction, PredictionSpec, Reading, Stage, State
from proxy.model.judged import Judged
from proxy.model.reasons import Reason
from proxy.predictions.bounds import DEFAULT
from proxy.rollout.machine import begin
from tests.evidence.streams import make_reading

HEAD = b"POST /v1/chat/completions HTTP/1.1\r\ncontent-type: application/json\r\n\r\n"
CONFIG = JudgeConfig.model_validate({"url": "http://judge", "model": "m", "share": "100%"})


class Queue(JudgeQueue):
    """A queue whose questions are answered by the test."""

    def __init__(self, config: JudgeConfig = CONFIG) -> None:
        super().__init__(JudgeAsker("helpful", config, "secret"))
        self.questions: list[WaitingQuestion] = []

    def put(self, question: WaitingQuestion) -> None:
        if question.make is None:
            question.tell(Judgment(), False)
        else:
            self.questions.append(question)

    def answer(self, number: int, winner: str = "first", why: NotJudged | None = None) -> None:
        """Answer a question so that the candidate has won (`first`), lost or tied."""
        if why is not None:
            self.questions[number].tell(Judgment(why=why), False)
        else:
            self.questions[number].tell(Judgment(winner, "since"), True)


class Run:
    """A rollout that notes what it is told."""

    def __init__(self, queue: JudgeQueue, *, noise_floor: float = 0.0, name: str = "") -> None:
        spec = PredictionSpec("openai", Kind.TEXT, "text", judge="helpful", name=name)
        several = (spec,) if name else ()
        self.plan = Plan(
            "r/c", "r", "l", "c", "1", (Stage(State.SHADOW, 100.0),), (), prediction=spec, noise_floor=noise_floor,
            predictions=several,
        )  # fmt: skip
        self.rollout, _ = begin(self.plan, 0.0)
        self.items: list[Judged] = []
        self.sample_pairs = SamplePairs()
        self.evidence = Evidence.begin(self.plan, 1)
        self.not_judged: Counter[str] = Counter()
        self.due: list[Callable[[], None]] = []
        self.judging = RolloutJudging(self, [JudgedAspect(0, name, queue)], DEFAULT, lambda call: self.due.append(call))

    def take_verdicts(self, items: Sequence[Judged], not_judged: Mapping[str, int]) -> None:
        self.items += items
        self.not_judged.update(not_judged)

    def offer(self, number: int, *, worker: str = "w", body: bytes | None = None, **fields: Any) -> Reading:
        one = reading(number, worker=worker, **fields)
        self.judging.offer(pair(number, worker, body), one)
        return one

    def deliver(self) -> None:
        due, self.due = self.due, []
        for call in due:
            call()


def pair(number: int, worker: str = "w", body: bytes | None = None) -> Pair:
    asked = body or orjson.dumps({"messages": [{"role": "user", "content": f"question {number}"}]})
    answer = Outcome(200, body=b"{}")
    return Pair("t", 0, worker, number, f"{worker}-{number}", float(number), Arm.LIVE, HEAD, asked, answer, answer)


def reading(number: int, live: str | None = "a", candidate: str | None = "b", **fields: Any) -> Reading:
    again = fields.pop("again", None)
    base = make_reading(number, None, None, id=f"r{number}", request_hash=number, time=float(number), **fields)
    texts = [Prediction(Kind.TEXT, (text,)) if text is not None else None for text in (live, candidate, again)]
    return base._replace(live=texts[0], candidate=texts[1], again=texts[2])


def test_verdicts_come_in_request_order_whatever_order_they_are_given_in() -> None:
    queue = Queue()
    run = Run(queue)
    readings = [run.offer(number) for number in range(40)]
    order = list(range(40))
    random.Random(1).shuffle(order)
    for count, number in enumerate(order):
        queue.answer(number, "first" if number % 2 else "second")
        if count == 20:
            run.judging.ready(readings[:25])
        run.deliver()
        assert [item.time for item in run.items] == [float(n) for n in range(len(run.items))]
    assert len(run.items) == 25, "no verdict of a reading that the evidence has not counted"
    run.judging.ready(readings[25:])
    run.deliver()
    assert [item.value for item in run.items] == [1.0 if n % 2 else -1.0 for n in range(40)]
    assert len(run.judging) == 0


def test_pairs_that_come_late_and_out_of_order_are_delivered_in_order() -> None:
    queue = Queue()
    run = Run(queue)
    readings = [run.offer(number) for number in (2, 0, 1)]
    for number in range(3):
        queue.answer(number)
    run.deliver()
    assert not run.items
    run.judging.ready(sorted(readings, key=lambda one: one.sequence))
    run.deliver()
    assert [item.id for item in run.items] == ["r0", "r1", "r2"]


def test_a_slow_verdict_holds_up_its_own_worker_only_and_one_that_never_comes_nobody() -> None:
    queue = Queue()
    run = Run(queue)
    readings = [run.offer(n, worker=worker) for n, worker in ((0, "a"), (1, "a"), (2, "b"))]
    run.judging.ready(readings)
    queue.answer(1)
    queue.answer(2)
    run.deliver()
    assert [item.worker for item in run.items] == ["b"]
    queue.answer(0, why=NotJudged.TIMEOUT)
    run.deliver()
    assert [(item.worker, item.id) for item in run.items] == [("b", "r2"), ("a", "r1")]
    assert run.not_judged == {"": 1}
    assert run.judging.aspects[0].counts.not_judged == {"timeout": 1}


def test_a_failed_candidate_loses_and_equal_answers_tie_without_asking_and_a_failed_live_says_nothing() -> None:
    queue = Queue()
    run = Run(queue)
    readings = [
        run.offer(0, candidate=None, fault=Reason.TIMEOUT),
        run.offer(1, candidate="a"),
        run.offer(2, live=None, candidate=None, live_fault=Reason.TIMEOUT),
        run.offer(3, live=None, candidate=None),
    ]
    run.judging.ready(readings)
    run.deliver()
    assert queue.questions == []
    assert [(item.id, item.value) for item in run.items] == [("r0", -1.0), ("r1", 0.0)]
    assert run.judging.aspects[0].counts.not_judged == {"unreadable": 1}


def test_under_a_noise_floor_both_questions_are_asked_of_pairs_with_a_second_answer() -> None:
    queue = Queue()
    run = Run(queue, noise_floor=0.5)
    readings = [
        run.offer(0),
        run.offer(1, again="c"),
        run.offer(2, again="c", candidate=None, fault=Reason.TIMEOUT),
        run.offer(3, again="a"),
    ]
    run.judging.ready(readings)
    assert len(queue.questions) == 4
    queue.answer(0, "second")
    queue.answer(1, "first")
    queue.answer(2, "tie")
    queue.answer(3, "second")
    run.deliver()
    assert [(item.id, item.value, item.floor) for item in run.items] == [
        ("r1", 1.0, -1.0), ("r2", -1.0, 0.0), ("r3", -1.0, 0.0),
    ]  # fmt: skip


def test_one_of_two_questions_without_a_verdict_is_one_pair_that_is_not_judged() -> None:
    for first, second in ((NotJudged.STATUS, None), (None, NotJudged.STATUS), (NotJudged.STATUS, NotJudged.TIMEOUT)):
        queue = Queue()
        run = Run(queue, noise_floor=0.5)
        run.judging.ready([run.offer(0, again="c")])
        queue.answer(0, why=first)
        queue.answer(1, why=second)
        run.deliver()
        assert (run.items, run.not_judged) == ([], {"": 1})
        assert sum(run.judging.aspects[0].counts.not_judged.values()) == 1


def test_a_full_queue_that_says_so_at_once_counts_once() -> None:
    class Full(Queue):
        def put(self, question: WaitingQuestion) -> None:
            question.tell(self.asker.refuse(NotJudged.QUEUE_FULL), False)

    for noise in (0.0, 0.5):
        run = Run(Full(), noise_floor=noise)
        run.judging.ready([run.offer(0, again="c")])
        run.deliver()
        assert (run.items, run.not_judged, len(run.judging)) == ([], {"": 1}, 0)


def test_what_waits_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rollout_judging, "MOST_WAITING", 3)
    run = Run(Queue())
    for number in range(5):
        run.offer(number)
    run.deliver()
    assert len(run.judging) == 3
    assert run.not_judged == {"": 2}


def test_verdicts_wait_for_the_anchors_and_those_that_need_no_judge_do_not() -> None:
    queue = Queue()
    queue.gate = gate = Gate(queue.asker)
    run = Run(queue)
    readings = [run.offer(0, candidate="a"), run.offer(1), run.offer(2)]
    run.judging.ready(readings)
    queue.answer(0)
    queue.answer(1, "second")
    run.deliver()
    assert [item.id for item in run.items] == ["r0"]
    gate._confirmed = 1
    run.judging.anchors_said()
    run.deliver()
    assert [item.id for item in run.items] == ["r0", "r1"]


def test_a_judge_that_has_changed_silences_its_guard_and_what_waits_is_not_judged() -> None:
    queue = Queue()
    queue.gate = gate = Gate(queue.asker)
    run = Run(queue)
    run.judging.ready([run.offer(0), run.offer(1)])
    queue.answer(0)
    assert gate.record is not None
    gate.record = replace(gate.record, moved=True)
    run.judging.anchors_said()
    run.deliver()
    assert (run.items, run.not_judged) == ([], {"": 2})
    assert not queue.questions[1].wanted()
    queue.answer(1, why=NotJudged.STOPPED)
    run.judging.ready([run.offer(2)])
    run.deliver()
    assert (len(queue.questions), len(run.judging), run.not_judged) == (2, 0, {"": 3})
    assert run.judging.aspects[0].counts.not_judged == {"moved": 3}
    assert gate.told == {"r/c": run.plan.trial}
    assert gate.shown()["held"] == 0, "no verdict waits for anchors that are asked no more"  # type: ignore[index]


class Gate(AnchorGate):
    """A gate with anchors that asks nothing by itself."""

    def __init__(self, asker: JudgeAsker) -> None:
        super().__init__(asker)
        self.record = begin_record([Anchor("first")])

    def start(self) -> None:
        pass

    def stamp(self) -> int:
        self._given += 1
        return self._given


def test_a_body_that_was_just_asked_about_is_not_paid_for_again() -> None:
    queue = Queue()
    run = Run(queue)
    for number in range(3):
        one = reading(number)._replace(request_hash=7)
        run.judging.offer(pair(number), one)
    assert len(queue.questions) == 1
    assert run.judging.aspects[0].counts.repeats == 2


def test_only_the_drawn_share_is_asked_about_by_an_id_that_no_client_can_choose() -> None:
    queue = Queue(CONFIG.model_copy(update={"share": 0.25}))
    run = Run(queue)
    for number in range(2000):
        run.offer(number)
    assert 400 < len(queue.questions) < 600
    other = Queue(CONFIG.model_copy(update={"share": 0.25}))
    other.asker.key = b"another secret"
    again = Run(other)
    for number in range(2000):
        again.offer(number)
    same = {a.make().body for a in queue.questions} & {b.make().body for b in other.questions}  # type: ignore[union-attr]
    assert len(same) < len(queue.questions)


def test_verdicts_of_an_earlier_trial_or_of_one_that_is_over_reach_nothing() -> None:
    queue = Queue()
    run = Run(queue)
    first = run.offer(0)
    run.judging.ready([first])
    run.plan = Plan("r/c", "r", "l", "c", "2", run.plan.stages, (), prediction=run.plan.prediction)
    assert not queue.questions[0].wanted()
    queue.answer(0)
    second = run.offer(1)
    run.judging.ready([second])
    queue.answer(1)
    run.deliver()
    assert [item.id for item in run.items] == ["r1"]
    run.judging.ready([run.offer(2)])
    run.rollout = run.rollout.__class__(**{**_fields(run.rollout), "state": State.ROLLED_BACK})
    assert not queue.questions[2].wanted()
    queue.answer(2)
    run.deliver()
    assert [item.id for item in run.items] == ["r1"]


def _fields(value: Any) -> dict[str, Any]:
    return {name: getattr(value, name) for name in value.__dataclass_fields__}


def test_what_is_shown_is_the_present_trials_and_says_what_it_does_not_hold() -> None:
    queue = Queue()
    run = Run(queue)
    run.judging.ready([run.offer(0), run.offer(1), run.offer(2, candidate="a")])
    queue.answer(0)
    queue.answer(1, why=NotJudged.TIMEOUT)
    run.deliver()
    shown = judges_json(run.judging, "EUR")[0]
    assert (shown["verdicts"], shown["not_judged"], shown["same"]) == (
        {"win": 1, "tie": 1, "loss": 0}, {"timeout": 1}, 1,
    )  # fmt: skip
    assert (shown["earlier"], shown["cost"]["currency"]) == (0, "EUR")
    run.evidence.not_judged("", 3 + 4)  # as a controller finds it that takes up a trial with four pairs
    assert judges_json(run.judging)[0]["earlier"] == 4
    run.plan = Plan("r/c", "r", "l", "c", "2", run.plan.stages, (), prediction=run.plan.prediction)
    run.evidence = Evidence.begin(run.plan, 1)
    anew = judges_json(run.judging)[0]
    assert (sum(anew["verdicts"].values()), anew["not_judged"], anew["same"], anew["earlier"]) == (0, {}, 0, 0)
    run.judging.ready([run.offer(2, candidate="a")])
    run.deliver()
    anew = judges_json(run.judging)[0]
    assert (anew["verdicts"]["tie"], anew["not_judged"], anew["same"], anew["earlier"]) == (1, {}, 1, 0)


def test_the_question_is_about_what_was_read_and_asked() -> None:
    queue = Queue()
    run = Run(queue, name="quality")
    part = reading(0, "first answer", "second answer")
    run.judging.offer(pair(0), part._replace(live=None, candidate=None, aspects=(part,)))
    asked = queue.questions[0].make()
    assert asked is not None
    for text in (b"first answer", b"second answer", b"user: question 0"):
        assert text in asked.body
    queue.answer(0)
    run.judging.ready([part])
    run.deliver()
    assert run.items[0].aspect == "quality"


def test_a_bug_in_the_judging_of_a_pair_is_not_one_of_its_way_into_the_evidence() -> None:
    class Broken(Queue):
        def put(self, question: WaitingQuestion) -> None:
            raise ZeroDivisionError

    before = logs.UNEXPECTED["controller.judging_broke"]
    run = Run(Broken())
    run.judging.ready([run.offer(0)])
    run.deliver()
    assert run.items == []
    assert logs.UNEXPECTED["controller.judging_broke"] == before + 1


def test_a_request_that_cannot_be_read_is_not_judged() -> None:
    queue = Queue()
    run = Run(queue)
    run.judging.offer(pair(0)._replace(request_body=b""), reading(0))
    assert queue.questions[0].make() is None


def test_what_a_judge_said_can_be_looked_at_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rollout_judging, "MOST_SHOWN", 2)
    queue = Queue()
    run = Run(queue)
    for number in range(3):
        run.offer(number)
    queue.answer(1)
    queue.answer(2, why=NotJudged.BUDGET)
    assert run.judging.shown("w-0", "") is None
    assert run.judging.shown("w-1", "") == {
        "verdict": "win", "reason": "since", "order": "candidate first", "not_judged": None,
    }  # fmt: skip
    assert [one["id"] for one in run.sample_pairs.shown("judged", 9, ())] == ["w-1"]
    assert run.judging.shown("w-2", "") == {"verdict": None, "reason": "", "order": None, "not_judged": "budget"}
