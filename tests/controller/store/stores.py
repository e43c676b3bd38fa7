"""A rollout to save, and a store opened again."""

from __future__ import annotations

from dataclasses import replace

from proxy.controller.store.store import Change, RolloutStore, Saved
from proxy.controller.webhooks.policy import WebhookEvent
from proxy.model import Guard, Kind, Plan, PredictionSpec, Segments, Stage, State
from proxy.rollout.events import RolloutState

PLAN = Plan(
    "r/c", "r", "l", "c", "1",
    (Stage(State.SHADOW, 100.0), Stage(State.CANARY, 5.0, max_time=60.0)),
    (Guard("max_disagreement", 0.02), Guard("p99_latency", 1.2, relative=True)),
    prediction=PredictionSpec("v2", Kind.SCORE, "y", ignore=("/id",)),
    segments=Segments("x-tenant"),
)  # fmt: skip


ROLLOUT = RolloutState("r/c", PLAN.trial, 1.0, State.CANARY, stage=1, entry=2, weight=500, change=3, blocked_by="r/b")


def saved(evidence: bytes = b"e", name: str = "r/c", **fields: object) -> Saved:
    return Saved(replace(ROLLOUT, name=name, **fields), replace(PLAN, name=name), evidence, {"n": 1})  # type: ignore[arg-type]


def change(number: int = 1, *endpoints: str, name: str = "r/c", evidence: bytes = b"e") -> Change:
    event = WebhookEvent(f"evt_{number}", "rollout.advanced", float(number), {"rollout": name})
    one = saved(evidence, name, change=number)
    return Change(one, number, float(number), "advanced", "ann", f"why {number}", {"n": number}, event, endpoints)


async def reopened(store: RolloutStore) -> RolloutStore:
    await store.close()
    return RolloutStore(store.path)
