"""What model registries post, and what they have said."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from proxy.controller.admin.answering import PostedBody, answers
from proxy.controller.admin.callers import Role, needs_role, open_to_all
from proxy.controller.admin.coded import whole_body
from proxy.controller.admin.handlers import SURFACE
from proxy.controller.admin.registry_view import HookResultJson, RegistryAnswerJson

routes = web.RouteTableDef()


@routes.post("/api/v1/hooks/{kind:mlflow|registry}")
@open_to_all
@answers(401, 403, 404, 502, 503, body=PostedBody(dict[str, Any], required=True))
async def hook(request: web.Request) -> HookResultJson:
    """A webhook of a model registry, signed: MLflow's, or of any other one (plain, or a CloudEvent).

    Its signature alone says whether anything comes of it.
    """
    body = await whole_body(request)
    return await request.app[SURFACE].hook(request.match_info["kind"], request.headers, body)


@routes.get("/api/v1/registry")
@needs_role(Role.VIEW)
@answers()
async def registry(request: web.Request) -> RegistryAnswerJson:
    """The model registry, and the version that each of its models has here."""
    return {"registry": request.app[SURFACE].registry()}
