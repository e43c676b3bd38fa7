"""Frames between processes: encode, decode.

A frame is `<IB` (payload length, kind) and the payload. Three streams speak it, each over a Unix socket (and the first
two over TCP as well, from a standby of a fleet to its leader):

    pairs    worker → controller   HELLO, then PAIR, OBSERVATION, MARK, COUNTS, REQUESTS and EXPOSED
    tables   controller → worker   TABLE, ALIVE; back: HELLO, then ACK
    control  supervisor ↔ child    CONFIG, DRAIN, HELLO down; READY, RELOAD (asked for by an operator), RESULT, ALIVE up

PAIR is binary, because a worker writes thousands a second and may not spend time on text; everything else is rare and
is JSON, because it is read by people when something goes wrong.

Invariants
- Decoding never trusts a length: a frame over `MAX_FRAME`, an unknown kind or lengths that do not add up raise
  `LinkError`, and the reader closes the connection. Peers are our own processes, so that is a bug or a version mix.
- `decode_pair(encode_pair(p)) == p` for every pair (property test).
- Trials are numbered per connection: PAIR carries a `u16` index that a preceding TRIAL frame has named.

Payloads in JSON
- HELLO (both links) `{"slot", "pid", "worker", "table", "lost"}`: `worker` is the incarnation (unique per process),
  `table` the last TABLE (number 0 before the first), and `lost` says that the worker has taken the weight of unjudged
  candidates away since, for want of a controller. Supervisor to controller, HELLO is the process tree.
- TRIAL `{"index", "trial"}` names an index used by PAIR and MARK on this connection; for OBSERVATION it is a route's.
- COUNTS are totals since the worker started, never deltas: a frame that is lost with a dying controller is made good by
  a later one, and merging is still addition over incarnations. The ledger has trials of which something else is to be
  said than the last time, and the others in turns (`worker/books.py`); on a new connection all of them, those that are
  over once more.
  `{"ledger": {trial: {each of `model.REPORTED`: n}},
  "requests": [[route, upstream, leg, code, n]],
  "durations": [[route, upstream, leg, [n per bucket of BOUNDS, then above], sum]], "overhead": [[route, [n…], sum]],
  "fallbacks": [[rollout, reason, n]], "before_table": [[rollout, n]],
  "not_rewritten": [[upstream, why, n]], "paths": [[upstream, n that `path` did not name]],
  "connections": [[upstream, state, n now]], "lookups": [[upstream, n failed]],
  "ready": {trial: whether its candidate's health checks succeed},
  "observed": {route: {"sampled", "sent", "shed", "too_large", "client_gone", "link_full", "over_rate"}},
  "request_log": {sink: n dropped}, "refused_tables": n of a former leader, "paced": [n offered, n due, n spared]}`;
  code is three digits or a reason word; what is paced, `rollout.pair_budget.Strain` says.
- REQUESTS `{"request_log": [[…]]}`: what became of requests, for traces and the access log (`pairs.request_log`).
- TABLE `{"number", "lanes", "secret", "term", "versions", "whole_requests"}`, sent again under the same number when
  only what budgets afford has changed; ACK `{"number", "term"}`. Where there is no `term` it is 0. One that is older
  than what a worker holds (`Table.is_older_than`) is neither taken nor acknowledged.
- ALIVE has no payload: whoever sends it, at least once a second, has an event loop that turns.
- CONFIG to the controller `{"generation", "text", "source", "directory", "included": [[name, text]], "hash"}`: the
  files as the supervisor validated them, what the main one is called and where relative paths start; to a worker
  `{"generation", "config"}`. RESULT answers a CONFIG or a RELOAD: `{"generation", "ok", "error"}`, and the
  RELOAD's `number`. READY `{"pid"}`: this process serves. RELOAD `{"by", "number"}`, the actor and which one of
  this process's it is. DRAIN `{"delay"}`: seconds in which readiness fails and everything else goes on (a worker's
  affair; others ignore it).
- EXPOSED, which is binary, says whom the draw of a trial has seen (`pairs.exposed`).
- REPLICA, WELCOME, PING, PONG and GOODBYE are spoken between the replicas of a fleet only (`pairs.replicas`).

Long request bodies that the controller does not need whole are cut by the worker (`CUT`, `cut_request`): a megabyte
of a prompt would be copied five times to be hashed, shown to nobody and thrown away.

Request order: `Pair.sequence` counts the sampled requests of one trial in one worker. MARK says "every sequence below
this one is settled: sent or counted as dropped", so that the controller can enter pairs in request order without ever
waiting for one that will not come.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final

import orjson

from proxy.model import Arm, Lane, Observation, Outcome, Pair, State, Table, make
from proxy.model.reasons import CODES, REASONS
from proxy.pairs.checksum import REST_SIZE, rest_of

MAX_FRAME = 256 * 1024 * 1024
BOUNDS: Final[tuple[float, ...]] = (  # of no fixed length, or compiled code would make the tuple anew at every look
    0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75,
    1.0, 1.5, 2.0, 3.0, 5.0, 7.5, 10.0, 30.0, 60.0,
)  # fmt: skip
"""Upper bounds (inclusive) of the duration histograms, seconds; shared by the worker that counts and the metric."""

_HEAD: Final = struct.Struct("<IB")
_HEAD_SIZE: Final = _HEAD.size
_MARK = struct.Struct("<HQ")
# trial, stage, sequence, time, flags; then the lengths of id, request id, request head and request body.
_PAIR: Final = struct.Struct("<HHQdBHHII")
_PAIR_FRAME: Final = struct.Struct("<IBHHQdBHHII")  # the frame's head before it
# status, reason, seconds, first, then the lengths of head and body.
_OUTCOME: Final = struct.Struct("<HBddII")

_OBSERVATION: Final = struct.Struct("<HdBII")  # route, time, flags; then the lengths of request head and body

_PAIR_SIZE: Final = _PAIR.size
_OUTCOME_SIZE: Final = _OUTCOME.size
_LIVE, _CANDIDATE = Arm.LIVE, Arm.CANDIDATE  # looking up a member of an enum costs 0.1 µs in Python 3.11

CANDIDATE_SERVED: Final = 1
HEDGED: Final = 2
FELL_BACK: Final = 4
SLOT: Final = 8
AGAIN: Final = 16
CUT: Final = 32
"""Flags of a PAIR."""
KEPT: Final = 16 * 1024
"""Bytes of a request body that are sent of one that is cut: as many as are shown of a pair."""
_REST_SIZE: Final = REST_SIZE


class Frame(IntEnum):
    """Kinds of frame. Only ever added to."""

    HELLO = 1
    TRIAL = 2
    PAIR = 3
    MARK = 4
    COUNTS = 5
    TABLE = 6
    ACK = 7
    CONFIG = 8
    DRAIN = 9
    READY = 10
    RELOAD = 11
    RESULT = 12
    ALIVE = 13
    REQUESTS = 14
    REPLICA = 15
    WELCOME = 16
    PING = 17
    PONG = 18
    GOODBYE = 19
    OBSERVATION = 20
    EXPOSED = 21


_KINDS = {int(kind): kind for kind in Frame}
_A_PAIR: Final = int(Frame.PAIR)


class LinkError(ValueError):
    """Bytes on a link that are not a frame."""


@dataclass(frozen=True, slots=True)
class Mark:
    """Every sequence of `trial` (its index on this connection) below `sequence` is settled."""

    trial: int
    sequence: int


def frame(kind: Frame, payload: bytes) -> bytes:
    """One frame.

    >>> frame(Frame.DRAIN, b"")
    b'\\x00\\x00\\x00\\x00\\t'
    """
    return _HEAD.pack(len(payload), kind) + payload


def note(kind: Frame, value: Any) -> bytes:
    """One frame whose payload is JSON."""
    return frame(kind, orjson.dumps(value))


def read_note(payload: bytes) -> dict[str, Any]:
    """The JSON object of a frame; raises `LinkError` when it is anything else."""
    try:
        value = orjson.loads(payload)
    except orjson.JSONDecodeError as error:
        raise LinkError(f"not JSON: {error}") from None
    if not isinstance(value, dict):
        raise LinkError(f"expected an object, found {type(value).__name__}")
    return value


class FrameReader:
    """Cuts a byte stream into frames, however the stream was cut.

    >>> reader = FrameReader()
    >>> list(reader.feed(frame(Frame.DRAIN, b"x")[:3])), list(reader.feed(frame(Frame.DRAIN, b"x")[3:]))
    ([], [(<Frame.DRAIN: 9>, b'x')])
    """

    __slots__ = ("_at", "_buffer", "_left")

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._left, self._at = b"", 0  # what is being taken apart, and how far that has come

    def feed(self, data: bytes) -> Iterator[tuple[Frame, bytes]]:
        """Yield `(kind, payload)` of every frame that is now complete; raises `LinkError`. Whoever stops amid them gets
        the rest from the next call. (Not by `finally`: a compiled generator that is released does not run it.)"""
        buffer = self._buffer
        if self._left:
            buffer[:] = self._left[self._at :]
            self._left = b""
        if buffer:  # gathered in place until a frame is whole, so that a large one is not copied once per read
            buffer += data
            if len(buffer) >= _HEAD_SIZE and len(buffer) < _HEAD_SIZE + min(_HEAD.unpack_from(buffer)[0], MAX_FRAME):
                return
            data = bytes(buffer)
            buffer.clear()
        self._left, self._at, position, end = data, 0, 0, len(data)
        while end - position >= _HEAD_SIZE:
            length, code = _HEAD.unpack_from(data, position)
            if length > MAX_FRAME:
                raise LinkError(f"frame of {length} bytes, at most {MAX_FRAME} allowed")
            start = position + _HEAD_SIZE
            if end - start < length:
                break
            kind = _KINDS.get(code)
            if kind is None:
                raise LinkError(f"unknown kind of frame: {code}")
            self._at = position = start + length
            yield kind, data[start:position]
        self._left = b""
        buffer[:] = data[position:]


def pack_outcome(status: int, code: int, seconds: float, first: float, head: bytes, body: bytes) -> bytes:
    """One outcome as PAIR carries it; `code` is the reason's index in `REASONS`."""
    return _OUTCOME.pack(status, code, seconds, first, len(head), len(body)) + head + body


