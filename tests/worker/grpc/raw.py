"""HTTP/2 by hand, for what no client and no model of a library sends; and a worker that passes calls on."""

from __future__ import annotations

from tests.worker.grpc.models import INFER

PLAIN = """
server: {limits: {max_body: 1MiB}, timeouts: {drain: 5s}, grpc_listen: 127.0.0.1:0}
upstreams: {m: {url: "{0}", timeout: 2s}}
routes: [{name: m, match: {path: "/inference.GRPCInferenceService/*"}, live: m}]
"""


class Raw:
    """Frames by hand."""

    SETTINGS = bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
    PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + SETTINGS

    @staticmethod
    def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
        return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload

    @classmethod
    def head(cls, stream: int, path: bytes = INFER.encode(), *more: tuple[bytes, bytes]) -> bytes:
        fields = [
            (b":method", b"POST"),
            (b":scheme", b"http"),
            (b":path", path),
            (b":authority", b"m"),
            (b"te", b"trailers"),
        ]
        fields += [(b"content-type", b"application/grpc"), *more]
        block = b"".join(b"\0%c%b%c%b" % (len(name), name, len(value), value) for name, value in fields)
        return cls.frame(1, 4, stream, block)

    @classmethod
    def opening(cls, stream: int, message: bytes) -> bytes:
        body = b"\0" + len(message).to_bytes(4, "big") + message
        return cls.PREFACE + cls.head(stream) + cls.frame(0, 1, stream, body)
