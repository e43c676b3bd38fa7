"""A pair in, a `Reading` out: who failed, what each arm said, and whether the two fit together.

Whose fault is what (the words are `model.reasons`):

- An arm fails by not answering whole, by 408, 429 or any 5xx, and by a 4xx where the other arm's status is below 400.
  When both refuse with a 4xx the client's request was at fault: no failure, and nothing to read. A candidate that
  refuses a copy because of who asked has a word of its own (`unauthorized`): copies carry no credentials.
- Live's answer is the yardstick. If it came well but cannot be read, the pair says nothing: `live_fault` is a
  prediction word and `booking` calls the pair `unparseable`. A candidate's answer that cannot be read either is no
  failure: most likely `prediction` is wrong.
- A candidate's answer that cannot be read, or has another number of rows, another width or another kind than live's,
  is a failure of the candidate; but not where it is too much to read, and live's is more than half of that
  (`bounds`): then the pair says nothing.
- Beside all that stands in what the two differ as answers (`mismatch`), also where either is a failure: a 404 of live's
  where the candidate answers is live's failure, and a mismatch.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeAlias

import orjson

from proxy.model import UNPRICED, Arm, Kind, Outcome, Pair, Prediction, PredictionSpec, Reading, Segments, make
from proxy.model.reasons import NO_CREDENTIALS, PREDICTION_WORDS, Reason
from proxy.predictions.at_fault import broke, wants_credentials
from proxy.predictions.bounds import DEFAULT, MAX_BODY, Bounds, check_json, elements
from proxy.predictions.comparing import NO_COUNT, TOLD, TokenCount, fit_live, token_counts, told_difference
from proxy.predictions.message import UNREAD, Message, is_plain, target_of
from proxy.predictions.mismatch import mismatch, told, type_of
from proxy.predictions.registry import AUTO, NONE, PROTOCOLS, recognised
from proxy.predictions.request import body_hash, request_facts
from proxy.predictions.shapes import Tensor, one_row, predict
from proxy.predictions.unreadable import MAX_DETAIL, Rounded, Unreadable
from proxy.predictions.usual import STREAM, UsualReader

# Looking up a member of an enum costs 0.1 µs in Python 3.11; these are looked up a dozen times per pair.
_FINE = Reason.NONE
_AUTO = Kind.AUTO

_BEYOND = frozenset((Reason.DECOMPRESSED_TOO_LARGE, Reason.TOO_MANY_ELEMENTS))
"""An answer that would take too long to read. What is near the bound by itself is nobody's fault."""

_Said: TypeAlias = tuple[Prediction | None, Reason, str, TokenCount]
"""What an arm said, or the reason word and the sentence why that cannot be told; and how many tokens it wrote."""

_OURS = frozenset((Reason.INTERNAL, Reason.NOT_REWRITTEN))
"""What is no doing of the candidate: a bug of ours, and a request that `set_json` could not be applied to."""

MOST_HEADS, MOST_HEAD = 64, 1024
"""Heads that are remembered, and the bytes of one."""


def read_pair(
    spec: PredictionSpec | None,
    pair: Pair,
    segments: Segments | None = None,
    cluster_by: str = "",
    max_body: int = MAX_BODY,
) -> Reading:
    """The reading of one pair; never raises. For many pairs of one plan keep a `PairReader`."""
    return PairReader(spec, segments, cluster_by, max_body).read(pair)


def booking(live_fault: Reason) -> str:
    """The part of the ledger that a reading with this `live_fault` belongs to.

    >>> booking(Reason.NONE), booking(Reason.TIMEOUT), booking(Reason.NOT_JSON)
    ('compared', 'live_failed', 'unparseable')
    """
    if not live_fault:
        return "compared"
    return "unparseable" if live_fault in PREDICTION_WORDS else "live_failed"


def protocol_of(spec: PredictionSpec, pair: Pair, bounds: Bounds = DEFAULT) -> str:
    """The name of the protocol by which a pair is read: the one written down, or the one that live's answer shows.

    Empty when `auto` recognises none. Never raises.
    """
    if spec.protocol != AUTO:
        return spec.protocol
    try:
        return recognised(target_of(pair.request_head), Message(pair.live.head, pair.live.body, bounds=bounds)).name
    except Unreadable:
        return ""


