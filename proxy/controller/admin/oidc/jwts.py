"""JSON Web Tokens, by joserfc: the provider's are checked, our own short-lived ones are made and read again.

Invariants
- A provider's token is checked with a key of the provider and one of `ALGORITHMS`, all of them asymmetric: no token
  says by itself how it is to be checked.
- Issuer, audience, end and beginning are checked; what is not a token of access or identity (`typ`) is refused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from joserfc import jws, jwt
from joserfc.errors import BadSignatureError, ExpiredTokenError, JoseError
from joserfc.jwk import JWKRegistry, Key, OctKey

from proxy.config.identity import Oidc
from proxy.controller.admin.oidc.claims import UnprovenError

ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519")
_TYPES = (None, "jwt", "at+jwt", "application/at+jwt")
_KINDS = {"RSA": ("RS", "PS"), "EC": ("ES",), "OKP": ("Ed",)}
_OURS = "HS256"


def read_keys(document: Any) -> tuple[Key, ...]:
    """The keys of a JWK set that can sign tokens; kinds that are not known are left out. Raises `ValueError`."""
    listed = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(listed, list):
        raise ValueError("no JWK set: it has no list `keys`")
    found = []
    for one in listed:
        if not isinstance(one, dict) or one.get("kty") not in _KINDS or one.get("use", "sig") != "sig":
            continue
        try:
            found.append(JWKRegistry.import_key({k: v for k, v in one.items() if k not in ("d", "key_ops")}))
        except (JoseError, ValueError, KeyError, TypeError):
            continue
    return tuple(found)


def key_id(token: str) -> str | None:
    """Which key a token says it was signed with; raises `UnprovenError` where it is no token that could be ours."""
    try:
        header = jws.extract_compact(token.encode()).headers()
    except (JoseError, ValueError, TypeError) as error:
        raise UnprovenError("it is no JSON Web Token") from error
    if header.get("alg") not in ALGORITHMS:
        raise UnprovenError(f"it is signed by {str(header.get('alg'))[:20]!r}, which is not accepted")
    if str(header.get("typ", "jwt")).lower() not in _TYPES:
        raise UnprovenError(f"it is of the type {str(header.get('typ'))[:20]!r}, which proves nothing here")
    kid = header.get("kid")
    return kid if isinstance(kid, str) else None


def having(keys: Sequence[Key], kid: str | None) -> list[Key]:
    """The keys that a token may have been signed with: the one of that name, or all where it names none."""
    return [key for key in keys if kid is None or key.as_dict().get("kid") == kid]


def checked(
    token: str, keys: Sequence[Key], oidc: Oidc, now: float, *, audience: str, nonce: str | None = None
) -> dict[str, Any]:
    """The claims of a provider's token; raises `UnprovenError`. With `nonce` it must be an identity token of a sign-in
    of ours: with that nonce, and issued to `audience` where it says to whom (OpenID Connect Core, 3.1.3.7)."""
    decoded = _decoded(token, keys)
    registry = jwt.JWTClaimsRegistry(
        now=int(now),
        leeway=int(oidc.clock_skew),
        iss={"essential": True, "value": oidc.issuer},
        aud={"essential": True, "value": audience},
        exp={"essential": True},
        sub={"essential": True},
    )
    try:
        registry.validate(decoded)
    except ExpiredTokenError:
        raise UnprovenError("it has expired") from None
    except (JoseError, TypeError, ValueError) as error:
        raise UnprovenError(f"a claim is not as it must be: {error}") from None
    if nonce is not None:
        many = isinstance(decoded["aud"], list) and len(decoded["aud"]) > 1
        if decoded.get("azp", None if many else audience) != audience:
            raise UnprovenError("it was issued to somebody else (azp)")
        if decoded.get("nonce") != nonce:
            raise UnprovenError("it belongs to another sign-in (nonce)")
    return decoded


def _decoded(token: str, keys: Sequence[Key]) -> dict[str, Any]:
    registry = jws.JWSRegistry(algorithms=ALGORITHMS, strict_check_header=False)
    algorithm = str(jws.extract_compact(token.encode()).headers()["alg"])
    for key in keys:
        if not algorithm.startswith(_KINDS[key.key_type]) or key.as_dict().get("alg", algorithm) != algorithm:
            continue
        try:
            return jwt.decode(token, key, algorithms=ALGORITHMS, registry=registry).claims
        except BadSignatureError:
            continue
        except (JoseError, ValueError, TypeError) as error:
            raise UnprovenError(f"it cannot be read: {error}") from None
    raise UnprovenError("it was not signed by the provider")


# --- our own ---------------------------------------------------------------------------------------------------------


def sealed(kind: str, claims: Mapping[str, Any], key: str) -> str:
    """A token of our own of this kind; `claims` has its end as `exp`."""
    return jwt.encode({"alg": _OURS, "typ": kind}, dict(claims), OctKey.import_key(key), algorithms=[_OURS])


def opened(kind: str, token: str, key: str, now: float) -> dict[str, Any] | None:
    """The claims of one that we made; `None` for anything else, and for one that has ended."""
    try:
        found = jwt.decode(token, OctKey.import_key(key), algorithms=[_OURS])
        jwt.JWTClaimsRegistry(now=int(now), exp={"essential": True}).validate(found.claims)
    except (JoseError, ValueError, TypeError):
        return None
    return found.claims if found.header.get("typ") == kind else None
