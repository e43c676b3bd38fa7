#!/usr/bin/env bash
# grpcio 1.85.1, its client.
#
# One would guess: an interim answer (HEADERS with :status 103, without END_STREAM) before the answer proper is read past,
# as any HTTP/2 client must be able to (RFC 9113, 8.1; RFC 9110, 15.2).
# What happens: the call fails with UNKNOWN, "Received http2 header with status: 103", although a whole gRPC answer with
# grpc-status 0 follows. Without the interim head the same bytes are a good answer.
# Why it matters: what stands between a gRPC client and its server has to swallow interim answers, not pass them on: a
# proxy that is right for HTTP/2 breaks gRPC.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check grpcio==1.85.1 2>/dev/null
cat >"$folder/see.py" <<'PY'
import socket
import struct
import threading

import grpc

PREFACE = 24
SETTINGS, HEADERS, DATA = 4, 1, 0


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return struct.pack(">I", len(payload))[1:] + bytes((kind, flags)) + struct.pack(">I", stream) + payload


def text(name: bytes, value: bytes) -> bytes:
    return b"\0" + bytes([len(name)]) + name + bytes([len(value)]) + value


def answer(stream: int, interim: bool) -> bytes:
    hints = frame(HEADERS, 4, stream, text(b":status", b"103") + text(b"link", b"</x>"))
    head = frame(HEADERS, 4, stream, text(b":status", b"200") + text(b"content-type", b"application/grpc"))
    end = frame(HEADERS, 5, stream, text(b"grpc-status", b"0"))
    return (hints if interim else b"") + head + frame(DATA, 0, stream, b"\0\0\0\0\2ok") + end


def serve(listener: socket.socket, interim: bool) -> None:
    connection, _ = listener.accept()
    connection.sendall(frame(SETTINGS, 0, 0))
    data, at = b"", PREFACE
    while more := connection.recv(65536):
        data += more
        while len(data) >= at + 9 and len(data) >= at + 9 + int.from_bytes(data[at : at + 3], "big"):
            kind, flags, stream = data[at + 3], data[at + 4], int.from_bytes(data[at + 5 : at + 9], "big")
            at += 9 + int.from_bytes(data[at : at + 3], "big")
            if kind == SETTINGS and not flags & 1:
                connection.sendall(frame(SETTINGS, 1, 0))
            if kind in (HEADERS, DATA) and flags & 1:
                connection.sendall(answer(stream, interim))


for interim in (False, True):
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    threading.Thread(target=serve, args=(listener, interim), daemon=True).start()
    options = [("grpc.enable_http_proxy", 0)]
    with grpc.insecure_channel(f"127.0.0.1:{listener.getsockname()[1]}", options) as channel:
        try:
            print("with" if interim else "without", "an interim head:", channel.unary_unary("/a.B/C")(b"x", timeout=5))
        except grpc.RpcError as error:
            print("with" if interim else "without", "an interim head:", error.code().name, error.details())
PY
seen=$("$folder/venv/bin/python" "$folder/see.py")
printf '%s\n' "$seen"
grep -q "^without an interim head: b'ok'" <<<"$seen"
grep -q '^with an interim head: UNKNOWN .*103' <<<"$seen" || { echo "grpcio no longer does this" >&2; exit 1; }
