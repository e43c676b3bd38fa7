"""Promise: the description names every route and nothing else."""

from __future__ import annotations

import re

from proxy.control.admin.openapi import DOCUMENT
from proxy.control.view import ACTIONS
from tests.control.admin.clients import Client


async def test_every_route_is_described_and_every_description_is_a_route(client: Client) -> None:
    served = set()
    for route in client.server.app.router.routes():  # type: ignore[attr-defined]
        path = route.resource.canonical if route.resource else ""
        if route.method == "HEAD" or path in ("/", "/console/{path}"):
            continue
        actions = ACTIONS if "{action}" in path else ("",)
        served |= {(re.sub(r"\{action\}", action, path), route.method.lower()) for action in actions}
    described = {
        (path, method) for path, item in DOCUMENT["paths"].items() for method in item if method != "parameters"
    }
    assert served == described


async def test_the_description_is_served(client: Client) -> None:
    assert await (await client.get("/api/v1/openapi.json")).json() == DOCUMENT