def cut_request(*parts: bytes | memoryview) -> bytes:
    """What PAIR carries of a request body that is cut (in the parts in which it came): its first `KEPT` bytes, and what
    stands for the rest (`checksum.rest_of`). By that and its first KiB equal bodies are known. Who makes two bodies
    that share them could as well send one of them twice.

    >>> len(cut_request(bytes(10**6))) - KEPT, cut_request(bytes(10**6)) == cut_request(bytes(10**6 + 1))
    (12, False)
    """
    return kept_of(*parts) + rest_of(*parts)


def kept_of(*parts: bytes | memoryview) -> bytes:
    """The first `KEPT` bytes of a body."""
    begins = parts[0] if len(parts[0]) >= KEPT else b"".join(parts)
    return bytes(begins[:KEPT])


def pack_pair(
    trial: int, stage: int, sequence: int, time: float, flags: int,
    name: bytes, request_head: bytes, request_body: bytes, outcomes: bytes, request_id: bytes = b"",
) -> bytes:  # fmt: skip
    """A PAIR frame from its parts, for a worker, which has no time to make a `Pair` first.

    `outcomes` are two or three `pack_outcome`: live, candidate, and live again when `flags` has `AGAIN`.
    """
    named, given, head, body = len(name), len(request_id), len(request_head), len(request_body)
    length = _PAIR_SIZE + named + given + head + body + len(outcomes)
    fixed = _PAIR_FRAME.pack(length, _A_PAIR, trial, stage, sequence, time, flags, named, given, head, body)
    return b"".join((fixed, name, request_id, request_head, request_body, outcomes))


