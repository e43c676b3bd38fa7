"""What a link over TCP costs: `python -m loadtests.bench_links [PAIRS_PER_SECOND]` and `--auto`.

Two leaders take the same pairs in one run, in turns: one from a worker on its own Unix socket, the other from a worker
of a standby, whose relay passes them on over TCP with mutual TLS. Each is a process of its own, with all that it has
(event loop, links, store on a disk, looks, snapshots); so is the relay. Counted is the CPU of each process as the
kernel counts it, user and system, divided by the pairs that entered the evidence; reported are medians over `ROUNDS`
pairs of rounds, and the ratios, median of the rounds. A worker writes to a Unix socket either way; what it pays for
that is counted too (its thread's CPU in the calls that send, pairs being encoded beforehand), since who reads at the
other end wakes it or holds it up.

`--auto` offers a leader with `mirror.max_pairs_per_second: auto` five times what it took as fast as it could, and says
what it took and lost after a minute, in `TURNS` stretches of `STRETCH` seconds, and what part that was of what it could
have: the time that its thread ran, of the time in which it did not wait for a core (the scheduler's own nanoseconds).
The worker there samples as it is told and as its link has room (`rollout.pair_budget.room_in`). With `--relayed` it is
a standby's, and its pairs come over TCP with mutual TLS.

`--compression` says what zlib, zstd and lz4 (where it is installed) would cost and save on batches of real pairs.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median

import zstandard

from loadtests.bench_comparator import pairs_of
from loadtests.bench_controller import CONFIG, POOL, Worker, cpu_of
from proxy.model import BUCKETS, Pair
from proxy.pairs import link
from proxy.pairs.channel import Channel
from proxy.pairs.link import Frame
from proxy.rollout.pair_budget import room_in
from proxy.worker.publisher import BATCH

ROUNDS, SECONDS, RATE, STEP = 9, 2.0, 2000, 40
TURNS, STRETCH, FLOODED = 12, 5.0, 1 << 19


def leader(folder: Path, ready: Connection, config: str) -> None:
    """A leader's process: a controller, and a port for replicas."""
    import socket

    import uvloop

    from proxy.config import parse
    from proxy.controller.controller import Controller
    from proxy.controller.fleet.links import Links
    from proxy.controller.fleet.tls import for_links
    from proxy.controller.process import settle_memory
    from proxy.controller.store.sqlite.store import SqliteStore

    async def run() -> None:
        one = Controller(parse(config, directory=folder), config, SqliteStore(folder / "u.db"))
        one.connections.replica = "leader"
        await one.start(folder)
        tls = for_links(folder / "a.pem", folder / "a.key", folder / "ca.pem")
        links = Links(one.connections, lambda: ("leader", 1), tls.server)
        sock = socket.create_server(("127.0.0.1", 0))
        await links.start(sock)
        settle_memory()
        trial = next(iter(one.trials.values()))
        ready.send((trial.plan.trial, f"127.0.0.1:{sock.getsockname()[1]}"))
        while True:
            if ready.poll():
                ready.recv()
                ready.send((trial.pair_ledger.compared, trial.ledger.link_full, trial.told().affords))
            await asyncio.sleep(0.01)

    uvloop.run(run())


def relay(folder: Path, ready: Connection, address: str) -> None:
    """A standby's process: nothing but its relay."""
    import uvloop

    from proxy.controller.fleet.relay import Relay
    from proxy.controller.fleet.tls import for_links
    from proxy.controller.process import settle_memory
    from proxy.pairs.replicas import ReplicaHello
    from tests.controller.ear import Ear

    async def run() -> None:
        tls = for_links(folder / "a.pem", folder / "a.key", folder / "ca.pem")
        one = Relay(folder, lambda: ReplicaHello("b", "1"), Ear(), tls.client)
        await one.start()
        one.follow(address, 1)
        while not (folder / "tables.sock").exists() or one.leader is None:  # noqa: ASYNC110 - has no event of its own
            await asyncio.sleep(0.01)
        settle_memory()
        ready.send(None)
        await asyncio.Event().wait()

    uvloop.run(run())


