"""One rollout as a machine: (state, event, plan) → (state, effects). A table and one function.

    shadow ──pass──▶ canary 5 % ──pass──▶ canary 25 % … ──pass──▶ promoted (100 %) ──▶ completed
      └───────────────────┴── fail · tripwire · abort ──▶ rolled_back (0 %) ──retry, restart──▶ shadow

Time, evidence and people come in as events; what is to be done about them goes out as effects, in the order in which
they must be carried out. Nothing here waits, writes or asks for the time.

Effects and their order
- Weight **down**: `Publish`, then `Save`. Traffic leaves first; a disk that hangs cannot hold it.
- Anything else: `Save`, then `Publish`. When the save fails the caller drops the new state, so nothing climbs.
- `Save` is *one* transaction: state, evidence, one journal entry and, when `announce` names an event, its deliveries.
  So a change is announced exactly once: it is either saved with its announcement, or it did not happen.

Invariants (each is a property test)
- The weight rises only on a pass or by hand. To write a rollout whose first stage is a canary is by hand: its trial
  begins at weight 0 and enters that stage at the next look.
- Rolled back means weight 0, until a new version is configured, `Retry` succeeds or `Restart` begins a new trial.
- A rollout whose candidate is not ready (its health check says so) does not climb, and its stage's clock stands still.
- `advance` never raises, and the same events give the same end.
- `entry`, the number of the stage entered, only grows within a trial.

What is not obvious
- Changed stages: the rollout goes on at the same stage, or, if that is gone, at the last one that has no more weight
  than it has now. An edit of the file may lower the weight; only a pass or a person raises it.
- `max_time` bounds the wait for evidence: it does not run out for a rollout that has passed and waits for a person or
  for another rollout. A stage that passes after its time waits for a person, as `on_timeout: hold` says. `paused` stops
  climbing only; time limits and every rollback go on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from proxy.model import BUCKETS, Plan, State, Verdict
from proxy.rollout.confirming import NOBODY, asked, confirmation
from proxy.rollout.events import (
    MACHINE,
    Abort,
    Effects,
    Looked,
    Pause,
    Promote,
    Publish,
    Refuse,
    Reloaded,
    Removed,
    Restart,
    Restored,
    Resume,
    Retry,
    RolloutEvent,
    RolloutState,
    Save,
    Tripped,
    Unfinished,
)
from proxy.rollout.replanning import alike, limits_changed, named, named_by, same_place, why_anew
from proxy.rollout.requirements import causes, missing, rough, stage_name, stage_of


def begin(
    plan: Plan, now: float, change: int = 0, why: str = "", old: Plan | None = None
) -> tuple[RolloutState, Effects]:
    """A fresh trial at weight 0. `change` goes on from the rollout's last trial, of which `old` was the plan."""
    rollout = RolloutState(plan.name, plan.trial, now, entered_at=now, change=change + 1)
    said = f"{why or named(plan) or 'a new trial'}: {plan.candidate} version {plan.version} against {plan.live}"
    return rollout, (Save("began", said, named_by(plan, old) or MACHINE, "rollout.began", old), Publish())


def unknown(plan: Plan, now: float, why: str) -> tuple[RolloutState, Effects]:
    """A trial of which it cannot be known how far it had come: it may have been rolled back, so it is."""
    rollout = RolloutState(plan.name, plan.trial, now, entered_at=now)
    said = f"its saved state is lost ({why}): it may have been rolled back; {_way_back(rollout)}"
    return _fall(rollout, plan, now, "lost", said)


def advance(rollout: RolloutState, event: RolloutEvent, plan: Plan) -> tuple[RolloutState, Effects]:
    """The rollout after an event, and the effects in the order in which to carry them out. Never raises.

    An event that means nothing in a state changes nothing; an action by hand is then refused in words.
    """
    act = _TABLE.get((rollout.state, type(event)))
    if act is not None:
        return act(rollout, event, plan)
    if isinstance(event, Promote | Abort | Pause | Resume | Retry | Restart):
        return rollout, (Refuse(_why_not(rollout, event)),)
    return rollout, ()


