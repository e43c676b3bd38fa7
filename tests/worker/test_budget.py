"""Promise: no peer, on either side, costs another one a turn: what one connection may cause at once is bounded, what is
over waits behind everybody who is ready, and all that waits has a bounded part of each turn together. What comes of the
bytes is the same.

Work is counted here, not timed. The protocols run without sockets, as in `test_cuts.py`.
"""

from __future__ import annotations

from collections import Counter

import pytest

from proxy.worker.reader import MUCH, ONE_READ, PIECE
from proxy.worker.turn import AT_ONCE, PER_TURN, SLICE
from tests.worker.test_cuts import body_of, cut
from tests.worker.turns import CHUNKED, HEALTH, HERE, TINY, Http, turns


def test_answers_of_our_own_wait_their_turn() -> None:
    bench = Http()
    bench.of_client.hear(HEALTH * 1000)
    at_once = bench.of_client.out.count(HERE)
    assert 1 < at_once <= AT_ONCE // 24 + 1
    assert not bench.of_client.reading
    _, other = bench.another()
    other.hear(HEALTH)  # whoever is ready is served though others wait
    assert other.out.startswith(HERE)
    each = turns(bench, bench.of_client, HERE)
    assert sum(each) == 1000 - at_once
    assert max(each) <= PER_TURN // 24 + 3
    assert bench.of_client.reading


@pytest.mark.parametrize("cut_at", [0, 20_000])
def test_long_heads_are_read_one_after_the_other_with_rests_between(cut_at: int) -> None:
    bench = Http()
    head = b"GET /-/healthz HTTP/1.1\r\nHost: a\r\n" + b"a: b\r\n" * 5000 + b"\r\n"
    wires = [bench.another()[1] for _ in range(5)]
    bench.context.turn.was_dear(1.0)
    began = bench.loop.now
    for wire in wires:
        for piece in cut(head * 3, [cut_at]):
            wire.hear(piece)
    assert not any(wire.out for wire in wires)
    bench.of_client.hear(HEALTH)
    assert bench.of_client.out.startswith(HERE)  # who is read for little does not wait for that
    bench.loop.turn()
    assert bench.loop.now - began > 1.0
    assert [wire.out.count(HERE) for wire in wires] == [3] * 5


def test_tiny_chunks_wait_their_turn() -> None:
    """A client's, and a model's."""
    bench = Http()
    bench.of_client.hear(CHUNKED + TINY * 20_000)
    bench.loop.step()
    taken = bench.of_model.out.count(TINY)
    assert 0 < taken <= AT_ONCE + PER_TURN
    each = turns(bench, bench.of_model, TINY)
    assert sum(each) == 20_000 - taken
    assert max(each) <= PER_TURN + SLICE
    bench.of_client.hear(b"0\r\n\r\n")
    bench.loop.turn()
    bench.of_model.hear(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + TINY * 20_000)
    first, *each = turns(bench, bench.of_client, TINY)
    assert 0 < first <= AT_ONCE + PER_TURN
    assert first + sum(each) == 20_000
    assert max(each) <= PER_TURN + SLICE


def test_large_chunks_wait_for_nobody() -> None:
    """What is worth its bytes passes as it comes."""
    bench = Http()
    piece = b"4000\r\n" + bytes(0x4000) + b"\r\n"
    bench.of_client.hear(CHUNKED + piece * 3)
    bench.loop.step()
    assert bench.of_model.out.endswith(piece * 3)
    assert bench.of_client.reading


