"""Promise: rooms import only what lies below them, what decides is pure, and no import goes in a circle."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

FLOORS = (
    {"__main__"},
    {
        "cli",
        "supervisor",
        "preflight",
        "handover",
        "children",
        "config_file",
        "config_reader",
        "config_watch",
        "answers",
        "reloading",
        "fork_server",
        "forks",
        "behind",
        "demo",
        "cores",
    },
    {"worker", "controller"},
    {"request"},
    {"config", "pairs", "sockets"},
    {"rollout", "evidence", "drift", "predictions", "judges"},
    {"fields"},
    {
        "errors",
        "file_patterns",
        "logs",
        "private",
        "time_slices",
        "resolver",
        "aiohttp_client",
        "aiohttp_resolver",
        "built",
        "json_pointer",
        "json_types",
        "rfc3339",
        "significant",
        "spelling",
        "units",
        "outcome_units",
        "money",
        "address",
    },
    {"http"},
    {"model"},
)
"""Rooms from the top down; one imports its own floor and what lies below (but see `ALONE` and `UP`)."""

ALONE = {
    ("worker", "controller"),
    ("controller", "worker"),
    ("errors", "config"),
    ("worker", "config"),
    ("request", "config"),
}
"""Rooms that never import each other, whatever their floors: a worker need not know how to read the file."""

UP: set[tuple[str, str]] = set()
"""Imports that run up a floor."""

SHELL = {
    "cli", "supervisor", "preflight", "handover", "children", "config_file", "config_reader", "config_watch",
    "answers", "behind", "time_slices", "reloading", "fork_server", "forks", "demo", "cores",
    "worker", "controller", "config", "sockets", "logs", "file_patterns", "private", "resolver", "aiohttp_client",
    "aiohttp_resolver", "request", "__main__", "pairs.channel", "http.framing",
}  # fmt: skip
"""Rooms and files that may wait, look at a clock or speak; all others are pure, and so are those of `PURE_FILES`."""

PURE_FILES = {
    "cli.gate", "cli.judging", "controller.fairness", "controller.fleet.clock", "controller.fleet.election",
    "controller.fleet.events", "controller.webhooks.policy", "request.machine", "request.routing",
    "worker.downstream.http1_states", "worker.pace", "worker.upstream.affinity",
}  # fmt: skip

PURE = {
    "__future__", "abc", "array", "base64", "binascii", "bisect", "collections", "contextlib", "csv", "dataclasses",
    "datetime", "difflib", "email.utils", "enum", "functools", "gzip", "hashlib", "heapq", "hmac", "http", "importlib",
    "io", "ipaddress", "itertools", "json", "math", "operator", "pkgutil", "re", "statistics", "string", "struct",
    "types", "typing", "typing_extensions", "unicodedata", "urllib.parse", "warnings", "zlib",
}  # fmt: skip
"""What a pure file may take of the standard library: nothing that waits, draws lots, looks at a clock or speaks.
`email.utils` reads dates of headers, `http` names statuses, `statistics` has the normal distribution; registries walk
the files of their own room."""

DECODERS = {
    "numpy",
    "orjson",
    "zstandard",
    "brotli",
    "hpack",
    "jmespath",
    "jsonschema_rs",
    "msgspec",
    "ml_dtypes",
    "mypy_extensions",
    "google.protobuf",
    "zlib_ng",
}
"""What a pure file may take from outside: arrays, decoding and sums without I/O, and a mark for the compiler."""


EVIDENCE = ("", "rules", "families", "input", "process")
"""The floors of `evidence`, from the top down; its own files lie above its rooms."""


def modules() -> dict[str, Path]:
    """Every module of the package by its dotted name."""
    found = {}
    for path in sorted((ROOT / "proxy").rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


@cache
def imports(name: str) -> frozenset[str]:
    """What a module imports, dotted, wherever it does: at its start, for typing only, or inside a function."""
    return frozenset(_imports(name))


def _imports(name: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(MODULES[name].read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}: relative imports hide where a thing comes from"
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                yield whole if whole in MODULES else str(node.module)


def room(module: str) -> str:
    """The room of one of our modules: the part below `proxy`; the package itself belongs to none."""
    return [*module.split("."), ""][1]


def is_pure(module: str) -> bool:
    """Whether a module decides without waiting, drawing lots, looking at a clock or speaking."""
    name = module.removeprefix("proxy.")
    return module.startswith("proxy.") and (name in PURE_FILES or not {name, name.split(".")[0]} & SHELL)


def evidence_room(module: str) -> str:
    """The room inside `evidence` that a module of it lies in; empty for the files at its top."""
    part = [*module.split("."), ""][2]
    return part if part in EVIDENCE else ""


def floor(name: str) -> int:
    """A room's floor, 0 at the top."""
    return next(number for number, rooms in enumerate(FLOORS) if name in rooms)


