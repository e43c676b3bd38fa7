"""What is wrong with the limits of a rollout: what nothing could prove, and predictions that a guard cannot judge."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

from proxy.config.text import Path
from proxy.evidence.rules.registry import GUARDS
from proxy.model import BUCKETS, Guard, Kind
from proxy.spelling import nearest

if TYPE_CHECKING:
    from proxy.config.route import PredictionConfig, RolloutConfig, RouteConfig

    Aspects = Mapping[str, PredictionConfig]

MOST = 16
"""Predictions of one route: each is read from every answer."""


class Blame(Protocol):
    """What notes a mistake at a path, with a hint, and knows the paths that are blamed already."""

    def __call__(self, path: Path, problem: str, hint: str = "") -> None: ...
    def is_broken(self, path: Path) -> bool: ...


def check_guards(path: Path, rollout: RolloutConfig, aspects: Aspects, blame: Blame) -> None:
    """Note every mistake about the limits of one rollout, at `path`; `aspects` are the route's predictions by name."""
    here = (*path, "guards")
    if rollout.guards is not None and not rollout.guards.listed and not blame.is_broken(here):
        blame(here, "no guard, so nothing can be proven", "leave `guards` out for the default ones")
    for name in rollout.guards.by_aspect if rollout.guards is not None else ():
        if name not in aspects and not blame.is_broken((*here, name)):
            known = nearest(name, [*aspects, *GUARDS]) or f"predictions: {', '.join(filter(None, aspects)) or 'none'}"
            blame((*here, name), "is neither a guard nor one of the route's `predictions`", known)
    canary = any(stage.weight > 0 for stage in rollout.ladder)
    reads = [guard for guard in rollout.limits if GUARDS[guard.name].reads]
    for guard in reads:
        if not guard.aspect or guard.aspect in aspects:
            _fits(_at(here, guard), guard, aspects, blame)
    if canary:
        _written_down(path[:2], {guard.aspect for guard in reads}, aspects, blame)
    for guard in rollout.limits:
        kind = aspects[guard.aspect].kind if guard.aspect in aspects else Kind.AUTO
        if (found := GUARDS[guard.name].check(guard, kind)) is not None:
            at = _at(here, guard)
            blame((*at, found.key) if found.key else at, found.problem, found.hint)
    _have_users(here, rollout, blame)
    labelled = [guard for guard in reads if GUARDS[guard.name].labelled]
    for guard in labelled[1:]:
        blame(
            _at(here, guard), f"the truths of outcomes are about `{labelled[0].aspect}` already", "one of them has it"
        )
    for key in ("false_rollback_rate", "false_promotion_rate"):
        if not 0 < getattr(rollout, key) <= 0.5:
            blame((*path, key), "must be more than 0% and at most 50%")


def _have_users(here: Path, rollout: RolloutConfig, blame: Blame) -> None:
    """A guard that compares the users of both arms has a stage in which both have some."""
    served = any(0 < stage.weight < BUCKETS for stage in rollout.ladder)
    for guard in rollout.limits:
        if GUARDS[guard.name].by_users and not served:
            blame(_at(here, guard), "compares the users of both arms, and no stage has any", "write a `canary` stage")


def check_srm(path: Path, rollout: RolloutConfig, blame: Blame, *, sticky: bool) -> None:
    """A climb is held for what is proven: a user's pairs are all on one arm, so with `sticky` they prove nothing."""
    counted = any(GUARDS[guard.name].by_users for guard in rollout.limits)
    if rollout.on_srm == "hold" and sticky and not counted:
        problem = "with `sticky`, pairs of users that come again are no independent draws, so they prove no mismatch"
        blame((*path, "on_srm"), problem, "add `max_outcome_drop`, which counts users, or write `on_srm: report`")


def _at(here: Path, guard: Guard) -> Path:
    """Where a guard stands in the file."""
    return (*here, guard.aspect, guard.name) if guard.aspect else (*here, guard.name)


def _written_down(route: Path, judged: set[str], aspects: Aspects, blame: Blame) -> None:
    """What decides about a canary is written down, not guessed."""
    for name in judged & aspects.keys():
        for key, explicit in (("protocol", "v2"), ("kind", "label")):
            if getattr(aspects[name], key) == "auto":
                problem = f"`{key}: auto` may fill findings, but does not decide about a canary"
                place = ("predictions", name) if name else ("prediction",)
                blame((*route, *place, key), problem, f"write what it is, e.g. `{key}: {explicit}`")


def _fits(path: Path, guard: Guard, aspects: Aspects, blame: Blame) -> None:
    """A guard that reads predictions has some of a kind that it can judge."""
    if not aspects:
        blame(path, "needs to read the answers", "write `prediction: {protocol: …, kind: …}` on the route")
        return
    if guard.aspect not in aspects:
        names = " or ".join(f"`{name}`" for name in aspects)
        blame(path, "judges one of several predictions", f"write it under that one's name: {names}")
        return
    kind = aspects[guard.aspect].kind
    if kind is not Kind.AUTO and kind not in (GUARDS[guard.name].kinds or ()):
        fit = [name for name, known in GUARDS.items() if known.kinds is not None and kind in known.kinds]
        blame(path, f"cannot judge predictions of kind `{kind}`", f"fit for it: {', '.join(fit)}")


def check_aspects(path: Path, route: RouteConfig, blame: Blame) -> None:
    """Note every mistake about the names of a route's predictions, at the route's `path`."""
    here = (*path, "predictions")
    if route.predictions and route.prediction is not None:
        blame(here, "conflicts with `prediction`", "move that one here, under a name of its own")
    if "predictions" in route.model_fields_set and not route.predictions and not blame.is_broken(here):
        blame(here, "names no prediction", "write one, or `prediction`")
    if len(route.predictions) > MOST:
        blame(here, f"has {len(route.predictions)} predictions; up to {MOST} are read")
    for name in route.predictions:
        if name in GUARDS or "." in name:
            why = "is the name of a guard" if name in GUARDS else "has a `.`"
            blame((*here, name), f"{why}, so guards under this name could not be told from others", "choose another")
