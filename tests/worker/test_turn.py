"""Promise: what one turn gathers leaves in order, together, and before anything that no client waits for."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from proxy.request.legs import Written
from proxy.worker.reader import Reader
from proxy.worker.turn import MUCH_OUT, PER_TURN, SLICE, TurnScheduler
from tests.worker.rig import ok
from tests.worker.test_cuts import Bench


class Loop:
    """Runs what was asked for "soon" when told to."""

    def __init__(self) -> None:
        self.soon: list[Callable[[], None]] = []

    def call_soon(self, work: Callable[[], None]) -> None:
        self.soon.append(work)

    def run(self) -> None:
        while self.soon:
            self.soon.pop(0)()


class Wire(Written):
    """A transport that writes into a log shared with others."""

    def __init__(self, name: str, log: list[str]) -> None:
        self.name, self.log, self.closing = name, log, False

    def write(self, data: bytes) -> None:
        self.log.append(f"{self.name}:{data.decode()}")

    def writelines(self, pieces: list[bytes]) -> None:
        self.write(b"|".join(pieces))

    def is_closing(self) -> bool:
        return self.closing

    def leaves(self, now: float) -> None:
        assert now > 0.0
        self.log.append(f"{self.name} leaves")


@pytest.fixture
def log() -> list[str]:
    return []


@pytest.fixture
def loop() -> Loop:
    return Loop()


@pytest.fixture
def turn(loop: Loop) -> TurnScheduler:
    return TurnScheduler(loop)  # type: ignore[arg-type]


class Dear(Reader):
    """Takes a byte for ten units of work, and counts."""

    def __init__(self, turn: TurnScheduler, owner: object) -> None:
        super().__init__(turn, owner)
        self.transport = self  # type: ignore[assignment]
        self.taken = b""

    def pause_reading(self) -> None: ...

    def is_closing(self) -> bool:
        return False

    def take(self, data: bytes) -> int:
        took = min(len(data), -(-self.work // 10))
        self.work -= 10 * took
        self.taken += data[:took]
        return took


def test_what_comes_once_more_has_its_part_of_a_turn_together(turn: TurnScheduler, loop: Loop) -> None:
    """Requests that waited behind answers, on many connections that all are answered in one turn."""
    readers = [Dear(turn, number) for number in range(50)]
    for reader in readers:
        reader.again(bytes(20))
    assert sum(len(reader.taken) for reader in readers) <= (PER_TURN + SLICE) // 10 + 1
    before = sum(len(reader.taken) for reader in readers)
    loop.soon.pop(0)()
    assert 0 < sum(len(reader.taken) for reader in readers) - before <= (PER_TURN + SLICE) // 10 + 1
    loop.run()
    assert all(reader.taken == bytes(20) for reader in readers)


def test_what_comes_once_more_comes_before_what_waits(turn: TurnScheduler, loop: Loop) -> None:
    reader = Dear(turn, None)
    reader.receive(b"1" * 50)
    reader.again(b"2" * 50)
    at_once = reader.taken
    loop.run()
    assert 0 < len(at_once) < 50
    assert reader.taken == at_once + b"2" * 50 + b"1" * (50 - len(at_once))


def test_nothing_leaves_before_everything_was_read(turn: TurnScheduler, loop: Loop, log: list[str]) -> None:
    a, b = Wire("a", log), Wire("b", log)
    turn.write(a, b"1", a)  # type: ignore[arg-type]
    turn.write(b, b"2")  # type: ignore[arg-type]
    assert not log
    assert len(loop.soon) == 1  # one call a turn, however much it says
    loop.run()
    assert log == ["a leaves", "a:1", "b:2"]


def test_pieces_go_with_their_head_in_one_write(turn: TurnScheduler, loop: Loop, log: list[str]) -> None:
    a, b = Wire("a", log), Wire("b", log)
    turn.write(a, b"before")  # type: ignore[arg-type]
    turn.write(b, b"head", b, [b"behind", b"rest"])  # type: ignore[arg-type]
    turn.write(b, b"next")  # type: ignore[arg-type]
    assert log == []
    loop.run()
    assert log == ["a:before", "b leaves", "b:head|behind|rest", "b:next"]
    b.closing = True
    turn.write(b, b"head", b, [b"behind"])  # type: ignore[arg-type]
    loop.run()
    assert log[4:] == []


def test_what_is_much_does_not_wait_for_the_end_of_the_turn(turn: TurnScheduler, loop: Loop, log: list[str]) -> None:
    a, b, half = Wire("a", log), Wire("b", log), bytes(MUCH_OUT // 2)
    turn.write(a, b"before")  # type: ignore[arg-type]
    turn.write(b, b"head", b, [half])  # type: ignore[arg-type]
    assert log == []
    turn.write(a, b"head", a, [half])  # type: ignore[arg-type]
    assert [said[:8] for said in log] == ["a:before", "b leaves", "b:head|\0", "a leaves", "a:head|\0"]
    turn.write(b, b"head", b, [half])  # type: ignore[arg-type]
    assert len(log) == 5, "counted anew"
    loop.run()
    assert len(log) == 7


def test_answers_first_then_copies_then_pairs(turn: TurnScheduler, loop: Loop, log: list[str]) -> None:
    client, copy = Wire("client", log), Wire("copy", log)

    def mirror() -> None:
        turn.write(copy, b"request")  # type: ignore[arg-type]
        turn.later(lambda: log.append("pair"))

    turn.later(mirror)
    turn.write(client, b"answer")  # type: ignore[arg-type]
    loop.run()
    assert log == ["client:answer", "copy:request", "pair"]


def test_a_stream_overtakes_nothing(turn: TurnScheduler, loop: Loop, log: list[str]) -> None:
    a = Wire("a", log)
    turn.write(a, b"head")  # type: ignore[arg-type]
    turn.now(a, b"piece")  # type: ignore[arg-type]
    turn.write(a, b"next")  # type: ignore[arg-type]
    loop.run()
    assert log == ["a:head", "a:piece", "a:next"]


def test_who_has_gone_is_not_written_to(turn: TurnScheduler, loop: Loop, log: list[str]) -> None:
    gone, here = Wire("gone", log), Wire("here", log)
    turn.write(gone, b"1", gone)  # type: ignore[arg-type]
    turn.write(here, b"2")  # type: ignore[arg-type]
    gone.closing = True
    loop.run()
    assert log == ["here:2"]


def test_work_that_fails_holds_nobody_up(turn: TurnScheduler, loop: Loop, log: list[str]) -> None:
    a = Wire("a", log)

    def fail() -> None:
        turn.write(a, b"after all")  # type: ignore[arg-type]
        raise ZeroDivisionError

    turn.later(fail)
    turn.later(lambda: log.append("the next one"))
    with pytest.raises(ZeroDivisionError):
        loop.run()
    loop.run()
    assert log == ["a:after all", "the next one"]
    turn.write(a, b"more")  # type: ignore[arg-type]
    loop.run()
    assert log[-1] == "a:more"


@pytest.mark.parametrize("body", [b"", b"late"])
def test_an_answer_that_comes_with_the_end_of_the_client_s_side_is_written(body: bytes) -> None:
    """The model's answer and the client's FIN in one turn: what was gathered goes out before the transport closes."""
    bench = Bench()
    bench.client.data_received(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    bench.loop.turn()
    bench.model.data_received(ok(body))
    if not bench.client.eof_received():
        bench.client.transport.close()
    bench.loop.turn()
    assert bench.client.transport.out.startswith(b"HTTP/1.1 200 OK\r\n")  # type: ignore[attr-defined]
    assert bench.client.transport.out.endswith(b"\r\n\r\n" + body)  # type: ignore[attr-defined]
