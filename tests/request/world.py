"""A world in which one request lives: the real `Exchange` between a client, model servers and clocks that are fakes.

Nothing happens but what `do` is told to: a model says something, a timer fires, the client leaves, the turn of the loop
ends. `steps` says what can happen next, so that a search can try everything in every order.
"""

from __future__ import annotations

from dataclasses import dataclass
from time import monotonic
from typing import Any

from proxy.http.grpc import Messages
from proxy.http.headers import Answer, read_answer, read_request, request_scanner
from proxy.model import State
from proxy.model.reasons import Reason
from proxy.request import machine
from proxy.request.dual_write import DualWrite, Write
from proxy.request.exchange import Exchange
from proxy.request.legs import Served
from proxy.request.rollouts import Recent, Terms, Trial
from proxy.request.routes import Route
from proxy.worker.context import Limits, WorkerContext
from proxy.worker.downstream.grpc_call import Call
from proxy.worker.timers import PreciseTimer
from proxy.worker.turn import TurnScheduler
from proxy.worker.upstream.pool import Pool, Settings

FULL = 10_000
"""Every bucket."""
SCANNER = request_scanner(frozenset())


def _answer(status: int, events: bool = False) -> Answer:
    kind = b"Content-Type: text/event-stream\r\n" if events else b""
    return read_answer(b"HTTP/1.1 %d X\r\n%bTransfer-Encoding: chunked\r\n\r\n" % (status, kind))


ANSWERS = {"ok": _answer(200), "refusal": _answer(404), "error": _answer(500), "events": _answer(200, events=True)}


@dataclass(frozen=True)
class Setup:
    """Where a request comes to. `held`: the candidate is a canary, whose answers are held; `slots`: `max_in_flight`;
    `memory`: bytes; `buffer`: bytes of a body that are waited for; `rest`: bytes of an
    upload that come later; `dead`: the arm whose legs are refused before they
    are sent; `grpc`: messages of the call, 0 for HTTP; `says`, `live_says`: how the arms may answer; `long`: whether
    legs that nobody waits for may last too long."""

    candidate: bool = True
    sampled: bool = True
    fallback: bool = True
    held: bool = True
    upload: bool = False
    slots: int = 8
    memory: int = 1 << 20
    buffer: int = 0
    rest: int = 2
    dead: str = ""
    others: int = 0
    again: bool = False
    dual_write: bool = False
    grpc: int = 0
    says: tuple[str, ...] = ("ok", "error")
    live_says: tuple[str, ...] = ("ok",)
    long: bool = True


class Loop:
    """Remembers what it is to call."""

    def __init__(self) -> None:
        self.calls: list[Any] = []

    def call_soon(self, work: Any) -> None:
        self.calls.append(work)

    def call_later(self, seconds: float, work: Any) -> None:
        """Timers are fired by name."""


class Channel:
    """Takes every pair."""

    waiting = 0

    def send(self, data: bytes) -> bool:
        return True


class FakePool(Pool):
    """Takes legs, and sends them nowhere."""

    def __init__(self, name: str, world: World, turn: TurnScheduler) -> None:
        super().__init__(Settings(name, ("http://10.0.0.1:1",), 1.0, 60.0, 3), world.context.wheel, turn)
        self.world = world

    def submit(self, leg: Any, fresh: bool = False, avoid: Any = None) -> None:
        self.world.legs.append(leg)
        if self.name == self.world.setup.dead:
            leg.refused(Reason.CONNECT)
        else:
            leg.sent, leg.written = monotonic(), True


class Client:
    """A client's side that notes what it is told."""

    peer, scheme, lines, trusted, blocked = b"127.0.0.1", b"http", b"", False, False

    def __init__(self, world: World) -> None:
        self.world = world
        self.log: list[str] = []
        self.messages = Messages(1000)

    def interim(self, head: bytes) -> None:
        self.log.append("interim")

    def answer(self, exchange: Exchange, answer: Answer, served_by: bytes, piece: bytes, done: bool) -> None:
        self.world.history.append("answered")
        self.log += [f"{served_by.decode()} {answer.status}", *(["end"] if done else [])]

    def more(self, piece: bytes, done: bool) -> None:
        self.log += ["end"] if done else []

    def refuse(self, reason: Reason, exchange: Exchange | None = None, name: bytes = b"") -> None:
        self.world.history.append("answered")
        self.log.append(f"refused {reason}")

    def abort(self) -> None:
        self.log.append("aborted")

    def upgraded(self, leg: Served, head: bytes, rest: bytes) -> None:
        self.log.append("upgraded")

    def gives_way(self, now: float) -> bool:
        return False

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