NO_OUTCOME: Final = pack_outcome(0, 0, float("nan"), float("nan"), b"", b"")
"""What an observation carries where live was not asked."""


def pack_observation(route: int, time: float, flags: int, head: bytes, body: bytes, outcome: bytes) -> bytes:
    """An OBSERVATION frame from its parts; `outcome` is live's `pack_outcome`."""
    fixed = _OBSERVATION.pack(route, time, flags, len(head), len(body))
    return frame(Frame.OBSERVATION, b"".join((fixed, head, body, outcome)))


def decode_observation(payload: bytes, routes: dict[int, str], worker: str) -> Observation:
    """What was observed of a request; raises `LinkError` when the payload says something else."""
    try:
        index, time, flags, head, body = _OBSERVATION.unpack_from(payload)
        head_end = _OBSERVATION.size + head
        body_end = head_end + body
        live, end = _read_outcome(payload, body_end)
        route = routes[index]
    except (struct.error, IndexError, KeyError) as error:
        raise LinkError(f"not an observation: {error!r}") from None
    if end != len(payload):
        raise LinkError(f"an observation of {end} bytes in a frame of {len(payload)}")
    served = _CANDIDATE if flags & CANDIDATE_SERVED else _LIVE
    return Observation(
        route, worker, time, served, payload[_OBSERVATION.size : head_end], payload[head_end:body_end], live
    )


