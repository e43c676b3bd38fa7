"""Does live notice that the candidate's name server hangs?

    python -m loadtests.bench_resolver [--seconds 6] [--rate 200]      (root: a mount namespace for /etc/resolv.conf)

A real name server (`tests.dns_server`) knows both arms; both names are looked up five times a second, and every request
is copied to the candidate. In turns of `--seconds` the candidate's name is answered, and heard and not answered. Shown:
live's latency at the client in both kinds of turns, in one run of one process, and requests that failed.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import tempfile
from pathlib import Path

from tests.dns_server import DnsServer, serve
from tests.e2e import harness
from tests.e2e.harness import route, running
from tests.fakes import Load, model_process

TURNS = 12
ADDRESS = "127.0.0.77"


def in_a_namespace(folder: Path) -> str:
    """A Python whose processes ask the name server of these tests."""
    (folder / "hosts").write_text("127.0.0.1 localhost\n")
    (folder / "resolv.conf").write_text(f"nameserver {ADDRESS}\noptions timeout:5 attempts:2\n")
    mounts = " && ".join(f"mount --bind {folder}/{name} /etc/{name}" for name in ("hosts", "resolv.conf"))
    python = folder / "python"
    python.write_text(f'#!/bin/sh\nexec unshare -m sh -c \'{mounts} && exec "$@"\' sh {sys.executable} "$@"\n')
    python.chmod(0o755)
    return str(python)


def quantiles(seconds: list[float]) -> tuple[float, float]:
    """Median and p99 in milliseconds."""
    cut = statistics.quantiles(seconds, n=100)
    return 1000 * cut[49], 1000 * cut[98]


async def main(seconds: float, rate: float) -> None:
    """Measure and print."""
    dns = DnsServer({"live.test": ("127.0.0.1",), "candidate.test": ("127.0.0.1",)})
    transport = await serve(dns, ADDRESS)
    real, turns = sys.executable, {False: list[float](), True: list[float]()}
    with tempfile.TemporaryDirectory() as name:
        async with model_process("v1") as (_, live), model_process("v2") as (_, candidate):
            harness.sys.executable = in_a_namespace(Path(name))
            by_name = (
                live.replace("127.0.0.1", "live.test"),
                candidate.replace("127.0.0.1", "candidate.test"),
            )
            upstreams = {
                arm: {"url": url, "resolve": {"every": "200ms"}} for arm, url in zip(("v1", "v2"), by_name, strict=True)
            }
            stages = [{"shadow": "100%", "min_time": "1h"}]
            routes = [route("m", "v1", "v2", stages, guards={"max_extra_errors": "5%"})]
            async with running(Path(name), {"upstreams": upstreams, "routes": routes}) as understudy:
                harness.sys.executable = real
                async with Load(f"{understudy.data_url}/m/infer", rate, models={"v1": "v1"}) as load:
                    await load.more(int(2 * rate))
                    for turn in range(TURNS):
                        hangs = bool(turn % 2)
                        dns.silent = {"candidate.test"} if hangs else set()
                        since = len(load.seen)
                        await load.more(int(seconds * rate), within=60.0 + 10 * seconds)
                        turns[hangs] += [seen.seconds for seen in load.seen[since:]]
                    failed = len(load.problems())
                dns.silent = set()
    transport.close()
    (m0, p0), (m1, p1) = quantiles(turns[False]), quantiles(turns[True])
    print(f"{len(turns[False])} and {len(turns[True])} requests at {rate:g}/s, {failed} failed")
    print(f"candidate's name answered: median {m0:.2f} ms, p99 {p0:.2f} ms; hangs: median {m1:.2f} ms, p99 {p1:.2f} ms")
    print(f"ratio hangs / answered: median {m1 / m0:.3f}, p99 {p1 / p0:.3f}")


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--seconds", type=float, default=6.0)
    options.add_argument("--rate", type=float, default=200.0)
    given = options.parse_args()
    asyncio.run(main(given.seconds, given.rate))
