"""A gRPC model that says what it hears: grpcio, unary calls of any method. Prints its port.

python grpcio_model.py [PORT]
"""

from __future__ import annotations

import sys
from concurrent import futures

import grpc


class Echo(grpc.GenericRpcHandler):
    """Answers every call with its message."""

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        return grpc.unary_unary_rpc_method_handler(lambda request, _: request)


server = grpc.server(futures.ThreadPoolExecutor(4))
server.add_generic_rpc_handlers((Echo(),))
port = server.add_insecure_port(f"127.0.0.1:{sys.argv[1] if len(sys.argv) > 1 else 0}")
server.start()
print(port, flush=True)
server.wait_for_termination()