@pytest.mark.parametrize("module", [name for name in MODULES if room(name)])
def test_a_room_imports_only_what_lies_below(module: str) -> None:
    here = room(module)
    for other in imports(module):
        there = room(other) if other.split(".")[0] == "proxy" else ""
        if there and there != here:
            assert floor(there) >= floor(here) or (here, there) in UP, f"{module} imports {other} from a floor above"
            assert (here, there) not in ALONE, f"{module} imports its neighbour {other}"


@pytest.mark.parametrize("module", [name for name in MODULES if room(name) == "evidence"])
def test_evidence_is_built_upwards(module: str) -> None:
    here = EVIDENCE.index(evidence_room(module))
    for other in imports(module):
        if room(other) == "evidence":
            assert EVIDENCE.index(evidence_room(other)) >= here, f"{module} imports {other} from a floor above"


@pytest.mark.parametrize("module", [name for name in MODULES if is_pure(name)])
def test_a_pure_file_decides_and_does_nothing_else(module: str) -> None:
    for other in imports(module):
        allowed = other in PURE or any(
            other == one or other.startswith(f"{one}.") for one in DECODERS | PURE - {"http", "urllib"}
        )
        assert allowed or is_pure(other), f"{module} imports {other}"
        assert not other.startswith("numpy.random"), f"{module} draws lots; randomness comes in as an argument"


def test_the_pure_part_is_of_the_standard_library() -> None:
    assert {name.split(".")[0] for name in PURE} - sys.stdlib_module_names == {"typing_extensions"}


def way_round(edges: dict[str, set[str]], start: str, end: str) -> list[str]:
    """A way along the arrows from `start` to `end`, both included; empty where there is none."""
    came_from, todo = {start: ""}, [start]
    while todo:
        here = todo.pop()
        for other in sorted(edges[here]):
            if other == end:
                way = [end, here]
                while came_from[way[-1]]:
                    way.append(came_from[way[-1]])
                return way[::-1]
            if other not in came_from:
                came_from[other] = here
                todo.append(other)
    return []


def test_no_module_imports_itself_round_a_corner() -> None:
    edges = {name: {other for other in imports(name) if other in MODULES} - {name} for name in MODULES}
    for name in MODULES:
        assert not (way := way_round(edges, name, name)), " → ".join(way)


def test_the_folders_of_the_controller_know_nothing_of_their_parent() -> None:
    """`controller.py` and its neighbours import admin, store and webhooks, and are handed to them as interfaces."""
    below = ("proxy.controller.admin", "proxy.controller.store", "proxy.controller.webhooks")
    for name in MODULES:
        if name.startswith(below):
            ours = [other for other in imports(name) if other.startswith("proxy.controller")]
            assert all(other.startswith(below) for other in ours), f"{name} imports {ours}"


def test_no_exception_is_left_that_nothing_needs() -> None:
    edges = {(room(name), room(other)) for name in MODULES for other in imports(name) if other in MODULES}
    assert edges >= UP


def test_the_rule_is_not_blind() -> None:
    """The eyes of these tests see an import wherever it stands."""
    assert "proxy.supervisor" in imports("proxy.cli.serve")
    assert "proxy.request.rollouts" in imports("proxy.worker.process")  # for typing
    assert way_round({"a": {"b"}, "b": {"c"}, "c": {"b"}}, "b", "b") == ["b", "c", "b"]
    assert way_round({"a": {"b"}, "b": {"c"}, "c": {"b"}}, "a", "a") == []


EVIDENCE_AND_FILES = (
    "aiohttp", "google.protobuf", "hpack", "jmespath", "jsonschema_rs", "numpy", "proxy.config", "proxy.evidence",
    "proxy.predictions", "pydantic", "yaml",
)  # fmt: skip
"""What reads files, answers and evidence: most of the memory of a process that loads it, and of its start."""
SERVERS = ("asyncio", "msgspec", "proxy.controller", "proxy.request", "proxy.worker", "sqlite3", "uvloop")
NOT_LOADED = {
    "proxy.worker.__main__": (*EVIDENCE_AND_FILES, "click", "proxy.controller"),  # `hpack` comes with gRPC
    "proxy.cli.serve": (*EVIDENCE_AND_FILES, "http.client", "msgspec", "proxy.controller.controller", "proxy.request",
                        "proxy.worker", "sqlite3", "uvloop"),
    "proxy.cli": (*EVIDENCE_AND_FILES, *SERVERS),
    "proxy.cli.rollouts": (*EVIDENCE_AND_FILES, *SERVERS),
    "proxy.cli.drift": (*EVIDENCE_AND_FILES, *SERVERS),
    "proxy.cli.check": ("aiohttp", "asyncpg", *SERVERS[2:]),
    "proxy.controller.process": ("asyncpg", "click", "google.protobuf", "opentelemetry", "proxy.worker", "scipy",
                                 "sklearn"),
}  # fmt: skip
"""What each process, and each quick command, has no use for: it would make it larger and slower to start."""


@pytest.mark.parametrize(("process", "heavy"), NOT_LOADED.items())
def test_a_process_loads_nothing_that_it_has_no_use_for(process: str, heavy: tuple[str, ...]) -> None:
    code = f"import sys, {process}; print([name for name in {heavy} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert found.stdout.strip() == "[]"
