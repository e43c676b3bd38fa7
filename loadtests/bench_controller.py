"""What the controller costs per pair, all of it: `python -m loadtests.bench_controller [PAIRS_PER_SECOND ...]`.

A real controller (event loop, links, store on a disk, looks, snapshots) runs in a process of its own; this process is a
worker that writes frames of pairs to its socket, as fast as it takes them (0) or at a rate. Counted is the CPU time of
the controller's process as the kernel counts it, user and system, divided by the pairs that entered the evidence. Pairs
are V2 JSON answers of about 300 bytes, scores; the plan has the eight guards of the documented example. Reported is the
median of `ROUNDS` rounds of `SECONDS` each, after a warm-up.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import socket
import sys
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median

from loadtests.bench_comparator import pairs_of
from proxy.pairs import link
from proxy.pairs.link import Frame

CONFIG = """
upstreams: {l: {url: "http://127.0.0.1:1"}, c: {url: "http://127.0.0.1:2", version: "1"}}
routes:
  - name: r
    live: l
    prediction: {protocol: v2, output: predict, kind: score}
    rollouts:
      - candidate: c
        stages: [{shadow: 100%, min_pairs: 100000000}, {canary: 5%}]
        guards: {max_disagreement: 50%, max_mean_shift: 0.5, max_ks: 0.5, max_psi: 5, max_spread_change: 2,
                 max_big_change: {tolerance: 0.3, rate: 50%}, p99_latency: 5x, median_latency: 5x, max_extra_errors: 5%}
"""
ROUNDS, SECONDS, POOL = 5, 3.0, 4096


def controller(folder: Path, ready: Connection) -> None:
    """The controller's process, as `proxy.controller.process` makes it, but for the supervisor."""
    import uvloop

    from proxy.config import parse
    from proxy.controller.controller import Controller
    from proxy.controller.process import settle_memory
    from proxy.controller.store.sqlite.store import SqliteStore

    async def run() -> None:
        one = Controller(parse(CONFIG, directory=folder), CONFIG, SqliteStore(folder / "u.db"))
        await one.start(folder)
        settle_memory()
        trial = next(iter(one.trials.values()))
        ready.send(trial.plan.trial)
        while ready.poll() or await asyncio.sleep(0.01, result=True):
            if ready.poll():
                ready.recv()
                ready.send(trial.pair_ledger.compared)

    uvloop.run(run())


def cpu_of(pid: int) -> float:
    """CPU seconds of all threads of a process, from the scheduler's own nanoseconds."""
    total = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        total += int((task / "schedstat").read_text().split()[0])
    return total / 1e9


class Worker:
    """Writes pairs, over and over the same `POOL` of answers, with sequences and bodies of their own."""

    def __init__(self, folder: Path, trial: str) -> None:
        self.sent, self._pairs = 0, pairs_of(POOL)
        hello = {"slot": 0, "pid": os.getpid(), "worker": "w0", "table": {"number": 0, "lanes": []}}
        self._links = []
        for name in ("tables.sock", "pairs.sock"):
            one = socket.socket(socket.AF_UNIX)
            one.connect(str(folder / name))
            one.sendall(link.note(Frame.HELLO, hello))
            self._links.append(one)
        self._links[1].sendall(link.note(Frame.TRIAL, {"index": 0, "trial": trial}))

    def frames(self, count: int) -> bytes:
        """The next `count` pairs."""
        parts, now = [], time.time()
        for n in range(self.sent, self.sent + count):
            body = b'{"inputs":[{"name":"x","shape":[1,4],"datatype":"FP64","data":[%d,1.0,2.0,3.0]}]}' % n
            pair = self._pairs[n % POOL]._replace(sequence=n, stage=1, time=now, request_body=body, id=f"r{n}")
            parts.append(link.encode_pair(pair, 0))
        self.sent += count
        return b"".join(parts)

    def send(self, frames: bytes) -> None:
        self._links[1].sendall(frames)


def compared(ready: Connection) -> int:
    """Pairs in the evidence now."""
    ready.send(None)
    count: int = ready.recv()
    return count


def one_round(pid: int, worker: Worker, ready: Connection, rate: int) -> tuple[float, float]:
    """CPU microseconds per pair, and pairs per second."""
    step = 32 if not rate else max(1, rate // 500)
    chunks = [worker.frames(step) for _ in range(2000 if not rate else int(rate * SECONDS / step))]
    start, cpu, before = time.perf_counter(), cpu_of(pid), compared(ready)
    for number, chunk in enumerate(chunks):
        if rate:
            time.sleep(max(0.0, start + number * step / rate - time.perf_counter()))
        worker.send(chunk)
    goal = before + step * len(chunks)
    while compared(ready) < goal:
        time.sleep(0.02)
    spent, took = cpu_of(pid) - cpu, time.perf_counter() - start
    return spent / (goal - before) * 1e6, (goal - before) / took


def main() -> None:
    rates = [int(word) for word in sys.argv[1:]] or [0, 5000, 1000]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ours, theirs = multiprocessing.Pipe()
        process = multiprocessing.get_context("spawn").Process(target=controller, args=(folder, theirs))
        process.start()
        try:
            worker = Worker(folder, ours.recv())
            assert process.pid is not None
            one_round(process.pid, worker, ours, 0)
            print("| pairs/s offered | CPU per pair, whole controller | pairs/s taken |\n|---|---|---|")
            for rate in rates:
                rounds = [one_round(process.pid, worker, ours, rate) for _ in range(ROUNDS)]
                offered = f"{rate:,}" if rate else "as fast as taken"
                print(f"| {offered} | {median(r[0] for r in rounds):.1f} µs | {median(r[1] for r in rounds):,.0f} |")
        finally:
            process.terminate()
            process.join(10)


if __name__ == "__main__":
    main()
