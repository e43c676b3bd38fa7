"""What the controller costs per pair, all of it.

    python -m loadtests.bench_controller [--chat | --probabilities | …] [--against FOLDER ...] [PAIRS_PER_SECOND ...]

A real controller (event loop, links, store on a disk, looks, snapshots) runs in a process of its own; another one is a
worker that writes frames of pairs to its socket, as fast as it takes them (0) or at a rate, each 50 ms as workers do.
Counted is the CPU time of the controller's process as the kernel counts it, user and system, divided by the pairs that
entered the evidence. Pairs are V2 JSON answers of about 300 bytes, scores, and the plan has the guards of the
documented example; with `--chat` whole answers of a chat model of about 700 bytes, read as text; with
`--probabilities` what `bench_dataplane` has, a row of two of them in answers of 300 bytes to the same request of 1 KB
again and again; with `--streams` answers of 100 events, with `--prompts` answers of 2,000 bytes to requests of 300 kB,
of which the beginning comes here, with `--calls` gRPC calls of 300 bytes of which no values are read, with `--messages`
those of V2 with a row of two probabilities. Reported is the median of `ROUNDS` rounds of `SECONDS` each, after a
warm-up. The controller is told to say how far it is, and never asks whether it shall: that cost 8 ms of every second.

`--against` names working trees of other builds (`git worktree add --detach FOLDER COMMIT`). Their controllers take
turns with this one's, round by round, and the table has the median of the ratios of neighbouring rounds with its
quartiles: a busy machine then disturbs both alike.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import socket
import subprocess
import sys
import time
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median, quantiles

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
CHAT = """
upstreams: {l: {url: "http://127.0.0.1:1"}, c: {url: "http://127.0.0.1:2", version: "1"}}
routes:
  - name: r
    live: l
    prediction: {protocol: openai, output: text, kind: text}
    rollouts:
      - candidate: c
        stages: [{shadow: 100%, min_pairs: 100000000}, {canary: 5%}]
        guards: {min_similarity: 0.05, max_extra_errors: 5%, p99_latency: 5x}
"""
PROBABILITIES = """
upstreams: {l: {url: "http://127.0.0.1:1"}, c: {url: "http://127.0.0.1:2", version: "1"}}
routes:
  - name: r
    live: l
    prediction: {protocol: v2, output: predict_proba, kind: probabilities}
    rollouts:
      - candidate: c
        stages: [{shadow: 100%, min_pairs: 100000000}]
        guards: {max_disagreement: 2%, max_mean_shift: 0.01, p99_latency: 100x, max_extra_errors: 1%}
"""
STREAMS = CHAT.replace("{min_similarity: 0.05, max_extra_errors: 5%, p99_latency: 5x}", "{max_disagreement: 90%}")
CALLS = """
upstreams: {l: {url: "grpc://127.0.0.1:1"}, c: {url: "grpc://127.0.0.1:2", version: "1"}}
server: {grpc_listen: "127.0.0.1:3"}
routes:
  - name: r
    live: l
    rollouts: [{candidate: c, stages: [{shadow: 100%, min_pairs: 100000000}], guards: {max_extra_errors: 1%}}]
"""
MESSAGES = PROBABILITIES.replace("http://", "grpc://") + 'server: {grpc_listen: "127.0.0.1:3"}\n'
WORKLOADS = {
    "scores": ("", "bench.pairs_of", "Worker"),
    "chat": (CHAT, "chat_pairs_of", "Worker"),
    "probabilities": (PROBABILITIES, "probability_pairs_of", "SameRequest"),
    "streams": (STREAMS, "streamed_pairs_of", "Worker"),
    "prompts": (STREAMS, "prompt_pairs_of", "SameRequest"),
    "calls": (CALLS, "call_pairs_of", "SameRequest"),
    "messages": (MESSAGES, "message_pairs_of", "SameRequest"),
}
"""The configuration, what makes pairs, and who writes them, by names that `Build` knows."""
PAIRS = Path(__file__).with_name("controller_pairs.py")
ROUNDS, SECONDS, POOL = 7, 3.0, 4096
MOST = 1 << 28
"""Bytes of a round as fast as they are taken."""
PAUSE = 0.05
"""Seconds between two writes at a rate; `worker.publisher.PATIENT`."""


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

        def say() -> None:
            ready.recv()
            ready.send(trial.pair_ledger.compared)

        asyncio.get_running_loop().add_reader(ready.fileno(), say)
        await asyncio.Event().wait()

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
        hello = {"slot": 0, "pid": os.getpid(), "worker": "w0", "table": {"number": 0, "lanes": [], "secret": ""}}
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


class SameRequest(Worker):
    """Writes pairs of one request, sent again and again."""

    def frames(self, count: int) -> bytes:
        now, pairs = time.time(), self._pairs
        numbers = range(self.sent, self.sent + count)
        self.sent += count
        new = [pairs[n % POOL]._replace(sequence=n, stage=1, time=now, id=f"r{n}") for n in numbers]
        return b"".join([link.encode_pair(pair, 0) for pair in new])


def one_round(pid: int, worker: Worker, ready: Connection, rate: int) -> tuple[float, float]:
    """CPU microseconds per pair, and pairs per second."""
    step = 32 if not rate else max(1, round(rate * PAUSE))
    first = worker.frames(step)
    count = min(2000, MOST // len(first)) if not rate else int(rate * SECONDS / step)
    chunks = [first, *(worker.frames(step) for _ in range(count - 1))]
    start, cpu, before = time.perf_counter(), cpu_of(pid), compared(ready)
    for number, chunk in enumerate(chunks):
        if rate:
            time.sleep(max(0.0, start + number * step / rate - time.perf_counter()))
        worker.send(chunk)
    done = drained(ready, before + step * len(chunks)) - before
    spent, took = cpu_of(pid) - cpu, time.perf_counter() - start
    return spent / max(1, done) * 1e6, done / took


def drained(ready: Connection, goal: int) -> int:
    """Pairs in the evidence once all are there, or no more come: those that take long may wait too long."""
    done, moved = compared(ready), time.perf_counter()
    while done < goal and time.perf_counter() < moved + 1.0:
        time.sleep(0.02)
        if (now := compared(ready)) > done:
            done, moved = now, time.perf_counter()
    return done


class Build:
    """A controller and a worker out of one working tree. The rounds are this file's, whatever the tree's own are."""

    _SERVE = "import sys; sys.path.insert(0, sys.argv[1]); exec(sys.argv[2])"
    _CODE = """
