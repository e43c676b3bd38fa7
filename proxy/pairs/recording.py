"""Pairs as lines of a recorded file, and back.

A file is JSON Lines: a header `{"understudy_record": 1, "rollout", "config_hash"}`, then one pair per line, bodies in
base64. A file that was continued has a header again where that happened. `redact` has been applied to all bodies and
to every query, in the target and in headers; headers of credentials and those that the owner keeps from copies are left
out, of requests and of answers. What judging needs beside the exchange itself is kept too: the place in request order,
and the hash that tells repeated bodies apart even after redaction. `id` names one pair only; `request_id` is
there when the caller gave an id, which it may repeat.

Invariant: `pair_of(line_of(pair, …))` reads the same as `pair` did, but for what was redacted.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from proxy.http.credentials import HEADERS, SECRET_ANSWERS
from proxy.model import Arm, Outcome, Pair
from proxy.model.reasons import Reason
from proxy.pairs.redaction import MASK, redact, redact_query

FORMAT = 1


class RecordError(ValueError):
    """A line that is not part of a recorded file."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """One pair of a recorded file; `request_hash` is that of the body as it was before redaction.

    `bodyless`: redaction left the request's body out as a whole, so that the request cannot be sent again.
    """

    pair: Pair
    request_hash: int
    bodyless: bool = False


def is_chosen(pair_id: str, share: float) -> bool:
    """Whether a pair belongs to the recorded share (0..1): by a hash of its id with a salt of its own.

    >>> [is_chosen("a", share) for share in (0.0, 1.0)]
    [False, True]
    """
    digest = hashlib.blake2b(pair_id.encode(), digest_size=4, person=b"record").digest()
    return int.from_bytes(digest, "little") < share * 2.0**32


def header_line(rollout: str, config_hash: str) -> bytes:
    """The first line of a file."""
    return orjson.dumps({"understudy_record": FORMAT, "rollout": rollout, "config_hash": config_hash}) + b"\n"


def line_of(recorded: Recorded, redacted: Sequence[str] = (), dropped: Collection[str] = ()) -> bytes:
    """The line of a pair, `redacted` masked in bodies and query, without headers of credentials and the `dropped` ones
    (lower case)."""
    pair = recorded.pair
    method, path, _ = _request_line(pair.request_head)
    headers = _headers(pair.request_head, HEADERS.union(dropped), redacted)
    request = {"method": method, "path": redact_query(path, redacted), "headers": headers}
    value = {
        "id": pair.id,
        "time": pair.time,
        "served": pair.served.value,
        "request": {**request, "body": _body(pair.request_body, redacted)},
        "live": _arm(pair.live, redacted, dropped),
        "candidate": _arm(pair.candidate, redacted, dropped),
        "order": [pair.trial, pair.stage, pair.worker, pair.sequence],
        "latency_slot": pair.latency_slot,
        "hedged": pair.hedged,
        "fell_back": pair.fell_back,
        "hash": f"{recorded.request_hash:x}",
    }
    if pair.request_id:
        value["request_id"] = pair.request_id
    if pair.again is not None:
        value["again"] = _arm(pair.again, redacted, dropped)
    return orjson.dumps(value) + b"\n"


def read_lines(lines: Iterable[bytes]) -> Iterator[Recorded]:
    """The pairs of a recorded file; raises `RecordError` with the line's number.

    A torn line is left out when it is the last one or a header follows: its writer was killed there.
    """
    torn: RecordError | None = None
    started = False
    for number, line in enumerate(lines, start=1):
        try:
            value = orjson.loads(line)
            if isinstance(value, dict) and "understudy_record" in value:
                _check_format(value)
                started, torn = True, None
                continue
            if torn is not None:
                raise torn
            if not started:
                raise RecordError("not a recorded file: it does not begin with `understudy_record`")
            yield pair_of(value)
        except orjson.JSONDecodeError as error:
            torn = torn or RecordError(f"line {number}: {error}")
        except RecordError as error:
            raise error if error is torn else RecordError(f"line {number}: {error}") from None
    if not started:
        raise RecordError("not a recorded file: it is empty")


def _check_format(value: Mapping[str, Any]) -> None:
    if value["understudy_record"] != FORMAT:
        raise RecordError(f"format {value['understudy_record']!r} is not known (this one reads {FORMAT})")


def pair_of(value: Mapping[str, Any]) -> Recorded:
    """The pair of one line; raises `RecordError`."""
    try:
        request = value["request"]
        trial, stage, worker, sequence = value["order"]
        pair = Pair(
            trial=trial,
            stage=int(stage),
            worker=worker,
            sequence=int(sequence),
            id=str(value["id"]),
            time=float(value["time"]),
            served=Arm(value["served"]),
            request_head=_head(f"{request['method']} {request['path']} HTTP/1.1", request["headers"]),
            request_body=_unbody(request["body"]),
            live=_outcome(value["live"]),
            candidate=_outcome(value["candidate"]),
            again=_outcome(value["again"]) if "again" in value else None,
            hedged=bool(value["hedged"]),
            fell_back=bool(value["fell_back"]),
            latency_slot=bool(value["latency_slot"]),
            request_id=str(value.get("request_id", "")),
        )
        return Recorded(pair, int(value["hash"], 16), bodyless=request["body"] is None)
    except (KeyError, TypeError, ValueError, AttributeError, binascii.Error) as error:
        raise RecordError(f"not a pair: {error!r}") from None


def _request_line(head: bytes) -> tuple[str, str, str]:
    method, path, version, *_ = (*head.split(b"\r\n", 1)[0].decode("latin-1").split(" "), "", "", "")
    return method, path, version


def _headers(head: bytes, dropped: Collection[str], redacted: Sequence[str]) -> list[list[str]]:
    """Names and values; a query stands in `referer`, `location` and others too, and is masked wherever it does."""
    found = []
    for line in head.decode("latin-1").split("\r\n")[1:]:
        name, colon, value = line.partition(":")
        if colon and name.lower() not in dropped:
            found.append([name, redact_query(value.strip(), redacted)])
    return found


def _head(first: str, headers: Iterable[Sequence[str]]) -> bytes:
    lines = [first, *(f"{name}: {value}" for name, value in headers), "", ""]
    return "\r\n".join(lines).encode("latin-1")


def _body(body: bytes, redacted: Sequence[str]) -> str | None:
    kept = redact(body, redacted)
    return None if kept is None else base64.b64encode(kept).decode()


def _unbody(text: str | None) -> bytes:
    return b"" if text is None else base64.b64decode(text, validate=True)


def _arm(outcome: Outcome, redacted: Sequence[str], dropped: Collection[str]) -> dict[str, Any]:
    return {
        "status": outcome.status,
        "headers": _headers(outcome.head, SECRET_ANSWERS.union(dropped), redacted),
        "body": _body(outcome.body, redacted),
        "seconds": _number(outcome.seconds),
        "first": _number(outcome.first),
        "reason": outcome.reason.value,
    }


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _outcome(value: Mapping[str, Any]) -> Outcome:
    status = int(value["status"])
    head = _head(f"HTTP/1.1 {status} ", value["headers"]) if status else b""
    seconds, first = (math.nan if value[key] is None else float(value[key]) for key in ("seconds", "first"))
    # What redaction left out whole was not empty, and must not look as if it had been: only empty bodies stay empty.
    body = MASK.encode() if value["body"] is None else _unbody(value["body"])
    return Outcome(status, Reason(value["reason"]), head, body, seconds, first)
