"""A plan with three stages, and what happens to a rollout on its way up."""

from __future__ import annotations

from proxy.controller.webhooks.policy import WebhookEvent
from proxy.model import Assessment, Plan, Stage, State, Verdict
from proxy.rollout.events import Effects, Looked, RolloutState, Save
from proxy.rollout.machine import advance, begin

SHADOW = Stage(State.SHADOW, 100.0, min_pairs=100, min_time=60.0)
CANARY5 = Stage(State.CANARY, 5.0, min_pairs=1000, min_time=60.0)
CANARY3, CANARY50 = Stage(State.CANARY, 3.0), Stage(State.CANARY, 50.0)
CANARY25 = Stage(State.CANARY, 25.0, min_pairs=50, max_time=3600.0)
PLAN = Plan("r/c", "r", "l", "c", "1", (SHADOW, CANARY5, CANARY25), ())

PASS, FAIL, INCONCLUSIVE = (Assessment(v) for v in (Verdict.PASS, Verdict.FAIL, Verdict.INCONCLUSIVE))


def looked(now: float, assessment: Assessment = PASS, pairs: int = 5000, served: int = 500, **more: object) -> Looked:
    return Looked(now, assessment, pairs, served, **more)  # type: ignore[arg-type]


def run(events: list[WebhookEvent], plan: Plan = PLAN) -> tuple[RolloutState, list[Effects]]:
    rollout, effects = begin(plan, 0.0)
    told = [effects]
    for event in events:
        rollout, effects = advance(rollout, event, plan)
        told.append(effects)
    return rollout, told


def announced(told: list[Effects]) -> list[str]:
    """Events that are told, after that of the beginning."""
    return [
        e.announce
        for effects in told
        for e in effects
        if isinstance(e, Save) and e.announce not in ("", "rollout.began")
    ]


CLIMB: list[WebhookEvent] = [looked(100.0), looked(200.0), looked(300.0)]
