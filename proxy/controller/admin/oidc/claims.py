"""What a verified token says: who it is, and which roles that gives them; and when a provider is asked for its keys."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from unicodedata import category, normalize

from proxy.config.identity import Oidc, RoleGrant
from proxy.controller.admin.callers import Caller, Grant, Role

LONGEST = 200
"""Letters of an actor, at most."""
_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Cn", "Zl", "Zp"})
_BLANK = re.compile(
    r"[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)
"""What shows nothing and yet makes another name: by Unicode's categories, and the fillers and selectors beside them."""

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
    if not (isinstance(name, str) and 0 < len(name) <= LONGEST and _is_seen(name)):
        raise UnprovenError(f"it names nobody: a text of 1 to {LONGEST} plain characters is expected")
    return f"{kind}:{name}"


def _is_seen(name: str) -> bool:
    return not (_BLANK.search(name) or any(category(one) in _UNSEEN for one in name))


def same_name(actor: str) -> str:
    """An actor as those write it who do not tell large letters from small ones, or wide from narrow: the same person.

    >>> same_name("proxy:Eve"), same_name("proxy:\uff45ve")
    ('proxy:eve', 'proxy:eve')
    """
    return normalize("NFKC", normalize("NFKC", actor).casefold())


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
    """Who a token names, the values of theirs that roles depend on, when it ends (epoch seconds), and the person:
    issuer and subject, which the provider gives to nobody else and no user can change."""

    actor: str
    values: frozenset[str]
    until: float
    person: str

    @classmethod
    def kept(cls, said: Mapping[str, Any]) -> Proof:
        """What `to_keep` gave to a session."""
        return cls(said["actor"], frozenset(said["values"]), said["exp"], said["person"])

    def to_keep(self) -> dict[str, Any]:
        """As a session keeps it."""
        return {"actor": self.actor, "values": sorted(self.values), "exp": int(self.until), "person": self.person}

    def caller(self, grants: Iterable[RoleGrant]) -> Caller:
        """Who asks with it, by the grants in force."""
        return Caller(self.actor, granted(grants, self.values), until=self.until, person=self.person)


def proof(claims: Mapping[str, Any], oidc: Oidc) -> Proof:
    """What checked claims prove; raises `UnprovenError`. Of the values those alone are kept that some grant names."""
    parties = oidc.authorized_parties
    if parties and claims.get("azp") not in parties:
        raise UnprovenError(f"it was issued to {str(claims.get('azp'))[:60]!r} (azp), which is not one of ours")
    named = {one.value for one in oidc.roles.grants}
    values = values_of(claim_at(claims, oidc.roles.claim)) & named
    person = f"oidc:{claims['iss']} {claims['sub']}"
    return Proof(_actor(claims, oidc.actor), values, float(claims["exp"]), person)


def _actor(claims: Mapping[str, Any], called: str) -> str:
    """What the journal calls them: by the claim `called`, which users may be able to change, with the subject behind
    it; by the subject alone where that claim is an address that the provider has not verified."""
    at = "sub"
    try:
        subject = actor_of("oidc", claims["sub"])
        at = called
        if called == "sub" or (called == "email" and claims.get("email_verified") is not True):
            return subject
        return f"{actor_of('oidc', claim_at(claims, called))} ({claims['sub']})"
    except UnprovenError as error:
        raise UnprovenError(f"its claim {at}: {error}") from None


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
