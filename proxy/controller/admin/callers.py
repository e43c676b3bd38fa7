"""Who asks, what they may do, and what each endpoint needs; decided without looking at a request.

A handler declares what it needs beside its path:

    @routes.post(ROLLOUT + "/{action}")
    @needs_role(Role.OPERATE, About.PATH)

Invariants
- What declares nothing is refused to everybody (`access.middleware`).
- An actor is who was proven, with how in front (`token:ci`), so that no two ways of proving share a name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum, IntEnum
from typing import Any, Literal, TypeVar, cast

from typing_extensions import TypedDict

F = TypeVar("F", bound=Callable[..., Any])


RoleWord = Literal["view", "operate", "admin"]


class GrantJson(TypedDict):
    """A role, on all routes where none are named."""

    role: RoleWord
    routes: list[str] | None


class CallerJson(TypedDict):
    """Who asks, and what they may do; `until` is when their proof ends (epoch seconds)."""

    actor: str
    proven: bool
    grants: list[GrantJson]
    until: float | None


class Role(IntEnum):
    """What somebody may do; each role may do what those below it may."""

    VIEW = 1
    """Read."""
    OPERATE = 2
    """Act on rollouts, and post what became of their requests."""
    ADMIN = 3
    """Everything: read the configuration again, look into it."""

    @property
    def word(self) -> RoleWord:
        """As the configuration writes it."""
        return cast(RoleWord, self.name.lower())


class About(Enum):
    """Which routes an endpoint is about."""

    EVERYTHING = "all routes"
    """All of them: nobody whose role is limited to some may ask."""
    PATH = "the route in the path"
    """The one that the path names as `{route}`."""
    FILTERED = "the caller's routes"
    """Those of the caller: the handler leaves the others out (`Caller.sees`, `Caller.routes`)."""
    NOTHING = "no route"
    """None: it tells nothing of any route."""


@dataclass(frozen=True, slots=True)
class Needs:
    """What an endpoint needs; `role` is `None` where everybody may ask."""

    role: Role | None = None
    about: About = About.EVERYTHING


def needs_role(role: Role, about: About = About.EVERYTHING) -> Callable[[F], F]:
    """Declare that a handler needs this role, on the routes that it is about."""

    def declare(handler: F) -> F:
        handler.__dict__["needs"] = Needs(role, about)
        return handler

    return declare


def open_to_all(handler: F) -> F:
    """Declare that a handler asks nobody who they are: it holds no data, or checks a signature of its own."""
    handler.__dict__["needs"] = Needs(None, About.NOTHING)
    return handler


@dataclass(frozen=True, slots=True)
class Grant:
    """A role on some routes; on all of them when `routes` is `None`."""

    role: Role
    routes: frozenset[str] | None = None

    def covers(self, route: str | None) -> bool:
        """Whether it holds on this route; `None` for all of them.

        >>> some = Grant(Role.VIEW, frozenset({"credit"}))
        >>> some.covers("credit"), some.covers("fraud"), some.covers(None)
        (True, False, False)
        """
        return self.routes is None or (route is not None and route in self.routes)


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks: `actor` as the journal names them; `proven` is false where nobody is asked for a proof. `until` is when
    the proof ends (epoch seconds), `None` where it does not. `person` tells them from everybody else, whatever they are
    called; the actor when empty."""

    actor: str
    grants: tuple[Grant, ...]
    proven: bool = True
    until: float | None = None
    person: str = ""

    def role_on(self, route: str | None) -> Role | None:
        """The highest role on a route; on all of them for `None`."""
        return max((grant.role for grant in self.grants if grant.covers(route)), default=None)

    def sees(self, route: str) -> bool:
        """Whether they may read what concerns this route."""
        return self.role_on(route) is not None

    def routes(self, role: Role) -> frozenset[str] | None:
        """The routes on which they have at least this role; `None` for all.

        >>> both = Caller("token:ci", (Grant(Role.VIEW), Grant(Role.OPERATE, frozenset({"fraud"}))))
        >>> both.routes(Role.VIEW), both.routes(Role.OPERATE)
        (None, frozenset({'fraud'}))
        """
        some = [grant.routes for grant in self.grants if grant.role >= role]
        return None if None in some else frozenset(route for routes in some for route in routes or ())

    def shown(self) -> CallerJson:
        """As the API shows it."""
        grants: list[GrantJson] = [
            {"role": grant.role.word, "routes": None if grant.routes is None else sorted(grant.routes)}
            for grant in sorted(self.grants, key=lambda one: -one.role)
        ]
        return {"actor": self.actor, "proven": self.proven, "grants": grants, "until": self.until}


ANONYMOUS = Caller("anonymous", (Grant(Role.ADMIN),), proven=False)
"""Everybody, where no way of proving who one is is configured."""


def why_refused(caller: Caller, needed: Needs, route: str | None = None) -> str:
    """Why this caller may not ask, in words; empty when they may. `route` is the one in the path.

    >>> ci = Caller("token:ci", (Grant(Role.VIEW, frozenset({"credit"})),))
    >>> why_refused(ci, Needs(Role.OPERATE, About.PATH), "credit")
    'This needs the role operate on the route credit; token:ci has view there.'
    >>> why_refused(ci, Needs(Role.VIEW, About.PATH), "fraud")
    'This needs the role view on the route fraud; token:ci has no role there, but view on credit.'
    >>> why_refused(ci, Needs(Role.VIEW))
    'This needs the role view on all routes; token:ci has view on credit.'
    >>> why_refused(ci, Needs(Role.VIEW, About.FILTERED))
    ''
    """
    if needed.role is None:
        return ""
    if needed.about in (About.FILTERED, About.NOTHING):
        has = max((grant.role for grant in caller.grants), default=None)
        where = ""
    else:
        there = route if needed.about is About.PATH else None
        has = caller.role_on(there)
        where = " on all routes" if there is None else f" on the route {there[:200]}"
    if has is not None and has >= needed.role:
        return ""
    return f"This needs the role {needed.role.word}{where}; {caller.actor} has {_had(caller, has, where)}."


def _had(caller: Caller, has: Role | None, where: str) -> str:
    if has is not None:
        return f"{has.word} there" if where.startswith(" on the route") else has.word
    known = _listed(caller.grants)
    if where.startswith(" on the route"):
        return f"no role there, but {known}" if known else "no role"
    return known or "no role"


def _listed(grants: Iterable[Grant]) -> str:
    return ", ".join(f"{one.role.word} on {', '.join(sorted(one.routes or ('all routes',)))}" for one in grants)
