"""gRPC's own library on both ends of the proxy: a scripted model server, and a client that keeps all it was told.

Both work in threads (grpcio's synchronous side), so that the event loop under test is the proxy's alone.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent import futures
from dataclasses import dataclass, field
from typing import Any

import grpc

from tests.ports import free_port
from tests.worker.rig import PATIENCE

INFER = "/inference.GRPCInferenceService/ModelInfer"
Metadata = list[tuple[str, Any]]


@dataclass
class Seen:
    """One call as a model server saw it."""

    method: str
    metadata: Metadata
    deadline: float | None
    context: grpc.ServicerContext
    messages: list[bytes] = field(default_factory=list)
    ended: threading.Event = field(default_factory=threading.Event)
    """The call is over, whoever ended it."""

    @property
    def found(self) -> dict[str, Any]:
        return dict(self.metadata)


Script = Callable[[Seen, Iterator[bytes]], Iterable[bytes]]


def echo(seen: Seen, messages: Iterator[bytes]) -> Iterable[bytes]:
    """Each message comes back as it was."""
    for message in messages:
        seen.messages.append(message)
        yield message


def says(*answers: bytes) -> Script:
    """Read everything, answer this."""

    def script(seen: Seen, messages: Iterator[bytes]) -> Iterable[bytes]:
        seen.messages.extend(messages)
        yield from answers

    return script


def fails(code: grpc.StatusCode, words: str = "no", details: bytes = b"") -> Script:
    """Read everything, fail with this status."""

    def script(seen: Seen, messages: Iterator[bytes]) -> Iterable[bytes]:
        seen.messages.extend(messages)
        if details:
            seen.context.set_trailing_metadata((("grpc-status-details-bin", details),))
        seen.context.abort(code, words)
        yield b""

    return script


def hangs(seen: Seen, messages: Iterator[bytes]) -> Iterable[bytes]:
    """Read everything, answer when the call is over."""
    seen.messages.extend(messages)
    seen.ended.wait(PATIENCE)
    yield b""


class GrpcModel(grpc.GenericRpcHandler):
    """A scripted model server: whatever the method, `script` reads its messages and gives the answers."""

    host = "127.0.0.1"

    def __init__(self, script: Script = echo, options: Iterable[tuple[str, Any]] = (), credentials: Any = None) -> None:
        self.script, self.options, self.credentials = script, list(options), credentials
        self.calls: list[Seen] = []
        self.port = 0
        self.server: grpc.Server | None = None

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        def behave(messages: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
            metadata: Metadata = [(key, value) for key, value in details.invocation_metadata]
            seen = Seen(details.method, metadata, context.time_remaining(), context)
            if not context.add_callback(seen.ended.set):  # it was over before it had a thread
                seen.ended.set()
            self.calls.append(seen)
            yield from self.script(seen, messages)

        return grpc.stream_stream_rpc_method_handler(behave)

    @property
    def url(self) -> str:
        return f"grpc{'s' if self.credentials else ''}://{self.host}:{self.port}"

    @property
    def served(self) -> list[Seen]:
        """The calls that were no copies."""
        return [seen for seen in self.calls if "x-shadow" not in seen.found]

    async def start(self) -> None:
        await asyncio.to_thread(self.open)

    def open(self) -> None:
        """Listen, on the same port as before if there was one."""
        options = [("grpc.so_reuseport", 0), *self.options]
        self.server = grpc.server(futures.ThreadPoolExecutor(16), options=options)
        self.server.add_generic_rpc_handlers((self,))
        self.port = self.port or free_port()
        where = f"{self.host}:{self.port}"
        if self.credentials is None:
            self.server.add_insecure_port(where)
        else:
            self.server.add_secure_port(where, self.credentials)
        self.server.start()

    async def stop(self) -> None:
        if self.server is not None:
            await asyncio.to_thread(self.server.stop(None).wait)
            self.server = None


@dataclass
class Told:
    """What a client was told by one call."""

    code: grpc.StatusCode
    details: str
    answers: list[bytes]
    initial: Metadata
    trailing: Metadata

    @property
    def answer(self) -> bytes:
        """The one answer."""
        (answer,) = self.answers
        return answer

    @property
    def found(self) -> dict[str, Any]:
        return dict([*self.initial, *self.trailing])


class Client:
    """A gRPC client of one address; a connection of its own."""

    def __init__(self, port: int, host: str = "127.0.0.1", credentials: Any = None) -> None:
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0)]
        where = f"{host}:{port}"
        self.channel = (
            grpc.insecure_channel(where, options)
            if credentials is None
            else grpc.secure_channel(where, credentials, options)
        )

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.channel.close()

    def stream(
        self,
        messages: Iterable[bytes],
        method: str = INFER,
        metadata: Iterable[tuple[str, Any]] = (),
        timeout: float = 5.0,
    ) -> Any:
        """Start a streaming call."""
        return self.channel.stream_stream(method)(iter(messages), timeout=timeout, metadata=tuple(metadata))

    def call(
        self, message: bytes = b"", method: str = INFER, metadata: Iterable[tuple[str, Any]] = (), timeout: float = 5.0
    ) -> Told:
        """One unary call to its end."""
        try:
            answer, call = self.channel.unary_unary(method).with_call(
                message, timeout=timeout, metadata=tuple(metadata)
            )
            return _told(call, [answer])
        except grpc.RpcError as error:
            return _told(error, [])

    def start(self, message: bytes, method: str = INFER, timeout: float = 5.0) -> Any:
        """Start a unary call, to be left alone or cancelled."""
        return self.channel.unary_unary(method).future(message, timeout=timeout)

    def read(self, call: Any) -> Told:
        """A streaming call to its end."""
        answers: list[bytes] = []
        try:
            answers.extend(call)
        except grpc.RpcError as error:
            return _told(error, answers)
        return _told(call, answers)

    async def ask(self, message: bytes = b"", **more: Any) -> Told:
        """`call`, from a coroutine."""
        return await asyncio.to_thread(self.call, message, **more)


def _told(call: Any, answers: list[bytes]) -> Told:
    initial = [(key, value) for key, value in call.initial_metadata() or ()]
    trailing = [(key, value) for key, value in call.trailing_metadata() or ()]
    return Told(call.code(), call.details() or "", answers, initial, trailing)
