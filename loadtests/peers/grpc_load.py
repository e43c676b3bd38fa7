"""Unary gRPC calls, eight at a time on one connection; prints calls, seconds, milliseconds p50 and p99.

python grpc_load.py PORT METHOD BYTES SECONDS
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import time

import grpc
import uvloop

PORT, METHOD, SIZE, SECONDS = int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
AT_A_TIME = 8


async def main() -> None:
    """Call until the time is over."""
    body, took = bytes(SIZE), list[float]()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{PORT}") as channel:
        method = channel.unary_unary(METHOD)
        assert await method(body, timeout=30, wait_for_ready=True) == body
        began = time.perf_counter()

        async def call() -> None:
            while (now := time.perf_counter()) < began + SECONDS:
                assert await method(body, timeout=30, metadata=(("x-user-id", "1"),)) == body
                took.append(time.perf_counter() - now)

        await asyncio.gather(*(call() for _ in range(AT_A_TIME)))
        cut = statistics.quantiles(took, n=100)
        print(len(took), time.perf_counter() - began, cut[49] * 1e3, cut[98] * 1e3)


uvloop.run(main())
