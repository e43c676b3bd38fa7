"""Promise: expensive work delays only its own rollout, cheap work is never lost in a burst, and nothing grows old."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from proxy.controller.fairness import DEAR, MAX_BYTES, MAX_LENGTH, MEMORY, PATIENCE, FairQueue


def serve(queue: FairQueue, costs: dict[str, float], until: float) -> list[tuple[str, object]]:
    """Do what waits for so many seconds of work; what was done, in order."""
    done, spent = [], 0.0
    while spent < until and (name := queue.next()) is not None:
        queue.too_old(name)
        item = queue.take(name)
        if item is not None:
            done.append((name, item))
            queue.worked(name, costs[name])
            spent += costs[name]
        queue.learn(name, costs[name])
        queue.finished(name)
    return done


def fill(queue: FairQueue, name: str, count: int) -> None:
    for number in range(count):
        assert queue.add(name, number, 100)


def test_each_name_has_its_share_of_the_time_not_of_the_turns() -> None:
    queue = FairQueue()
    fill(queue, "dear", 2)
    fill(queue, "cheap", 1000)
    done = serve(queue, {"dear": 0.05, "cheap": 0.00005}, 0.0999)
    first = [name for name, _ in done].index("dear")
    assert Counter(name for name, _ in done[: first + 2]) == {"dear": 1, "cheap": 1}
    assert [name for name, _ in done[first + 1 : first + 900]] == ["cheap"] * 899


def test_who_comes_later_has_saved_nothing_up() -> None:
    queue = FairQueue()
    fill(queue, "old", 500)
    serve(queue, {"old": 0.0001}, 0.02)
    fill(queue, "new", 500)
    done = Counter(name for name, _ in serve(queue, {"old": 0.0001, "new": 0.0001}, 0.02))
    assert abs(done["old"] - done["new"]) <= 2


@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), max_size=60))
def test_a_line_is_served_in_its_order_and_what_is_first_before_it(added: list[tuple[str, bool]]) -> None:
    queue, expected = FairQueue(), {name: list[int]() for name in "abc"}
    for number, (name, first) in enumerate(added):
        queue.add(name, number, 1, first=first)
        expected[name].insert(0 if first else len(expected[name]), number)
    done = serve(queue, dict.fromkeys("abc", 0.00001), 10.0)
    assert {name: [item for one, item in done if one == name] for name in "abc"} == expected
    assert not queue
    assert not any(name in queue for name in "abc")


def test_what_is_dear_is_dropped_when_it_is_old_and_what_is_cheap_never() -> None:
    for cost, lost in ((0.03, True), (DEAR / 2, False)):
        queue = FairQueue()
        fill(queue, "a", 1000)
        spent = 0.0
        old: list[object] = []
        while queue:
            assert queue.next() == "a"
            old += queue.too_old("a")
            if queue.take("a") is not None:
                queue.worked("a", cost)
                spent += cost
            queue.learn("a", cost)
            queue.finished("a")
        assert bool(old) is lost
        assert not lost or spent <= PATIENCE + 2 * cost


def test_one_long_moment_makes_no_line_dear() -> None:
    queue = FairQueue()
    fill(queue, "a", 500)
    costs = [0.00005] * 100 + [0.9 * DEAR * MEMORY] + [0.00005] * 300
    for cost in costs:
        queue.next()
        assert queue.too_old("a") == []
        queue.take("a")
        queue.worked("a", cost + 0.001)
        queue.learn("a", cost)
        queue.finished("a")


def test_reports_are_never_dropped_and_keep_their_place() -> None:
    queue = FairQueue()
    for number in range(50):
        queue.add("a", number, 100)
        queue.add("a", f"report {number}", 0)
    done = serve(queue, {"a": 0.03}, 100.0)
    assert [item for _, item in done if isinstance(item, str)] == [f"report {n}" for n in range(50)]
    assert 2 < sum(isinstance(item, int) for _, item in done) < 20


def test_a_full_line_drops_what_is_dear_and_holds_up_what_is_cheap() -> None:
    queue = FairQueue()
    fill(queue, "cheap", MAX_LENGTH)
    assert queue.crowded
    assert queue.add("cheap", "more", 100)
    dear = FairQueue()
    fill(dear, "dear", MAX_LENGTH)
    dear.next()
    dear.take("dear")
    dear.worked("dear", 0.06)
    dear.learn("dear", 0.06)
    dear.finished("dear")
    fill(dear, "dear", 1)
    assert not dear.add("dear", "more", 100)
    assert dear.add("dear", "report", 0)
    assert not dear.crowded


def test_bytes_count_too() -> None:
    queue = FairQueue()
    queue.add("a", 1, MAX_BYTES)
    assert not queue.crowded
    queue.add("a", 2, MAX_BYTES)
    assert queue.crowded
    queue.next()
    queue.take("a")
    queue.learn("a", 0.0)
    queue.finished("a")
    assert not queue.crowded


def test_what_is_done_leaves_nothing_behind() -> None:
    queue = FairQueue()
    for number in range(1000):
        queue.add(f"trial {number}", number, 1)
    serve(queue, {f"trial {n}": 0.00001 for n in range(1000)}, 10.0)
    assert not queue._lines
