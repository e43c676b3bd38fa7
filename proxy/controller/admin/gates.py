"""Gates for other programs that roll out: may this candidate go on, must it be taken back? One answer, in two forms.

    GET …/gate              always 200; `verdict` says pass, fail or inconclusive (Argo Rollouts' web metrics)
    POST …/gate/promote     200 when the verdict is pass, else 409 (Flagger's `confirm-promotion`)
    POST …/gate/rollback    200 when the verdict is fail, else 409 (Flagger's `rollback`)

Nothing is changed by asking. `?version=`, or `metadata.version` in what is posted (Flagger's form), says which
candidate is meant; a POST, whose answer is yes or no, has to say it: that of the version before would be taken for
this one's.
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
        verdict, reason = "inconclusive", f"{stage['name']}: {stage['waiting_for']}"
    names = ("name", "version", "state", "weight")
    found = {"verdict": verdict, "reason": reason, **{name: rollout[name] for name in names}}
    return found | {"stage": stage["name"], "findings": deciding(verdict, rollout["findings"])}


def _asked(request: web.Request, posted: Any = None) -> dict[str, Any]:
    version = inputs.query(request, ("version",)).get("version")
    rollout = rollout_asked(request)
    if version is None and posted is not None:
        version = _version_in(posted, rollout["name"])
    if version is not None and version != rollout["version"]:
        tried, asked = str(rollout["version"])[:100], version[:100]
        raise Problem(409, f"{rollout['name']} tries version {tried!r}; you ask about {asked!r}.")
    return gate_of(rollout)


def _version_in(posted: Any, name: str) -> str:
    """The version that a body means. Raises `Problem` (400)."""
    metadata = posted.get("metadata") if isinstance(posted, dict) else None
    version = metadata.get("version") if isinstance(metadata, dict) else None
    if isinstance(version, str):
        return version
    raise Problem(400, f"Which version of {name}? ?version=… or metadata.version in the body has to say it.")


@routes.get(ROLLOUT + "/gate")
@needs_role(Role.VIEW, About.PATH)
async def gate_asked(request: web.Request) -> web.Response:
    """What another program may do with this candidate."""
    return answer(_asked(request))


@routes.post(ROLLOUT + "/gate/promote")
@needs_role(Role.VIEW, About.PATH)
async def gate_to_promote(request: web.Request) -> web.Response:
    """200 when the candidate may be promoted."""
    return await _only_when(request, "pass")


@routes.post(ROLLOUT + "/gate/rollback")
@needs_role(Role.VIEW, About.PATH)
async def gate_to_roll_back(request: web.Request) -> web.Response:
    """200 when the candidate must be rolled back."""
    return await _only_when(request, "fail")


async def _only_when(request: web.Request, verdict: str) -> web.Response:
    found = _asked(request, await inputs.json_body(request, default={}) or {})
    if found["verdict"] != verdict:
        raise Problem(409, f"{found['name']} is {found['verdict']}: {found['reason']}")
    return answer(found)
