"""What a hostile peer costs everybody else: a client, or a model, that sends cheap things as fast as they are taken.

    python -m loadtests.bench_hostile                    everything, into loadtests/RESULTS.md (half an hour)
    python -m loadtests.bench_hostile --part model-grpc  one of its tables
    python -m loadtests.bench_hostile --name PING        the attacks with this in their name, printed only

Attacks are the rows of `hostile/attacks.py`; slow peers are a part of their own, a thousand at once. All proxies (one
worker each, on a core of its own) stand before the same live models and are attacked in turn, row by row. A plain
client asks `RATE` times a second on a fixed schedule, each request timed from when it was due (`peers/openloop.c`),
before the attack and while it goes on: the route that copies to the hostile model where that gets copies, another route
of the same worker where that serves, where it speaks gRPC and where the attacker is a client. Attackers run on the
other core and give way to whoever measures; they have the plain client's address.

The bounds: p50 at most `TIMES` that of the calm before, p99 at most `LATER` ms more, nothing refused; for slow peers a
p50 of at most `SLOW_TIMES`. Memory is the worker's, resident, the most that was seen above what it had before. What a
proxy cannot do (HAProxy copies no requests) is left out. Loopback only; bounded in count and time.
"""

from __future__ import annotations

import argparse
import os
import resource
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from loadtests.bench.load import at_a_rate, body
from loadtests.bench.machine import COMPILED, ROOT, binary, memory, versions
from loadtests.bench.processes import Bench
from loadtests.bench.report import write
from loadtests.hostile import sites
from loadtests.hostile.attacker import drive, hold, running, serve, strike
from loadtests.hostile.attacks import (
    CALLED,
    CALLERS,
    CLIENT,
    CLIENTS,
    GRPC,
    MODELS,
    PATH,
    SLOW,
    START,
    Attack,
    Slow,
    call,
)
from loadtests.hostile.sites import COPIES, SERVES, Hostile, Site

RATE, CONNECTIONS = 400, 16
TIMES, LATER = 3.0, 20.0
CALM, UNDER = 0.6, 1.2
"""Seconds of asking before and during an attack."""
EVERY = 0.02
"""Seconds between two requests that a hostile model gets when it serves."""
GRACE = 1.5
"""Seconds after which what has no answer counts as not answered."""
SETTLES = 3.0
"""Seconds that a proxy has to come back to itself after an attack; one that does not is started anew."""
PROXIES = ("Understudy", "nginx", "HAProxy")
PARTS: dict[str, tuple[Attack, ...]] = {
    "client-http": CLIENTS,
    "client-grpc": CALLERS,
    "model-http": MODELS,
    "model-grpc": CALLED,
    "slow": (),
}
TITLES = {
    "client-http": "A client, HTTP/1",
    "client-grpc": "A client, HTTP/2",
    "model-http": "A model, HTTP/1",
    "model-grpc": "A model, HTTP/2",
    "slow": "Slow clients",
}


@dataclass(frozen=True)
class Times:
    """What the plain client saw, in milliseconds."""

    p50: float
    p99: float
    refused: int
    late: int
    """Requests without an answer when it was over; they are among the times as what they had waited for."""


SLOW_TIMES, MANY = 1.2, 1000


@dataclass(frozen=True)
class Seen:
    """One attack on one proxy."""

    calm: Times
    under: Times
    megabytes: float
    """What the attacker sent, a second."""
    connections: int
    memory: float
    """MiB above what the worker had before."""

    @property
    def good(self) -> bool:
        """Whether the bounds held."""
        calm, under = self.calm, self.under
        return under.p50 <= TIMES * calm.p50 and under.p99 <= calm.p99 + LATER and not (under.refused or under.late)

    def __str__(self) -> str:
        calm, under = self.calm, self.under
        what = f"{calm.p50:.2f} → {under.p50:.2f} ms, p99 {calm.p99:.1f} → {under.p99:.1f}"
        if under.refused or under.late:
            what += f", {under.refused} refused, {under.late} not answered"
        what = what if self.good else f"**{what}**"
        return f"{what}; {self.megabytes:.1f} MB/s, {self.connections} conn., +{self.memory:.0f} MiB"


