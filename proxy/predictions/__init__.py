"""Bytes to predictions, or a reason why not. Start in `reading.py`; one file per protocol.

    reading.py     a pair in, a `Reading` out: who failed, what each arm said, do they fit together
    at_fault.py    what an arm did wrong, in words
    aspects.py     the same for several predictions of one answer
    comparing.py   do two predictions fit together, in what do they differ
    mismatch.py    in what two answers differ before either is read
    registry.py    the protocols by name, and `auto`; `protocol.py` is what one is
    protocols/     one file each: a decoded body in, a `Tensor` of raw values out
    v2_binary.py, v2_grpc.py    the other two ways to write V2 (`v2_messages.py`: Protocol Buffers)
    classification.py    Triton's classes as text with their scores, where the request asked for them
    unparseable.py why live's answers cannot be read, in words
    shapes.py      a tensor and a kind in, the rows of a `Prediction` out
    language.py    what a language model said, whatever the protocol: text, calls, refusal, reasoning, …
    transcript.py  the same for a person to read, as far as an answer goes; `call_fields.py`: calls side by side
    calls.py       calls of tools as rows, and in which argument two differ
    json_validity.py   kind `json`: is a text valid by a schema
    json_tools.py  parsing, following pointers
    expressions.py JMESPath
    json_events.py a stream of JSON events: texts joined, other values a row each
    rows.py        rows as servers without a tensor protocol write them: records, columns, scores by label
    last_read.py   streams that several predictions read, put together once
    message.py     one body with its head: header lookup, JSON parsed once
    bounds.py      how much work one message may be
    codings.py     content codings undone, within a bound
    usage.py       how many tokens a request used, as the engine says or as an estimate
    pricing.py     what the answers of a pair cost
    request.py     which requests count as equal; segment and cluster of a request

Invariants
- `read` raises for no bytes whatever. Everything below it raises `Unreadable`, one reason word and one sentence, and
  nothing else for bytes that came from outside.
- Work is bounded, whatever a message weighs (`bounds.py`): depth, rank, rows, elements, and what a compressed body may
  inflate to.
- Each body is parsed at most once for each prediction.
"""

from proxy.predictions.aspects import reader_of
from proxy.predictions.reading import PairReader, booking, protocol_of, read_pair
from proxy.predictions.unreadable import Unreadable
from proxy.predictions.usage import copies_cost

__all__ = ["PairReader", "Unreadable", "booking", "copies_cost", "protocol_of", "read_pair", "reader_of"]
