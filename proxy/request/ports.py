"""What an exchange asks of the client's side, whatever protocol the client speaks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from proxy.http.headers import Answer
    from proxy.model.reasons import Reason
    from proxy.request.exchange import Exchange
    from proxy.request.legs import Served


class DownstreamStream(Protocol):
    """The client's side of one request: an HTTP/1.1 connection, or one call of a gRPC connection."""

    peer: bytes
    scheme: bytes
    lines: bytes
    trusted: bool
    """It is a proxy whose word on who asks is believed (`server.trusted_proxies`)."""
    blocked: bool

    def interim(self, head: bytes) -> None:
        """Pass on a 1xx."""

    def answer(self, exchange: Exchange, answer: Answer, served_by: bytes, piece: bytes, done: bool) -> None:
        """Begin the client's answer."""

    def more(self, piece: bytes, done: bool) -> None:
        """Go on with it."""

    def refuse(self, reason: Reason, exchange: Exchange | None = None, name: bytes = b"") -> None:
        """Answer with an error of our own."""

    def abort(self) -> None:
        """The answer that has begun cannot be completed."""

    def upgraded(self, leg: Served, head: bytes, rest: bytes) -> None:
        """The model took up the upgrade."""

    def gives_way(self, now: float) -> bool:
        """Others wait for the connection to a model that this client holds: whether it is cut off for it."""

    def pause_reading(self) -> None:
        """Whoever takes the request cannot take more."""

    def resume_reading(self) -> None:
        """There is room again."""