import multiprocessing, tempfile
from pathlib import Path
import loadtests.bench_controller as bench
{definitions}
bench.CONFIG = {config!r} or bench.CONFIG
bench.pairs_of = {pairs}
with tempfile.TemporaryDirectory() as name:
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("fork").Process(target=controller, args=(Path(name), theirs))
    process.start()
    try:
        worker = {worker}(Path(name), ours.recv())
        for line in sys.stdin:
            print(*one_round(process.pid, worker, ours, int(line)), flush=True)
    finally:
        process.terminate()
        process.join(10)
"""

    def __init__(self, tree: Path, workload: str) -> None:
        own = Path(__file__).read_text()
        imports = own[own.index("import argparse") : own.index("from loadtests")]
        functions = own[own.index("def controller") : own.index("class Worker")].replace("CONFIG", "bench.CONFIG")
        functions += own[own.index("def compared") : own.index("class Build")]
        functions += PAIRS.read_text().replace("from __future__ import annotations\n", "")
        constants = f"SECONDS, PAUSE, POOL, MOST = {SECONDS}, {PAUSE}, {POOL}, {MOST}\nConnection = object\n"
        theirs = "Worker, link = bench.Worker, bench.link\n"  # frames as that build writes them
        config, pairs, worker = WORKLOADS[workload]
        code = self._CODE.format(
            definitions=imports + constants + theirs + functions, config=config, pairs=pairs, worker=worker
        )
        self._process = subprocess.Popen(
            [sys.executable, "-c", self._SERVE, str(tree), code],
            cwd=tree,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def round(self, rate: int) -> tuple[float, float]:
        """One round."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(rate, file=self._process.stdin, flush=True)
        cost, taken = map(float, self._process.stdout.readline().split())
        return cost, taken

    def stop(self) -> None:
        """End it."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(20)


def report(rate: int, trees: list[Path], rounds: list[list[tuple[float, float]]]) -> None:
    """A row for each build; `rounds[i][k]` is round k of build i, of which build 0 is this one."""
    offered = f"{rate:,}" if rate else "maximum rate"
    for tree, own in zip(trees, rounds, strict=True):
        ratios = [ours[0] / theirs[0] for ours, theirs in zip(rounds[0], own, strict=True)]
        low, middle, high = quantiles(ratios, n=4)
        cost, taken = median(r[0] for r in own), median(r[1] for r in own)
        against = "" if tree is trees[0] else f"{middle:.2f} ({low:.2f} to {high:.2f})"
        print(f"| {offered} | {tree.name} | {cost:.1f} µs | {taken:,.0f} | {against} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="what the controller costs per pair")
    parser.add_argument("rates", type=int, nargs="*", default=[0, 5000, 1000])
    parser.add_argument("--against", type=Path, action="append", default=[], metavar="FOLDER")
    workload = parser.add_mutually_exclusive_group()
    for one in [name for name in WORKLOADS if name != "scores"]:
        workload.add_argument(f"--{one}", dest="workload", action="store_const", const=one, default="scores")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    options = parser.parse_args()
    trees = [Path(__file__).resolve().parents[1], *(folder.resolve() for folder in options.against)]
    builds = [Build(tree, options.workload) for tree in trees]
    try:
        for build in builds:
            build.round(0)
        print("| pairs/s offered | build | CPU per pair, whole controller | pairs/s taken | this build × (quartiles) |")
        print("|---|---|---|---|---|")
        for rate in options.rates:
            rounds: list[list[tuple[float, float]]] = [[] for _ in builds]
            for number in range(options.rounds):
                order = list(enumerate(builds))
                for i, build in order if number % 2 else order[::-1]:
                    rounds[i].append(build.round(rate))
            report(rate, trees, rounds)
    finally:
        for build in builds:
            build.stop()


if __name__ == "__main__":
    main()
