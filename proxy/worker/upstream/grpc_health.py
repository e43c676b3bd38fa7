"""Active health checks of a gRPC upstream: a unary method, asked with an empty message.

`/grpc.health.v1.Health/Check` and the V2 protocol's `ServerLive`, `ServerReady` and `ModelReady` answer OK in any case,
and say in the message whether all is well, by the same two bytes; of any other method OK is enough. Which model
`ModelReady` is asked about the upstream's `set_json` says.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.model.reasons import Reason
from proxy.request.legs import Leg

if TYPE_CHECKING:
    from proxy.model.worker_config import HealthSpec
    from proxy.worker.upstream.endpoint import Endpoint
    from proxy.worker.upstream.pool import Pool

SAY_YES = frozenset(
    {
        "/grpc.health.v1.Health/Check",
        "/inference.GRPCInferenceService/ServerLive",
        "/inference.GRPCInferenceService/ServerReady",
        "/inference.GRPCInferenceService/ModelReady",
    }
)
_YES = b"\0\0\0\0\2\x08\1"
"""A message whose field 1 is 1: SERVING, or true."""


class GrpcProbe(Leg):
    """One check of one URL."""

    def __init__(self, pool: Pool, endpoint: Endpoint, settings: HealthSpec) -> None:
        super().__init__(pool, min(pool.timeout, settings.interval))
        self.is_check = True  # set here: compiled code does not see what the class of an interpreted leg says
        self.tries = 1_000_000  # another URL's answer would say nothing of this one
        self.longest = self.timeout
        self._endpoint, self._wants_yes = endpoint, settings.path in SAY_YES
        self._said = b""
        host = f"[{endpoint.host}]" if ":" in endpoint.host else endpoint.host
        lines = "content-type: application/grpc\r\nuser-agent: understudy-health\r\n"
        line = f"POST {settings.path} HTTP/1.1\r\nhost: {host}:{endpoint.port}\r\n{lines}".encode()
        path, body = settings.path.encode(), bytes(5)
        changed = pool.changed(path, body, None) if pool.changes(path) else None
        self.opening = b"".join((line, b"\r\n", changed or body))

    def head(self, piece: bytes, done: bool) -> None:
        self.body(piece, done)

    def body(self, piece: bytes, done: bool) -> None:
        if len(self._said) <= len(_YES):
            self._said += piece
        if done and self.answer is not None:
            good = self.answer.status == 200 and (not self._wants_yes or self._said == _YES)
            self._endpoint.was_checked(good, self.inquiry)

    def failed(self, reason: Reason) -> None:
        if reason is not Reason.POOL_FULL:
            self._endpoint.was_checked(False, self.inquiry)
        elif self.inquiry is not None:  # it has not been asked
            self.inquiry.answer(False)
