"""A request as both arms answered it, and what its answers say."""

from __future__ import annotations

from math import nan
from typing import Any, NamedTuple

from proxy.model.reasons import Reason
from proxy.model.words import Arm, Kind, Mismatch

make = tuple.__new__
"""`make(Outcome, (200, …))` is `Outcome(200, …)` with every field given, without the Python function that a named tuple
puts before it. For the way of a pair, where half a dozen are made of each."""


UNPRICED: Any = nan
"""What an answer cost whose upstream has no price: always this object, also out of compiled code, which would make
another of a `float`. So equal readings are equal."""


class Outcome(NamedTuple):
    """One arm's answer to one request. A named tuple, as `Pair` and `Reading` are: thousands a second are made, and a
    frozen dataclass takes four times as long.

    `status` is the HTTP status, 0 when no answer head came. `reason` is `NONE` for an answer that came whole, whatever
    its status, else the word for what broke. `head` is the answer's head as received (status line to the blank line),
    `body` its body *without* transfer framing (chunks joined) and with its content coding as sent. `seconds` runs from
    the last request byte written to the last answer byte read, `first` to the first (of a stream: of its first event);
    both are `nan` when there is none.
    """

    status: int
    reason: Reason = Reason.NONE
    head: bytes = b""
    body: bytes = b""
    seconds: float = float("nan")
    first: float = float("nan")


class Pair(NamedTuple):
    """Both outcomes for one request, as a worker hands it to the controller.

    `trial` names the trial (`Plan.trial`), `stage` is the stage's entry number when the request was sampled (it only
    grows within a trial), `worker` the worker's incarnation, `sequence` the position of the request among the sampled
    requests of that trial and worker, counted from 0 in request order. `time` is the request's arrival, epoch seconds.
    `latency_slot` says that this request may give latency evidence, which was settled before any answer existed.
    `again` is live's second answer when the request was chosen for
    the noise floor. `id` is our own and names no other pair. `request_id` is the one that the caller gave, which it may
    have given before; empty when it gave none, and then `id` is what it was told. Of a long body that nobody needs
    whole `request_body` is the beginning, and `request_rest` stands for the rest (`pairs.link.cut_request`).
    """

    trial: str
    stage: int
    worker: str
    sequence: int
    id: str
    time: float
    served: Arm
    request_head: bytes
    request_body: bytes
    live: Outcome
    candidate: Outcome
    again: Outcome | None = None
    hedged: bool = False
    fell_back: bool = False
    latency_slot: bool = True
    request_id: str = ""
    request_rest: bytes = b""

    @property
    def request_size(self) -> int:
        """Bytes of the whole request body."""
        return int.from_bytes(self.request_rest[:8], "little") if self.request_rest else len(self.request_body)

    @property
    def known_as(self) -> str:
        """The id by which the caller knows its request: the one it gave, else ours."""
        return self.request_id or self.id


class Observation(NamedTuple):
    """A request of a route as a worker has seen it for `drift`, with live's answer. `time` is its arrival, epoch
    seconds. Where a candidate served it, `live` is an outcome without status: live was not asked for this."""

    route: str
    worker: str
    time: float
    served: Arm
    request_head: bytes
    request_body: bytes
    live: Outcome


class Prediction(NamedTuple):
    """What was decoded from one answer: one value per row, of one kind.

    `rows` holds, by kind: label `str | int | bool`; score and number `float`; probabilities and vector
    `tuple[float, ...]`; ranking `tuple[str | int, ...]`; text `str`; calls `tuple[str, ...]`, one text per call
    (`predictions.calls`); json `str`, `VALID` or what is wrong (`predictions.json_validity`). Never empty, never
    non-finite. `names` are those of the values in a row, where the protocol names them (classes, columns).
    """

    kind: Kind
    rows: tuple[Any, ...]
    names: tuple[str, ...] = ()


class Reading(NamedTuple):
    """A pair as the evidence sees it: small, without bodies.

    `fault` is the candidate's failure (a reason word) or `NONE`; `live_fault` live's. `live` and `candidate` are
    present exactly when the route has a prediction to read and that arm's answer could be read; a candidate's that
    cannot be read is no fault when live's cannot either. `request_hash` (64 bits) is the
    same for equal request bodies; `detail` explains a fault, a mismatch or different calls in words for a person. `id`
    is the one that the caller knows, and may repeat. `mismatch` is in what the two answers differ as answers, whatever
    is read in them, and `None` when there are not two to compare.
    """

    stage: int
    worker: str
    sequence: int
    id: str
    time: float
    served: Arm
    live_fault: Reason
    fault: Reason
    live: Prediction | None
    candidate: Prediction | None
    again: Prediction | None
    live_seconds: float
    seconds: float
    live_first: float
    first: float
    latency_slot: bool
    hedged: bool
    fell_back: bool
    request_hash: int
    segment: str = ""
    cluster: str = ""
    detail: str = ""
    live_tokens: int = 0  # tokens of a streamed answer, 0 where the protocol does not count them
    tokens: int = 0
    mismatch: Mismatch | None = None
    pieces: bool = False  # `tokens` are events of the streams: not both of them say how many tokens they have
    aspects: tuple[Reading, ...] = ()  # of a plan with several predictions: what each of them read, in their order
    live_cost: float = UNPRICED  # what each arm's answer cost
    cost: float = UNPRICED
    counted: bool = False  # the tokens that were paid for are estimates: not both engines say them
    copies_cost: float = 0.0  # of that, what copies cost
