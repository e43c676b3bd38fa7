"""Reads server-sent events over many connections; prints events, milliseconds to the first (p50, p99).

python sse_load.py PORT PATH STREAMS ROUNDS     the body on standard input; each connection asks ROUNDS times
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import time

import uvloop

PORT, PATH, STREAMS, ROUNDS = int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
END = b"0\r\n\r\n"


async def ask(body: bytes, first: list[float]) -> int:
    """The events that one connection has read."""
    reader, writer = await asyncio.open_connection("127.0.0.1", PORT)
    head = f"POST {PATH} HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    events = 0
    for _ in range(ROUNDS):
        asked, seen, tail = time.perf_counter(), 0, b""
        writer.write(head.encode() + body)
        while not tail.endswith(END):
            data = await reader.read(65536)
            if not data:
                raise SystemExit("a stream was cut")
            if not seen and b"data:" in data:
                first.append(time.perf_counter() - asked)
            seen += data.count(b"data: {")
            tail = (tail + data)[-8:]
        events += seen
    writer.close()
    return events


async def main() -> None:
    """All streams at once."""
    body, first = sys.stdin.buffer.read(), list[float]()
    events = sum(await asyncio.gather(*(ask(body, first) for _ in range(STREAMS))))
    cut = statistics.quantiles(first, n=100)
    print(events, cut[49] * 1e3, cut[98] * 1e3)


uvloop.run(main())
