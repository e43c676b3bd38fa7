"""What is wrong with the limits of a rollout: what nothing could prove, and predictions that a guard cannot judge."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from proxy.config.text import Path
from proxy.evidence.rules.registry import GUARDS
from proxy.model import Guard, Kind

if TYPE_CHECKING:
    from proxy.config.route import PredictionConfig, RolloutConfig


class Blame(Protocol):
    """What notes a mistake at a path, with a hint, and knows the paths that are blamed already."""

    def __call__(self, path: Path, problem: str, hint: str = "") -> None: ...
    def is_broken(self, path: Path) -> bool: ...


def check_guards(path: Path, rollout: RolloutConfig, prediction: PredictionConfig | None, blame: Blame) -> None:
    """Note every mistake about the limits of one rollout, at `path`."""
    here = (*path, "guards")
    if rollout.guards is not None and not rollout.guards.listed and not blame.is_broken(here):
        blame(here, "no guard, so nothing can be proven", "leave `guards` out for the default ones")
    canary = any(stage.weight > 0 for stage in rollout.ladder)
    reads = [guard for guard in rollout.limits if GUARDS[guard.name].reads]
    for guard in reads:
        _fits((*here, guard.name), guard, prediction, blame)
    if prediction is not None and reads and canary:
        for key, explicit in (("protocol", "v2"), ("kind", "label")):
            if getattr(prediction, key) == "auto":
                problem = f"`{key}: auto` may fill findings, but does not decide about a canary"
                blame((*path[:2], "prediction", key), problem, f"write what it is, e.g. `{key}: {explicit}`")
    for guard in rollout.limits:
        kind = prediction.kind if prediction is not None else Kind.AUTO
        if (found := GUARDS[guard.name].check(guard, kind)) is not None:
            at = (*here, guard.name, found.key) if found.key else (*here, guard.name)
            blame(at, found.problem, found.hint)
    for key in ("false_rollback_rate", "false_promotion_rate"):
        if not 0 < getattr(rollout, key) <= 0.5:
            blame((*path, key), "must be more than 0% and at most 50%")


def _fits(path: Path, guard: Guard, prediction: PredictionConfig | None, blame: Blame) -> None:
    """A guard that reads predictions has some of a kind that it can judge."""
    if prediction is None:
        blame(path, "needs to read the answers", "write `prediction: {protocol: …, kind: …}` on the route")
        return
    kind = prediction.kind
    if kind is not Kind.AUTO and kind not in (GUARDS[guard.name].kinds or ()):
        fit = [name for name, known in GUARDS.items() if known.kinds is not None and kind in known.kinds]
        blame(path, f"cannot judge predictions of kind `{kind}`", f"fit for it: {', '.join(fit)}")
