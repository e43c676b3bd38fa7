"""What `bench_controller` sends: pairs of each kind. Run in the tree of whatever build is measured, so it imports what
every build has."""

from __future__ import annotations

import struct

import orjson

from proxy.model import Arm, Outcome, Pair
from proxy.pairs import link


def probability_pairs_of(count: int) -> list[Pair]:
    """Pairs as of `bench_dataplane`: one request of 1 KB, one answer of 300 bytes."""
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 300\r\n\r\n"
    request = (
        b"POST /v2/models/credit/infer HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nAccept: */*\r\nContent-Length: 1000\r\n"
        b"Content-Type: application/json\r\nUser-Agent: bench\r\nX-User-Id: user-12345\r\n\r\n"
    )
    numbers = b",".join(b"%.2f" % ((n * 37 % 100) / 100) for n in range(186))
    body = b'{"inputs":[{"name":"x","datatype":"FP64","shape":[1,180],"data":[%s]}]}' % numbers
    said = (
        b'{"model_name":"credit","outputs":[{"name":"predict_proba","datatype":"FP64","shape":[1,2],'
        b'"data":[0.25,0.75]}],"id":"%s"}' % (b"x" * 178)
    )
    outcome = Outcome(200, head=head, body=said, seconds=0.01, first=0.009)
    return [Pair("t", 0, "w", 0, "r", 0.0, Arm.LIVE, request, body, outcome, outcome)] * count


def chat_pairs_of(count: int) -> list[Pair]:
    """Pairs of a chat model's whole answers, in which every eighth of the candidate's has another ending."""
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 700\r\n\r\n"
    request = b"POST /v1/chat/completions HTTP/1.1\r\nhost: h\r\ncontent-type: application/json\r\n\r\n"
    found = []
    for i in range(count):
        words = [f"word{(i * 7 + k * k) % 997}" for k in range(40)]
        arms = (" ".join(words), " ".join(words[:-3] if i % 8 == 0 else words))
        live, candidate = (
            Outcome(200, head=head, body=_completion(text, i), seconds=0.01, first=0.009) for text in arms
        )
        found.append(Pair("t", 0, "w", i, f"r{i}", float(i), Arm.LIVE, request, b"{}", live, candidate))
    return found


def _completion(text: str, number: int) -> bytes:
    message = {"role": "assistant", "content": text, "refusal": None}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
    usage = {"prompt_tokens": 57, "completion_tokens": 61, "total_tokens": 118}
    body = {"id": f"chatcmpl-{number:024x}", "object": "chat.completion", "created": 1764500000 + number}
    return orjson.dumps(body | {"model": "chat-large", "choices": [choice], "usage": usage})


def streamed_pairs_of(count: int) -> list[Pair]:
    """Pairs of a chat model's streams of 100 events, with ids and times of their own; 64 of them differ."""
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n"
    request = b"POST /v1/chat/completions HTTP/1.1\r\nhost: h\r\ncontent-type: application/json\r\n\r\n"
    found = []
    for i in range(64):
        arms = [
            Outcome(
                200, head=head, body=_events(i, arm, " other" if arm and i % 8 == 0 else ""), seconds=1.0, first=0.1
            )
            for arm in range(2)
        ]
        found.append(Pair("t", 0, "w", i, f"r{i}", float(i), Arm.LIVE, request, b"{}", *arms))
    return [found[i % 64] for i in range(count)]


def _events(number: int, arm: int, ending: str) -> bytes:
    chunk = {"id": f"chatcmpl-{arm}{number:023x}", "object": "chat.completion.chunk", "created": 1764500000 + number}
    texts = [f" word{(number * 7 + k * k) % 997}" for k in range(98)] + [ending or " end"]
    deltas = [
        ({"role": "assistant", "content": ""}, None),
        *(({"content": text}, None) for text in texts),
        ({}, "stop"),
    ]
    events = [
        chunk
        | {"model": "chat-large", "choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": why}]}
        for delta, why in deltas
    ]
    return b"".join(b"data: " + orjson.dumps(event) + b"\n\n" for event in events) + b"data: [DONE]\n\n"


def prompt_pairs_of(count: int) -> list[Pair]:
    """Pairs of a chat model's short answers to prompts of 300 kB, cut as workers cut them."""
    request = b"POST /v1/chat/completions HTTP/1.1\r\nhost: h\r\ncontent-type: application/json\r\n\r\n"
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2000\r\n\r\n"
    text = orjson.dumps({"model": "m", "messages": [{"role": "user", "content": "word " * 60_000}]})
    cut = link.cut_request(text)
    live, candidate = (
        Outcome(200, head=head, body=_completion("word " * 340 + str(arm), arm), seconds=0.01, first=0.009)
        for arm in range(2)
    )
    one = Pair("t", 0, "w", 0, "r", 0.0, Arm.LIVE, request, cut[: link.KEPT], live, candidate)
    return [one._replace(request_rest=cut[link.KEPT :])] * count


CALLED = b"HTTP/1.1 200 OK\r\ncontent-type: application/grpc\r\ngrpc-status: 0\r\n\r\n"


def _called(message: bytes, answers: tuple[bytes, bytes]) -> Pair:
    head = (
        b"POST /inference.GRPCInferenceService/ModelInfer HTTP/1.1\r\nhost: h\r\ncontent-type: application/grpc\r\n\r\n"
    )
    framed = [bytes(1) + len(one).to_bytes(4, "big") + one for one in (message, *answers)]
    live, candidate = (Outcome(200, head=CALLED, body=body, seconds=0.01, first=0.009) for body in framed[1:])
    return Pair("t", 0, "w", 0, "r", 0.0, Arm.LIVE, head, framed[0], live, candidate)


def call_pairs_of(count: int) -> list[Pair]:
    """Pairs of gRPC calls whose messages nobody looks into."""
    return [_called(bytes(300), (bytes(300), bytes(300)))] * count


def message_pairs_of(count: int) -> list[Pair]:
    """Pairs of gRPC calls of V2, answered with a row of two probabilities in raw bytes."""
    found = []
    for i in range(count):
        rows = [struct.pack("<2d", part, 1 - part) for part in ((i % 97) / 97, ((i + i % 3) % 97) / 97)]
        output = b"\x0a\x0dpredict_proba\x12\x04FP64\x1a\x02\x01\x02"
        start = b"\x0a\x06credit" + b"\x2a" + bytes([len(output)]) + output + b"\x32\x10"
        found.append(_called(bytes([0x0A, 6]) + b"credit" + bytes(280), (start + rows[0], start + rows[1])))
    return found