def _packed(outcome: Outcome) -> bytes:
    code = CODES[outcome.reason]
    return pack_outcome(outcome.status, code, outcome.seconds, outcome.first, outcome.head, outcome.body)


def encode_pair(pair: Pair, trial: int) -> bytes:
    """A PAIR frame. `trial` is the index that a TRIAL frame has named; `pair.worker` is the connection's, not sent."""
    flags = (
        (CANDIDATE_SERVED if pair.served is Arm.CANDIDATE else 0)
        | (HEDGED if pair.hedged else 0)
        | (FELL_BACK if pair.fell_back else 0)
        | (SLOT if pair.latency_slot else 0)
        | (AGAIN if pair.again is not None else 0)
        | (CUT if pair.request_rest else 0)
    )
    outcomes = _packed(pair.live) + _packed(pair.candidate)
    if pair.again is not None:
        outcomes += _packed(pair.again)
    return pack_pair(
        trial,
        pair.stage,
        pair.sequence,
        pair.time,
        flags,
        pair.id.encode("ascii"),
        pair.request_head,
        pair.request_body + pair.request_rest,
        outcomes,
        pair.request_id.encode(),
    )


def _read_outcome(payload: bytes, at: int) -> tuple[Outcome, int]:
    status, code, seconds, first, head, body = _OUTCOME.unpack_from(payload, at)
    start = at + _OUTCOME_SIZE
    middle = start + head
    end = middle + body
    parts = (status, REASONS[code], payload[start:middle], payload[middle:end], seconds, first)
    return make(Outcome, parts), end


def decode_pair(payload: bytes, trials: dict[int, str], worker: str) -> Pair:
    """The pair of a PAIR frame; raises `LinkError` when the payload is not one."""
    try:
        index, stage, sequence, time, flags, name, given, head, body = _PAIR.unpack_from(payload)
        own_end = _PAIR_SIZE + name
        id_end = own_end + given
        head_end = id_end + head
        body_end = head_end + body
        live, end = _read_outcome(payload, body_end)
        candidate, end = _read_outcome(payload, end)
        again = None
        if flags & AGAIN:
            again, end = _read_outcome(payload, end)
        trial = trials[index]
        rest = body_end - _REST_SIZE if flags & CUT else body_end
    except (struct.error, IndexError, KeyError) as error:
        raise LinkError(f"not a pair: {error!r}") from None
    if end != len(payload) or rest < head_end:
        raise LinkError(f"a pair of {end} bytes in a frame of {len(payload)}")
    return make(
        Pair,
        (
            trial,
            stage,
            worker,
            sequence,
            payload[_PAIR_SIZE:own_end].decode("ascii", "replace"),
            time,
            _CANDIDATE if flags & CANDIDATE_SERVED else _LIVE,
            payload[id_end:head_end],
            payload[head_end:rest],
            live,
            candidate,
            again,
            flags & HEDGED != 0,
            flags & FELL_BACK != 0,
            flags & SLOT != 0,
            payload[own_end:id_end].decode("utf-8", "replace"),
            payload[rest:body_end],
        ),
    )


def encode_mark(trial: int, sequence: int) -> bytes:
    """A MARK frame."""
    return frame(Frame.MARK, _MARK.pack(trial, sequence))


def decode_mark(payload: bytes) -> Mark:
    """The mark of a MARK frame; raises `LinkError`."""
    try:
        return Mark(*_MARK.unpack(payload))
    except struct.error as error:
        raise LinkError(f"not a mark: {error}") from None


def encode_table(table: Table) -> bytes:
    """A TABLE frame."""
    return note(Frame.TABLE, table)


def decode_table(payload: bytes) -> Table:
    """The table of a TABLE frame; raises `LinkError`."""
    return table_from(read_note(payload))


def table_from(value: Any) -> Table:
    """A table out of its JSON, in a TABLE or in a HELLO; raises `LinkError`."""
    try:
        lanes = tuple(Lane(**{**lane, "state": State(lane["state"])}) for lane in value["lanes"])
        versions = {str(name): str(version) for name, version in value.get("versions", {}).items()}
        whole = tuple([str(trial) for trial in value.get("whole_requests", ())])
        return Table(int(value["number"]), lanes, str(value["secret"]), int(value.get("term", 0)), versions, whole)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise LinkError(f"not a routing table: {error!r}") from None