def _why_not(rollout: RolloutState, event: RolloutEvent) -> str:
    action = type(event).__name__.lower()
    hint = f"; {_way_back(rollout)}" if rollout.over else ""
    if isinstance(event, Retry | Restart):
        hint = "; only what was rolled back can be tried again" + ("" if rollout.over else ": `abort` it first")
    return f"cannot {action} {rollout.name}: it is {rollout.state.replace('_', ' ')}{hint}"


def share_of(rollout: RolloutState, plan: Plan) -> int:
    """Share of live-served requests that are sampled for a pair, basis points; 0 after the end. A promoted candidate
    keeps that of its last stage, for the watch."""
    return 0 if rollout.over else stage_of(rollout, plan).share


def _changed(rollout: RolloutState, **fields: object) -> RolloutState:
    return replace(rollout, change=rollout.change + 1, **fields)  # type: ignore[arg-type]


def _enter(rollout: RolloutState, plan: Plan, index: int, now: float) -> RolloutState:
    """In stage `index`; past the last one means promoted."""
    fields: dict[str, object] = {"entry": rollout.entry + 1, "entered_at": now, "held": False, "stalled": False}
    fields |= {"waited": 0.0, "unready_since": now if rollout.unready_since else 0.0}
    if index >= len(plan.stages):
        end = {"state": State.PROMOTED, "weight": BUCKETS, "stage": len(plan.stages) - 1, **NOBODY}
        return _changed(rollout, **fields, **end, blocked_by=None, paused=False)
    stage = plan.stages[index]
    return _changed(rollout, **fields, state=stage.kind, weight=stage.weight, stage=index, blocked_by=None)


def _climb(
    rollout: RolloutState, plan: Plan, index: int, now: float, why: str, actor: str
) -> tuple[RolloutState, Effects]:
    after = _enter(rollout, plan, index, now)
    if after.state is State.PROMOTED:
        entry = Save("promoted", why, actor, "rollout.promoted")
    else:
        entry = Save("advanced", f"{why}: enters {stage_of(after, plan).name}", actor, "rollout.advanced")
    return after, (entry, Publish())


def _fall(
    rollout: RolloutState, plan: Plan, now: float, cause: str, why: str, actor: str = MACHINE
) -> tuple[RolloutState, Effects]:
    after = _ended(rollout, plan, now, cause=cause, reason=why)
    return after, (Publish(), Save("rolled_back", why, actor, "rollout.rolled_back"))


def _ended(rollout: RolloutState, plan: Plan, now: float, **how: object) -> RolloutState:
    """At its end, rolled back if `how` does not say otherwise: nothing of the climb that is over is left."""
    fields = {"state": State.ROLLED_BACK, "ended_at": now, "ended_in": stage_name(rollout, plan), **NOBODY, **how}
    return _changed(
        rollout, weight=0, paused=False, held=False, stalled=False, blocked_by=None, unready_since=0.0, **fields
    )


def _next(rollout: RolloutState, plan: Plan) -> int:
    """The stage to enter next: the present one while a trial that starts as a canary has not entered it."""
    waits = rollout.state is State.SHADOW and stage_of(rollout, plan).kind is State.CANARY
    return rollout.stage if waits else rollout.stage + 1


def _takes_weight(plan: Plan, index: int) -> bool:
    return index >= len(plan.stages) or plan.stages[index].weight > 0