class Process:
    """A child, and how to talk to it."""

    def __init__(self, target: Callable[..., None], folder: Path, *more: str) -> None:
        self.pipe, theirs = multiprocessing.Pipe()
        self.process = multiprocessing.get_context("spawn").Process(target=target, args=(folder, theirs, *more))
        self.process.start()
        self.said = self.pipe.recv()
        assert self.process.pid is not None
        self.pid = self.process.pid

    @property
    def compared(self) -> int:
        return int(self.state[0])

    @property
    def state(self) -> tuple[int, int, int]:
        """Pairs in the evidence, pairs lost, and the share that workers are told (basis points)."""
        self.pipe.send(None)
        found: tuple[int, int, int] = self.pipe.recv()
        return found

    def end(self) -> None:
        self.process.terminate()
        self.process.join()


def certificates(folder: Path) -> None:
    """An authority and one certificate, which both ends show."""
    common = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days"]
    common += ["2", "-keyout"]
    signed = ["-CA", "ca.pem", "-CAkey", "ca.key", "-addext", "basicConstraints=critical,CA:FALSE"]
    for name, more in (("ca", []), ("a", signed)):
        command = [*common, f"{name}.key", "-out", f"{name}.pem", "-subj", f"/CN={name}", *more]
        subprocess.run(command, cwd=folder, check=True, capture_output=True)


def one_round(taker: Process, others: list[Process], worker: Worker, rate: int) -> list[float]:
    """CPU microseconds per pair of the leader, then of other processes, and last of the worker in what sends them."""
    chunks = [worker.frames(STEP) for _ in range(int(rate * SECONDS / STEP))]
    pids = [taker.pid, *(other.pid for other in others)]
    before, goal = [cpu_of(pid) for pid in pids], taker.compared + STEP * len(chunks)
    sending, start = 0.0, time.perf_counter()
    for number, chunk in enumerate(chunks):
        time.sleep(max(0.0, start + number * STEP / rate - time.perf_counter()))
        began = time.thread_time()
        worker.send(chunk)
        sending += time.thread_time() - began
    while taker.compared < goal:
        time.sleep(0.02)
    spent = [*(cpu_of(pid) - cpu for pid, cpu in zip(pids, before, strict=True)), sending]
    return [seconds / (STEP * len(chunks)) * 1e6 for seconds in spent]


def compare(folder: Path, rate: int) -> None:
    """The table of costs."""
    for name in ("near", "far", "standby"):
        (folder / name).mkdir()
        certificates(folder / name)
    for name in ("ca.pem", "a.pem", "a.key"):
        (folder / "standby" / name).write_bytes((folder / "far" / name).read_bytes())
    near, far = Process(leader, folder / "near", CONFIG), Process(leader, folder / "far", CONFIG)
    standby = Process(relay, folder / "standby", far.said[1])
    try:
        by_unix, by_tcp = Worker(folder / "near", near.said[0]), Worker(folder / "standby", far.said[0])
        rounds = []
        for number in range(ROUNDS + 1):
            pair = one_round(near, [], by_unix, rate), one_round(far, [standby], by_tcp, rate)
            rounds += [pair] if number else []  # the first warms up
        unix, tcp, relayed = (median(r[i][j] for r in rounds) for i, j in ((0, 0), (1, 0), (1, 1)))
        print(f"| {rate:,} pairs/s | CPU per pair |\n|---|---|")
        print(f"| leader, its own worker's Unix socket | {unix:.1f} µs |")
        print(f"| leader, a standby's worker over TCP and TLS | {tcp:.1f} µs |")
        print(f"| ratio of the two | {median(r[1][0] / r[0][0] for r in rounds):.2f} |")
        print(f"| the standby's relay | {relayed:.1f} µs |")
        own, through = (median(r[i][-1] for r in rounds) for i in (0, 1))
        print(f"| worker, sending to its own leader | {own:.2f} µs |")
        print(f"| worker, sending to a standby's relay | {through:.2f} µs |")
        print(f"| ratio of the two | {median(r[1][-1] / r[0][-1] for r in rounds):.2f} |")
    finally:
        for one in (standby, far, near):
            one.end()


