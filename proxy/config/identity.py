"""The part of the tree that says who may do what on the admin port, and what is wrong with it."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Annotated, Literal

from pydantic import Field, SecretStr

from proxy.config.blaming import Blamer
from proxy.config.names import nearest
from proxy.config.text import Path
from proxy.config.types import Name, Section

RoleName = Literal["view", "operate", "admin"]
"""`controller.admin.callers.Role` has the same."""

_SENDABLE = re.compile(r"[!-~]([ -~]*[!-~])?")

RouteNames = Annotated[tuple[Name, ...], Field(min_length=1)]


class AdminToken(Section):
    """A bearer token of the admin port: its name is the actor of what is done with it."""

    name: Name
    """What it is called in the journal, as `token:NAME`."""
    token: SecretStr
    """The token itself; at least as long as `openssl rand -hex 16` makes them, if others can reach the port."""
    role: RoleName
    """`view` reads; `operate` also acts on rollouts and posts outcomes; `admin` does everything."""
    routes: RouteNames | None = None
    """The only routes it may see and act on; all of them when absent."""


def check_tokens(
    short: SecretStr | None, tokens: tuple[AdminToken, ...], routes: Collection[str], blame: Blamer
) -> None:
    """Note every mistake of `admin.token` and `admin.tokens`. An empty token would let everybody in, and one with a
    line break at its end nobody."""
    if short is not None and tokens:
        blame(("admin", "token"), "conflicts with `tokens`", "give it a name and a role there")
    found: list[tuple[Path, SecretStr]] = [(("admin", "token"), short)] if short is not None else []
    found += [(("admin", "tokens", n, "token"), one.token) for n, one in enumerate(tokens)]
    for path, token in found:
        if path not in blame.document.unfilled and not _SENDABLE.fullmatch(token.get_secret_value()):
            problem = "not a valid header value: empty, not ASCII, or with a blank at an end"
            blame(path, problem, "does it end with a line break?")
    for n, one in enumerate(tokens):
        before = tokens[:n]
        here: Path = ("admin", "tokens", n)
        if any(other.name == one.name for other in before):
            blame((*here, "name"), f"the token `{one.name}` is defined twice", "the journal tells them by their names")
        if any(other.token == one.token for other in before) and not blame.is_broken((*here, "token")):
            blame((*here, "token"), "is the same as another one's", "each has its own, or no actor is proven")
        check_routes((*here, "routes"), one.routes, routes, blame)


def check_routes(path: Path, named: tuple[str, ...] | None, routes: Collection[str], blame: Blamer) -> None:
    """Note routes that the file does not have."""
    for n, route in enumerate(named or ()):
        if route not in routes:
            hint = nearest(route, list(routes)) or (f"known: {', '.join(routes)}" if routes else "")
            blame((*path, n), f"there is no route `{route}`", hint)
