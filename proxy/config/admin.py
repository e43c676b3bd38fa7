"""The part of the tree that is about the admin port: where it is, who may ask, what they may cost."""

from __future__ import annotations

from pydantic import SecretStr

from proxy.config.identity import AdminToken, Oidc, TrustedUserHeader, TwoPerson
from proxy.config.types import Count, Duration, Listen, Section, Url


class AdminLimits(Section):
    """What clients of the admin port may cost."""

    max_connections: Count = 256
    """Connections; for one more the one that has been idle longest is closed, and where none is idle it is answered
    with 503. Fewer where the process may open few files: 128 are kept back for webhooks, the store and the workers."""
    max_connections_per_peer: Count = 128
    """The same for each address: one more takes the place of its own, or is answered with 503."""


class AdminTimeouts(Section):
    """How long a client of the admin port may take."""

    header: Duration = 10.0
    """For the whole request head; then 408."""
    body: Duration = 30.0
    """Between two pieces of a request body; then 408."""
    idle: Duration = 75.0
    """A connection without a request, or whose client takes nothing of its answer, is closed after this."""


class Admin(Section):
    """The admin port: API, console, metrics."""

    listen: Listen = "127.0.0.1:9090"
    """Address of the admin port."""
    url: Url | None = None
    """Where people reach it, for the links in webhooks, and so that the console may act behind a proxy that speaks TLS
    for it; when absent, `http://` and `listen`, with this machine's name in the place of 0.0.0.0 or [::]."""
    token: SecretStr | None = None
    """Bearer token asked of every request but health and metrics, `tokens` or this being required when not listening on
    loopback. The short form of one among `tokens`, called `admin`, with the role `admin`."""
    tokens: tuple[AdminToken, ...] = ()
    """Bearer tokens with a name, a role and, where wanted, routes: [who may do what](identity.md)."""
    oidc: Oidc | None = None
    """Users of an OpenID Connect provider: bearer tokens, and signing in to the console."""
    trusted_user_header: TrustedUserHeader | None = None
    """Users that a proxy in front has proven."""
    two_person: TwoPerson | None = None
    """What one person alone cannot do by hand; nothing when absent."""
    limits: AdminLimits = AdminLimits()
    """What clients of the admin port may cost."""
    timeouts: AdminTimeouts = AdminTimeouts()
    """How long a client of the admin port may take."""

    @property
    def named_tokens(self) -> tuple[AdminToken, ...]:
        """All tokens, that of the short form among them."""
        if self.token is None:
            return self.tokens
        return (AdminToken(name="admin", token=self.token, role="admin"), *self.tokens)

    @property
    def asks_who(self) -> bool:
        """Whether anybody has to prove who they are."""
        return bool(self.token is not None or self.tokens or self.oidc or self.trusted_user_header)
