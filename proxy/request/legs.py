"""A leg is one exchange with an upstream, whatever carries it. Here is what it asks of its upstream, and the other way
round; what becomes of the answer is for the kinds of legs to say (`exchange.Captured`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final, Protocol

from mypy_extensions import mypyc_attr

from proxy.http.answer_head import LINES, NO_STREAM
from proxy.http.first_piece import FirstPiece
from proxy.http.headers import CHUNKED
from proxy.model.reasons import Reason

if TYPE_CHECKING:
    from proxy.fields.document import JsonDocument
    from proxy.fields.set_json import Rules
    from proxy.http.answer_head import Answer
    from proxy.json_pointer import Pointer

_NONE: Final = Reason.NONE
MAX_WAITING: Final = 256 * 1024
"""Bytes of a request that may wait for a connection before its sender is held back."""


APART: Final = 32 * 1024
"""Bytes of a body above which a copy costs more than a write of its own."""
Piece = bytes | memoryview
"""What came of a body: as it was read, or a view of that where much of it is behind a head (`part_of`)."""


def part_of(data: bytes, at: int, end: int) -> Piece:
    """These bytes of what was read. Of many there is no copy: the memory that it takes would be out of the cache. But a
    view keeps all that was read, so of what came among much else there is one: memory that nobody counts stays less
    than what is counted.

    >>> part_of(b"head body", 5, 9), type(part_of(bytes(2 * APART), 100, 2 * APART)).__name__
    (b'body', 'memoryview')
    >>> type(part_of(bytes(3 * APART), 0, 2 * APART - 1)).__name__
    'bytes'
    """
    size = end - at
    return memoryview(data)[at:end] if size > APART and len(data) - size <= APART else data[at:end]


def bytes_of(parts: list[Piece]) -> int:
    """Bytes of a body in one or more parts."""
    return len(parts[0]) if len(parts) == 1 else sum(map(len, parts))


def portions(parts: list[Piece]) -> list[Piece]:
    """A body in the pieces in which it is sent: as it came where it came in long ones, else joined.

    >>> portions([b"a", b"b"]), portions([bytes(APART), bytes(APART)]) == [bytes(APART), bytes(APART)]
    ([b'ab'], True)
    """
    if len(parts) > 1 and bytes_of(parts) < APART * len(parts):
        return [b"".join(parts)]
    return parts


class Inquiry:
    """Whether a leg that was refused or lost is anybody's fault: the model is being asked whether it is there."""

    def __init__(self) -> None:
        self.pending = True
        self.excuses = False
        """The model was away, and may be: the leg says nothing of it."""
        self._then: dict[Callable[[], None], None] = {}

    def wait(self, then: Callable[[], None]) -> None:
        """Call this when it is known; once, however often it is asked for."""
        self._then[then] = None

    def answer(self, excuses: bool) -> None:
        """It is known."""
        self.pending, self.excuses = False, excuses
        waits, self._then = self._then, {}
        for then in waits:
            then()


@mypyc_attr(allow_interpreted_subclasses=True)
class Upstream:
    """What takes legs: the connections of one worker to one model. `timeout`: seconds of silence."""

    name: str
    label: bytes
    timeout: float
    set_json: Rules = ()
    """What is set in the bodies of its requests."""

    def changes(self, path: bytes) -> bool:
        """Whether a request for this path is changed (`set_json`), so that its body must be here whole."""
        return bool(self.set_json)

    def changed(self, path: bytes, body: bytes, document: JsonDocument | None) -> bytes | None:
        """The JSON, or the whole messages of a gRPC call, as they are sent here; `None` when they cannot be changed."""
        raise NotImplementedError

    reads_body = False
    """Which of its endpoints is asked depends on a request's body."""
    pointers: tuple[Pointer, ...] = ()
    """What of a JSON body is looked at or set on the way here."""
    reads_whole = False
    """More must be known of it than where these fields stand."""
    is_checked = False
    """Whether there are health checks; without them it is always ready."""

    @property
    def ready(self) -> bool:
        """Whether it may serve."""
        raise NotImplementedError

    @property
    def checked(self) -> bool:
        """Whether a health check has ended."""
        raise NotImplementedError

    def submit(self, leg: Leg) -> None:
        """Send a leg as soon as there is a connection. It may be refused at once."""
        raise NotImplementedError

    def forget(self, leg: Leg) -> None:
        """The leg is cancelled: it needs no connection any more."""
        raise NotImplementedError