def note(exchange: Exchange, event: int) -> None:
    """Note the row of the table that is taken."""
    rows: list[tuple[str, str]] = exchange.client.world.rows  # type: ignore[attr-defined]
    rows.append((tuple(machine.STATES)[exchange.state], tuple(machine.EVENTS)[event]))


class Watched(Exchange):
    """A request that notes its rows."""

    def on(self, event: int) -> None:
        note(self, event)
        super().on(event)


class WatchedCall(Call):
    """A call that notes its rows."""

    def on(self, event: int) -> None:
        note(self, event)
        super().on(event)


def terms(name: str, setup: Setup) -> Terms:
    return Terms(
        name=name, trial=name, version="1", route="r", max_in_flight=setup.slots, max_body=100, max_memory=setup.memory,
        timeout=1.0, max_duration=60.0, drop=frozenset(), set_lines=b"", set_json=(), fallback=setup.fallback,
        fallback_after=0.1, hold=1.0, noise_floor=FULL if setup.again else 0,
    )  # fmt: skip


class World:
    """One request, and all that can happen to it."""

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        self.legs: list[Any] = []
        self.rows: list[tuple[str, str]] = []
        self.said: dict[Any, str] = {}
        self.went_on: set[Any] = set()
        self.history: list[str] = []
        self.loop = Loop()
        self.context = context = WorkerContext(self.loop)  # type: ignore[arg-type]
        context.precise_timer = PreciseTimer(self.loop, monotonic)  # type: ignore[arg-type]
        context.told = True
        context.limits = Limits(1000, 1000, 10, setup.buffer, 1000, 1, 1.0, 1.0, 1.0, 1.0)
        context.publisher.connected(Channel())  # type: ignore[arg-type]
        names = ["live", "candidate", *(f"other{n}" for n in range(setup.others))]
        self.pools = [FakePool(name, self, context.turn) for name in names]
        self.trials = tuple(Trial(terms(pool.name, setup), pool) for pool in self.pools[1:])
        for trial in self.trials:
            trial.share = trial.affords = FULL if setup.sampled else 0
            trial.state = State.CANARY
        self.trial = self.trials[0]
        if setup.candidate:
            self.trial.weight = FULL if not setup.held else FULL - 1
        self.route = Route("r", self.pools[0], self.trials, context.counts, Recent())
        self.route.is_grpc = setup.grpc > 0
        if setup.dual_write:
            candidate = self.pools[1]
            self.route.dual_write = DualWrite(candidate, 0.1, 1.0, frozenset(), b"", self.trial.meters.copy)
        self.route.settle()
        self.route.refresh()
        self.client = Client(self)
        self.exchange = self.ask()

    def ask(self) -> Exchange:
        """The request, as far as it comes at once."""
        setup = self.setup
        framing = b"Transfer-Encoding: chunked" if setup.upload and not setup.grpc else b"Content-Length: 6"
        head = b"POST /x HTTP/1.1\r\nHost: a\r\n%b\r\n\r\n" % framing
        request = read_request(head, SCANNER)
        request.route = self.route
        kind = WatchedCall if setup.grpc else Watched
        exchange = self.exchange = kind(self.client, self.context, request, b"id", monotonic())  # type: ignore[arg-type]
        exchange.start(
            self._piece(b"\0" + setup.rest.to_bytes(4, "big") if setup.grpc else b"1\r\na\r\n"), not setup.upload
        )
        return exchange

    def _piece(self, piece: bytes) -> bytes:
        if self.setup.grpc:
            self.client.messages.feed(piece)
        return piece

    def _rest(self) -> None:
        body = b"c" * self.setup.rest
        if self.setup.grpc:
            body += b"\0\0\0\0\0" if self.setup.grpc == 2 else b""
        else:
            body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
        self.exchange.more(self._piece(body), True)

    # --- what can happen ---

    def steps(self) -> list[str]:
        """All that can happen now."""
        found = []
        exchange, said = self.exchange, self.said
        for number, leg in enumerate(self.legs):
            if leg.ended:
                continue
            if leg not in said:
                found += [f"{number} answers {word}" for word in self._words(leg)]
                if isinstance(leg, Served):
                    found += [f"{number} begins {word}" for word in self._words(leg)]
            else:
                found.append(f"{number} ends")
                if leg not in self.went_on:
                    found.append(f"{number} goes on")
            found.append(f"{number} breaks")
            if leg.longest and self.setup.long:
                found.append(f"{number} lasts too long")
        if not exchange.answered:
            found += ["leaves", "is cut off"]
            if self.setup.upload and not exchange.body_done:
                found.append("sends the rest")
        if exchange in self.context.precise_timer._due:
            found.append("slow")
        found += [f"{n} holds" for n, leg in enumerate(self.legs) if leg in self.context.precise_timer._due]
        if exchange.slot:
            found.append("time is up")
        if self.loop.calls:
            found.append("turn")
        return found

    def _words(self, leg: Any) -> tuple[str, ...]:
        if not isinstance(leg, Served):
            return ("ok",)
        return self.setup.says if leg.trial is not None else self.setup.live_says

    def do(self, step: str) -> None:
        """Let it happen."""
        self.history.append(self._named(step))
        if step[0].isdigit():
            number, _, words = step.partition(" ")
            self._leg_does(self.legs[int(number)], words)
        elif step == "leaves":
            self.exchange.client_gone()
        elif step == "is cut off":
            self.exchange.client_gone(cut_off=True)
        elif step == "sends the rest":
            self._rest()
        elif step == "slow":
            self.context.precise_timer.discard(self.exchange)
            self.exchange.late()
        elif step == "time is up":
            self.context.wheel.sweep(monotonic() + 1_000.0)
        else:
            calls, self.loop.calls = self.loop.calls, []
            for call in calls:
                call()

    def _named(self, step: str) -> str:
        if not step[0].isdigit():
            return step
        number, _, words = step.partition(" ")
        return f"{self.role(self.legs[int(number)])} {words}"

    def role(self, leg: Any) -> str:
        """`first`, `hedge`, `write`, or the copy of which arm; live asked a second time is `again`."""
        if leg is getattr(self.exchange, "first", None):
            return "first"
        if isinstance(leg, Write):
            return "write"
        if leg is self.exchange.hedge:
            return "hedge"
        return f"copy of {leg.pool.name}" if leg is self.exchange.live or leg.trial is not None else "again"

    def _leg_does(self, leg: Any, words: str) -> None:
        what, _, word = words.partition(" ")
        if what == "holds":
            self.context.precise_timer.discard(leg)
            leg.late()
            return
        now = monotonic()
        if what in ("begins", "answers"):
            leg.answer, leg.began = ANSWERS[word], now
            self.said[leg] = word
        if what in ("answers", "ends", "breaks", "lasts"):
            leg.ended, leg.finished = True, now
        if what in ("breaks", "lasts"):
            leg.reason = Reason.TOO_LONG if what == "lasts" else Reason.DISCONNECT
            leg.failed(leg.reason)
        elif what in ("begins", "answers"):
            leg.head(b"1\r\nx\r\n", what == "answers")
        else:
            self.went_on.add(leg)
            if leg.answer.events:
                leg.spoke = now
            leg.body(b"0\r\n\r\n" if what == "ends" else b"1\r\ny\r\n", what == "ends")

    # --- what is to be seen ---

    def key(self) -> tuple[Any, ...]:
        """Everything that the future depends on, and the past as far as a verdict does."""
        exchange, due = self.exchange, self.context.precise_timer._due
        legs = tuple(self._leg_key(leg) for leg in self.legs)
        trials = tuple((trial.in_flight, tuple(trial.ledger.values()), trial.memory) for trial in self.trials)
        here = (exchange.state, exchange in due, bool(exchange.slot), bool(self.loop.calls), len(exchange.samples))
        return (*here, exchange.body_done, legs, trials, tuple(self.client.log), self.past())

    def _leg_key(self, leg: Any) -> tuple[Any, ...]:
        kept = (leg.kept is None, leg.unsent is None, leg.too_large, getattr(leg, "held", None))
        said = (self.role(leg), leg.ended, self.said.get(leg), leg.reason, bool(leg.spoke))
        return (*said, *kept, leg in self.context.precise_timer._due, bool(leg.longest), leg in self.went_on)

    def past(self) -> tuple[str, ...]:
        """What a verdict depends on: what the client did, live's silence, what first said behind it, what lasted."""
        seen = [step for step in self.history if step in ("leaves", "is cut off", "sends the rest")]
        if "time is up" in self.history:
            said = [
                step
                for step in self.history[: self.history.index("time is up")]
                if " begins" in step or " answers" in step
            ]
            seen += ["time is up", *sorted(said)]
        if "leaves" in self.history:
            behind = self.history[self.history.index("leaves") :]
            seen += [step for step in behind if step.startswith("first")][:1]
        return (*seen, *sorted(step for step in self.history if step.endswith("too long")))

    def ledger(self, trial: Trial) -> list[str]:
        """How the trial's samples ended."""
        return [name for name, count in trial.ledger.items() if name != "sampled" for _ in range(count)]
