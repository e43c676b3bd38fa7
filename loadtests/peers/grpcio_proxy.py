"""The plainest gRPC proxy on grpcio's asyncio: generic handlers, unary calls, metadata both ways.

python grpcio_proxy.py MODEL_PORT [PORT]
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import grpc
import uvloop


class Handler(grpc.GenericRpcHandler):
    """Passes every unary call on."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._channel = channel

    def service(self, details: grpc.HandlerCallDetails) -> Any:
        method = self._channel.unary_unary(details.method)

        async def pass_on(request: bytes, context: grpc.aio.ServicerContext) -> bytes:
            call = method(request, timeout=context.time_remaining(), metadata=tuple(context.invocation_metadata()))
            await context.send_initial_metadata(tuple(await call.initial_metadata()))
            answer: bytes = await call
            context.set_trailing_metadata(tuple(await call.trailing_metadata()))
            return answer

        return grpc.unary_unary_rpc_method_handler(pass_on)


async def main() -> None:
    """Serve until killed; prints its port."""
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((Handler(grpc.aio.insecure_channel(f"127.0.0.1:{sys.argv[1]}")),))
    port = server.add_insecure_port(f"127.0.0.1:{sys.argv[2] if len(sys.argv) > 2 else 0}")
    await server.start()
    print(port, flush=True)
    await asyncio.Event().wait()


uvloop.run(main())
