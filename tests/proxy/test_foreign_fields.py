"""Promise: on the path of a request an object's fields are written by the object itself, but for the places below."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("proxy/request", "proxy/worker")

TOPICS = "a request's functions stand in one file a topic: each is a method of `Exchange` in all but its place"
HOT = "what becomes of a leg, on the path of every request: compiled, writing a field costs less than calling a method"
MADE = "what it was made for is known only after it was made, and nobody else has it yet"
LINK = "the two ends of one thing let go of each other"
WHEEL = "`slot` belongs to the wheel (`Watched`): a thing that is watched costs no entry in a table"
PHASE = "the process alone knows how far it is, and what the controller's silence takes from a trial"
LIBRARY = "the interface of `ssl`"

PLACES: dict[str, dict[str, tuple[str, ...]]] = {
    TOPICS: {
        "request/arms.py": (
            "exchange.overridden",
            "exchange.trial",
            "exchange.trial",
            "exchange.trial",
            "exchange.undrawn",
        ),
        "request/dual_write.py": ("exchange.ready", "exchange.to_write", "exchange.write"),
        "request/gathering.py": (
            "exchange.gathered",
            "exchange.gathered",
            "exchange.route",
            "exchange.undrawn",
            "exchange.unrouted",
        ),
        "request/leaving.py": ("leg.longest",),
        "request/memory.py": (
            "exchange.body_size",
            "exchange.kept_size",
            "exchange.reserved",
            "exchange.reserved",
            "sample.cost",
        ),
        "request/mirroring.py": ("exchange.live", *["exchange.samples"] * 3, "one.again", "one.candidate"),
        "request/rewriting.py": ("exchange.rewritten", "exchange.rewritten", "exchange.trial"),
        "request/samples.py": (
            "exchange.samples",
            "exchange.samples",
            "exchange.samples",
            "exchange.samples",
            "own.wants_again",
        ),
    },
    HOT: {
        "request/driver.py": ("leg.unsent",),
        "request/exchange.py": ("leg.kept", "leg.reason", "leg.unsent"),
        "request/served.py": ("exchange.uncharged",),
        "worker/downstream/grpc_call.py": ("self.first.kept",),
        "worker/upstream/grpc.py": (
            "leg.answer",
            "leg.began",
            "leg.connection",
            "leg.held_back",
            "leg.sent",
            "self.leg.connection",
            "self.leg.sent",
            "self.link.used",
        ),
        "worker/upstream/http1.py": (
            "leg.answer",
            "leg.answer",
            "leg.began",
            "leg.began",
            "leg.connection",
            "leg.connection",
            "leg.connection",
            "leg.connection",
            "leg.connection",
            "leg.ended",
            "leg.finished",
            "leg.held_back",
            "leg.interims",
            "leg.sent",
            "leg.sent",
            "leg.spoke",
            "leg.written",
            "self._framing.checked",
        ),
    },
    MADE: {
        "request/driver.py": (
            "leg.checked",
            "leg.held",
            "leg.held",
            "leg.kept",
            "leg.optional",
            "leg.repeatable",
            "leg.whole",
        ),
        "request/routes.py": ("request.fork", "request.route", "request.upgrade"),
        "worker/downstream/grpc.py": ("request.length",),
        "worker/upstream/addresses.py": ("endpoint.ready",),
    },
    LINK: {
        "request/driver.py": ("copy.exchange", "leg.exchange"),
        "request/exchange.py": ("leg.exchange", "leg.exchange"),
    },
    WHEEL: {
        "worker/timers.py": ("thing.slot", "thing.slot", "thing.slot"),
    },
    PHASE: {
        "worker/process.py": ("self.context.ready", "self.context.told", "trial.weight"),
    },
    LIBRARY: {
        "worker/tls.py": ("context.check_hostname", "context.verify_mode"),
    },
}
"""By reason and file: the fields, once for each place that writes them."""


def writes(tree: ast.AST) -> Iterator[str]:
    """Targets that are fields of something else than `self`, `cls` or what the function has just made."""
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            own = {"self", "cls"} | set(made(function))
            for node in ast.walk(function):
                outside = isinstance(node, ast.Attribute) and not isinstance(node.ctx, ast.Load)
                if outside and not (isinstance(node.value, ast.Name) and node.value.id in own):
                    yield ast.unparse(node)


def made(function: ast.AST) -> Iterator[str]:
    """Names that a function gives to what a class has made for it."""
    for node in ast.walk(function):
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call):
            called = node.value.func
            name = called.id if isinstance(called, ast.Name) else getattr(called, "attr", "")
            if name.lstrip("_")[:1].isupper():
                for target in node.targets:
                    yield from (one.id for one in ast.walk(target) if isinstance(one, ast.Name))


def found() -> Counter[tuple[str, str]]:
    files = sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))
    return Counter(
        (path.relative_to(ROOT / "proxy").as_posix(), field)
        for path in files
        for field in writes(ast.parse(path.read_text("utf-8")))
    )


def test_every_place_that_writes_a_field_of_something_else_is_listed() -> None:
    listed = Counter((file, field) for files in PLACES.values() for file, fields in files.items() for field in fields)
    assert found() - listed == Counter(), "let its owner write it, or say why not"
    assert listed - found() == Counter(), "gone: take it off the list"


def test_the_rule_is_not_blind() -> None:
    code = "def f(self, a):\n b = B()\n b.x = 1\n a.y = 2\n self.z = 3\n self.a.w += 4\n del a.v\n a.s, self.t = 5, 6"
    assert sorted(writes(ast.parse(code))) == ["a.s", "a.v", "a.y", "self.a.w"]
