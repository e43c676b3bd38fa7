"""What a changed plan means for a rollout under way: in words, and where it goes on."""

from __future__ import annotations

from proxy.model import Plan, Stage, State
from proxy.rollout.events import Reloaded, RolloutState


def limits_changed(before: Plan, after: Plan) -> str:
    """What a change of the limits means, in words; empty when they are the same."""
    said = []
    if before.guards != after.guards:
        said.append("limits changed: earlier pairs stay judged by those in force when they came, the pass starts again")
    if _rates(before) != _rates(after):
        said.append("error rates changed: all evidence is judged by them from now on")
    return "; ".join(said)


def _rates(plan: Plan) -> tuple[float, float]:
    return plan.false_rollback_rate, plan.false_promotion_rate


def alike(one: Stage, other: Stage) -> bool:
    """Whether two stages are the same but for what they ask for."""
    return (one.kind, one.percent) == (other.kind, other.percent)


def same_place(before: Stage, rollout: RolloutState, plan: Plan) -> int | None:
    """Where to go on in changed stages: the same stage, else the last one without more weight than now.

    In shadow never past the present number: stages that were not passed are not skipped.
    """
    open_to = [n for n, stage in enumerate(plan.stages) if stage.weight <= rollout.weight]
    if rollout.state is State.SHADOW:
        open_to = [n for n in open_to if n <= rollout.stage] or open_to[:1]
    places = [n for n in open_to if alike(plan.stages[n], before)] or open_to
    return places[-1] if places else None


def named_by(plan: Plan, previous: Plan | None) -> str:
    """The model registry whose word made the trial of this plan be, after one of `previous`, as an actor; empty for
    the file's."""
    lineage = plan.lineage
    if lineage is None or (previous is not None and previous.lineage == lineage):
        return ""
    return f"registry:{lineage.registry}"


def named(plan: Plan) -> str:
    """What a registry has said, in words; empty where the file named the version."""
    lineage = plan.lineage
    return "" if lineage is None else f"the registry names version {lineage.version} of {lineage.model}"


def why_anew(rollout: RolloutState, event: Reloaded, plan: Plan) -> str:
    """Why a new trial begins, in words."""
    if not rollout.trial:
        return "the saved evidence could not be read"
    return named(plan) if named_by(plan, event.previous) else "the file names a new trial"
