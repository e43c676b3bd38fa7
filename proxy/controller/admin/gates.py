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
from typing_extensions import TypedDict

from proxy.controller.admin import inputs
from proxy.controller.admin.answering import PostedBody, answers
from proxy.controller.admin.callers import About, Role, needs_role
from proxy.controller.admin.deciding import deciding
from proxy.controller.admin.handlers import ROLLOUT, rollout_asked
from proxy.controller.admin.inputs import QueryParameter
from proxy.controller.admin.problems import Problem
from proxy.controller.admin.rollout_view import GateJson, RolloutJson
from proxy.model import State, Verdict

routes = web.RouteTableDef()


def gate_of(rollout: RolloutJson) -> GateJson:
    """What a rollout, as the API shows it, says to somebody who rolls out: rolled back is `fail`; promoted, and a stage
    that lacks nothing more, is `pass`; anything else is `inconclusive`, with what is waited for as the reason."""
    stage, verdict = rollout["stage"], rollout["verdict"]
    if rollout["state"] == State.ROLLED_BACK or verdict == Verdict.FAIL:
        verdict, reason = Verdict.FAIL, rollout["reason"] or "the evidence says fail"
    elif rollout["state"] in (State.PROMOTED, State.COMPLETED):
        verdict, reason = Verdict.PASS, f"it is {rollout['state']}"
    elif verdict == Verdict.PASS and all(need["have"] >= need["want"] for need in stage["needs"]):
        reason = f"{stage['name']} passed"
    else:
        verdict, reason = Verdict.INCONCLUSIVE, f"{stage['name']}: {stage['waiting_for']}"
    return {
        "verdict": verdict,
        "reason": reason,
        "name": rollout["name"],
        "version": rollout["version"],
        "state": rollout["state"],
        "weight": rollout["weight"],
        "stage": stage["name"],
        "findings": deciding(verdict, rollout["findings"]),
    }


class MeantJson(TypedDict, total=False):
    """What Flagger posts, as far as it says which candidate is meant."""

    metadata: dict[str, Any]


_ABOUT = "The version that is asked about; another one's trial is a 409. A POST has it here or in its body."
_QUERY = (QueryParameter("version", _ABOUT, {"type": "string"}),)
_BODY = PostedBody(MeantJson)


def _asked(request: web.Request, version: str | None) -> GateJson:
    rollout = rollout_asked(request)
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
@answers(409, name="gate", query=_QUERY)
async def gate_asked(request: web.Request, version: str | None) -> GateJson:
    """What another program may do with the candidate."""
    return _asked(request, version)


@routes.post(ROLLOUT + "/gate/promote")
@needs_role(Role.VIEW, About.PATH)
@answers(409, name="gateToPromote", query=_QUERY, body=_BODY)
async def gate_to_promote(request: web.Request, version: str | None) -> GateJson:
    """200 when its verdict is pass."""
    return await _only_when(request, version, Verdict.PASS)


@routes.post(ROLLOUT + "/gate/rollback")
@needs_role(Role.VIEW, About.PATH)
@answers(409, name="gateToRollBack", query=_QUERY, body=_BODY)
async def gate_to_roll_back(request: web.Request, version: str | None) -> GateJson:
    """200 when it is fail."""
    return await _only_when(request, version, Verdict.FAIL)


async def _only_when(request: web.Request, version: str | None, verdict: Verdict) -> GateJson:
    posted = await inputs.json_body(request, default={})
    if version is None:
        version = _version_in(posted, rollout_asked(request)["name"])
    found = _asked(request, version)
    if found["verdict"] != verdict:
        raise Problem(409, f"{found['name']} is {found['verdict']}: {found['reason']}")
    return found
