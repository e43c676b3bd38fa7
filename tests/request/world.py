"""A world in which one request lives: the real code between a client, model servers and clocks that are fakes.

Nothing happens but what `do` is told to: a model says something, a timer fires, the client leaves, the turn of the loop
ends. `steps` says what can happen next, so that a search can try everything in every order.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic
from typing import Any

from proxy.http.answer_head import Answer, read_answer
from proxy.http.grpc import Messages
from proxy.http.request_head import read_request, request_scanner
from proxy.model import State
from proxy.model.reasons import Reason
from proxy.request import machine
from proxy.request.counts import Counts, Meters
from proxy.request.driver import RequestDriver
from proxy.request.dual_write import Write
from proxy.request.legs import Upstream
from proxy.request.observing import observer
from proxy.request.ports import RequestContext
from proxy.request.rollouts import Recent, RolloutSettings, Trial
from proxy.request.routes import DualWrite, Route
from proxy.request.served import Served
from proxy.worker.downstream.grpc_call import Call

FULL, SCANNER = 10_000, request_scanner(frozenset())  # every bucket


def _answer(status: int, events: bool = False) -> Answer:
    kind = b"Content-Type: text/event-stream\r\n" if events else b""
    return read_answer(b"HTTP/1.1 %d X\r\n%bTransfer-Encoding: chunked\r\n\r\n" % (status, kind))


ANSWERS = {"ok": _answer(200), "refusal": _answer(404), "error": _answer(500), "events": _answer(200, events=True)}


@dataclass(frozen=True)
class Setup:
    """Where a request comes to. `held`: the candidate is a canary, whose answers are held; `slots`: `max_in_flight`;
    `memory`: bytes; `buffer`: bytes of a body that are waited for; `rest`: bytes of an upload that come later;
    `dead`: the arm whose legs are refused before they are sent; `others`: candidates that are copied to only; `again`:
    live is asked twice; `grpc`: messages of the call, 0 for HTTP; `says`, `live_says`: how the arms may answer; `long`:
    whether legs that nobody waits for may last too long; `observed`: for `drift`."""

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
    observed: bool = False


class Context(RequestContext):
    """A worker whose time passes only when it is told to."""

    def __init__(self, buffer: int) -> None:
        self.counts, self.epoch, self.told = Counts(), 0.0, True
        self._buffer, self.charged = buffer, 0
        self.planned: list[Callable[[], None]] = []
        self.timed, self.watched = dict[Any, float](), dict[Any, float]()

    @property
    def buffer(self) -> int:
        return self._buffer

    @property
    def backlog(self) -> int:
        return 0

    @property
    def room(self) -> int:
        return FULL

    def later(self, work: Callable[[], None]) -> None:
        self.planned.append(work)

    def call_at(self, what: Any, due: float) -> None:
        self.timed[what] = due

    def cancel(self, what: Any) -> None:
        self.timed.pop(what, None)

    def watch(self, what: Any, due: float) -> None:
        self.watched[what] = due

    def unwatch(self, what: Any) -> None:
        self.watched.pop(what, None)

    def charge(self, size: int) -> bool:
        self.charged += size
        return True

    def publish(self, trial: Trial, sequence: int, *pair: Any) -> None:
        trial.settle_sent(sequence)

    observe = publish  # type: ignore[assignment]


class Model(Upstream):
    """Takes legs, and sends them nowhere."""

    def __init__(self, name: str, world: World) -> None:
        self.name, self.label, self.timeout = name, name.encode(), 1.0
        self.world = world

    def submit(self, leg: Any) -> None:
        self.world.legs.append(leg)
        if self.name == self.world.setup.dead:
            leg.refused(Reason.CONNECT)
        else:
            leg.sent, leg.written = monotonic(), True

    def forget(self, leg: Any) -> None: ...


class Client:
    """A client's side that notes what it is told."""

    peer, scheme, lines, trusted, blocked = b"127.0.0.1", b"http", b"", False, False

    def __init__(self, world: World) -> None:
        self.world = world
        self.log: list[str] = []
        self.messages, self.timeout = Messages(1000), float("inf")

    def interim(self, head: bytes) -> None:
        self.log.append("interim")

    def answer(self, answer: Answer, served_by: bytes, piece: bytes, done: bool) -> None:
        self.world.history.append("answered")
        self.log += [f"{served_by.decode()} {answer.status}", *(["end"] if done else [])]

    def more(self, piece: bytes, done: bool) -> None:
        self.log += ["end"] if done else []

    def refuse(self, reason: Reason, name: bytes = b"", counted: bool = False) -> None:
        self.world.history.append("answered")
        self.log.append(f"refused {reason}")

    def abort(self) -> None:
        self.log.append("aborted")

    def upgraded(self, leg: Any, head: bytes, rest: bytes) -> None:
        self.log.append("upgraded")

    def gives_way(self, now: float) -> bool:
        return False

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


