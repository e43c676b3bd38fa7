"""What it costs a worker that an upstream stands somewhere else than its clients think (docs/placements.md).

    python -m loadtests.bench_placed                     a table, every figure from one run
    python -m loadtests.bench_placed --before TREE       beside another build, compiled in its own folder

CPU per forwarded request of a worker, compiled, against a route without any of it: each placement alone, and all
of them on one route. Interleaved rounds, the same 1 KB V2 request, two endpoints where requests are hashed; see
`loadtests.bench` for how it is measured.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from statistics import median

from loadtests.bench.load import lua, wrk
from loadtests.bench.machine import COMPILED, free_port
from loadtests.bench.processes import Bench, Peer
from loadtests.bench.understudy import PATH, serving

HASH = "balance: {hash: {header: x-user-id}}"
PLACED = {
    "host": "host: models.internal",
    "path": "path: {from: '/v2/models/*', to: '/v3/models/*'}",
    "headers": "headers: {set: {api-key: not-a-secret}, drop: [x-user-id]}",
    "set_json": "set_json: {/parameters: {version: 7}}",
}
"""Keys of an upstream."""
CONNECTIONS = 32
CONFIG = """
server: {{listen: '127.0.0.1:{port}', workers: 1}}
admin: {{listen: '127.0.0.1:{admin}'}}
store: {{path: {folder}/{admin}.db}}
log: {{level: warning}}
upstreams:
  live: {{urls: [{urls}], max_connections: 1024{keys}}}
routes:
  - {{name: one, match: {{path: {path}, methods: [POST]{json}}}, live: live}}
{other}
"""
OTHER = "  - {{name: other, match: {{path: {path}, methods: [POST]}}, live: live}}"


def placed(
    bench: Bench, name: str, live: list[int], keys: list[str], *, base: str = "", by_body: bool = False,
    tree: Path = COMPILED,
) -> Peer:  # fmt: skip
    """A worker whose live model stands as these keys of its upstream say, under a base path, found by the body."""
    port, admin = free_port(), free_port()
    urls = ", ".join(f"'http://127.0.0.1:{one}{base}'" for one in live)
    text = CONFIG.format(
        port=port, admin=admin, folder=bench.folder, urls=urls, path=PATH, keys="".join(f", {key}" for key in keys),
        json=", json: {/inputs/0/name: x}" if by_body else "", other=OTHER.format(path=PATH) if by_body else "",
    )  # fmt: skip
    return serving(bench, name, False, port, admin, text, tree)


def makers(bench: Bench, before: Path | None) -> dict[str, Callable[[str], Peer]]:
    """None of it, all of it, and each."""
    one, two = [bench.backend()], [bench.backend(), bench.backend()]
    found: dict[str, Callable[[str], Peer]] = {"none": lambda name: placed(bench, name, one, [])}
    if before is not None:
        found["none, the other build"] = lambda name: placed(bench, name, one, [], tree=before)
    every = [*PLACED.values(), HASH]
    found["all"] = lambda name: placed(bench, name, two, every, base="/openai", by_body=True)
    if before is not None:
        found["all, the other build"] = lambda name: placed(
            bench, name, two, every, base="/openai", by_body=True, tree=before
        )
    found["two endpoints"] = lambda name: placed(bench, name, two, [])
    found["balance"] = lambda name: placed(bench, name, two, [HASH])
    found["base path"] = lambda name: placed(bench, name, one, [], base="/openai")
    found["match.json"] = lambda name: placed(bench, name, one, [], by_body=True)
    for key in PLACED:
        found[key] = lambda name: placed(bench, name, one, [PLACED[name]])
    return found


def main() -> None:
    """Measure them in turn, round by round, and print the table."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rounds", type=int, default=9)
    options.add_argument("--seconds", type=float, default=1.0)
    options.add_argument(
        "--before", type=Path, help="another build, whose routes with none and all of it are measured too"
    )
    options.add_argument("--only", nargs="*", default=[], help="some of them: all, balance, host, … (and none)")
    given = options.parse_args()
    bench = Bench()
    try:
        wanted = {"none", *given.only, *(f"{name}, the other build" for name in ("none", *given.only))}
        made = makers(bench, given.before).items()
        measured, script = [make(name) for name, make in made if not given.only or name in wanted], lua(bench)
        for peer in measured:
            wrk(peer, script, CONNECTIONS, 1)
        rounds = [
            {peer.name: wrk(peer, script, CONNECTIONS, given.seconds).cpu for peer in measured}
            for _ in range(given.rounds)
        ]
        print("| placed | worker CPU µs/request | × none |", "|---|---|---|", sep="\n")
        for peer in measured:
            times = median(one[peer.name] / one["none"] for one in rounds)
            print(f"| {peer.name} | {median(one[peer.name] for one in rounds):.1f} | {times:.2f} |")
    finally:
        bench.close()


if __name__ == "__main__":
    main()
