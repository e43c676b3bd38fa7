"""Promise: who serves is sticky, nested and fair; who is sampled says nothing about who serves."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from proxy.request.routing import FEW, MatchRule, Router, bucket, chosen, salt

KEYS = st.binary(min_size=0, max_size=64)
SERVE, SAMPLE = salt("r", "v2", "1", "serve"), salt("r", "v2", "1", "sample")


@given(KEYS, st.integers(0, 10_000), st.integers(0, 10_000))
def test_buckets_are_nested(key: bytes, one: int, two: int) -> None:
    """Whoever is in at a smaller weight stays in at a larger one."""
    low, high = sorted((one, two))
    assert not chosen(SERVE, key, low) or chosen(SERVE, key, high)


@given(KEYS)
def test_ends_of_the_scale(key: bytes) -> None:
    assert chosen(SERVE, key, 10_000)
    assert not chosen(SERVE, key, 0)
    assert 0 <= bucket(SERVE, key) < 10_000


def test_shares_are_what_they_say() -> None:
    """Of 50,000 users 5 % within five standard deviations (0.5 %)."""
    count = sum(chosen(SERVE, b"user-%d" % n, 500) for n in range(50_000))
    assert abs(count - 2_500) < 5 * (50_000 * 0.05 * 0.95) ** 0.5


def test_the_two_choices_are_independent() -> None:
    """Among those who are served by the candidate at 10 %, 30 % are sampled, as among all."""
    served = [key for key in (b"user-%d" % n for n in range(50_000)) if chosen(SERVE, key, 1_000)]
    both = sum(chosen(SAMPLE, key, 3_000) for key in served)
    assert abs(both - 0.3 * len(served)) < 5 * (len(served) * 0.3 * 0.7) ** 0.5


def test_a_new_version_shuffles() -> None:
    again = salt("r", "v2", "2", "serve")
    served = [key for key in (b"user-%d" % n for n in range(20_000)) if chosen(SERVE, key, 1_000)]
    both = sum(chosen(again, key, 1_000) for key in served)
    assert abs(both - 0.1 * len(served)) < 5 * (len(served) * 0.1 * 0.9) ** 0.5


def test_names_are_not_run_together() -> None:
    assert salt("ab", "c") != salt("a", "bc")


ROUTER = Router(
    [
        (MatchRule(b"/a", frozenset({b"POST"})), "post a"),
        (MatchRule(b"/a*", frozenset(), ((b"x-tenant", b"t"),)), "tenant"),
        (MatchRule(b"/a"), "a"),
        (MatchRule(b"/a/b"), "b"),
        (MatchRule(b"/a/*"), "under a"),
    ]
)


def test_first_rule_that_applies_wins() -> None:
    cases = {
        (b"/a", b"POST"): "post a",
        (b"/a", b"GET"): "a",
        (b"/a/b", b"GET"): "b",
        (b"/a/c", b"GET"): "under a",
        (b"/b", b"GET"): None,
    }
    assert {case: ROUTER.find(*case, {}) for case in cases} == cases
    assert ROUTER.find(b"/a/b", b"GET", {b"x-tenant": b"t"}) == "tenant"


PATHS = st.text("ab/", max_size=4).map(lambda text: b"/" + text.encode())
RULES = st.lists(
    st.builds(
        MatchRule,
        st.one_of(PATHS, PATHS.map(lambda path: path + b"*"), st.just(b"")),
        st.sampled_from([frozenset(), frozenset({b"POST"})]),
        st.sampled_from([(), ((b"x-tenant", b"t"),)]),
    ),
    max_size=3 * FEW,
)


@given(RULES, PATHS, st.sampled_from([b"GET", b"POST"]), st.booleans())
def test_router_agrees_with_trying_every_rule(rules: list[MatchRule], path: bytes, method: bytes, tenant: bool) -> None:
    headers = {b"x-tenant": b"t"} if tenant else {}
    expected = next((n for n, rule in enumerate(rules) if rule.allows(path, method, headers)), None)
    assert Router([(rule, n) for n, rule in enumerate(rules)]).find(path, method, headers) == expected
