"""Errors as application/problem+json (RFC 9457), whoever raises them: a handler, the controller, the store, aiohttp."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any, Literal, NotRequired

import orjson
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError, PayloadEncodingError
from typing_extensions import TypedDict

from proxy import logs
from proxy.controller.admin.callers import RoleWord
from proxy.controller.admin.interface import ActionRefusedError
from proxy.controller.admin.outcome_view import RefusedLineJson
from proxy.errors import StoreError, UnderstudyError
from proxy.json_types import Whole

log = logging.getLogger("understudy.admin")


def _is_ours(record: logging.LogRecord) -> bool:
    """Whether a record is about more than a head that cannot be parsed or a connection that ended early."""
    error = record.exc_info[1] if record.exc_info else None
    return not isinstance(error, HttpProcessingError | web.RequestPayloadError | ConnectionError)


server_log = logging.getLogger("understudy.admin.server")
"""For aiohttp's own server: what only a client did wrong is not in it."""
server_log.addFilter(_is_ours)

CONTENT_TYPE = "application/problem+json"
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class ProblemJson(TypedDict):
    """What an error answer holds (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    reasons: NotRequired[list[str]]
    needs: NotRequired[RoleWord]
    actor: NotRequired[str]
    problems: NotRequired[list[RefusedLineJson]]
    """Of outcomes one a line, those that are none."""
    taken_lines: NotRequired[Whole]
    """Of outcomes one a line, up to which line everything was taken."""
    sign_in: NotRequired[list[Literal["token", "oidc"]]]


class Problem(UnderstudyError):  # noqa: N818 - RFC 9457's own word
    """An error answer; raise it. `extra` are members of its own beside RFC 9457's."""

    def __init__(self, status: int, detail: str, headers: dict[str, str] | None = None, **extra: Any) -> None:
        super().__init__(detail)
        self.status, self.detail, self.headers, self.extra = status, detail, headers, extra

    @property
    def answer(self) -> web.Response:
        """The problem as an answer."""
        said = {"type": "about:blank", "title": HTTPStatus(self.status).phrase, "status": self.status}
        body = orjson.dumps(said | {"detail": self.detail} | self.extra)
        return web.Response(body=body, status=self.status, headers=self.headers, content_type=CONTENT_TYPE)


def _own_words(error: web.HTTPException, request: web.Request) -> str:
    """What to say for an error that aiohttp made."""
    match error.status:
        case 404:
            return f"There is nothing at {request.path}."
        case 405:
            return f"{request.method} is not possible here; {error.headers.get('Allow', '')} is."
        case 413:
            return f"The body is longer than {request.client_max_size} bytes."
    return error.reason or HTTPStatus(error.status).description


@web.middleware
async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn every exception into a problem."""
    try:
        return await handler(request)
    except Problem as problem:
        return problem.answer
    except web.HTTPException as error:
        if error.status < 400:
            raise
        kept = {name: value for name, value in error.headers.items() if name == "Allow"}
        return Problem(error.status, _own_words(error, request), kept).answer
    except ActionRefusedError as error:
        return Problem(error.status, error.reason).answer
    except StoreError as error:
        return Problem(503, f"The store is not available: {error}").answer
    except (PayloadEncodingError, web.RequestPayloadError):
        return Problem(400, "The body is not encoded as its Content-Encoding says.").answer
    except ConnectionError:  # the reader is gone: nobody to tell
        raise
    except Exception:
        logs.unexpected(log, "admin.internal_error", method=request.method, path=request.path)
        return Problem(500, "Internal error; the controller's log has details.").answer
