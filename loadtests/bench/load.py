"""One interval of load on a proxy, and what the proxy used meanwhile."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from loadtests.bench.machine import LOAD_CORE, PEERS, cpu
from loadtests.bench.processes import Bench, Peer
from loadtests.bench.understudy import CHAT, METHOD, PATH

SETTLE = 0.5
"""Seconds after the load in which what it left behind (copies, comparisons) still counts."""


@dataclass(frozen=True)
class Interval:
    """`cpu` and `tree`: microseconds per unit of the processes that forward and of all; p50 and p99 in milliseconds."""

    rate: float
    cpu: float
    tree: float
    p50: float
    p99: float


def spent(peer: Peer, load: Callable[[], tuple[float, float, float, float]]) -> Interval:
    """What a proxy uses while `load` runs, which gives units, seconds, p50 and p99 (milliseconds)."""
    before = cpu(peer.worker), cpu(peer.tree)
    units, seconds, p50, p99 = load()
    if peer.mirrors:
        time.sleep(SETTLE)
    used = cpu(peer.worker) - before[0], cpu(peer.tree) - before[1]
    return Interval(units / seconds, used[0] * 1e6 / units, used[1] * 1e6 / units, p50, p99)


def body(size: int = 1024) -> str:
    """A V2 request of about so many bytes."""
    numbers = ",".join(f"{(n * 37 % 100) / 100:.2f}" for n in range(max(1, (size - 90) // 5)))
    return '{"inputs":[{"name":"x","datatype":"FP64","shape":[1,180],"data":[%s]}]}' % numbers  # noqa: UP031


def prompt(size: int) -> str:
    """A chat request of about so many bytes."""
    return json.dumps({"model": "m", "messages": [{"role": "user", "content": "word " * (size // 5)}]})


def streamed() -> str:
    """A chat request that asks for a stream of events."""
    return json.dumps({"model": "m", "stream": True, "messages": [{"role": "user", "content": "x" * 500}]})


def _request(path: str, payload: str) -> str:
    return (
        f"POST {path} HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(payload)}\r\n\r\n{payload}"
    )


def lua(bench: Bench, content: str = "", vary: bool = False, path: str = PATH) -> Path:
    """A wrk script: the same head every time, or one that is different in every request."""
    content = content or body()
    name = bench.folder / f"post-{len(content)}-{vary}"
    name.with_suffix(".json").write_text(content)
    text = f"""
local file = io.open("{name}.json")
wrk.method, wrk.path, wrk.body = "POST", "{path}", file:read("*a")
wrk.headers["Content-Type"] = "application/json"
wrk.headers["Accept"] = "*/*"
wrk.headers["User-Agent"] = "bench"
wrk.headers["X-User-Id"] = "user-12345"
"""
    if vary:
        text += """
local n = 0
request = function()
  n = n + 1
  wrk.headers["X-User-Id"] = "user-" .. n
  return wrk.format()
end
"""
    name.with_suffix(".lua").write_text(text)
    return name.with_suffix(".lua")


def wrk(peer: Peer, script: Path, connections: int, seconds: float, scheme: str = "http") -> Interval:
    """As fast as this many connections can; raises `RuntimeError` for answers that are not 2xx."""
    command = ["taskset", "-c", LOAD_CORE, "wrk", "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s"]
    command += ["--latency", "-s", str(script), f"{scheme}://127.0.0.1:{peer.port}/"]

    def load() -> tuple[float, float, float, float]:
        out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        found = re.search(r"(\d+) requests in ([\d.]+)s", out)
        if found is None or "Non-2xx" in out or "Socket errors" in out:
            raise RuntimeError(f"{peer.name}: {out}")
        units = {"us": 1e-3, "ms": 1.0, "s": 1e3}
        quantiles = {q: float(v) * units[u] for q, v, u in re.findall(r"(50|99)%\s+([\d.]+)(us|ms|s)", out)}
        return max(1, int(found[1])), float(found[2]), quantiles["50"], quantiles["99"]

    return spent(peer, load)


def at_a_rate(
    bench: Bench, port: int, path: str, seconds: float, rate: int, connections: int = 64, grace: float = 5.0
) -> list[float]:
    """What `peers/openloop.c` says of requests on a fixed schedule."""
    request = bench.folder / "request"
    request.write_text(_request(path, body()), newline="")
    out = bench.run(bench.folder / "openloop", port, rate, seconds, connections, request, grace)
    return [float(part) for part in out.split()]


def open_loop(bench: Bench, port: int, seconds: float, rate: int = 1000) -> tuple[float, float]:
    """p50 and p99 in microseconds at a fixed rate, coordinated omission corrected; everything is answered."""
    due, answered, p50, p99, *_ = at_a_rate(bench, port, PATH, seconds, rate)
    if due != answered:
        raise RuntimeError(f"unanswered requests: {due - answered:.0f}")
    return p50, p99


def arrivals(bench: Bench, port: int, streams: int, seconds: float) -> tuple[float, float]:
    """p50 and p99 in microseconds from when an event of `peers/streams.c` was sent to when it has arrived."""
    request = bench.folder / "chat-request"
    request.write_text(_request(CHAT, streamed()), newline="")
    out = bench.run(bench.folder / "events", port, streams, seconds, request)
    _, p50, p99, _ = map(float, out.split())
    return p50, p99


def paced(bench: Bench, peer: Peer, seconds: float, rate: int) -> Interval:
    """Requests at a fixed rate."""

    def load() -> tuple[float, float, float, float]:
        p50, p99 = open_loop(bench, peer.port, seconds, rate)
        return rate * seconds, seconds, p50 / 1e3, p99 / 1e3

    return spent(peer, load)


def events(bench: Bench, peer: Peer, streams: int, rounds: int) -> Interval:
    """Streams of events, so many at once; p50 and p99 are of the first event."""
    command = ["taskset", "-c", LOAD_CORE, sys.executable, PEERS / "sse_load.py", peer.port, CHAT, streams, rounds]

    def load() -> tuple[float, float, float, float]:
        began = time.perf_counter()
        full = [str(part) for part in command]
        ran = subprocess.run(full, input=streamed(), capture_output=True, text=True, check=True)
        count, p50, p99 = map(float, ran.stdout.split())
        return count, time.perf_counter() - began, p50, p99

    return spent(peer, load)


def calls(bench: Bench, peer: Peer, seconds: float, size: int = 300) -> Interval:
    """Unary gRPC calls, eight at a time."""

    def load() -> tuple[float, float, float, float]:
        out = bench.run(sys.executable, PEERS / "grpc_load.py", peer.port, METHOD, size, seconds)
        count, took, p50, p99 = map(float, out.split())
        return count, took, p50, p99

    return spent(peer, load)
