"""Promise: keys stay where they are but for those of an endpoint that comes or leaves, and none gets more than 1.25
times the mean."""

from __future__ import annotations

import math
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from proxy.fields.hash_key import HashKey
from proxy.request.legs import Leg, Upstream
from proxy.worker.upstream.affinity import FACTOR, choose_node, identity, load_bound, ranked
from proxy.worker.upstream.balancing import Balancer
from proxy.worker.upstream.dialling import Settings
from proxy.worker.upstream.endpoint import Endpoint

IDENTITIES = st.integers(0, 2**32 - 1)
NODES = st.lists(IDENTITIES, min_size=1, max_size=20, unique=True)


@given(IDENTITIES, NODES, st.data())
def test_only_the_keys_of_one_that_leaves_move(key: int, nodes: list[int], data: st.DataObject) -> None:
    here = nodes[choose_node(key, nodes, [0] * len(nodes))]
    gone = data.draw(st.sampled_from(nodes))
    rest = [node for node in nodes if node != gone]
    if rest and gone != here:
        assert rest[choose_node(key, rest, [0] * len(rest))] == here


@given(IDENTITIES, NODES, IDENTITIES)
def test_one_that_comes_takes_its_own_keys_alone(key: int, nodes: list[int], new: int) -> None:
    before = nodes[choose_node(key, nodes, [0] * len(nodes))]
    more = [*nodes, new] if new not in nodes else nodes
    assert more[choose_node(key, more, [0] * len(more))] in (before, new)


@given(IDENTITIES, NODES, st.randoms(use_true_random=False))
def test_the_order_of_the_endpoints_does_not_matter(key: int, nodes: list[int], random: object) -> None:
    mixed = list(nodes)
    random.shuffle(mixed)  # type: ignore[attr-defined]
    assert mixed[choose_node(key, mixed, [0] * len(mixed))] == nodes[choose_node(key, nodes, [0] * len(nodes))]


@given(NODES, st.lists(st.tuples(IDENTITIES, st.booleans()), max_size=200))
def test_the_bound_is_kept_whatever_comes_and_goes(nodes: list[int], steps: list[tuple[int, bool]]) -> None:
    loads, under_way = [0] * len(nodes), []
    for key, ends in steps:
        if ends and under_way:
            loads[under_way.pop(key % len(under_way))] -= 1
            continue
        at = choose_node(key, nodes, loads)
        loads[at] += 1
        under_way.append(at)
        assert loads[at] <= math.ceil(FACTOR * sum(loads) / len(nodes))


@given(IDENTITIES, NODES, st.integers(2, 50))
def test_a_full_one_is_passed_over_for_the_next_of_this_key(key: int, nodes: list[int], load: int) -> None:
    """The next is the one that would have the key if the full one had left: its cache is the one that is warm."""
    at = choose_node(key, nodes, [0] * len(nodes))
    rest = [node for node in nodes if node != nodes[at]]
    loads = [load if n == at else 0 for n in range(len(nodes))]
    if loads[at] >= load_bound(load, len(nodes)):
        assert nodes[choose_node(key, nodes, loads)] == rest[choose_node(key, rest, [0] * len(rest))]


def test_keys_are_shared_evenly() -> None:
    nodes = [identity(b"http://m.test:8000 10.0.0.%d" % n) for n in range(8)]
    shares = Counter(choose_node(identity(b"user-%d" % n), nodes, [0] * 8) for n in range(40_000))
    assert max(shares.values()) < 1.08 * 5_000
    assert min(shares.values()) > 0.92 * 5_000


@given(st.integers(0, 10_000), st.integers(1, 300))
def test_the_bound_is_the_mean_times_the_factor_rounded_up(under_way: int, nodes: int) -> None:
    assert load_bound(under_way, nodes) == math.ceil(FACTOR * (under_way + 1) / nodes)


@given(IDENTITIES, NODES, st.data())
def test_the_first_in_order_below_the_bound_is_the_keys(key: int, nodes: list[int], data: st.DataObject) -> None:
    loads = data.draw(st.lists(st.integers(0, 20), min_size=len(nodes), max_size=len(nodes)))
    most = load_bound(sum(loads), len(nodes))
    assert next(at for at in ranked(key, nodes) if loads[at] < most) == choose_node(key, nodes, loads)


class Asking(Leg):
    """A leg of a client that names its session."""

    def __init__(self, session: int) -> None:
        super().__init__(Upstream(), 1.0)
        self._head = b"GET / HTTP/1.1\r\nhost: a\r\nx-session: %d\r\n\r\n" % session

    def client_head(self) -> bytes:
        return self._head


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(2, 5), st.data()), max_size=20))
def test_orders_that_are_remembered_change_no_choice(turns: list[tuple[int, int, st.DataObject]]) -> None:
    """Whatever is loaded, left out, avoided or new by the time a key comes again."""
    urls = tuple(f"http://10.0.0.{n}:80" for n in range(5))
    balancer = Balancer(Settings("m", urls, 1.0, 1.0, 8, hash_key=HashKey("header", "x-session")))
    every = [Endpoint(url) for url in urls]
    sets = {n: tuple(every[-n:]) for n in range(2, 6)}
    for session, n, data in turns:
        endpoints = sets[n]
        for endpoint in endpoints:
            endpoint.busy, endpoint.healthy = data.draw(st.tuples(st.integers(0, 4), st.booleans()))
        avoided = data.draw(st.sampled_from((None, *endpoints)))
        others = [one for one in endpoints if one is not avoided]
        usable = [one for one in others if one.healthy] or others
        wanted = choose_node(identity(b"%d" % session), [one.identity for one in usable], [one.busy for one in usable])
        assert balancer.pick(endpoints, Asking(session), avoided) is usable[wanted]