def note(exchange: RequestDriver, event: int) -> None:
    """Note the row of the table that is taken."""
    rows: list[tuple[str, str]] = exchange.client.world.rows  # type: ignore[attr-defined]
    rows.append((tuple(machine.STATES)[exchange.state], tuple(machine.EVENTS)[event]))


class Watched(RequestDriver):
    """A request that notes its rows."""

    def on(self, event: int) -> None:
        note(self, event)
        super().on(event)


class WatchedCall(Call):
    """A call that notes its rows."""

    def on(self, event: int) -> None:
        note(self, event)
        super().on(event)


def settings(name: str, setup: Setup) -> RolloutSettings:
    return RolloutSettings(
        name=name, trial=name, version="1", route="r", max_in_flight=setup.slots, max_body=100, max_memory=setup.memory,
        timeout=1.0, max_duration=60.0, drop=frozenset(), set_lines=b"", fallback=setup.fallback,
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
        self.context = Context(setup.buffer)
        live, *models = (Model(name, self) for name in ("live", "candidate", "other")[: 2 + setup.others])
        self.trials = tuple(Trial(settings(model.name, setup), model) for model in models)
        for trial in self.trials:
            trial.share = trial.affords = FULL if setup.sampled else 0
            trial.state = State.CANARY
            trial.counted_by(Meters(self.context.counts, "r", trial.pool.name))
        self.trial = self.trials[0]
        if setup.candidate:
            self.trial.weight = FULL if not setup.held else FULL - 1
        self.route = Route("r", live, self.context.counts, Recent(), 100, setup.fallback)
        self.route.take(self.trials)
        self.route.is_grpc = setup.grpc > 0
        self.observer = observer("r", live, max_body=100)
        if setup.observed:
            self.route.observe(self.observer)
        if setup.dual_write:
            self.route.dual_write = DualWrite(models[0], 0.1, 1.0, frozenset(), b"", self.trial.meters.copy)
        self.route.settle(models)
        self.client = Client(self)
        self.exchange = self.ask()

    def ask(self) -> RequestDriver:
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
        if exchange in self.context.timed:
            found.append("slow")
        found += [f"{n} holds" for n, leg in enumerate(self.legs) if leg in self.context.timed]
        if exchange in self.context.watched:
            found.append("time is up")
        if self.context.planned:
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
            self.context.cancel(self.exchange)
            self.exchange.late()
        elif step == "time is up":
            del self.context.watched[self.exchange]
            self.exchange.check(monotonic())
        else:
            calls, self.context.planned = self.context.planned, []
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
            self.context.cancel(leg)
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
        exchange, due = self.exchange, self.context.timed
        legs = tuple(self._leg_key(leg) for leg in self.legs if not (leg.ended and isinstance(leg, Write)))
        trials = tuple(
            (trial.in_flight, tuple(trial.ledger.values()), trial.memory) for trial in (*self.trials, self.observer)
        )
        here = (
            exchange.state,
            exchange in due,
            exchange in self.context.watched,
            bool(self.context.planned),
            len(exchange.samples),
        )
        return (*here, exchange.body_done, legs, trials, tuple(self.client.log), self.past())

    def _leg_key(self, leg: Any) -> tuple[Any, ...]:
        kept = (leg.kept is None, leg.unsent is None, leg.too_large, getattr(leg, "held", None))
        said = (self.role(leg), leg.ended, self.said.get(leg), leg.reason, bool(leg.spoke))
        return (*said, *kept, leg in self.context.timed, bool(leg.longest), leg in self.went_on)

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
