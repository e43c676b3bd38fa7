"""What model registries post, and what they have said."""

from __future__ import annotations

from aiohttp import web

from proxy.controller.admin import inputs
from proxy.controller.admin.callers import Role, needs_role, open_to_all
from proxy.controller.admin.handlers import SURFACE, answer

routes = web.RouteTableDef()


@routes.post("/api/v1/hooks/{kind:mlflow|registry}")
@open_to_all
async def hook(request: web.Request) -> web.Response:
    """Take a webhook of a registry: its signature alone says whether anything comes of it."""
    inputs.query(request, ())
    body = await request.read()
    return answer(await request.app[SURFACE].hook(request.match_info["kind"], request.headers, body))


@routes.get("/api/v1/registry")
@needs_role(Role.VIEW)
async def registry(request: web.Request) -> web.Response:
    """The registry, and the version that each of its models has here; `null` without one."""
    inputs.query(request, ())
    return answer({"registry": request.app[SURFACE].registry()})