def failure(outcome: Outcome, other: Outcome) -> Reason:
    """The reason word for an arm that failed, by what both arms did; `NONE` when it did not fail.

    >>> failure(Outcome(404), Outcome(200)), failure(Outcome(404), Outcome(400)), failure(Outcome(503), Outcome(503))
    (<Reason.STATUS_4XX: 'status_4xx'>, <Reason.NONE: ''>, <Reason.STATUS_5XX: 'status_5xx'>)
    """
    if outcome.reason:
        return outcome.reason
    status = outcome.status
    if 200 <= status < 400:
        return _FINE
    if status == 429:
        return Reason.STATUS_429
    if status == 408:  # a time-out of the server's own: no answer to the request, whatever the other arm says
        return Reason.STATUS_4XX
    if status >= 500:
        return Reason.STATUS_5XX
    if status < 200:  # no final head: a worker that reports this without a reason has met something that is not HTTP
        return Reason.BAD_REPLY
    return Reason.STATUS_4XX if 0 < other.status < 400 else Reason.NONE


SHORT = 2048
"""Bytes of both answers that are read in no time."""
LIGHT, FEW = 16 * 1024, 512
"""Bytes of both that are as well where they are JSON with so few elements: the letters of a text take no time."""


def _parts(body: bytes) -> int:
    """How much there is to read in a body of JSON, at most; of any other body, too much."""
    return elements(body) + body.count(b"\n") + body.count(b"\\") if body[:1] == b"{" else FEW + 1


