"""Which requests are logged, and what is logged of them: the worker's part of traces and access log.

While neither is configured nothing of this module runs: `WorkerContext.requests` is a plain `RequestFactory`. Otherwise
a `RequestLog` stands in its place and makes, of the requests that are chosen, a `LoggedRequest`, which continues
the trace and remembers its legs. Its record waits in a queue of at most `MAX_WAITING` for the next tick.

Invariants
- Nothing is encoded or sent while a request is worked on; a full queue or link drops records by count.
- A request has one record, made when its last leg has ended; a copy that outlives its pair is not waited for.
"""

from __future__ import annotations

from collections import deque
from time import monotonic
from typing import TYPE_CHECKING, Any

from proxy.http.headers import without
from proxy.http.request_head import Request
from proxy.model.reasons import STATUS, Reason
from proxy.model.worker_config import WorkerConfig
from proxy.pairs.request_log import SINKS, encode_entries, parent_of
from proxy.request.driver import RequestDriver, RequestFactory
from proxy.request.dual_write import Write
from proxy.request.exchange import Captured
from proxy.request.mirroring import Copy
from proxy.request.routing import chosen, salt

if TYPE_CHECKING:
    from proxy.request.legs import Piece
    from proxy.request.ports import DownstreamStream, RequestContext
    from proxy.worker.publisher import Publisher

MAX_WAITING = 4096
"""Records that may wait for the next tick."""
LogChoice = tuple[bool, bytes, bytes]
"""Whether the access log wants it, and the ids of trace and caller, empty where there are none."""
MAX_PATH = 1024
"""Bytes of a path that are logged: a client may send 32 KiB of it, and thousands of records may wait."""
_TRACE_HEADERS = frozenset({b"traceparent", b"tracestate"})


class RequestLog(RequestFactory):
    """Chooses requests, and holds their records until they are sent. Shares are in basis points."""

    def __init__(self) -> None:
        self._traces: int | None = None
        self._logs = 0
        self._trace_salt, self._log_salt = salt("trace"), salt("access log")
        self._waiting: deque[tuple[Any, ...]] = deque()
        self.dropped = dict.fromkeys(SINKS, 0)

    def configure(self, config: WorkerConfig) -> None:
        """Follow what this configuration asks for from now on."""
        self._traces = None if config.trace_share is None else round(config.trace_share * 10_000)
        self._logs = round((config.access_share or 0.0) * 10_000)

    @property
    def wanted(self) -> bool:
        """Whether anything is configured that wants records."""
        return self._traces is not None or self._logs > 0

    def exchange(
        self, client: DownstreamStream, context: RequestContext, request: Request, name: bytes, now: float
    ) -> RequestDriver:
        """The exchange of a request, logged if it was chosen."""
        how = self.chosen(context, request, name)
        if how is None:
            return RequestDriver(client, context, request, name, now)
        return LoggedRequest(self, how, client, context, request, name, now)

    def chosen(self, context: RequestContext, request: Request, name: bytes) -> LogChoice | None:
        """Whether and how a request is logged."""
        logged = chosen(self._log_salt, name, self._logs)
        trace = parent = b""
        if self._traces is not None:
            caller = parent_of(request)
            if caller is None:
                if chosen(self._trace_salt, name, self._traces):
                    trace = context.span()[1]
            elif caller.sampled:
                trace, parent = caller.trace, caller.span
        return (logged, trace, parent) if logged or trace else None

    def add(self, record: tuple[Any, ...]) -> None:
        """Take a record, or count it as dropped."""
        if len(self._waiting) >= MAX_WAITING:
            self._drop(record)
        else:
            self._waiting.append(record)

    def _drop(self, record: tuple[Any, ...]) -> None:
        *_, logged, trace, _, _, _ = record
        self.dropped["traces"] += bool(trace)
        self.dropped["access_log"] += logged

    def send(self, publisher: Publisher) -> None:
        """Give what waits to the link."""
        if not self._waiting:
            return
        waiting = list(self._waiting)
        self._waiting.clear()
        if not publisher.aside(encode_entries(waiting)):
            for record in waiting:
                self._drop(record)


