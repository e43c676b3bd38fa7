"""Promise: a key that an upstream is given is in no pair that is kept or shown, however the model repeats it:
compressed, escaped, in pieces. All else of an answer stays as it is, and what cannot be looked into is not kept."""

from __future__ import annotations

import base64
import gzip
import itertools
import zlib
from collections.abc import Callable

import brotli
import orjson
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from proxy.model import Arm, Kind, Outcome, Pair, PredictionSpec
from proxy.model.reasons import Reason
from proxy.pairs.key_forms import MOST_EARLIER, base64_forms
from proxy.pairs.key_mask import KeyMask
from proxy.predictions import read_pair
from proxy.predictions.bounds import Bounds
from tests.predictions.messages import ModelInferRequest

KEY = "sk-l1ve/0123+45=67"
LABEL = PredictionSpec("json", Kind.NUMBER, pointer="/label")
STARS = "*" * len(KEY)
MASK = KeyMask([f"Bearer {KEY}".encode(), KEY.encode()])
CODINGS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "x-gzip": gzip.compress,
    "deflate": zlib.compress,
    "br": brotli.compress,
    "zstd": zstandard.compress,
    "gzip, br": lambda body: brotli.compress(gzip.compress(body)),
}


def outcome(body: bytes, *lines: bytes) -> Outcome:
    head = b"".join((b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n", *(b"%b\r\n" % one for one in lines)))
    return Outcome(200, head=head + b"\r\n", body=body)


def pair(candidate: Outcome, live: Outcome | None = None) -> Pair:
    live = outcome(b'{"label": 1}') if live is None else live
    return Pair("t", 0, "w", 0, "i", 0.0, Arm.LIVE, b"POST / HTTP/1.1\r\n\r\n", b"{}", live, candidate)


def event(**said: object) -> bytes:
    return b"data: " + orjson.dumps(said) + b"\n\n"


@pytest.mark.parametrize("coding", CODINGS)
def test_in_a_compressed_answer(coding: str) -> None:
    said = b'{"label": 1, "you": "Bearer %b"}' % KEY.encode()
    body = CODINGS[coding](said)
    found = pair(outcome(body, b"Content-Encoding: " + coding.encode(), b"Content-Length: %d" % len(body), b"x-a: 1"))
    seen, kept = MASK.pair(found)
    assert kept == seen
    assert orjson.loads(kept.candidate.body) == {"label": 1, "you": "*" * len(f"Bearer {KEY}")}
    assert kept.candidate.head == b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nx-a: 1\r\n\r\n"
    said = read_pair(LABEL, seen).candidate
    assert said is not None
    assert said == read_pair(LABEL, found).candidate


FAULTS = {"gzip": Reason.DECOMPRESSED_TOO_LARGE, "rot13": Reason.BAD_ENCODING, "br": Reason.TRUNCATED}


@pytest.mark.parametrize("coding", FAULTS)
def test_what_cannot_be_looked_into_is_judged_and_not_kept(coding: str) -> None:
    """Unknown, damaged, or more than may be read."""
    body = gzip.compress(bytes(2000)) if coding == "gzip" else b"\x9f?"
    found = pair(outcome(body, b"content-encoding: " + coding.encode()))
    seen, kept = MASK.pair(found, Bounds.of(1000))
    assert (seen, kept.candidate.body) == (found, b"[redacted]")
    assert kept.live == found.live
    fault = read_pair(LABEL, seen, max_body=1000).fault
    assert fault is FAULTS[coding]


@pytest.mark.parametrize(
    "written",
    [
        KEY,
        KEY.replace("+", "\\u002b"),
        KEY.replace("+", "\\u002B").replace("/", "\\/"),
        KEY.replace("/", "%2F").replace("+", "%2b").replace("=", "%3D"),
        "".join(f"\\u{ord(c):04x}" for c in KEY),
    ],
)
@pytest.mark.parametrize("around", ['{{"you": "{}", "label": 1}}', '{{"{}": 1}}', "<p>{}</p>"])
def test_with_escapes(written: str, around: str) -> None:
    body = MASK.body(around.format(written).encode())
    assert body == around.format("*" * len(written)).encode()


@pytest.mark.parametrize("cut", range(1, len(KEY)))
def test_over_the_events_of_a_stream(cut: int) -> None:
    """OpenAI's pieces, two choices at a time, each of which says another thing."""
    says = [(0, "it is " + KEY[:cut]), (1, "no "), (0, KEY[cut:] + "!"), (1, "idea")]
    body = b"".join(event(choices=[{"index": at, "delta": {"content": text}}]) for at, text in says)
    texts = {0: "", 1: ""}
    masked = MASK.body(body + b"data: [DONE]\n\n")
    assert masked.endswith(b"data: [DONE]\n\n")
    for line in masked.splitlines()[:-2:2]:
        (choice,) = orjson.loads(line.removeprefix(b"data: "))["choices"]
        texts[choice["index"]] += choice["delta"]["content"]
    assert texts == {0: f"it is {STARS}!", 1: "no idea"}
    assert len(masked) <= len(body) + 14


@given(st.lists(st.integers(1, len(KEY) - 1), max_size=5), st.sampled_from(["sse", "text", "lines", "list", "gzip"]))
def test_in_any_pieces_of_any_stream(cuts: list[int], form: str) -> None:
    edges = [0, *sorted(set(cuts)), len(KEY)]
    pieces = ["so: ", *(KEY[a:b] for a, b in itertools.pairwise(edges)), " there"]
    lines: tuple[bytes, ...] = ()
    match form:
        case "text":
            body = b"".join(b"data: %b\r\n\r\n" % piece.encode() for piece in pieces)
        case "lines":
            body = b"".join(orjson.dumps({"response": piece, "done": False}) + b"\n" for piece in pieces)
        case "list":
            body = orjson.dumps({"tokens": [{"token": piece, "logprob": -0.25} for piece in pieces], "n": 2**60})
        case _:
            body = b": hi\n\n" + b"".join(event(type="delta", delta=piece, at=0.1) for piece in pieces)
    if form == "gzip":
        body, lines = gzip.compress(body), (b"content-encoding: gzip",)
    seen, kept = MASK.pair(pair(outcome(body, *lines)))
    assert seen == kept
    said = kept.candidate.body
    assert STARS in together(said)
    assert not any(len(piece) > 3 and piece.encode() in said for piece in pieces[1:-1])


def together(body: bytes) -> str:
    """What a reader makes of it."""
    texts = []
    for line in body.splitlines():
        said = line.removeprefix(b"data: ")
        try:
            value = orjson.loads(said)
        except ValueError:
            texts.append(said.decode())
            continue
        for one in value.get("tokens", [value]):
            texts.append(one.get("delta") or one.get("response") or one.get("token") or "")
    return "".join(texts)


def test_in_the_messages_of_a_call() -> None:
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/grpc\r\ngrpc-encoding: gzip\r\n\r\n"
    packed = gzip.compress(KEY.encode())
    body = b"\x01%b%b" % (len(packed).to_bytes(4, "big"), packed) + b"\0\0\0\0\x02ab"
    _, kept = MASK.pair(pair(Outcome(200, head=head, body=body)))
    assert kept.candidate.body == b"\0%b%b" % (len(KEY).to_bytes(4, "big"), STARS.encode()) + b"\0\0\0\0\x02ab"
    _, kept = MASK.pair(pair(Outcome(200, head=head.replace(b"gzip", b"rot13"), body=body)))
    assert kept.candidate.body == b"[redacted]"


def test_in_a_head() -> None:
    found = outcome(b"{}", b"location: /x?key=" + KEY.replace("/", "%2F").encode(), b"x-echo: Bearer " + KEY.encode())
    head = MASK.pair(pair(found))[1].candidate.head
    assert KEY.encode() not in head
    assert b"%2F" not in head


@given(st.recursive(st.none() | st.booleans() | st.floats() | st.text() | st.integers(), lambda inner: st.lists(inner)))
def test_what_holds_no_key_stays_as_it_is(value: object) -> None:
    body = orjson.dumps({"value": repr(value), "n": [1, 2.50]}) + b" "
    found = pair(outcome(body))
    seen, kept = MASK.pair(found)
    assert seen is not None
    assert (seen.candidate is found.candidate, kept == found) == (True, True)


def test_numbers_are_not_rounded_where_a_text_is_masked() -> None:
    body = b'{"id": 123456789012345678901234567890, "say": ["%b", "%b"]}' % (KEY[:5].encode(), KEY[5:].encode())
    assert MASK.body(body) == b'{"id":123456789012345678901234567890,"say":["%b","%b"]}' % (b"*" * 5, b"*" * 13)


@pytest.mark.parametrize("body", [b"[" * 900 + b'"a"' + b"]" * 900, b'data: "a"\n' * 20_000])
def test_what_is_too_much_to_look_into_is_not_kept(body: bytes) -> None:
    assert MASK.pair(pair(outcome(body)), Bounds(parts=1000))[1].candidate.body in (b"[redacted]", body)
    assert MASK.pair(pair(outcome(body.replace(b"a", KEY[:4].encode()))), Bounds(parts=1000))[0] is not None


def test_keys_of_before_are_known_still_and_those_beyond_a_bound_are_told() -> None:
    mask, forgotten = KeyMask([b"old-key"]).more([b"new-key"])
    assert (mask.body(b"old-key new-key"), forgotten) == (b"******* *******", 0)
    assert mask.more([b"new-key"]) == (mask, 0)
    lost = 0
    for first in (0, 40, 80):
        mask, forgotten = mask.more([b"key-%04d" % number for number in range(first, min(first + 40, 81))])
        lost += forgotten
    assert (len(mask.keys), mask.keys[0], lost) == (1 + MOST_EARLIER, b"key-0080", 2 + 80 - MOST_EARLIER)


def test_all_keys_of_a_configuration_are_looked_for() -> None:
    keys = [b"key-%04d" % number for number in range(3 * MOST_EARLIER)]
    mask, forgotten = KeyMask([b"earlier"]).more(keys)
    assert forgotten == 0
    assert mask.body(b" ".join([*keys, b"earlier"])) == b" ".join([b"*" * 8] * len(keys) + [b"*" * 7])


KEYS = st.text("abcdefghijkl0123-_+/=.", min_size=6, max_size=40).map(str.encode)


@given(key=KEYS, before=st.binary(max_size=5), behind=st.binary(max_size=5), urlsafe=st.booleans())
def test_in_base64_alone_and_within_another_text(key: bytes, before: bytes, behind: bytes, urlsafe: bool) -> None:
    """The oracle encodes; of what is left, no more than the edges are the key's."""
    encode = base64.urlsafe_b64encode if urlsafe else base64.b64encode
    masked = KeyMask([key]).body(b"it is: " + encode(before + key + behind) + b"!")
    left = masked.removeprefix(b"it is: ").removesuffix(b"!").rstrip(b"=")
    first, last = -(-8 * len(before) // 6), 8 * (len(before) + len(key)) // 6
    assert set(left[first:last]) == {ord("*")}
    assert len(left) == len(encode(before + key + behind).rstrip(b"="))


@pytest.mark.parametrize("cut", [5, 9])
def test_in_base64_in_pieces(cut: int) -> None:
    said = base64.b64encode(b"user:" + KEY.encode()).decode()
    masked = MASK.body(event(delta=said[:cut]) + event(delta=said[cut:]))
    assert not any(form in together(masked).encode() for form in base64_forms(KEY.encode()))
    assert "*" * 20 in together(masked)


def grpc_call(*messages: bytes) -> Outcome:
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/grpc+proto\r\n\r\n"
    return Outcome(200, head=head, body=b"".join(b"\0%b%b" % (len(m).to_bytes(4, "big"), m) for m in messages))


@given(cut=st.integers(1, len(KEY) - 1), nested=st.booleans(), noise=st.binary(max_size=20))
def test_over_the_messages_of_a_stream(cut: int, nested: bool, noise: bytes) -> None:
    """Texts of a message, or of a message within it (as in ModelStreamInferResponse), beside others and raw tensors."""

    def message(text: bytes) -> bytes:
        inner = ModelInferRequest(model_name="m", id=text.decode(), raw_input_contents=[noise]).SerializeToString()
        return b"\x12%b%b" % (bytes([len(inner)]), inner) if nested else inner

    parts = [message(b"it is " + KEY[:cut].encode()), message(KEY[cut:].encode() + b" ok"), message(b"end")]
    found = grpc_call(*parts)
    seen, kept = MASK.pair(pair(found))
    assert seen == kept
    said = kept.candidate.body
    assert len(said) == len(found.body)
    stars = b"it is " + b"*" * cut, b"*" * (len(KEY) - cut) + b" ok"
    assert all(text in said for text in stars)
    assert said.replace(b"*", b"").replace(noise, b"").count(b"sk-") == 0


def test_messages_of_more_fields_than_are_looked_through_are_not_kept() -> None:
    found = grpc_call(b"\x0a\x00" * 2_000, b"\x0a\x01a")
    assert MASK.pair(pair(found), Bounds(parts=100))[1].candidate.body == b"[redacted]"
    assert MASK.pair(pair(found), Bounds(parts=1000))[1].candidate.body == found.body


def test_without_keys_nothing_is_looked_at() -> None:
    found = pair(outcome(b"{}"))
    assert all(one is found for one in KeyMask().pair(found))