class PairReader:
    """Reads the pairs of one plan: what is the same for all of them is looked up once.

    A `spec` of `None`, or of protocol `none`, reads no values. `cluster_by` names a request header. A pair is read by
    one protocol, the one written down, or the one recognised in the first answer read. That is live's unless live
    failed, so a candidate that speaks another protocol than live is at fault, not the other way round.

    How much work one answer may be follows from `max_body` (`bounds`). A pair whose answers take long is read in steps,
    one answer in each, so that others can be served in between.
    """

    __slots__ = (
        "_ahead",
        "_by",
        "_cluster_by",
        "_facts",
        "_ignore",
        "_pair",
        "_plain",
        "_protocol",
        "_segments",
        "_single",
        "_spec",
        "_usual",
        "bounds",
    )

    def __init__(
        self,
        spec: PredictionSpec | None,
        segments: Segments | None = None,
        cluster_by: str = "",
        max_body: int = MAX_BODY,
    ) -> None:
        self.bounds = Bounds.of(max_body)
        self._spec = spec if spec is not None and spec.protocol != NONE else None
        self._protocol = PROTOCOLS.get(spec.protocol) if spec is not None else None
        self._single = self._protocol.single if self._protocol is not None else None
        self._ignore = spec.ignore if spec is not None else ()
        self._segments, self._cluster_by = segments, cluster_by
        self._facts = bool(self._ignore or segments or cluster_by)
        self._plain: dict[bytes, str] = {}  # heads that keep no body from being read as it stands, and of which type
        self._usual: UsualReader | None = None
        if self._spec is None or self._single is not None:
            self._usual = UsualReader(self._spec, self._protocol, self.bounds, self._plain, self._of_request)
        self._by = self._protocol  # of the pair that is being read: `_protocol`, or once it has been recognised
        self._pair: Pair | None = None  # that pair
        self._ahead: dict[int, _Said] = {}  # of that pair what has been read in steps, by the outcome's identity

    def is_short(self, pair: Pair) -> bool:
        """Whether a pair takes no time worth counting to read: short answers that are what they weigh.

        >>> pair = Pair("t", 0, "w", 0, "i", 0.0, Arm.LIVE, b"", b"", Outcome(200, body=b"1"), Outcome(200, body=b"2"))
        >>> long = pair._replace(candidate=Outcome(200, body=bytes(3000)))
        >>> PairReader(None).is_short(pair), PairReader(None).is_short(long)
        (True, False)
        """
        live, candidate, again, plain = pair.live, pair.candidate, pair.again, self._plain
        size = len(live.body) + len(candidate.body)
        if size > SHORT and (size > LIGHT or _parts(live.body) + _parts(candidate.body) > FEW):
            return False
        if again is not None and len(again.body) > SHORT:
            return False
        if live.head in plain and candidate.head in plain and again is None:
            return True
        return self._is_plain(live.head) and self._is_plain(candidate.head) and (again is None or is_plain(again.head))

    def steps(self, pair: Pair) -> Iterator[Reading | None]:
        """What `read_pair` gives, last, after a step for each answer. This reader may read no other pair meanwhile."""
        spec, ours, theirs, ahead = self._spec, pair.live, pair.candidate, self._ahead
        if spec is not None:
            self._by, self._pair = self._protocol, pair
            live = None
            for outcome, other in ((ours, theirs), (theirs, ours), (pair.again, ours)):
                if outcome is not None and not failure(outcome, other):
                    said = ahead[id(outcome)] = self._answer(spec, outcome, live)
                    live = said[0] if outcome is ours else live
                    yield None
        reading = self.read(pair)
        ahead.clear()
        yield reading

    def read(self, pair: Pair) -> Reading:
        """The reading of a pair; never raises. Times are passed on as they are, in seconds."""
        if self._usual is not None and not self._ahead and (reading := self._usual.read(pair)) is not None:
            return reading
        return self._any(pair)

    def _any(self, pair: Pair) -> Reading:
        """The reading of whatever pair."""
        # Taken apart at once: a look-up by name for each field would take longer than all of it. What is only handed on
        # is of no type here: compiled code would make other objects of its numbers, and one nan is not the other.
        time: Any
        (
            _, stage, worker, sequence, name, time, served, head, body, ours, theirs, second, hedged, fell_back, slot,
            given, rest_of_body,
        ) = pair  # fmt: skip
        live_fault, fault = failure(ours, theirs), failure(theirs, ours)
        live_detail = broke(ours, live_fault) if live_fault else ""
        detail = broke(theirs, fault) if fault else ""
        if fault is Reason.STATUS_4XX and served is Arm.LIVE and wants_credentials(theirs):
            fault, detail = Reason.UNAUTHORIZED, f"{detail}: {NO_CREDENTIALS}"
        differs = mismatch(head, ours, theirs)
        live = candidate = again = None
        live_count = count = NO_COUNT
        if self._spec is not None:
            self._by, self._pair = self._protocol, pair
            if not live_fault:
                live, live_fault, live_detail, live_count = self._answer(self._spec, ours, None)
            if not fault:
                candidate, fault, detail, count = self._answer(self._spec, theirs, live)
            if live is not None and second is not None and not failure(second, ours):
                again, _, _, _ = self._answer(self._spec, second, live)
            if fault in _BEYOND and live is not None and self._is_near(self._spec, ours):
                live_fault, live_detail, live, fault, detail = fault, detail, None, _FINE, ""
        if fault:
            if fault in _OURS:
                live_fault, fault, live = fault, _FINE, None
            elif fault in PREDICTION_WORDS and live_fault in PREDICTION_WORDS:
                fault = _FINE
        if differs and not (live_detail or detail):
            detail = told(differs, ours, theirs)
        request_hash, segment, cluster = self._of_request(head, body, rest_of_body)
        if live is not None and candidate is not None and live.kind in TOLD and not detail:
            detail = told_difference(live, candidate)
        said = _sentence(live_detail, detail) if live_detail or detail else ""
        asked = (stage, worker, sequence, given or name, time, served)
        answers = (live_fault, fault, live, candidate, again)
        times = (*_times(ours, theirs), slot, hedged, fell_back)
        tokens = token_counts(live_count, count) if live_count != NO_COUNT or count != NO_COUNT else (0, 0, False)
        rest = (
            request_hash,
            segment,
            cluster,
            said,
            *tokens[:2],
            differs,
            tokens[2],
            (),
            UNPRICED,
            UNPRICED,
            False,
            0.0,
        )
        return make(Reading, (*asked, *answers, *times, *rest))

    def _of_request(self, head: bytes, body: bytes, rest: bytes) -> tuple[int, str, str]:
        """The hash of a request, its segment and its cluster."""
        if not self._facts:
            return body_hash(head, body, self.bounds, rest), "", ""
        return request_facts(head, body, self._ignore, self._segments, self._cluster_by, self.bounds, rest)

    def live_alone(self, pair: Pair) -> tuple[Prediction | None, Reason]:
        """What live said, whatever the candidate did; or the reason word why that cannot be told, `NONE` where live
        refused the request or no prediction is read. Never raises."""
        live = pair.live
        fault = failure(live, live)
        if fault or self._spec is None:
            return None, fault
        self._by, self._pair = self._protocol, pair
        prediction, why, _, _ = self._answer(self._spec, live, None)
        return prediction, why

    def _answer(self, spec: PredictionSpec, outcome: Outcome, live: Prediction | None) -> _Said:
        """What an arm said, or the reason word and the sentence why that cannot be told; and how many tokens it wrote.

        `live` is what a candidate's answer must fit.
        """
        if self._ahead and (said := self._ahead.get(id(outcome))) is not None:
            return said
        if outcome.status >= 400:
            return None, _FINE, "", NO_COUNT
        try:
            document, count = UNREAD, NO_COUNT
            prediction = None
            if self._single is not None and self._is_one_document(outcome.head):
                document = self._parsed(outcome.body)
                prediction = one_row(spec, self._single(spec, document))
            if prediction is None:
                prediction, count = self._long_way(spec, outcome, document, _AUTO if live is None else live.kind)
            if live is not None:
                fit_live(prediction, live)
            return prediction, _FINE, "", count
        except Unreadable as why:
            return None, why.reason, why.detail, NO_COUNT
        except Exception as bug:  # one odd body must not end the judging of every rollout; counted, and shown
            return None, Reason.INTERNAL, f"a bug in understudy: {bug!r}"[:MAX_DETAIL], NO_COUNT

    def _is_near(self, spec: PredictionSpec, live: Outcome) -> bool:
        """Whether live's answer is beyond half of what may be read: models that answer alike would differ in nothing
        but on which side of the bound they come to lie, and that is no fault of the candidate's."""
        half = self.bounds.halved
        if len(live.body) > half.inflated:
            return True
        try:
            predict(spec, self._values(spec, Message(live.head, live.body, pair=self._pair, bounds=half)), bounds=half)
        except Unreadable as why:
            return why.reason in _BEYOND
        return False

    def _parsed(self, body: bytes) -> Any:
        """A body as JSON, or `UNREAD` for the long way to say what is wrong with it; raises `Unreadable` beyond the
        bounds."""
        if len(body) > self.bounds.nodes:
            check_json(body, self.bounds)
        try:
            return orjson.loads(body)
        except orjson.JSONDecodeError:
            return UNREAD

    def _long_way(
        self, spec: PredictionSpec, outcome: Outcome, document: Any, kind: Kind, *, exact: bool = False
    ) -> tuple[Prediction, TokenCount]:
        """What an arm said, and how many tokens it wrote; raises `Unreadable`.

        A label that has been rounded is read again, exactly: that takes several times as long, so only then.
        """
        try:
            bounds = self.bounds
            message = Message(outcome.head, outcome.body, document, exact=exact, pair=self._pair, bounds=bounds)
            values = self._values(spec, message)
            if exact:
                values.exact = True
            return predict(spec, values, kind, bounds), (values.tokens, values.pieces)
        except Rounded:
            if exact:
                raise
            return self._long_way(spec, outcome, UNREAD, kind, exact=True)

    def _is_plain(self, head: bytes) -> bool:
        """`is_plain`, remembered: a server's heads repeat byte for byte, often for a second."""
        if not is_plain(head):
            return False
        if len(head) <= MOST_HEAD:
            if len(self._plain) >= MOST_HEADS:
                self._plain.clear()
            self._plain[head] = type_of(head)
        return True

    def _is_one_document(self, head: bytes) -> bool:
        """Whether a body may be looked at as JSON that holds one value."""
        return (head in self._plain or self._is_plain(head)) and self._plain.get(head) != STREAM

    def _values(self, spec: PredictionSpec, message: Message) -> Tensor:
        protocol = self._by
        if protocol is None:
            if spec.protocol != AUTO:
                raise Unreadable(Reason.UNKNOWN_PROTOCOL, f"no protocol is called `{spec.protocol}`")
            protocol = self._by = recognised(
                target_of(self._pair.request_head if self._pair is not None else b""), message
            )
        return protocol.extract(spec, message)


def _times(live: Any, candidate: Any) -> tuple[Any, ...]:
    """Seconds of both outcomes to the last byte, then to the first, as the very objects that they are."""
    return live[4], candidate[4], live[5], candidate[5]


def _sentence(live: str, candidate: str) -> str:
    return "; ".join(f"{arm}: {detail}" for arm, detail in (("live", live), ("candidate", candidate)) if detail)
