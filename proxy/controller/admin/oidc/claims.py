"""What a verified token says: who it is, and which roles that gives them; and when a provider is asked for its keys."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from proxy.config.identity import Oidc, RoleGrant
from proxy.controller.admin.callers import Caller, Grant, Role

LONGEST = 200
"""Letters of an actor, at most."""
_PRINTABLE = re.compile(r"[^\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]+")

RETRY, COOLDOWN, FRESH = 5.0, 30.0, 3600.0
"""Seconds: until a provider that gave no keys is asked again, between two questions because of a key that is not known,
and after which known keys are asked for again behind the scenes."""


class UnprovenError(Exception):
    """A token proves nothing; says why."""


def actor_of(kind: str, name: Any) -> str:
    """The actor of who is called so; raises `UnprovenError` where that cannot go into a journal.

    >>> actor_of("oidc", "ada@bank.example")
    'oidc:ada@bank.example'
    """
    if not (isinstance(name, str) and 0 < len(name) <= LONGEST and _PRINTABLE.fullmatch(name)):
        raise UnprovenError(f"it names nobody: a text of 1 to {LONGEST} plain characters is expected")
    return f"{kind}:{name}"


def claim_at(claims: Mapping[str, Any], where: str) -> Any:
    """A claim by its name, or by a path of names where it begins with `/`; `None` where there is none.

    >>> claim_at({"realm_access": {"roles": ["a"]}}, "/realm_access/roles"), claim_at({"https://x/y": 1}, "https://x/y")
    (['a'], 1)
    """
    value: Any = claims
    for name in where[1:].split("/") if where.startswith("/") else [where]:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def values_of(claim: Any) -> frozenset[str]:
    """The texts that a claim holds: a list of them, or one with blanks between, as `scope` has it.

    >>> sorted(values_of(["a b", 1])), sorted(values_of("a b")), sorted(values_of(None))
    (['a b'], ['a', 'b'], [])
    """
    if isinstance(claim, str):
        return frozenset(claim.split())
    return frozenset(one for one in claim if isinstance(one, str)) if isinstance(claim, list) else frozenset()


def granted(grants: Iterable[RoleGrant], values: frozenset[str]) -> tuple[Grant, ...]:
    """The roles of who has these values."""
    return tuple(
        Grant(Role[one.role.upper()], None if one.routes is None else frozenset(one.routes))
        for one in grants
        if one.value is None or one.value in values
    )


@dataclass(frozen=True, slots=True)
class Proof:
    """Who a token names, the values of theirs that roles depend on, and when it ends (epoch seconds)."""

    actor: str
    values: frozenset[str]
    until: float

    def caller(self, grants: Iterable[RoleGrant]) -> Caller:
        """Who asks with it, by the grants in force."""
        return Caller(self.actor, granted(grants, self.values), until=self.until)


def proof(claims: Mapping[str, Any], oidc: Oidc) -> Proof:
    """What checked claims prove; raises `UnprovenError`. Of the values those alone are kept that some grant names."""
    parties = oidc.authorized_parties
    if parties and claims.get("azp") not in parties:
        raise UnprovenError(f"it was issued to {str(claims.get('azp'))[:60]!r} (azp), which is not one of ours")
    try:
        actor = actor_of("oidc", claim_at(claims, oidc.actor))
    except UnprovenError as error:
        raise UnprovenError(f"its claim {oidc.actor}: {error}") from None
    named = {one.value for one in oidc.roles.grants}
    return Proof(actor, values_of(claim_at(claims, oidc.roles.claim)) & named, float(claims["exp"]))


def asks_again(now: float, known: bool, asked: float | None, got: float | None) -> bool:
    """Whether a provider is asked for its keys before a token is answered: `known` says whether its key is, `asked` and
    `got` when the provider was last asked and last gave keys.

    >>> asks_again(100, False, None, None), asks_again(100, False, 96, None), asks_again(100, False, 80, 80)
    (True, False, False)
    >>> asks_again(100, True, 10, 10), asks_again(100, False, 10, 10)
    (False, True)
    """
    if known:
        return False
    return asked is None or now - asked >= (RETRY if got is None else COOLDOWN)


def refreshes(now: float, asked: float | None, got: float | None) -> bool:
    """Whether keys are old enough to be asked for behind the scenes."""
    return got is not None and now - got >= FRESH and (asked is None or now - asked >= COOLDOWN)
