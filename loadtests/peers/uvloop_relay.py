"""What uvloop costs by itself: each client gets a connection to the model, and bytes pass as they come, unread.

python uvloop_relay.py PORT MODEL [COPY | buffers]

With COPY, the port of a second model, each client gets a connection to that too: it is sent what the client sends, and
what it answers is read and thrown away. With `buffers`, bytes are read into memory of ours (BufferedProtocol).
"""

from __future__ import annotations

import asyncio
import sys
from typing import cast

import uvloop

PORT, MODEL, BUFFERS = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:] == ["buffers"]
COPY = int(sys.argv[3]) if sys.argv[3:] and not BUFFERS else 0
SIZE = 256 * 1024
tasks: set[asyncio.Task[None]] = set()


class End(asyncio.BaseProtocol):
    """One end; what comes in goes `out` at the other, which holds this one up while it takes no more."""

    transport: asyncio.Transport

    def __init__(self, out: asyncio.Transport | None = None) -> None:
        self.out, self.early = out, b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        if self.out is None:
            task = asyncio.get_running_loop().create_task(self.dial())
            tasks.add(task)
            task.add_done_callback(tasks.discard)

    async def dial(self) -> None:
        """Begin the model's side, and pass on what the client has said by then."""
        make = asyncio.get_running_loop().create_connection
        self.out, _ = await make(lambda: type(self)(self.transport), "127.0.0.1", MODEL)
        self.out.write(self.early)

    def connection_lost(self, _error: Exception | None) -> None:
        if self.out is not None:
            self.out.close()

    def pause_writing(self) -> None:
        if self.out is not None:
            self.out.pause_reading()

    def resume_writing(self) -> None:
        if self.out is not None:
            self.out.resume_reading()


class Plain(End, asyncio.Protocol):
    """Is given bytes."""

    def data_received(self, data: bytes) -> None:
        if self.out is None:
            self.early += data
        else:
            self.out.write(data)


class Buffered(End, asyncio.BufferedProtocol):
    """Reads into one buffer that all share, and needs another when the other end does not take what is in it."""

    shared = memoryview(bytearray(SIZE))

    def get_buffer(self, _hint: int) -> memoryview:
        return Buffered.shared

    def buffer_updated(self, size: int) -> None:
        if self.out is None:
            self.early += bytes(Buffered.shared[:size])
            return
        self.out.write(Buffered.shared[:size])
        if self.out.get_write_buffer_size():
            Buffered.shared = memoryview(bytearray(SIZE))


class Unheard(asyncio.Protocol):
    """The second model's end: what it says is for nobody."""


class Mirrored(Plain):
    """The client's end where a second model gets what the client sends."""

    copy: asyncio.WriteTransport | None = None

    async def dial(self) -> None:
        make = asyncio.get_running_loop().create_connection
        copy, _ = await make(Unheard, "127.0.0.1", COPY)
        self.out, _ = await make(lambda: Plain(self.transport), "127.0.0.1", MODEL)
        self.copy = copy
        self.out.write(self.early)
        copy.write(self.early)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.copy is not None:
            self.copy.write(data)

    def connection_lost(self, error: Exception | None) -> None:
        super().connection_lost(error)
        if self.copy is not None:
            self.copy.close()


async def main() -> None:
    """Relay until it is ended."""
    make = asyncio.get_running_loop().create_server
    kind = Mirrored if COPY else Buffered if BUFFERS else Plain
    server = await make(kind, "127.0.0.1", PORT, backlog=1024)
    await server.serve_forever()


uvloop.run(main())