class UpstreamStream(Protocol):
    """What carries a leg: an HTTP/1.1 connection, or one stream of a gRPC connection."""

    def send(self, piece: bytes, last: bool) -> None:
        """More of the request's body."""

    def pause_reading(self) -> None:
        """The taker cannot take more."""

    def resume_reading(self) -> None:
        """The taker can take more."""

    def drop(self) -> None:
        """Close at once, tell nobody."""


@mypyc_attr(allow_interpreted_subclasses=True)
class Written:
    """Wants to know when its bytes leave. A class and not a Protocol, as `ports.RequestContext` is."""

    def leaves(self, now: float) -> None:
        """They are about to be written; `now` is in monotonic seconds. Before and not after: writing wakes the reader,
        whose answer may be here before we get on."""
        raise NotImplementedError


@mypyc_attr(allow_interpreted_subclasses=True)
class Leg(Written):
    """One exchange with an upstream. Subclasses say what becomes of the answer."""

    connection: UpstreamStream | None
    answer: Answer | None = None
    reason = _NONE
    lines = b""
    """What follows `plain` of the head, the blank line at its end, while nothing is joined: `opening` is empty then."""
    opening = b""
    """Head and as much of the body as is at hand when a connection is there."""
    behind: Piece = b""
    """More of that, which is not joined to it: it is long, or the head is still to be placed."""
    rest: Sequence[Piece] = ()
    """What follows these of a long body that came in several pieces, which are not joined to be sent."""
    document: JsonDocument | None = None
    """The JSON of its request, where that was read and is sent as it came."""
    plain = b""
    """How it begins, where that is a head which many requests have (`Placement`)."""
    adds_lines = True
    """What follows of the head may hold more than the lines that are ours on every request."""
    whole = True
    """The request is complete: nothing will follow what was given."""
    to_head = False
    repeatable = False
    """The whole request may be sent once more if a reused connection dies under it."""
    longest = 0.0
    """Seconds that it may last in all, however busy; 0.0: as long as it likes."""
    optional = False
    """Nobody is without an answer if this leg fails at once because its upstream has just been found dead."""
    is_check = False
    """A health check: what becomes of it says nothing of how requests fare."""
    ended = False
    written = False
    """Some of it may have reached the model."""
    sent = 0.0
    began = 0.0
    spoke = 0.0
    """When the first event of a stream came that brings something (`http.first_piece`)."""
    finished = 0.0
    inquiry: Inquiry | None = None
    """What became of its connection may be nobody's fault; of a health check: what it is sent for."""
    tries = 0
    dialled = 0.0
    """When the first connection was begun for it, where there are several endpoints to choose from."""
    interims = 0
    held_back = False
    """The sender of the request is not read until a connection is there."""
    member = b""
    """The name of the member that holds the value in the events of a stream; empty where nobody said so."""
    _listener: FirstPiece | None = None
    _waiting: list[bytes] | None = None
    _waiting_size = 0

    def __init__(self, pool: Upstream, timeout: float) -> None:
        self.pool, self.timeout = pool, timeout
        self.connection = None  # not as a default of the class: mypyc would leave out one whose type is a Protocol

    def is_of(self, plain: bytes, document: JsonDocument | None, adds_lines: bool = True) -> None:
        """What is known of the request that it is about to carry."""
        self.plain, self.adds_lines = plain, adds_lines
        self.document = None if self.pool.set_json else document

    def gets(self, head: bytes, body: Piece) -> None:
        """What it opens with: a head without its blank line, and what is here of the body."""
        if len(body) > APART:
            self.opening, self.behind = head + b"\r\n", body
        else:
            self.opening = b"".join((head, b"\r\n", body))

    def gets_parts(self, head: bytes, parts: list[Piece]) -> None:
        """The same of a whole body in parts."""
        self.gets(head, parts[0])
        self.rest = parts[1:]

    def gets_rest(self, rest: Sequence[Piece]) -> None:
        """And these pieces of the body behind that."""
        self.rest = rest

    def gets_behind(self, lines: bytes, body: Piece) -> None:
        """The same where its head is `plain` and these lines: it is joined once, as its endpoint wants it."""
        self.lines, self.behind = lines, body

    def client_head(self) -> bytes:
        """The head of the client's request, if one asks."""
        return b""

    def hears(self, piece: bytes) -> bool:
        """More of a stream came, framing included: whether something has been said in it by now."""
        listener, answer = self._listener, self.answer
        assert answer is not None
        if listener is None:
            self._listener = listener = FirstPiece(answer.length == CHUNKED, answer.stream == LINES, self.member)
        return listener.found(piece)

    def said_first(self) -> float:
        """When the first piece of its answer came; of a stream in which nothing was said, its end: that is no quick
        answer. Of a stream in a content coding, which cannot be looked into, when its first byte came."""
        answer = self.answer
        if self.spoke or answer is None or answer.stream == NO_STREAM:
            return self.spoke or self.began
        return self.began if b"\r\ncontent-encoding:" in answer.head.lower() else self.finished

    def interim(self, head: bytes) -> None:
        """A 1xx answer came before the answer proper."""

    def upgraded(self, head: bytes, rest: bytes) -> bool:
        """The model switches protocols (101), `rest` being its first bytes of the new one; whether that was wanted."""
        return False

    def head(self, piece: bytes, done: bool) -> None:
        """The answer began."""
        raise NotImplementedError

    def body(self, piece: bytes, done: bool) -> None:
        """The answer went on."""
        raise NotImplementedError

    def failed(self, reason: Reason) -> None:
        """The leg broke."""
        raise NotImplementedError

    def refused(self, reason: Reason) -> None:
        """It ends before it was sent."""
        self.ended = True
        self.reason = reason
        self.failed(reason)

    def pause_source(self) -> None:
        """The model takes no more for now: stop reading the client."""

    def resume_source(self) -> None:
        """The model takes bytes again."""

    def asks(self, inquiry: Inquiry) -> None:
        """Whether its model is there says whose fault it is; or it is the check that finds out."""
        self.inquiry = inquiry

    def gives_way(self, now: float) -> bool:
        """Others wait for this leg's connection, which waits for its client: whether that is cut off for it."""
        return False

    def send(self, piece: bytes, last: bool) -> None:
        """More of the request's body."""
        self.whole = last
        connection = self.connection
        if connection is not None:
            connection.send(piece, last)
            return
        if self._waiting is None:
            self._waiting = []
        self._waiting.append(piece)
        self._waiting_size += len(piece)
        if self._waiting_size > MAX_WAITING and not self.held_back:
            self.held_back = True
            self.pause_source()

    def gather(self) -> bytes:
        """Everything to write once a connection is there."""
        if self.lines:
            self.opening, self.lines = self.plain + self.lines, b""
        if self._waiting is not None or self.behind or self.rest:
            self.opening = b"".join((self.opening, self.behind, *self.rest, *(self._waiting or ())))
            self._waiting, self.behind, self.rest = None, b"", ()
        return self.opening

    def opens(self) -> bytes:
        """The same, but for what is `behind`; nothing while its head is `plain` and `lines`."""
        return self.gather() if self._waiting is not None else self.opening

    def leaves(self, now: float) -> None:
        """All of the request that is at hand is about to be written."""
        if not self.ended:
            self.sent = now
            self.written = True
            if not self.repeatable:
                self.behind, self.rest = b"", ()  # so that what comes next is read into memory that is in the cache

    def mark_ended(self, now: float) -> None:
        """Its answer is here whole, or goes on as a tunnel."""
        self.ended = True
        self.finished = now

    def breaks(self, reason: Reason, now: float) -> None:
        """It ends without its answer."""
        self.mark_ended(now)
        self.reason = reason
        self.failed(reason)

    def tries_again(self) -> None:
        """Its connection ended before the model can have read it: another one gets it, once."""
        self.tries, self.written = 1, False

    def tries_elsewhere(self) -> None:
        """Another endpoint gets it."""
        self.tries += 1

    def dials(self, now: float) -> None:
        """A connection is begun for it."""
        self.dialled = self.dialled or now

    def is_too_long(self, now: float) -> bool:
        """Whether it has lasted longer than it may."""
        return self.longest > 0.0 and self.sent > 0.0 and now - self.sent >= self.longest

    def cancel(self) -> None:
        """Nobody wants the answer any more: drop the connection, tell nobody."""
        if not self.ended:
            self.ended = True
            self.pool.forget(self)
            if self.connection is not None:
                self.connection.drop()