def _on_look(rollout: RolloutState, event: Looked, plan: Plan) -> tuple[RolloutState, Effects]:
    if event.assessment.verdict is Verdict.FAIL:
        return _fall(rollout, plan, event.now, "fail", causes(event.assessment))
    waits = _on_readiness(rollout, event, plan)
    if waits is not None:
        return waits
    following = _next(rollout, plan)
    starts = following == rollout.stage
    blocker = event.blocked_by if rollout.weight == 0 and _takes_weight(plan, following) else None
    rollout = replace(rollout, blocked_by=blocker)
    if not starts and missing(rollout, event, plan):
        return _on_time(rollout, event, plan)
    if blocker or rollout.paused:
        return rollout, ()
    if starts:
        return _climb(rollout, plan, following, event.now, "the first stage", MACHINE)
    if plan.on_pass == "hold" or rollout.stalled:
        return _hold(rollout, plan)
    name = stage_of(rollout, plan).name
    return _climb(rollout, plan, following, event.now, f"{name} passed with {event.stage_pairs} pairs", MACHINE)


def _on_readiness(rollout: RolloutState, event: Looked, plan: Plan) -> tuple[RolloutState, Effects] | None:
    """What becomes of a rollout whose candidate is not ready, or is again; `None` where nothing is waited for."""
    since = rollout.unready_since
    ready = True if plan.ready_within is None else event.ready
    if ready is None:  # no worker has said yet
        return (rollout, ()) if since else None
    if ready:
        return _ready_again(rollout, event.now) if since else None
    if not since:
        why = "candidate not ready: its health check fails; nothing is sent to it, the stage's clock stands still"
        return _changed(rollout, unready_since=event.now), (Save("not_ready", why),)
    assert plan.ready_within is not None
    if event.now - since <= plan.ready_within:
        return rollout, ()
    why = f"the candidate was not ready for {rough(event.now - since)}: its health check fails"
    after = _ended(rollout, plan, event.now, cause="stalled", reason=why)
    return after, (Publish(), Save("rolled_back", why, announce="rollout.stalled"))


def _ready_again(rollout: RolloutState, now: float) -> tuple[RolloutState, Effects]:
    seconds = now - rollout.unready_since
    after = _changed(rollout, unready_since=0.0, waited=rollout.waited + seconds)
    return after, (Save("ready", f"the candidate is ready, after {rough(seconds)} in which it was not"),)


def _hold(rollout: RolloutState, plan: Plan) -> tuple[RolloutState, Effects]:
    """Tell once that a person is waited for (as `stalled`: without that person it goes no further)."""
    if rollout.held:
        return rollout, ()
    why = f"{stage_of(rollout, plan).name} passed and waits for approval"
    return _changed(rollout, held=True), (Save("held", why, announce="rollout.stalled"),)


def _on_time(rollout: RolloutState, event: Looked, plan: Plan) -> tuple[RolloutState, Effects]:
    stage = stage_of(rollout, plan)
    if stage.max_time is None or rollout.in_stage(event.now) <= stage.max_time or rollout.held:
        return rollout, ()
    why = f"{stage.name} did not pass within {stage.max_time:g} s: {missing(rollout, event, plan)}"
    if stage.on_timeout == "abort":
        return _fall(rollout, plan, event.now, "timeout", why)
    if rollout.stalled:
        return rollout, ()
    return _changed(rollout, stalled=True), (Save("stalled", why, announce="rollout.stalled"),)


def _on_watch(rollout: RolloutState, event: Looked, plan: Plan) -> tuple[RolloutState, Effects]:
    if event.assessment.verdict is Verdict.FAIL:
        return _fall(rollout, plan, event.now, "fail", causes(event.assessment))
    return _on_readiness(rollout, event, plan) or (rollout, ())


def _on_trip(rollout: RolloutState, event: Tripped, plan: Plan) -> tuple[RolloutState, Effects]:
    detail = f" ({event.detail})" if event.detail else ""
    why = f"{event.count} candidate failures in a row where live succeeded{detail}"
    return _fall(rollout, plan, event.now, "tripwire", why)


def _on_unfinished(rollout: RolloutState, event: Unfinished, plan: Plan) -> tuple[RolloutState, Effects]:
    what = event.why or "its reason is not known"
    why = f"a rollback that a crash of the controller interrupted; {what}"
    return _fall(rollout, plan, event.now, "unfinished", why)


