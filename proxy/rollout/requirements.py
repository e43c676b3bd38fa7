"""What a rollout waits for, and the sentence that says so.

`missing` is the one place that knows when a stage has what it asked for: the machine climbs exactly when the sentence
is empty, so that what a person reads and what is done can never differ.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from proxy.json_types import SchemaWords
from proxy.model import Assessment, Plan, Stage, State, Verdict
from proxy.rollout.events import Looked, RolloutState
from proxy.significant import significant

MIN_CANDIDATE_PAIRS = 200
"""In a canary stage at least this many compared pairs (or `min_pairs`, if fewer) were answered by the candidate."""


def stage_of(rollout: RolloutState, plan: Plan) -> Stage:
    """The stage the rollout is in, or was in when it ended."""
    return plan.stages[min(rollout.stage, len(plan.stages) - 1)]


def stage_name(rollout: RolloutState, plan: Plan) -> str:
    """`shadow`, `canary-5` or `promoted`; after the end, the stage it was in, whatever the file has become since."""
    return rollout.ended_in or ("promoted" if rollout.state is State.PROMOTED else stage_of(rollout, plan).name)


def is_patient(rollout: RolloutState, plan: Plan) -> bool:
    """Whether nobody waits for what is found: the candidate answers no client, and no look is to have it begin.

    >>> from proxy.model import Guard
    >>> stages = Stage(State.SHADOW, 100.0), Stage(State.CANARY, 5.0)
    >>> plan = Plan("r/c", "r", "l", "c", "1", stages, (Guard("max_disagreement", 0.1),))
    >>> is_patient(RolloutState("r/c", "t", 0.0), plan), is_patient(RolloutState("r/c", "t", 0.0, stage=1), plan)
    (True, False)
    """
    return rollout.weight == 0 and stage_of(rollout, plan).weight == 0


NeedWord = Literal["ready", "pairs", "candidate_pairs", "seconds", "sample_ratio", "guards"]


@dataclass(frozen=True, slots=True)
class Need:
    """One thing that a stage asks for: how much of `what` there is, and how much there must be.

    `what` is `ready` (there only while the candidate's health checks fail), `pairs`, `candidate_pairs` (those the
    candidate answered), `seconds` in the stage, `sample_ratio` (there only while a mismatch holds the climb), or
    `guards` that pass.
    """

    what: NeedWord
    have: Annotated[float, SchemaWords(minimum=0)]
    want: Annotated[float, SchemaWords(minimum=0)]


def needs(rollout: RolloutState, event: Looked, plan: Plan) -> tuple[Need, ...]:
    """Everything that the stage asks for, fulfilled or not, in the order of the sentence."""
    stage = stage_of(rollout, plan)
    verdicts = [finding.verdict for finding in event.assessment.findings if finding.segment is None]
    found = [
        Need("ready", 0, 1 if rollout.unready_since else 0),
        Need("pairs", event.stage_pairs, stage.min_pairs),
        Need("candidate_pairs", event.stage_candidate_pairs, _needed(stage)),
        Need("seconds", max(0.0, rollout.in_stage(event.now)), stage.min_time),
        Need("sample_ratio", 0, 1 if event.srm else 0),
        Need("guards", verdicts.count(Verdict.PASS), len(verdicts)),
    ]
    return tuple(need for need in found if need.want > 0)


def _needed(stage: Stage) -> int:
    """How many pairs answered by the candidate a stage asks for."""
    return min(MIN_CANDIDATE_PAIRS, stage.min_pairs) if stage.kind is State.CANARY else 0


def missing(rollout: RolloutState, event: Looked, plan: Plan) -> str:
    """What the stage still lacks for a pass, as a sentence; empty when it lacks nothing."""
    stage = stage_of(rollout, plan)
    needed = _needed(stage)
    wants = []
    if event.stage_pairs < stage.min_pairs:
        wants.append(f"{stage.min_pairs - event.stage_pairs} more pairs{_forecast(stage, event)}")
    if event.stage_candidate_pairs < needed:
        wants.append(f"{needed - event.stage_candidate_pairs} more pairs answered by the candidate")
    left = stage.min_time - rollout.in_stage(event.now)
    if left > 0:
        wants.append(f"{rough(left)} more time in the stage")
    if event.srm:
        wants.append(event.srm)
    if event.assessment.verdict is not Verdict.PASS:
        wants.append(_inconclusive(event.assessment))
    return ", ".join(wants)


def _forecast(stage: Stage, event: Looked) -> str:
    if event.rate <= 0:
        return " (none are coming now)" if event.stage_pairs else ""
    left = rough((stage.min_pairs - event.stage_pairs) / event.rate)
    return f" (about {left} at {significant(event.rate, 3)} pairs/s)"


def _inconclusive(assessment: Assessment) -> str:
    open_guards = [f for f in assessment.findings if f.segment is None and f.verdict is not Verdict.PASS]
    if not open_guards:
        return "the first findings"
    etas = [f.eta_seconds for f in open_guards]
    names = ", ".join(f.key for f in open_guards)
    known = [eta for eta in etas if eta is not None]
    return f"a pass of {names}" + (f" (about {rough(max(known))})" if len(known) == len(etas) else "")


def waiting_for(rollout: RolloutState, plan: Plan, look: Looked | None) -> str:
    """What the rollout waits for, as one sentence for a person."""
    return f"Waits for {_awaited(rollout, plan, look)}."


def _awaited(rollout: RolloutState, plan: Plan, look: Looked | None) -> str:
    if rollout.state is State.ROLLED_BACK:
        return "a new version, retry or restart"
    if rollout.state is State.COMPLETED:
        return "nothing: the candidate is live now"
    if rollout.state is State.PROMOTED and not rollout.unready_since:
        return f"the configuration to name {plan.candidate} as live; it is watched until then"
    if rollout.unready_since:
        return _unready(rollout, plan, look)
    if rollout.paused:
        return "`resume`"
    if rollout.blocked_by:
        return f"{rollout.blocked_by}, which serves on the same route"
    if rollout.held:
        return "approval of the next stage"
    wants = "the first look at the evidence" if look is None else missing(rollout, look, plan) or "the next look"
    return wants + ("; `max_time` is over, so a pass needs approval" if rollout.stalled else "")


def _unready(rollout: RolloutState, plan: Plan, look: Looked | None) -> str:
    since = rough(look.now - rollout.unready_since) if look is not None else "a while"
    most = f" (the rollout ends after {rough(plan.ready_within)})" if plan.ready_within is not None else ""
    return f"candidate ready: its health check has failed for {since}{most}"


def rough(seconds: float) -> str:
    """A duration to two digits, for reading.

    >>> rough(455.0), rough(0.4), rough(200000.0), rough(1e7), rough(float("inf"))
    ('7.6 min', '1 s', '2.3 days', '116 days', 'never')
    """
    if seconds == float("inf"):
        return "never"
    for unit, length in (("days", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 1.5 * length:
            amount = seconds / length
            return f"{amount:.{0 if amount >= 10 else 1}f} {unit}".replace(".0 ", " ")
    return f"{max(1, round(seconds))} s"


def causes(assessment: Assessment) -> str:
    """Why it failed, in words: the reasons of the guards named as its cause."""
    said = [f.reason for f in assessment.findings if f.key in assessment.causes and f.verdict is Verdict.FAIL]
    return "; ".join(said) or ", ".join(assessment.causes) or "the evidence says fail"
