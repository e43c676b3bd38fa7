"""The command: see the package."""

from __future__ import annotations

import argparse
import os
from datetime import UTC, datetime
from pathlib import Path

import loadtests.bench
from loadtests.bench.extras import others
from loadtests.bench.isolation import latency
from loadtests.bench.machine import versions
from loadtests.bench.processes import Bench
from loadtests.bench.proxies import BEFORE, PROXIES, before
from loadtests.bench.report import write
from loadtests.bench.rounds import Measured, chosen, measure
from loadtests.bench.tables import table
from loadtests.bench.workloads import WORKLOADS

PARTS = {"latency": latency, "other": others}
KEYS = [*(one.key for one in WORKLOADS), *PARTS]


def listing() -> str:
    """The workloads with their proxies, and the parts."""
    lines = []
    for one in WORKLOADS:
        lines.append(f"{one.key:8} {one.title}")
        for mode in one.modes:
            names = [name + ("" if PROXIES[name].is_installed else " (not installed)") for name in chosen(one, mode)]
            lines.append(f"         {mode}: {', '.join(names)}")
    return "\n".join([*lines, *(f"{key:8} {(part.__doc__ or '').splitlines()[0]}" for key, part in PARTS.items())])


def arguments() -> argparse.Namespace:
    """What was asked for; an unknown key of `--only` is an error that names those there are."""
    words = argparse.RawDescriptionHelpFormatter
    options = argparse.ArgumentParser("loadtests.bench", description=loadtests.bench.__doc__, formatter_class=words)
    options.add_argument("--rounds", type=int, default=7)
    options.add_argument("--seconds", type=float, default=2.0)
    options.add_argument("--quick", action="store_true", help="two short rounds, nothing written")
    options.add_argument("--list", action="store_true", help="what there is to measure")
    options.add_argument("--only", default="", help=f"a comma-separated part of {', '.join(KEYS)}; nothing written")
    options.add_argument("--before", type=Path, help="another compiled tree, to be measured too; nothing written")
    given = options.parse_args()
    given.only = [key for key in given.only.split(",") if key] or KEYS
    if unknown := [key for key in given.only if key not in KEYS]:
        options.error(f"--only: found {', '.join(unknown)}, expected {', '.join(KEYS)}")
    return given


def run(bench: Bench, keys: list[str], rounds: int, seconds: float) -> list[str]:
    """The sections of what was asked for; each part is printed when it is there."""
    found: list[Measured] = []
    for workload in WORKLOADS:
        for mode in workload.modes if workload.key in keys else ():
            found.append(measure(bench, workload, mode, rounds, seconds))
            print("\n".join(table(found[-1:])), flush=True)
    sections = [*table(found), ""] if found else []
    for key, part in PARTS.items():
        if key in keys:
            made = part(bench, rounds, seconds)
            print("\n".join(made), flush=True)
            sections += [*made, ""]
    return sections


def main() -> None:
    """Measure, print, and write when all of it was measured."""
    given = arguments()
    if given.list:
        print(listing())
        return
    rounds, seconds = (2, 1.0) if given.quick else (given.rounds, given.seconds)
    if given.before is not None:
        PROXIES[BEFORE] = before(given.before.resolve())
    load, bench = os.getloadavg()[0], Bench()
    head = [
        "## Data plane", "",
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC; {versions()}. {rounds} interleaved rounds of {seconds:g} s; "
        f"load average at the start {load:.1f}. `python -m loadtests.bench`", "",
    ]  # fmt: skip
    try:
        sections = run(bench, given.only, rounds, seconds)
        if not given.quick and given.only == KEYS and given.before is None:
            write([*head, *sections])
    finally:
        bench.close()


if __name__ == "__main__":
    main()
