"""Answers of gRPC models: what their first headers and their trailers mean, and what a client gets of them.

A model repeats itself, and a block of headers that comes again means the same (`http2.blocks`): what was made of it is
kept with it, and each call gets its own copy, since a call's status comes last.
"""

from __future__ import annotations

from typing import Final

from proxy.http.answer_head import NO_STREAM, Answer
from proxy.http.grpc import http_status, is_name, status_words
from proxy.http.headers import UNTIL_CLOSE, HeadError
from proxy.http.http2.blocks import KnownBlock
from proxy.http.http2.frames import Headers, encoded, encoded_name, encoded_value

_NOT_ANSWERED: Final = frozenset(
    {
        b"x-understudy-request-id",
        b"x-served-by",
        b"x-understudy-error",
        b"content-length",
        b"proxy-authenticate",
        b"trailer",
    }
)


def _said(headers: Headers) -> int:
    for name, value in headers:
        if name == b"grpc-status":
            return http_status(value)
    return -1


def _passed_on(headers: Headers) -> Headers:
    for name, value in headers:
        if not is_name(name):
            raise HeadError("not the name of a header")
        if b"\n" in value or b"\r" in value or b"\0" in value:
            raise HeadError("a line break in a header")
    return [one for one in headers if one[0] not in _NOT_ANSWERED]


class GrpcTrailers:
    """What ends an answer."""

    __slots__ = ("_block", "headers", "said")

    def __init__(self, headers: Headers) -> None:
        self.headers = _passed_on(headers)
        self.said = _said(self.headers)
        """The HTTP status that stands for the call's; 0 for what is no status, -1 where none is said."""
        self._block = b""

    def block(self) -> bytes:
        """They as a client gets them, compressed."""
        if not self._block:
            self._block = encoded(self.headers)
        return self._block


NO_TRAILERS: Final = GrpcTrailers([])


class GrpcAnswer(Answer):
    """An answer whose status comes last. `ended` when its trailers are known; a call without them never ends well."""

    __slots__ = ("_block", "_model", "_named", "_server", "headers", "only", "sent_status", "trailers")

    headers: Headers
    trailers: GrpcTrailers
    sent_status: bytes
    """The HTTP status as it came; `status` is the one that stands for the call's."""
    only: bool
    """There are only trailers, in place of a head (gRPC's `Trailers-Only`)."""
    _block: bytes
    _server: bytes
    _named: bytes
    """Behind the block who served it, and the name of the header that tells the request's id."""
    _model: GrpcAnswer | None
    """The one that is kept with the block of headers, of which this is a copy."""

    def block(self) -> bytes:
        """The head as a client gets it, compressed, before our headers."""
        kept = self if self._model is None else self._model
        if not kept._block:
            kept._block = encoded([(b":status", kept.sent_status), *kept.headers])
        return kept._block

    def named_block(self, served_by: bytes, name: bytes, request_id: bytes) -> bytes:
        """The same with our headers: who served it, and the request's id under this name, if any (`id_name`)."""
        served = [(b"x-served-by", served_by)]
        if not name:
            return self.block() + encoded(served)
        if self.request_id or self._model is None:  # that name depends on the request
            return self.block() + encoded([*served, (name, request_id)])
        kept = self._model
        if kept._server != served_by:
            kept._server, kept._named = served_by, self.block() + encoded(served) + encoded_name(name)
        return kept._named + encoded_value(request_id)

    def again(self) -> GrpcAnswer:
        """The same for another call."""
        answer = GrpcAnswer()
        answer.old, answer.keep, answer.events, answer.length = False, True, False, UNTIL_CLOSE
        answer.stream, answer.dated = NO_STREAM, True
        answer.found, answer.named, answer.base, answer.head = self.found, self.named, b"", b""
        answer.headers, answer.trailers, answer.only = self.headers, NO_TRAILERS, self.only
        answer.request_id, answer.sent_status, answer.status = self.request_id, self.sent_status, self.status
        answer._block, answer._model = b"", self
        return answer

    def complete(self) -> None:
        """Write headers and trailers as an HTTP/1.1 head, for the pair."""
        kept = self._model
        if kept is not None and kept.head and kept.trailers is self.trailers:
            self.head = kept.head
            return
        lines = b"".join([b"%b: %b\r\n" % one for one in (*self.headers, *self.trailers.headers)])
        words = status_words(b"\r\n" + lines).encode()
        self.head = b"HTTP/1.1 %d %b\r\n%b\r\n" % (self.status, words, lines)
        if kept is not None:
            kept.trailers, kept.head = self.trailers, self.head


def read_grpc_answer(headers: Headers, ended: bool, known: KnownBlock | None = None) -> GrpcAnswer:
    """What an answer's first headers mean, and with them what is `known` of their block; raises `HeadError` for what is
    no answer."""
    if known is not None:
        kept = known.meaning
        if isinstance(kept, GrpcAnswer) and kept.only == ended:
            return kept.again()
    made = _read(headers, ended)
    if known is None:
        return made
    known.means(made)
    return made.again()


def _read(headers: Headers, ended: bool) -> GrpcAnswer:
    answer = GrpcAnswer()
    if not headers or headers[0][0] != b":status" or not headers[0][1].isdigit() or len(headers[0][1]) != 3:
        raise HeadError("no status")
    answer.old, answer.keep, answer.events, answer.length = False, True, False, UNTIL_CLOSE
    answer.stream, answer.dated = NO_STREAM, True
    answer.found, answer.named, answer.base, answer.head = {}, frozenset(), b"", b""
    answer.headers, answer.trailers, answer.only = _passed_on(headers[1:]), NO_TRAILERS, ended
    answer._block, answer._model = b"", None
    answer._server = answer._named = b""
    answer.request_id = next((value for name, value in answer.headers if name == b"x-request-id"), b"")
    answer.sent_status = headers[0][1]
    answer.status = int(answer.sent_status)
    if not 200 <= answer.status <= 599:
        raise HeadError("no status")
    if ended:
        close(answer, NO_TRAILERS)
    return answer


def read_trailers(headers: Headers, known: KnownBlock | None = None) -> GrpcTrailers:
    """What trailers say; raises `HeadError` for what are none."""
    if known is None:
        return GrpcTrailers(headers)
    kept = known.meaning
    if not isinstance(kept, GrpcTrailers):
        kept = GrpcTrailers(headers)
        known.means(kept)
    return kept


def close(answer: GrpcAnswer, trailers: GrpcTrailers) -> None:
    """The end of an answer: its status is known now; raises `HeadError` when it says none.

    An answer that is not gRPC's (a balancer's 503, say) keeps its HTTP status, which is what a client makes of it.
    """
    answer.trailers = trailers
    said = _said(answer.headers) if answer.only else trailers.said
    if said >= 0:
        answer.status = said
    if answer.status == 0 or (said < 0 and answer.status < 400):
        raise HeadError("no grpc-status")
