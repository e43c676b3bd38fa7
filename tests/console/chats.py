"""A rollout of language models for the console to show: streams as servers write them, read as the controller does."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

from proxy.controller.charts import Charts
from proxy.controller.sample_pairs import MAX_SPOKEN, SamplePairs
from proxy.controller.spoken_pair import spoken_pair
from proxy.model import Arm, Guard, Kind, Outcome, Pair, PredictionSpec, State
from proxy.predictions.aspects import AspectsReader
from tests.console.scenes import Scene, SceneSurface, plan
from tests.predictions import language_examples as examples

NAME = "support/chat-v2"
SPECS = (
    PredictionSpec("openai", Kind.CALLS, "tool_calls", name="tools"),
    PredictionSpec("openai", Kind.LABEL, "refusal", name="refusal"),
    PredictionSpec("openai", Kind.TEXT, "text", name="answer"),
)
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n"
ASKED = b"POST /v1/chat/completions HTTP/1.1\r\nhost: chat\r\ncontent-type: application/json\r\n\r\n"

REFUND = (
    "You can return the shoes within 30 days of delivery, as long as they have not been worn outside.\n\n"
    "1. Open *My orders* and choose the order.\n2. Press *Return items* and print the label.\n"
    "3. Hand the parcel in at any post office.\n\nThe money is back on your card {} after we have the parcel. "
    "{}If the shoes were a gift, we can send a voucher instead."
)
LIVE = REFUND.format("within 5 working days", "")
CANDIDATE = REFUND.format("within 14 days", "Shipping costs are not refunded. ")
STOCK = "Let me look up the stock for you."


COST = {
    "currency": "$",
    "pairs": 1620,
    "live": {"total": 1.99, "mean": 0.00123},
    "candidate": {"total": 1.4, "mean": 0.000864},
    "ratio": 0.702,
    "copies": 4.1,
    "counted": 0,
}
FORECAST = {
    "pairs": 1700,
    "seconds": 2400.0,
    "cost": 4.1,
    "judging": None,
    "text": "about 1,700 more pairs, 40 min, $4.10",
}
JUDGE = {
    "aspect": "answer",
    "judge": "helpful",
    "verdicts": {"win": 90, "tie": 50, "loss": 60},
    "not_judged": {"timeout": 2, "queue_full": 1},
    "first": {"rate": 0.54, "low": 0.46, "high": 0.62, "verdicts": 150},
}


def words(text: str) -> list[str]:
    """A text in the pieces that a model writes."""
    parts = text.split(" ")
    return [part if at == 0 else f" {part}" for at, part in enumerate(parts)] if text else []


def call(name: str, arguments: str) -> dict[str, Any]:
    return {"id": f"call_{name}", "type": "function", "function": {"name": name, "arguments": arguments}}


def stream(text: str, *calls: dict[str, Any], finish: str = "stop", thought: str = "") -> bytes:
    message = {"content": text, "reasoning_content": thought, **({"tool_calls": list(calls)} if calls else {})}
    usage = {"prompt_tokens": 60, "completion_tokens": len(words(text)) + 12 * len(calls)}
    return examples.sse(examples.chat_stream(message, words, finish, usage))


def dialogs() -> list[tuple[str, bytes, bytes]]:
    """Questions, and what live and the candidate answer."""
    look = call("find_stock", '{"article": "RUN-42", "size": 42, "shop": "Ulm"}')
    other = call("find_stock", '{"article": "RUN-42", "size": 42.5, "shop": "Ulm"}')
    reserve = call("reserve", '{"article": "RUN-42"}')
    cup, refusal = "I only know about shoes. Shall I find some for you?", "I'm sorry, but I can't help with that."
    upper = "The upper is, the seams are not."
    return [
        ("Can I send my shoes back?", stream(LIVE), stream(CANDIDATE)),
        ("Do you have the RUN-42 in 42?", stream(STOCK, look, finish="tool_calls"), stream(STOCK, other, reserve)),
        ("Who won the cup?", stream(cup), stream(refusal)),
        ("And in green?", stream("Yes, in sizes 38 to 45."), stream("Yes, in sizes 38 to 45.")),
        ("Is it waterproof?", stream(upper, thought="RUN-42: upper coated."), stream("The upper is, but")[:-500]),
    ]


def outcome(body: bytes, first: float, seconds: float) -> Outcome:
    return Outcome(200, head=HEAD, body=body, seconds=seconds, first=first)


def pairs() -> list[Pair]:
    """The dialogs as pairs."""
    found = []
    for number, (question, live, candidate) in enumerate(dialogs()):
        body = b'{"model": "chat", "stream": true, "messages": [{"role": "user", "content": "%b"}]}' % question.encode()
        arms = outcome(live, 0.21, 1.4 + number / 10), outcome(candidate, 0.18, 1.1 + number / 10)
        name = f"0192f{number:03x}-7c1e-7aa0-b1c2-0123456789ab"
        found.append(Pair("t", 0, "w", number, name, 1_796_000_000.0 + number, Arm.LIVE, ASKED, body, *arms))
    return found


class ChatSurface(SceneSurface):
    """A controller that shows one rollout of language models."""

    def __init__(self, more: list[Pair] | None = None) -> None:
        guards = (
            Guard("max_disagreement", 0.05, aspect="tools"),
            Guard("max_rate_increase", 0.005, aspect="refusal"),
            Guard("time_to_first_token", 1.5, relative=True),
            Guard("max_extra_errors", 0.005),
        )
        scene = Scene(plan(NAME, *guards), State.SHADOW, Kind.LABEL, stage=0, minutes=9, rate=3)
        scene.plan = replace(scene.plan, prediction=PredictionSpec("none"), predictions=SPECS)
        scene.charts = Charts()
        super().__init__([scene])
        self.kept = {pair.id: pair for pair in (*pairs(), *(more or []))}
        reader, samples = AspectsReader(SPECS), SamplePairs(MAX_SPOKEN)
        readings = [reader.read(pair) for pair in self.kept.values()]
        for pair, reading in zip(self.kept.values(), readings, strict=True):
            samples.add(pair, reading)
        scene.charts.add(list(itertools.islice(itertools.cycle(readings), 400)), scene.plan)
        shown = samples.shown("latest", 50, (), [spec.name for spec in SPECS])
        self.sample_pairs = [one | {"transcript": True} for one in reversed(shown)]
        self.asked: list[str] = []

    def rollouts(self) -> list[dict[str, Any]]:
        more = {"cost": COST, "judges": [JUDGE], "cost_budget": {"limit": "20/day", "share": 0.62}}
        return [one | more | {"stage": one["stage"] | {"forecast": FORECAST}} for one in super().rollouts()]

    def rollout(self, name: str) -> dict[str, Any] | None:
        return next((one for one in self.rollouts() if one["name"] == name), None)

    async def transcript(self, name: str, pair_id: str) -> dict[str, Any] | None:
        self.asked.append(pair_id)
        pair = self.kept.get(pair_id)
        return None if pair is None else spoken_pair(pair, SPECS[0], AspectsReader(SPECS).bounds, MAX_SPOKEN)
