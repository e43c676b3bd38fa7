"""The admin API as the command line sees it: blocking, with a deadline, every failure in words."""

from __future__ import annotations

import http.client
import json
import socket
import urllib.error
import urllib.request
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote, urlsplit

from proxy.errors import UnderstudyError

DEFAULT_URL = "http://127.0.0.1:9090"


class AdminError(UnderstudyError):
    """The admin API could not be asked, or refused; `problem` is what it said then (RFC 9457). `done`: what was asked
    may have been carried out."""

    def __init__(self, said: str, problem: dict[str, Any] | None = None, *, done: bool = False) -> None:
        super().__init__(said)
        self.problem, self.done = problem or {}, done


class NotFoundError(AdminError):
    """There is no such rollout."""


class AdminClient:
    """The admin API at `url`. Every method raises `AdminError`; `timeout` is seconds for one exchange."""

    def __init__(self, url: str = DEFAULT_URL, token: str | None = None, timeout: float = 10.0) -> None:
        if not _is_url(url):
            raise AdminError(f"{url} is not a URL such as {DEFAULT_URL}")
        self._url = url.rstrip("/")
        self._token = (token or "").strip()  # a token from a file often brings its line break along
        if not (self._token.isascii() and (self._token + "x").isprintable()):
            raise AdminError("the token has characters that are not allowed in a header")
        self._timeout = timeout
        # A proxy named in the environment is for the world outside, not for an admin port.
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def rollouts(self) -> list[dict[str, Any]]:
        """Every rollout."""
        found: list[dict[str, Any]] = self._ask("rollouts", "GET", "/api/v1/rollouts")["rollouts"]
        return found

    def rollout(self, name: str) -> dict[str, Any]:
        """One rollout; raises `NotFoundError`."""
        return self._ask("ledger", "GET", _path(name))

    def upstreams(self) -> dict[str, list[dict[str, Any]]]:
        """The addresses of every upstream."""
        found: dict[str, list[dict[str, Any]]] = self._ask("upstreams", "GET", "/api/v1/upstreams")["upstreams"]
        return found

    def fleet(self) -> dict[str, Any]:
        """Who leads, and which replicas there are."""
        return self._ask("replicas", "GET", "/api/v1/fleet")

    def config(self) -> dict[str, Any]:
        """The configuration in force, and the last one that was refused."""
        return self._ask("refused", "GET", "/api/v1/config")

    def drift(self) -> list[dict[str, Any]]:
        """Drift of every route that has it."""
        found: list[dict[str, Any]] = self._ask("routes", "GET", "/api/v1/drift")["routes"]
        return found

    def accept_drift(self, route: str, field: str | None, *, reason: str) -> dict[str, Any]:
        """Take what a field is for normal; the route afterwards. Raises `NotFoundError`."""
        path = f"/api/v1/drift/{quote(route, safe='')}/accept"
        return self._ask("fields", "POST", path, {"field": field, "reason": reason})

    def act(self, name: str, action: str, *, reason: str, full: bool = False) -> dict[str, Any]:
        """Do something to a rollout by hand; the rollout afterwards. Whoever the token names is the actor."""
        return self._ask("ledger", "POST", f"{_path(name)}/{action}", {"reason": reason, "full": full})

    def post_outcomes(self, lines: Sequence[bytes]) -> dict[str, Any]:
        """Post labels and outcomes, each a JSON text; how many became what, and the lines that were refused."""
        try:
            return self._ask("joined", "POST", "/api/v1/outcomes", b"\n".join(lines))
        except AdminError as error:
            if "problems" not in error.problem:
                raise
            return {"refused": len(lines), "problems": error.problem["problems"]}

    def _ask(self, key: str, method: str, path: str, body: dict[str, Any] | bytes | None = None) -> dict[str, Any]:
        """What is answered: an object with `key`, by which the admin port is told from any other. `body` is JSON, or
        NDJSON as it is."""
        headers = {"accept": "application/json"}
        if self._token:
            headers["authorization"] = f"Bearer {self._token}"
        data = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
        if body is not None:
            headers["content-type"] = "application/x-ndjson" if isinstance(body, bytes) else "application/json"
        request = urllib.request.Request(self._url + path, data, headers, method=method)  # noqa: S310 - scheme checked
        try:
            with self._opener.open(request, timeout=self._timeout) as answer:
                return _object(answer.read(), key, self._url)
        except urllib.error.HTTPError as error:
            with error:
                raise _refusal(error, self._url, self._token) from None
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", None) or error
            said = f"cannot reach the admin port at {self._url}: {reason} (is `understudy serve` up?)"
            raise AdminError(said, done=not isinstance(reason, ConnectionRefusedError | socket.gaierror)) from None


def _path(name: str) -> str:
    route, slash, candidate = name.partition("/")
    if not (route and slash and candidate) or "/" in candidate:
        raise AdminError(f"`{name}` is not a rollout's name, which is ROUTE/CANDIDATE, e.g. credit/credit-v2")
    return f"/api/v1/rollouts/{quote(route, safe='')}/{quote(candidate, safe='')}"


def _is_url(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # half an IPv6 address, a port beyond 65535
        return False


def _object(body: bytes, key: str, url: str) -> dict[str, Any]:
    try:
        value = json.loads(body)
    except ValueError:
        value = None
    if not isinstance(value, dict) or key not in value:
        raise AdminError(f"{url} does not answer like an understudy admin port")
    return value


def _refusal(error: urllib.error.HTTPError, url: str, token: str) -> AdminError:
    """A refusal in words, from its problem+json (RFC 9457) where there is one."""
    if error.code == 401:
        wants = "does not accept this token" if token else "requires a token"
        return AdminError(f"{url} {wants}: --token or UNDERSTUDY_ADMIN_TOKEN")
    try:
        problem = json.loads(error.read())
        said = problem.get("detail") or problem.get("title")
    except (ValueError, AttributeError, OSError):
        problem, said = {}, None
    if error.code == 404:
        return NotFoundError(said or "not found")
    return AdminError(f"refused ({error.code}): {said or error.reason}", problem, done=error.code >= 500)
