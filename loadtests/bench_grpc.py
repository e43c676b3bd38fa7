"""CPU per unary gRPC call: a worker that forwards or mirrors, beside grpcio's asyncio.

    python -m loadtests.bench_grpc

One client connection, eight calls at a time, 300 bytes each way; CPU is user and system time of the one process that
passes the calls on, from /proc. Machine and versions are for the reader to note beside the figures (ARCHITECTURE.md).
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent import futures
from contextlib import contextmanager
from pathlib import Path

import grpc
import orjson
import yaml

METHOD = "/inference.GRPCInferenceService/ModelInfer"
CALLS, AT_A_TIME = 6000, 8
BODY = bytes(300)


class Echo(grpc.GenericRpcHandler):
    """A model server that says what it hears."""

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        return grpc.unary_unary_rpc_method_handler(lambda request, _: request)


def cpu(pid: int) -> float:
    """Seconds of CPU that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure(name: str, port: int, pid: int) -> None:
    """Print the CPU per call of a process that listens on a port."""
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        method = channel.unary_unary(METHOD)

        def call(count: int) -> None:
            for _ in range(count):
                assert method(BODY, timeout=30, wait_for_ready=True, metadata=(("x-user-id", "1"),)) == BODY

        call(300)
        before, began = cpu(pid), time.perf_counter()
        threads = [threading.Thread(target=call, args=(CALLS // AT_A_TIME,)) for _ in range(AT_A_TIME)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        spent, took = cpu(pid) - before, time.perf_counter() - began
    print(f"{name:28} {spent / CALLS * 1e6:6.0f} µs of CPU per call, {CALLS / took:6.0f} calls/s")


@contextmanager
def understudy(model: int, mirror: bool) -> Iterator[tuple[int, int]]:
    """Port and pid of a worker in front of the model."""
    rollouts = [{"candidate": "b", "shadow": "100%"}] if mirror else []
    with tempfile.TemporaryDirectory() as folder:
        config = {
            "server": {"listen": "127.0.0.1:0", "grpc_listen": "127.0.0.1:0", "workers": 1},
            "admin": {"listen": "127.0.0.1:0"},
            "upstreams": {name: {"url": f"grpc://127.0.0.1:{model}", "version": name} for name in ("a", "b")},
            "routes": [{"name": "m", "match": {"path": METHOD}, "live": "a", "rollouts": rollouts}],
        }
        file = Path(folder) / "understudy.yaml"
        file.write_text(yaml.safe_dump(config))
        command = [sys.executable, "-m", "proxy", "serve", "--config", str(file)]
        process = subprocess.Popen(command, stderr=subprocess.PIPE)
        port = pid = ready = 0
        assert process.stderr is not None
        while not (port and pid and ready):
            line = orjson.loads(process.stderr.readline())
            port = int(line["grpc"].rpartition(":")[2]) if line["event"] == "listening" else port
            if line["event"] == "process.ready":
                pid, ready = (line["pid"], ready) if line["name"] == "worker 0" else (pid, 1)
        threading.Thread(target=process.stderr.read, daemon=True).start()
        try:
            yield port, pid
        finally:
            process.terminate()
            process.wait()


def main() -> None:
    """Measure each in turn."""
    model = grpc.server(futures.ThreadPoolExecutor(4))
    model.add_generic_rpc_handlers((Echo(),))
    port = model.add_insecure_port("127.0.0.1:0")
    model.start()
    peer = Path(__file__).parent / "peers" / "grpcio_proxy.py"
    process = subprocess.Popen([sys.executable, str(peer), str(port)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    measure("grpcio, forward", int(process.stdout.readline()), process.pid)
    process.terminate()
    process.wait()
    for name, mirror in (("understudy, forward", False), ("understudy, mirror 100 %", True)):
        with understudy(port, mirror) as (listens, pid):
            measure(name, listens, pid)
    model.stop(None).wait()


if __name__ == "__main__":
    main()