class Offering(Worker):
    """A worker that is offered requests at a rate, samples the share that it is told and that its link has room for,
    and drops and counts what that does not take, as the real one does."""

    async def open(self, folder: Path, trial: str) -> None:
        self.trial, self.full, self.channel = trial, 0, Channel(lambda *_: None)
        self.offered = self.due = self.spared = 0.0
        for one in self._links:
            one.close()
        hello = {"slot": 0, "pid": os.getpid(), "worker": "w1", "table": {"number": 0, "lanes": []}}
        await asyncio.get_running_loop().create_unix_connection(lambda: self.channel, str(folder / "pairs.sock"))
        self.channel.send(link.note(Frame.HELLO, hello) + link.note(Frame.TRIAL, {"index": 0, "trial": trial}))
        self.sent = 0

    async def offer(self, taker: Process, rate: float, seconds: float) -> tuple[float, int]:
        """Pairs per second that were taken, and how many were lost."""
        before, last = taker.state, time.perf_counter()
        began, owed, told, asked, counted = last, 0.0, before[2], last, last
        while (now := time.perf_counter()) - began < seconds:
            passed, last = now - last, now
            due = passed * rate * told / BUCKETS
            sampled = due * room_in(self.channel.waiting) / BUCKETS
            self.offered, self.due, self.spared = (
                self.offered + passed * rate,
                self.due + due,
                self.spared + due - sampled,
            )
            owed += sampled
            if now - asked > 0.25:
                told, asked = taker.state[2], now
            if now - counted > 1.0:
                self._count()
                counted = now
            while owed >= STEP:
                owed -= STEP
                self.full += 0 if self.channel.send(self.frames(STEP)) else STEP
                await asyncio.sleep(0)
            await asyncio.sleep(0.002)
        self._count()
        after = taker.state
        return (after[0] - before[0]) / (time.perf_counter() - began), after[1] - before[1]

    async def flood(self, taker: Process, seconds: float) -> float:
        """Pairs per second that are taken when there are always more."""
        while self.channel.waiting:  # noqa: ASYNC110 - what is waited for is in another process
            await asyncio.sleep(0.002)
        before, began = taker.state, time.perf_counter()
        while time.perf_counter() - began < seconds:
            while self.channel.waiting < FLOODED:
                self.channel.send(self.frames(STEP))
            await asyncio.sleep(0)
        return (taker.state[0] - before[0]) / (time.perf_counter() - began)

    def _count(self) -> None:
        ledger = {"sampled": self.sent, "sent": self.sent - self.full, "link_full": self.full}
        paced = [self.offered, int(self.due), int(self.spared)]
        counts = {"ledger": {self.trial: ledger}, "paced": paced}
        self.channel.send(link.encode_mark(0, self.sent) + link.note(Frame.COUNTS, counts))


def auto(folder: Path, relayed: bool) -> None:
    """What becomes of five times too much, from the leader's own worker, or from a standby's."""
    near, far = folder / "far", folder / "standby"
    for one in (near, far):
        one.mkdir()
    certificates(near)
    for name in ("ca.pem", "a.pem", "a.key"):
        (far / name).write_bytes((near / name).read_bytes())
    config = CONFIG.replace("- candidate: c", "- candidate: c\n        mirror: {max_pairs_per_second: auto}")
    taker = Process(leader, near, config)
    running = [taker]
    try:
        if relayed:
            running.append(Process(relay, far, taker.said[1]))
        source = far if relayed else near
        asyncio.run(too_much(Offering(source, taker.said[0]), taker, source))
    finally:
        for process in reversed(running):
            process.end()


