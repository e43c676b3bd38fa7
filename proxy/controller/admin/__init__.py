"""The admin port: API, metrics, health and console, on a port of its own.

Nothing here decides anything. A request is checked (`access`), its inputs are read strictly (`inputs`), the controller
is asked through `interface.AdminService`, and what it says is written out as JSON (`answering`). Every error, whoever
makes it, leaves as problem+json (`problems`; what aiohttp refuses by itself, `port`). `openapi` describes the whole of
it from what handlers declare and the types of what they answer (`…_view.py`, by topic).

Invariants
- With a token configured, every answer that holds data is given only for that token.
- Without one, only a browser page of our own origin can change anything, and no other site can read anything.
- A client of this port that is slow, hostile or many costs the controller bounded memory and no waiting.
"""

from __future__ import annotations

from aiohttp import web

from proxy.controller.admin import access, drift, gates, handlers, hooks, openapi, problems
from proxy.controller.admin.console import Console
from proxy.controller.admin.handlers import MAX_BODY, SENDER, SURFACE
from proxy.controller.admin.identity import IDENTITIES, Identities
from proxy.controller.admin.interface import AdminService
from proxy.controller.admin.metrics import Metrics
from proxy.controller.admin.oidc import login
from proxy.controller.admin.passing_on import PassingOn
from proxy.controller.admin.port import Port
from proxy.controller.admin.stream import EventStreams
from proxy.controller.webhooks.outbox import Sender

__all__ = ["PassingOn", "Port", "application"]


def application(service: AdminService, sender: Sender, passing_on: PassingOn | None = None) -> web.Application:
    """The admin port's application over a controller and its webhook sender; a standby's asks the leader too."""
    middlewares = [problems.middleware, access.middleware]
    if passing_on is not None:
        middlewares.append(passing_on.middleware)
    app = web.Application(middlewares=middlewares, client_max_size=MAX_BODY)
    if passing_on is not None:
        app.on_cleanup.append(passing_on.close)
    app[SURFACE], app[SENDER] = service, sender
    app[IDENTITIES] = Identities()
    app[handlers.METRICS] = Metrics(service, sender)
    streams = app[handlers.STREAMS] = EventStreams(service)
    app.on_response_prepare.append(access.add_security_headers)
    app.on_shutdown.append(streams.close)
    app.add_routes(handlers.routes)
    app.add_routes(drift.routes)
    app.add_routes(gates.routes)
    app.add_routes(login.routes)
    app.add_routes(hooks.routes)
    app.add_routes(openapi.routes)
    app.add_routes(Console().routes)
    return app