def test_interim_answers_of_a_model_wait_their_turn() -> None:
    bench = Http()
    bench.of_client.hear(b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n")
    bench.loop.turn()
    hints = b"HTTP/1.1 103 Early Hints\r\nLink: </%b>\r\n\r\n" % (b"x" * 30_000)
    bench.of_model.hear(hints * 10 + b"HTTP/1.1 204 No Content\r\n\r\n")
    bench.loop.step()
    assert 1 <= bench.of_client.out.count(b"103 Early") <= 3
    bench.loop.turn()
    assert bench.of_client.out.count(b"103 Early") == 10
    assert b"HTTP/1.1 204" in bench.of_client.out


def test_a_connection_that_fills_its_reads_is_read_once_in_a_turn() -> None:
    bench = Http()
    bench.of_client.hear(b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 10000000\r\n\r\n" + bytes(MUCH))
    assert not bench.of_client.reading
    bench.loop.turn()
    assert bench.of_client.reading
    assert bench.of_model.out.endswith(bytes(MUCH))
    bench.of_client.hear(bytes(MUCH - 1))
    assert bench.of_client.reading


def test_a_body_that_one_more_read_ends_is_read_on_and_what_follows_it_is_not() -> None:
    bench, size = Http(), MUCH + ONE_READ
    bench.of_client.hear(b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % (size + 1) + bytes(MUCH))
    assert not bench.of_client.reading
    bench.loop.turn()
    bench.of_client.hear(bytes(size - MUCH + 1))
    bench.of_model.hear(b"HTTP/1.1 204 No Content\r\n\r\n")
    bench.loop.turn()
    bench.of_client.hear(b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % size + bytes(MUCH))
    assert bench.of_client.reading
    bench.of_client.hear(bytes(size - MUCH))
    assert not bench.of_client.reading, "the next one has its turn"
    assert bench.of_model.out.endswith(bytes(size)), "it is sent, though the turn goes on"


def test_a_long_body_goes_on_in_pieces_that_grow_and_small_requests_after_it_in_small_ones() -> None:
    """Each piece of a body is a write; of what is not taken, little is copied again."""
    bench, sizes = Http(), list[int]()
    bench.of_client.hear(b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 512000\r\n\r\n")
    bench.loop.turn()
    write = bench.of_model.write
    bench.of_model.write = lambda data: [sizes.append(len(data)), write(data)]  # type: ignore[method-assign]
    for _ in range(2):
        bench.client._store(bytes(256_000), 0)  # as what comes while others wait
        bench.loop.turn()
    assert sizes == [PIECE, 2 * PIECE, 4 * PIECE, 8 * PIECE, 256_000 - 15 * PIECE, 256_000]
    bench.of_model.hear(b"HTTP/1.1 204 No Content\r\n\r\n")
    bench.loop.turn()
    bench.of_client.hear(HEALTH * 10_000)
    bench.loop.step()
    assert bench.client._piece == PIECE


def test_connections_of_one_owner_share_what_one_has() -> None:
    """A hundred connections that flood from one address get as much as one from another."""
    bench = Http()
    many = [bench.another(b"many")[1] for _ in range(100)]
    _, one = bench.another(b"one")
    for wire in (*many, one):
        wire.hear(HEALTH * 200)
    served: Counter[str] = Counter()
    for _ in range(40):
        before = sum(wire.out.count(HERE) for wire in many), one.out.count(HERE)
        bench.loop.step()
        served["many"] += sum(wire.out.count(HERE) for wire in many) - before[0]
        served["one"] += one.out.count(HERE) - before[1]
    assert 0 < served["many"] <= 1.2 * served["one"]
    assert served["many"] + served["one"] <= 40 * (PER_TURN // 24 + 3)


def test_who_has_waited_goes_on_waiting_while_others_do() -> None:
    """To released a little and come back at once earns no more than to flood."""
    bench = Http()
    _, wire = bench.another(b"a")
    _, other = bench.another(b"b")
    other.hear(HEALTH * 1000)
    wire.hear(HEALTH * (AT_ONCE // 24 + 2))
    while not wire.reading:
        bench.loop.step()
    before = wire.out.count(HERE)
    wire.hear(HEALTH)
    assert wire.out.count(HERE) == before
    bench.loop.turn()
    assert wire.out.count(HERE) == before + 1
    wire.hear(HEALTH)  # nobody waits: at once
    assert wire.out.count(HERE) == before + 2


def test_what_waits_of_an_answer_is_taken_up_though_the_model_has_gone() -> None:
    bench = Http()
    bench.of_client.hear(b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n")
    bench.loop.turn()
    bench.of_model.hear(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + TINY * 5000 + b"0\r\n\r\n")
    bench.of_model.closed = True
    bench.model.connection_lost(None)
    bench.loop.turn()
    assert bench.of_client.out.endswith(TINY * 5000 + b"0\r\n\r\n")
    assert not bench.model.pool._all


def test_a_taker_that_is_full_is_given_nothing_that_waits() -> None:
    bench = Http()
    bench.of_client.hear(b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n")
    bench.loop.turn()
    bench.of_model.hear(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + TINY * 5000)
    bench.context.turn.flush()
    had = bench.of_client.out.count(TINY)
    bench.client.pause_writing()
    bench.loop.turn()
    assert bench.of_client.out.count(TINY) == had < 5000
    assert not bench.of_model.reading
    bench.client.resume_writing()
    bench.loop.turn()
    assert bench.of_client.out.count(TINY) == 5000
    assert bench.of_model.reading


def test_the_end_of_a_half_closed_client_comes_behind_what_waits() -> None:
    bench = Http()
    bench.of_client.hear(b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n" + HEALTH * 100)
    bench.loop.turn()
    assert bench.client.eof_received()
    bench.of_model.hear(b"HTTP/1.1 204 No Content\r\n\r\n")
    bench.loop.turn()
    assert bench.of_client.out.count(HERE) == 100
    assert bench.of_client.closed


def test_no_more_than_one_read_is_held() -> None:
    bench = Http()
    bench.of_client.hear(CHUNKED + TINY * 40_000)
    for _ in range(10):
        bench.of_client.hear(TINY * 40_000)  # stays with the kernel
        bench.loop.step()
    assert len(bench.client._kept) <= len(CHUNKED + TINY * 40_000)
    assert len(bench.of_client.unread) == 10
    assert len(body_of(b"x", [])) < PIECE


def test_events_that_flood_wait_their_turn_like_any_chunks() -> None:
    """They pass without being looked at, as long as nothing of their connection waits."""
    bench = Http()
    bench.of_client.hear(b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n")
    bench.loop.turn()
    bench.of_model.hear(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
    bench.loop.turn()
    bench.of_model.hear(TINY)
    assert bench.of_client.out.endswith(TINY), "at once"
    bench.of_model.hear(TINY * 20_000)
    bench.of_model.hear(b"1\r\ny\r\n")
    assert not bench.of_client.out.endswith(b"y\r\n"), "behind what waits"
    each = turns(bench, bench.of_client, TINY)
    assert max(each) <= PER_TURN + SLICE
    assert bench.of_client.out.endswith(TINY + b"1\r\ny\r\n")