def ask(bench: Bench, site: Site, path: str, seconds: float) -> Times:
    """Ask for so long."""
    due, answered, p50, p99, _, _, refused = at_a_rate(bench, site.peer.port, path, seconds, RATE, CONNECTIONS, GRACE)
    return Times(p50 / 1e3, p99 / 1e3, int(refused), int(due - answered - refused))


@contextmanager
def most_memory(pids: list[int]) -> Iterator[Callable[[], float]]:
    """The most resident MiB that these have together, looked at twenty times a second, above the first look."""
    over, first = threading.Event(), sum(map(memory, pids))
    seen = [first]

    def look() -> None:
        while not over.wait(0.05):
            seen.append(sum(map(memory, pids)))

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield lambda: max(seen) - first
    finally:
        over.set()
        thread.join()


class Places:
    """The proxies, by name."""

    def __init__(self, bench: Bench, makers: dict[str, Callable[[], Site]]) -> None:
        self._bench, self._makers = bench, makers
        self._sites = {name: make() for name, make in makers.items()}

    def __iter__(self) -> Iterator[str]:
        return iter(self._makers)

    def calm(self, name: str) -> Site:
        """The proxy when it answers everybody again, or a new one."""
        end, site = time.monotonic() + SETTLES, self._sites[name]
        while time.monotonic() < end:
            times = ask(self._bench, site, PATH, 0.1)
            if not (times.refused or times.late) and times.p99 < LATER:
                return site
        self._bench.stop(site.peer.process)
        self._sites[name] = site = self._makers[name]()
        ask(self._bench, site, PATH, 0.1)
        return site


def measure(bench: Bench, site: Site, attack: Attack, bad: Hostile | None, role: str) -> Seen:
    """One attack on one proxy."""
    calm = ask(bench, site, PATH, CALM)
    path = bad.path(COPIES) if bad is not None and role == COPIES else PATH
    with ExitStack() as stack:
        most = stack.enter_context(most_memory(site.peer.worker))
        began = time.monotonic()
        if bad is None:
            over = stack.enter_context(
                running(strike, site.grpc if attack.protocol == GRPC else site.peer.port, attack)
            )
        else:
            over = stack.enter_context(running(serve, bad.listener, attack))
            if role == SERVES or attack.protocol == GRPC:
                stack.enter_context(running(drive, *asks_for(site, bad, role), EVERY))
        time.sleep(0.2)
        under = ask(bench, site, path if attack.protocol != GRPC else PATH, UNDER)
        share = over()
        took = time.monotonic() - began
    return Seen(calm, under, max(0, share.sent) / took / 1e6, share.connections, most())


def asks_for(site: Site, bad: Hostile, role: str) -> tuple[int, bytes]:
    """Where and what `drive` asks, for a hostile model to have something to answer."""
    path = bad.path(role)
    if bad.attack.protocol == GRPC:
        return site.grpc, START + call(1, path, message=bytes(1000))
    payload = body()
    return (
        site.peer.port,
        f"POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {len(payload)}\r\n\r\n{payload}".encode(),
    )


def measure_slow(bench: Bench, site: Site, slow: Slow) -> str:
    """Many slow clients of one sort on one proxy, as a cell of the table."""
    calm = ask(bench, site, PATH, 2 * CALM)
    with most_memory(site.peer.worker) as most, running(hold, site.peer.port, slow, MANY) as over:
        time.sleep(slow.settles)
        under = ask(bench, site, PATH, 2 * UNDER)
        anew = over().connections - MANY
    what = f"{calm.p50:.2f} → {under.p50:.2f} ms, {under.refused} refused, {under.late} not answered"
    if under.p50 > SLOW_TIMES * calm.p50 or under.refused or under.late:
        what = f"**{what}**"
    return f"{what}; {anew} came anew, +{most():.0f} MiB"