async def too_much(worker: Offering, taker: Process, folder: Path) -> None:
    """What is taken and lost after a minute, a line for each stretch."""
    await worker.open(folder, taker.said[0])
    most = await worker.flood(taker, STRETCH)
    _, early = await worker.offer(taker, 5 * most, 60.0)
    parts, lost = [], 0
    for _ in range(TURNS):
        ran, waited, began = *times_of(taker.pid), time.perf_counter()
        took, more = await worker.offer(taker, 5 * most, STRETCH)
        after, passed = times_of(taker.pid), time.perf_counter() - began
        part, lost = (after[0] - ran) / (passed - (after[1] - waited)), lost + more
        parts.append(part)
        print(f"of {5 * most:,.0f}/s offered {took:,.0f} (share {taker.state[2] / BUCKETS:.3f}), ran {part:.1%}")
    said = f"median {median(parts):.1%}, least {min(parts):.1%}"
    print(f"ran of the time that it had: {said}; {lost} lost, {early} in the minute before")


def times_of(pid: int) -> tuple[float, float]:
    """Seconds for which a process's first thread has run, and has waited for a core."""
    ran, waited, _ = Path(f"/proc/{pid}/schedstat").read_text().split()
    return int(ran) / 1e9, int(waited) / 1e9


def chats(count: int) -> list[Pair]:
    """Pairs of a chat: answers of about 2 kB in words that a language has."""
    import random

    words = Path(__file__).read_text("utf-8").split()
    rng, found = random.Random(1), []
    for n, pair in enumerate(pairs_of(count)):
        texts = [" ".join(rng.choices(words, k=180)) for _ in range(3)]
        chat = '{{"id":"chatcmpl-{}","object":"chat.completion","choices":[{{"message":{{"content":"{}"}}}}]}}'
        request, *answers = (chat.format(n, text.replace('"', "'")).encode() for text in texts)
        live, candidate = (
            arm._replace(body=body) for arm, body in zip((pair.live, pair.candidate), answers, strict=True)
        )
        found.append(pair._replace(request_body=request, live=live, candidate=candidate, sequence=n))
    return found


def compression() -> None:
    """The table of what compressing each batch would cost and save."""
    ways: dict[str, tuple[Callable[[bytes], bytes], Callable[[bytes], bytes]]] = {
        "zlib 1": (lambda data: zlib.compress(data, 1), zlib.decompress),
        "zstd 1": (zstandard.ZstdCompressor(level=1).compress, zstandard.ZstdDecompressor().decompress),
    }
    try:
        import lz4.frame

        ways["lz4"] = lz4.frame.compress, lz4.frame.decompress
    except ImportError:
        pass
    print("| pairs | by | bytes a pair | of them left | compress | decompress |\n|---|---|---|---|---|---|")
    for kind, pairs in (("V2 JSON", pairs_of(POOL)), ("chat", chats(1024))):
        frames = [link.encode_pair(pair._replace(sequence=n, time=1.7e9 + n / 997), 0) for n, pair in enumerate(pairs)]
        each = sum(map(len, frames)) / len(frames)
        few = max(1, int(BATCH / each))
        batches = [b"".join(frames[at : at + few]) for at in range(0, len(frames), few)]
        for name, (squeeze, expand) in ways.items():
            small, spent = _timed(squeeze, batches)
            _, back = _timed(expand, small)
            left = sum(map(len, small)) / sum(map(len, batches))
            print(f"| {kind} | {name} | {each:,.0f} | {left:.0%} | {spent / len(frames) * 1e6:.1f} µs |", end="")
            print(f" {back / len(frames) * 1e6:.1f} µs |")


def _timed(work: Callable[[bytes], bytes], batches: list[bytes]) -> tuple[list[bytes], float]:
    """The best of three."""
    best, found = float("inf"), list[bytes]()
    for _ in range(3):
        start = time.process_time()
        found = [work(batch) for batch in batches]
        best = min(best, time.process_time() - start)
    return found, best


def main() -> None:
    words = sys.argv[1:]
    if "--compression" in words:
        compression()
        return
    with tempfile.TemporaryDirectory() as name:
        if "--auto" in words:
            auto(Path(name), "--relayed" in words)
        else:
            compare(Path(name), int(words[0]) if words else RATE)


if __name__ == "__main__":
    main()
