"""The part of the tree that is about the admin port: where it is, who may ask, what they may cost."""

from __future__ import annotations

from pydantic import SecretStr

from proxy.config.identity import AdminToken, Oidc, TrustedUserHeader, TwoPerson
from proxy.config.types import Count, Duration, Listen, Section, Url


class AdminLimits(Section):
    """What clients of the admin port may cost."""

    max_connections: Count = 256
    """Connections. For a further one, the connection that has been idle longest is closed; if none is idle, the further
    one gets 503. The limit is lower if the process may open few files: 128 are reserved for webhooks, the store and the
    workers."""
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
    """The URL under which people reach it. It is used for links in webhooks, and the console needs it for actions if a
    proxy in front terminates TLS. When absent, `http://` and `listen`, with this machine's name instead of 0.0.0.0 or
    [::]."""
    token: SecretStr | None = None
    """Bearer token for every request except health and metrics; the short form of one entry in `tokens` with the name
    and the role `admin`. This or `tokens` is required if `listen` is not on loopback."""
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