Row = tuple[Attack, str]


def rows(attacks: list[Attack]) -> list[Row]:
    """Each client's attack once, each model's in both its roles."""
    return [(attack, role) for attack in attacks for role in (("",) if attack.side == CLIENT else (COPIES, SERVES))]


def words(role: str) -> str:
    """Who attacks."""
    return "client" if not role else "model that gets copies" if role == COPIES else "model that serves"


def attacked(bench: Bench, places: Places, attacks: list[Attack], bad: list[Hostile]) -> list[str]:
    """Every attack on every proxy: a table."""
    lines = ["| attacker | what | " + " | ".join(places) + " |", "|---|---" + "|---" * len(list(places)) + "|"]
    where = {one.attack: one for one in bad}
    good: dict[str, list[bool]] = {name: [] for name in places}
    for attack, role in rows(attacks):
        cells = []
        for name in places:
            if role == COPIES and name == "HAProxy":
                cells.append("–")
                continue
            seen = measure(bench, places.calm(name), attack, where.get(attack), role)
            good[name].append(seen.good)
            cells.append(str(seen))
        lines.append("| " + " | ".join([words(role), attack.name, *cells]) + " |")
        print(lines[-1], flush=True)
    counts = [f"{name} {sum(each)} of {len(each)}" for name, each in good.items()]
    return [*lines, "", "Within the bounds: " + ", ".join(counts) + "."]


def slowed(bench: Bench, places: Places) -> list[str]:
    """Many slow clients on every proxy: a table."""
    lines = [f"| {MANY:,} slow | " + " | ".join(places) + " |", "|---" + "|---" * len(list(places)) + "|"]
    for slow in SLOW:
        cells = [measure_slow(bench, places.calm(name), slow) for name in places]
        lines.append("| " + " | ".join([slow.name, *cells]) + " |")
        print(lines[-1], flush=True)
    return lines


def part(name: str, wanted: str, proxies: list[str], tree: Path) -> list[str]:
    """One table, under a line that says where and when."""
    attacks = [one for one in PARTS[name] if wanted in one.name]
    if not attacks and name != "slow":
        return []
    bench, load = Bench(), os.getloadavg()[0]
    try:
        live, bad = sites.models(bench), sites.hostile(attacks)
        makers = {
            "Understudy": lambda: sites.understudy(bench, live, bad, tree),
            "nginx": lambda: sites.nginx(bench, live, bad),
            "HAProxy": lambda: sites.haproxy(bench, live, bad),
        }
        here = [proxy for proxy in proxies if proxy == "Understudy" or binary(proxy.lower())]
        places = Places(bench, {proxy: makers[proxy] for proxy in here})
        began = f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC; {versions(tree)}; load average at the start {load:.1f}."
        lines = slowed(bench, places) if name == "slow" else attacked(bench, places, attacks, bad)
    finally:
        bench.close()
    return [f"### {TITLES[name]}", "", f"{began} `python -m loadtests.bench_hostile --part {name}`", "", *lines]


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--part", choices=PARTS, action="append")
    options.add_argument("--name", default="", help="attacks with this in their name; nothing is written")
    options.add_argument("--proxy", choices=PROXIES, action="append", help="not all three; nothing is written")
    options.add_argument("--interpreted", action="store_true", help="the data path as plain Python; nothing is written")
    given = options.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # what it started ends with it
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    for name in given.part or PARTS:
        lines = part(name, given.name, given.proxy or list(PROXIES), ROOT if given.interpreted else COMPILED)
        print("\n".join(lines), flush=True)
        if not (given.name or given.proxy or given.interpreted):
            write(lines, f"<!-- hostile {name}: begin -->", f"<!-- hostile {name}: end -->")


if __name__ == "__main__":
    main()