class LoggedRequest(RequestDriver):
    """A request that is logged."""

    recorded = False
    ended_at = 0.0
    refused = Reason.NONE

    def __init__(
        self, request_log: RequestLog, how: LogChoice, client: DownstreamStream, context: RequestContext,
        request: Request, name: bytes, now: float,
    ) -> None:  # fmt: skip
        super().__init__(client, context, request, name, now)
        self._request_log = request_log
        self._logged, self._trace, self._parent = how
        self._span = context.span()[0] if self._trace else b""
        self._legs: list[Captured] = []

    def start(self, piece: Piece, done: bool) -> Reason:
        refused = super().start(piece, done)
        if refused:
            self.refused, self.ended_at = refused, monotonic()
            self._record_once()
        return refused

    def head_for_leg(self, base: bytes) -> bytes:
        if not self._trace or self._parent:
            return super().head_for_leg(base)
        # It begins here: what the client sent, if anything, could not be read.
        if self.answered and any(b"traceparent" in one.trial.settings.drop for one in self.samples):
            return without(base, _TRACE_HEADERS)
        if b"traceparent" in self.request.found:
            base = without(base, _TRACE_HEADERS)
        return b"%btraceparent: 00-%b-%b-01\r\n" % (base, self._trace, self.context.span()[0])

    def adds_no_lines(self) -> bool:
        return not self._trace and super().adds_no_lines()

    # --- its legs end ---

    def note(self, leg: Captured) -> None:
        self._legs.append(leg)

    def leg_done(self, leg: Captured) -> None:
        super().leg_done(leg)
        self._record_once()

    def finish(self) -> None:
        self.ended_at = self.ended_at or monotonic()
        super().finish()

    def mirror(self) -> None:
        super().mirror()
        self._record_once()

    def settle(self) -> None:
        super().settle()
        self._record_once()

    def upgraded(self, leg: Captured, head: bytes, rest: bytes) -> bool:
        taken = super().upgraded(leg, head, rest)
        if taken:
            self.ended_at = leg.finished
            self._legs.append(leg)
            self._record_once(101)
        return taken

    def client_gone(self, cut_off: bool = False) -> None:
        if self.answered:
            return
        self.refused, self.ended_at = Reason.CLIENT_GONE, monotonic()
        super().client_gone(cut_off)
        self._record_once()

    def give_up(self, why: str) -> None:
        super().give_up(why)
        for leg in (self.first, self.hedge, self.live):
            if leg is not None and leg not in self._legs:
                self._legs.append(leg)
        self._record_once()

    # --- the record ---

    def _record_once(self, status: int = 0) -> None:
        """Make the record, if everything has ended."""
        if self.recorded or not self.answered or self.samples:
            return
        if any(leg is not None and not leg.ended for leg in (getattr(self, "first", None), self.hedge, self.live)):
            return
        self.recorded = True
        winner, request = self.winner, self.request
        answer = winner.answer if winner is not None else None
        reason = self.refused or (self._failure() if winner is None and not status else winner and winner.reason)
        epoch = self.context.epoch
        self._request_log.add((
            self.started + epoch,
            self.ended_at - self.started,
            self.request_id.decode(),
            self.route.name,
            request.method.decode("latin-1"),
            request.path[:MAX_PATH].decode("latin-1"),
            self.client.peer.decode(),
            winner.pool.name if winner is not None else "",
            _arm(winner) if winner is not None else "",
            status or (answer.status if answer is not None else STATUS.get(reason or Reason.INTERNAL, 500)),
            reason or "",
            _announced(request.length),
            _announced(answer.length) if answer is not None else None,
            self.hedged,
            self.fell_back,
            self._logged,
            self._trace.decode(),
            self._span.decode(),
            self._parent.decode(),
            [self._of(leg, epoch) for leg in self._legs],
        ))  # fmt: skip

    def _failure(self) -> Reason:
        """Why the client got an answer of ours."""
        last = self.hedge or getattr(self, "first", None)
        return (last.reason if last is not None else Reason.NONE) or Reason.DISCONNECT

    def _of(self, leg: Captured, epoch: float) -> tuple[Any, ...]:
        finished = leg.finished or self.ended_at or monotonic()
        sent = leg.sent or finished
        return (
            "copy" if isinstance(leg, Copy | Write) else "hedge" if leg is self.hedge else "served",
            _arm(leg),
            leg.pool.name,
            leg.trial.settings.name if leg.trial is not None else "",
            sent + epoch,
            max(0.0, finished - sent),
            leg.began - sent if leg.began and leg.sent else None,
            leg.answer.status if leg.answer is not None else 0,
            str(leg.reason),
            self._span_of(leg.opening).decode() if self._trace else "",
        )

    def _span_of(self, opening: bytes) -> bytes:
        """The span id that a leg carried, read back from what was sent: what is exported is what the model has seen."""
        at = opening.lower().find(b"\r\ntraceparent:", 0, opening.find(b"\r\n\r\n"))
        at = opening.find(self._trace, at) + len(self._trace) + 1 if at >= 0 else 0
        return opening[at : at + 16] if at else self.context.span()[0]


def _arm(leg: Captured) -> str:
    return "live" if leg.trial is None and not isinstance(leg, Write) else "candidate"


def _announced(length: int) -> int | None:
    return length if length >= 0 else None