def _on_restored(rollout: RolloutState, event: Restored, plan: Plan) -> tuple[RolloutState, Effects]:
    why = f"workers had set weight 0 while there was no controller; {rollout.weight / 100:g} % again"
    return _changed(rollout), (Save("restored", why), Publish())


def _on_promote(rollout: RolloutState, event: Promote, plan: Plan) -> tuple[RolloutState, Effects]:
    following = len(plan.stages) if event.full else _next(rollout, plan)
    if rollout.weight == 0 and event.blocked_by and _takes_weight(plan, following):
        refusal = f"cannot promote {rollout.name}: {event.blocked_by} serves on the same route"
        return rollout, (Refuse(refusal),)
    if following < len(plan.stages):
        return _climb(rollout, plan, following, event.now, event.reason or "by hand", event.actor)
    word = confirmation(rollout, event)
    if isinstance(word, Refuse):
        return rollout, (word,)
    return _climb(rollout, plan, following, event.now, word, event.actor) if word else asked(rollout, event)


def _on_abort(rollout: RolloutState, event: Abort, plan: Plan) -> tuple[RolloutState, Effects]:
    return _fall(rollout, plan, event.now, "abort", event.reason or "by hand", event.actor)


def _on_pause(rollout: RolloutState, event: Pause, plan: Plan) -> tuple[RolloutState, Effects]:
    if rollout.paused:
        return rollout, (Refuse(f"{rollout.name} is paused already"),)
    return _changed(rollout, paused=True), (Save("paused", event.reason or "by hand", event.actor),)


def _on_resume(rollout: RolloutState, event: Resume, plan: Plan) -> tuple[RolloutState, Effects]:
    if not rollout.paused:
        return rollout, (Refuse(f"{rollout.name} is not paused"),)
    return _changed(rollout, paused=False), (Save("resumed", event.reason or "by hand", event.actor),)


def _on_retry(rollout: RolloutState, event: Retry, plan: Plan) -> tuple[RolloutState, Effects]:
    if event.assessment.verdict is Verdict.FAIL:
        why = f"cannot retry {rollout.name}: the evidence still says fail ({causes(event.assessment)})"
        return rollout, (Refuse(f"{why}; configure a new version, or {_or_restart(rollout)}"),)
    return _again(rollout, event.now), (
        Save("retried", event.reason or "by hand", event.actor, "rollout.began"),
        Publish(),
    )


def _way_back(rollout: RolloutState) -> str:
    return f"`retry` it, configure a new version, or {_or_restart(rollout)}"


def _or_restart(rollout: RolloutState) -> str:
    return f"`understudy restart {rollout.name}` begins a new trial"


def _on_restart(rollout: RolloutState, event: Restart, plan: Plan) -> tuple[RolloutState, Effects]:
    fresh, _ = begin(plan, event.now, rollout.change)
    return fresh, (Save("restarted", event.reason or "by hand", event.actor, "rollout.began"), Publish())


def _again(rollout: RolloutState, now: float) -> RolloutState:
    """At the foot of the plan, with the evidence kept."""
    return _changed(
        rollout,
        state=State.SHADOW,
        stage=0,
        weight=0,
        entry=rollout.entry + 1,
        entered_at=now,
        waited=0.0,
        unready_since=0.0,
        paused=False,
        held=False,
        stalled=False,
        cause="",
        reason="",
        ended_at=0.0,
        ended_in="",
    )


def _on_reload(rollout: RolloutState, event: Reloaded, plan: Plan) -> tuple[RolloutState, Effects]:
    if plan.trial != rollout.trial:
        if event.earlier is not None and event.earlier.state is State.ROLLED_BACK:
            return _once_more(rollout, event.earlier)
        fresh, effects = begin(plan, event.now, rollout.change, why_anew(rollout, event, plan), event.previous)
        return fresh, effects if rollout.weight == 0 else effects[::-1]
    if rollout.cause == "removed" or rollout.state is State.COMPLETED:
        return _again(rollout, event.now), (
            Save("began", "in the file again; evidence kept", announce="rollout.began"),
            Publish(),
        )
    if event.previous.stages == plan.stages or rollout.over:
        return _on_limits(rollout, event, plan)
    return _on_stages(rollout, event, plan)


