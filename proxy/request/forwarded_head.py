"""The head of one request as models get it.

Most heads are `plain`: what many requests have, and behind it a few lines of ours. They are kept in these two parts and
joined when it is known who gets them, and with which body; all others are made at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mypy_extensions import mypyc_attr

from proxy.http import forwarding, headers, request_head
from proxy.request.legs import Written

if TYPE_CHECKING:
    from proxy.http.request_head import Request
    from proxy.request.ports import DownstreamStream, RequestContext

EXPECT: Final = frozenset({b"expect"})


@mypyc_attr(allow_interpreted_subclasses=True)
class ForwardedHead(Written):
    """The head of a request of one client.

    `id` is our own, and no other request's: by it arms and samples are drawn. `request_id` is the one that the models
    and the client see, the client's if it gave one.
    """

    described = b""
    """The lines that say what a changed body is; the head is then made of `Request.bare` and them, when it is sent."""
    _base = b""

    def __init__(self, client: DownstreamStream, context: RequestContext, request: Request, name: bytes) -> None:
        self.client, self.context, self.request = client, context, request
        self.id = self.request_id = name
        self.plain = request.plain  # the client has given no id either
        """How it begins, if what comes behind are only lines of ours."""
        if not self.plain:
            self.request_id = request_head.given_id(request) or name
            self._base = forwarding.forwarded(request, self.request_id, client.peer, client.scheme, client.trusted)

    @property
    def base(self) -> bytes:
        """All of it, without the final blank line."""
        if not self._base:
            self._base = b"".join((self.plain, self.client.lines, self.id, b"\r\n"))
        return self._base

    def describes(self, lines: bytes) -> None:
        """The body was changed, and is what these lines say."""
        self.described = lines

    def take_body(self) -> None:
        """Ask the client for the body it keeps back (RFC 9110, 10.1.1): whichever arm answers, it will be needed."""
        self.client.interim(b"HTTP/1.1 100 Continue\r\n\r\n")
        self._base, self.plain = self.base_without(EXPECT), b""

    def head_for_leg(self, base: bytes) -> bytes:
        """A head for one leg, without the blank line, with a span of its own when the client traces."""
        if b"traceparent" in self.request.found:
            base = forwarding.trace(self.request, base, *self.context.span())
        return base

    def adds_no_lines(self) -> bool:
        """Whether `head_for_leg` gives a head back as it is."""
        return b"traceparent" not in self.request.found

    def base_without(self, names: frozenset[bytes]) -> bytes:
        """The forwarded head without some headers."""
        return self.base if names.isdisjoint(self.request.found) else headers.without(self.base, names)
