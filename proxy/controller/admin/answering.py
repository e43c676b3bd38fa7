"""What an endpoint answers and takes, declared beside its path: `openapi` writes the API's description from it.

    @routes.get(ROLLOUT + "/trials")
    @needs_role(Role.VIEW, About.PATH)
    @answers(503, query=(limit_to(100, 20),))
    async def trials(request: web.Request, limit: int) -> TrialsJson:
        \"\"\"Its earlier trials, newest first.\"\"\"

The type that it returns is that of the answer, which mypy holds it to; its name is the `operationId`, its docstring the
summary. Problems that follow from the rest (400, 401, 403, 404, 413) go without saying.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import wraps
from typing import Any

import orjson
from aiohttp import web

from proxy.controller.admin.callers import F
from proxy.controller.admin.inputs import QueryParameter, query_values

JSON = "application/json"
JsonHandler = Callable[..., Awaitable[Mapping[str, object]]]


@dataclass(frozen=True, slots=True)
class PostedBody:
    """The type of a body, whether there has to be one, and schemas of what else it may be, by media type."""

    kind: Any
    required: bool = False
    also: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class EndpointAnswer:
    """What is declared of an endpoint. `handler` says of which type the answer is; `media` is the answer's media type,
    empty where it has no body. `query` is `None` where nobody looks at it."""

    handler: Callable[..., Any]
    name: str
    summary: str
    problems: tuple[int, ...]
    query: tuple[QueryParameter, ...] | None = None
    body: PostedBody | None = None
    media: str = JSON
    status: int = 200


def answers(
    *problems: int,
    name: str = "",
    summary: str = "",
    query: tuple[QueryParameter, ...] | None = (),
    body: PostedBody | None = None,
) -> Callable[[JsonHandler], Callable[[web.Request], Awaitable[web.Response]]]:
    """Declare that a handler answers JSON, or one of these problems. It is given what the query says by name; a value
    that is not a finite number becomes `null`."""

    def declare(handler: JsonHandler) -> Callable[[web.Request], Awaitable[web.Response]]:
        @wraps(handler)
        async def respond(request: web.Request) -> web.Response:
            values = {} if query is None else query_values(request, query)
            return web.Response(body=orjson.dumps(await handler(request, **values)), content_type=JSON)

        declared = name or handler.__name__, summary or _first_paragraph(handler)
        respond.__dict__["answers"] = EndpointAnswer(handler, *declared, problems, query, body)
        return respond

    return declare


def answers_in(media: str, *problems: int, status: int = 200, checked: bool = False) -> Callable[[F], F]:
    """Declare that a handler makes an answer of its own, of this media type (empty: without a body); `checked`: that it
    refuses a query."""

    def declare(handler: F) -> F:
        query = () if checked else None
        said = EndpointAnswer(
            handler, handler.__name__, _first_paragraph(handler), problems, query, None, media, status
        )
        handler.__dict__["answers"] = said
        return handler

    return declare


def _first_paragraph(handler: Callable[..., Any]) -> str:
    return " ".join((handler.__doc__ or "").partition("\n\n")[0].split())