def _once_more(rollout: RolloutState, earlier: RolloutState) -> tuple[RolloutState, Effects]:
    """A version that was rolled back before is so still: naming another one in between is no retry."""
    after = replace(earlier, weight=0, change=rollout.change + 1)
    then = earlier.reason or earlier.cause
    why = f"this version was rolled back before ({then}); retry or restart it, or configure a new one"
    return after, (Publish(), Save("still_rolled_back", why))


def _on_limits(rollout: RolloutState, event: Reloaded, plan: Plan) -> tuple[RolloutState, Effects]:
    why = limits_changed(event.previous, plan)
    return (_changed(rollout, held=False), (Save("limits_changed", why),)) if why else (rollout, ())


def _on_stages(rollout: RolloutState, event: Reloaded, plan: Plan) -> tuple[RolloutState, Effects]:
    limits = limits_changed(event.previous, plan)
    why = "stages changed; evidence kept" + (f"; {limits}" if limits else "")
    if rollout.state is State.PROMOTED:
        return _changed(rollout, stage=len(plan.stages) - 1), (Save("stages_changed", why), Publish())
    before = stage_of(rollout, event.previous)
    index = same_place(before, rollout, plan)
    if index is None:  # every stage of the new plan has more weight: a person must want that
        after = replace(_again(rollout, event.now), paused=True)
        return after, (Publish(), Save("stages_changed", f"{why}; paused, since every stage has more weight than now"))
    stage = plan.stages[index]
    if alike(stage, before):
        # A stage that had run out of time may have been given more: whether it has is seen at the next look.
        after = _changed(rollout, stage=index, held=False, stalled=False)
        return after, (Save("stages_changed", why), Publish())
    after = _enter(rollout, plan, index, event.now)
    save = Save("stages_changed", f"{why}: goes on in {stage.name}")
    return after, (Publish(), save) if after.weight < rollout.weight else (save, Publish())


def _on_removed(rollout: RolloutState, event: Removed, plan: Plan) -> tuple[RolloutState, Effects]:
    if rollout.over:
        return rollout, ()
    if event.became_live and rollout.state is State.PROMOTED:
        why = f"{plan.candidate} is the route's live model now"
        after = _ended(rollout, plan, event.now, state=State.COMPLETED)
        return after, (Publish(), Save("completed", why, announce="rollout.completed"))
    why = "taken out of the file"
    after = _ended(rollout, plan, event.now, cause="removed", reason=why)
    return after, (Publish(), Save("removed", why, announce="rollout.removed"))


_Act = Callable[[RolloutState, "RolloutEvent", Plan], tuple[RolloutState, Effects]]
_CLIMBING = (State.SHADOW, State.CANARY)
_TRIED = (*_CLIMBING, State.PROMOTED)

_ROWS: tuple[tuple[tuple[State, ...], type, Callable[..., tuple[RolloutState, Effects]]], ...] = (
    (_CLIMBING, Looked, _on_look),
    ((State.PROMOTED,), Looked, _on_watch),
    (_TRIED, Tripped, _on_trip),
    (_TRIED, Unfinished, _on_unfinished),
    ((State.CANARY,), Restored, _on_restored),
    (_CLIMBING, Promote, _on_promote),
    (_TRIED, Abort, _on_abort),
    (_CLIMBING, Pause, _on_pause),
    (_CLIMBING, Resume, _on_resume),
    ((State.ROLLED_BACK,), Retry, _on_retry),
    ((State.ROLLED_BACK,), Restart, _on_restart),
    (tuple(State), Reloaded, _on_reload),
    (tuple(State), Removed, _on_removed),
)
_TABLE: dict[tuple[State, type], _Act] = {(state, event): act for states, event, act in _ROWS for state in states}
