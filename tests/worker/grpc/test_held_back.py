"""Promise: a caller whose candidate takes no more of a call is read again when that candidate is given up: live gets
all of the call and answers it."""

from __future__ import annotations

import asyncio

from proxy.http.http2.frames import ACK, DATA, PING
from tests.worker.grpc.models import Client, GrpcModel, echo
from tests.worker.grpc.raw import Raw
from tests.worker.rig import rig

CONFIG = """
server: {grpc_listen: 127.0.0.1:0, limits: {max_body: 4MiB}}
upstreams:
  live: {url: "{0}", timeout: 5s}
  cand: {url: "CANDIDATE", timeout: 3s, connect_timeout: 1s}
routes:
  - name: m
    match: {path: "/inference.GRPCInferenceService/*"}
    live: live
    rollouts:
      - candidate: cand
        shadow: 100%
        canary: 50%
        mirror: {max_body: 4MiB, max_memory: 16MiB}
        fallback: {after: 30s}
"""
MESSAGE = bytes(2_000_000)
WINDOW = 65_535
"""Bytes that HTTP/2 lets a call send before the other end says that it may send more."""


async def takes_a_window(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Read what the first window lets through, wait until the other end has had time to read on, and leave."""
    writer.write(Raw.SETTINGS)
    await reader.readexactly(len(Raw.PREFACE) - len(Raw.SETTINGS))
    taken = pongs = 0
    while pongs < 5:
        head = await reader.readexactly(9)
        await reader.readexactly(int.from_bytes(head[:3], "big"))
        taken += int.from_bytes(head[:3], "big") if head[3] == DATA else 0
        pongs += head[3] == PING and bool(head[4] & ACK)
        if taken == WINDOW and head[3] in (DATA, PING):
            writer.write(Raw.frame(PING, 0, 0, bytes(8)))
    writer.close()


async def test_live_takes_over_a_call_that_was_held_back() -> None:
    candidate = await asyncio.start_server(takes_a_window, "127.0.0.1", 0)
    url = f"grpc://127.0.0.1:{candidate.sockets[0].getsockname()[1]}"
    live = GrpcModel(echo, [("grpc.max_receive_message_length", -1)])
    async with rig(CONFIG.replace("CANDIDATE", url), [live], grpc=True) as it:
        await it.lane(weight=10_000)
        with Client(it.grpc_port) as client:
            told = await client.ask(MESSAGE, timeout=20)
            assert (told.code.name, told.found.get("x-served-by")) == ("OK", "live")
        assert live.calls[0].messages == [MESSAGE]
    candidate.close()
