"""What an HTTP status says about the server that gave it, whatever the body: a failure, a refusal, an answer.

A gRPC status counts as the HTTP status that stands for it (`http.grpc`).
"""

from __future__ import annotations

from typing import Final

REFUSALS: Final = frozenset({401, 403, 404, 405, 410, 415, 422, 451})
"""Statuses by which a server refuses a request as such. Nearly all are mistakes of a deployment."""
NOT_MODIFIED: Final = 304


def is_failure(status: int) -> bool:
    """Whether a status is a failure of the server that gave it, and no answer to the request.

    >>> [status for status in (200, 307, 400, 404, 408, 429, 500, 503) if is_failure(status)]
    [408, 429, 500, 503]
    """
    return status >= 500 or status == 429 or status == 408


def status_class(status: int) -> int:
    """2 for a success, 3 for a redirect, 4, 5. A 304 stands for the 200 whose body the client has already; whether the
    client has asked for it is for the caller to see (`headers.is_conditional`).

    >>> status_class(204), status_class(304), status_class(307), status_class(422)
    (2, 2, 3, 4)
    """
    return 2 if status == NOT_MODIFIED else status // 100


def are_alike(one: int, other: int) -> bool:
    """Whether two statuses say the same of a request: of one class, and both a refusal or neither.

    >>> are_alike(200, 204), are_alike(400, 409), are_alike(401, 403), are_alike(400, 404), are_alike(302, 200)
    (True, True, True, False, False)
    """
    return status_class(one) == status_class(other) and (one in REFUSALS) == (other in REFUSALS)
