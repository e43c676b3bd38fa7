"""Gates for other programs that roll out: may this candidate go on, must it be taken back? One answer, in two forms.

    GET …/gate              always 200; `verdict` says pass, fail or inconclusive (Argo Rollouts' web metrics)
    POST …/gate/promote     200 when the verdict is pass, else 409 (Flagger's `confirm-promotion`)
    POST …/gate/rollback    200 when the verdict is fail, else 409 (Flagger's `rollback`)

What is posted is not read: nothing is changed by asking. `?version=` makes sure that both speak of the same candidate.
"""

from __future__ import annotations

from typing import Any

from aiohttp import web

from proxy.controller.admin import inputs
from proxy.controller.admin.callers import About, Role, needs_role
from proxy.controller.admin.deciding import deciding
from proxy.controller.admin.handlers import ROLLOUT, answer, rollout_asked
from proxy.controller.admin.problems import Problem

routes = web.RouteTableDef()


def gate_of(rollout: dict[str, Any]) -> dict[str, Any]:
    """What a rollout, as the API shows it, says to somebody who rolls out: rolled back is `fail`; promoted, and a stage
    that lacks nothing more, is `pass`; anything else is `inconclusive`, with what is waited for as the reason."""
    stage, verdict = rollout["stage"], rollout["verdict"]
    if rollout["state"] == "rolled_back" or verdict == "fail":
        verdict, reason = "fail", rollout["reason"] or "the evidence says fail"
    elif rollout["state"] in ("promoted", "completed"):
        verdict, reason = "pass", f"it is {rollout['state']}"
    elif verdict == "pass" and all(need["have"] >= need["want"] for need in stage["needs"]):
        reason = f"{stage['name']} passed"
    else:
        verdict, reason = "inconclusive", f"{stage['name']} waits for {stage['waiting_for']}"
    names = ("name", "version", "state", "weight")
    found = {"verdict": verdict, "reason": reason, **{name: rollout[name] for name in names}}
    return found | {"stage": stage["name"], "findings": deciding(verdict, rollout["findings"])}


def _asked(request: web.Request) -> dict[str, Any]:
    version = inputs.query(request, ("version",)).get("version")
    rollout = rollout_asked(request)
    if version is not None and version != rollout["version"]:
        tried, asked = str(rollout["version"])[:100], version[:100]
        raise Problem(409, f"{rollout['name']} tries version {tried!r}; you ask about {asked!r}.")
    return gate_of(rollout)


@routes.get(ROLLOUT + "/gate")
@needs_role(Role.VIEW, About.PATH)
async def gate_asked(request: web.Request) -> web.Response:
    """What another program may do with this candidate."""
    return answer(_asked(request))


@routes.post(ROLLOUT + "/gate/promote")
@needs_role(Role.VIEW, About.PATH)
async def gate_to_promote(request: web.Request) -> web.Response:
    """200 when the candidate may be promoted."""
    return _only_when(request, "pass")


@routes.post(ROLLOUT + "/gate/rollback")
@needs_role(Role.VIEW, About.PATH)
async def gate_to_roll_back(request: web.Request) -> web.Response:
    """200 when the candidate must be rolled back."""
    return _only_when(request, "fail")


def _only_when(request: web.Request, verdict: str) -> web.Response:
    found = _asked(request)
    if found["verdict"] != verdict:
        raise Problem(409, f"{found['name']} is {found['verdict']}: {found['reason']}")
    return answer(found)
