"""Promise: a judge that has changed is told by its answers to anchors, and one that has not is never said to have, but
for one in a thousand."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from math import comb, exp, log

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.judges.anchors import (
    BASE_ROUNDS,
    FALSE_ALARMS,
    KEPT,
    NO_ANSWERS,
    ROUND,
    Anchor,
    AnchorMoment,
    AnchorQuestion,
    AnchorRecord,
    after_round,
    begin_record,
    blind_spots,
    log_evidence,
    next_round,
    recent_change,
    restored_record,
)
from tests.judges.made_up import JUDGE, MadeUpJudge, Taste, made_up_anchors

KEY = b"secret"


def constancy(same: int, n: int) -> tuple[int, ...]:
    """Counts of `n` answers of which so many were the reference, all else alike."""
    return (same, n - same, n, 0, n, 0, 0, 0, 0, n)


def binomial(n: int, p: float) -> list[float]:
    return [comb(n, k) * p**k * (1 - p) ** (n - k) for k in range(n + 1)]


def paths(base: int, rounds: int, size: int, p: float) -> Iterator[tuple[float, list[float]]]:
    """Every outcome of the first answers and some rounds under one law: its chance, and log E after each round."""
    first, each = binomial(base, p), binomial(size, p)
    for b, *later in itertools.product(range(base + 1), *[range(size + 1)] * rounds):
        chance, since, logs = first[b], (), []
        for number, k in enumerate(later, 1):
            chance *= each[k]
            since = (*since, AnchorMoment(number, constancy(k, size)))
            logs.append(log_evidence(constancy(b, base), since))
        yield chance, logs


@pytest.mark.parametrize("p", [0.5, 0.8, 0.95, 0.99])
def test_under_the_null_its_mean_is_at_most_one_and_it_seldom_crosses(p: float) -> None:
    """By enumeration: of every outcome, at every round, and at the round of one's choice (Ville)."""
    every = list(paths(12, 3, 6, p))
    for number in range(3):
        assert sum(chance * exp(logs[number]) for chance, logs in every) <= 1.0
    for level in (2.0, 5.0, 20.0):
        assert sum(chance for chance, logs in every if max(logs) >= log(level)) <= 1.0 / level


@pytest.mark.parametrize("law", [(0.5, 0.3, 0.2), (0.9, 0.05, 0.05), (0.0, 0.5, 0.5)])
def test_of_three_answers_too(law: Sequence[float]) -> None:
    def outcomes(n: int) -> Iterator[tuple[float, tuple[int, int, int]]]:
        for a in range(n + 1):
            for b in range(n + 1 - a):
                chance = comb(n, a) * comb(n - a, b) * law[0] ** a * law[1] ** b * law[2] ** (n - a - b)
                yield chance, (a, b, n - a - b)

    def counts(position: tuple[int, int, int]) -> tuple[int, ...]:
        n = sum(position)
        return (n, 0, n, 0, *position, 0, 0, n)

    mean = sum(
        chance * later * again * exp(log_evidence(counts(b), [AnchorMoment(1, counts(k)), AnchorMoment(2, counts(m))]))
        for chance, b in outcomes(7)
        for later, k in outcomes(4)
        for again, m in outcomes(4)
    )
    assert mean <= 1.0


@given(st.lists(st.tuples(st.integers(1, 15), st.integers(1, 15)), min_size=1, max_size=6), st.integers(1, 3))
def test_it_is_the_sum_that_is_written(rounds: list[tuple[int, int]], gap: int) -> None:
    """Against probabilities of sequences reckoned answer by answer: KT as (c + ½) / (n + d/2), ML as shares."""

    def mixed(counts: Sequence[int]) -> float:
        total, seen = 0.0, [0] * len(counts)
        for kind, n in enumerate(counts):
            for _ in range(n):
                total += log((seen[kind] + 0.5) / (sum(seen) + 0.5 * len(counts)))
                seen[kind] += 1
        return total

    base = (30, 10, 25, 15, 20, 15, 5, 12, 18, 10)
    since = [AnchorMoment(1 + gap * i, (a, b, b, a, a, b, 0, 0, b, a)) for i, (a, b) in enumerate(rounds)]
    total = 0.0
    for i, moment in enumerate(since):
        before = np.sum([base, *(one.counts for one in since[:i])], axis=0)
        after = np.sum([one.counts for one in since[i:]], axis=0)
        weight = 1 / (1 + log(moment.number)) - 1 / (1 + log(moment.number + 1))
        for part in (slice(0, 2), slice(2, 4), slice(4, 7), slice(7, 10)):
            whole = (before + after)[part]
            likeliest = sum(n * log(n / whole.sum()) for n in whole.tolist() if n)
            total += 0.25 * weight * exp(mixed(before[part].tolist()) + mixed(after[part].tolist()) - likeliest)
    assert log_evidence(base, since) == pytest.approx(log(total))


def test_a_change_that_is_long_past_raises_no_doubt() -> None:
    base = constancy(58, 60)
    since = [AnchorMoment(1 + i, constancy(15, 20)) for i in range(60)]
    assert recent_change(base, since[:8]) > 5
    assert recent_change(base, since) < 3


def test_an_answer_is_counted_by_what_it_says() -> None:
    """One anchor whose first answer is right and longer, asked in both orders."""
    record = begin_record([Anchor("first", "first")])
    record = after_round(record, next_round(record, KEY), ["first", "second"])
    questions = [AnchorQuestion(0, False)] * 12 + [AnchorQuestion(0, True)] * 8
    says_the_longer = after_round(record, questions, ["first"] * 12 + ["second"] * 8).counts
    assert says_the_longer == {"answers": 20, "constant": 20, "agreed": 20, "first": 12, "longer": 20}
    says_first = after_round(record, questions, ["first"] * 20).counts
    assert says_first == {"answers": 20, "constant": 12, "agreed": 12, "first": 20, "longer": 12}


def ask(record: AnchorRecord, judge: MadeUpJudge) -> AnchorRecord:
    questions = next_round(record, KEY)
    return after_round(record, questions, [judge.anchor(question) for question in questions])


def known_record(judge: MadeUpJudge) -> AnchorRecord:
    record = begin_record(judge.anchors)
    while not record.is_known:
        record = ask(record, judge)
    return record


def test_a_judge_that_stays_as_it_is_is_not_said_to_have_changed() -> None:
    doubts = []
    for seed in range(30):
        judge = MadeUpJudge(seed)
        record = known_record(judge)
        for _ in range(40):
            record = ask(record, judge)
            doubts.append(not record.confirms)
        assert not record.moved
    assert np.mean(doubts) < 0.4  # each costs a round more, and no evidence


@pytest.mark.parametrize(
    "changed",
    [JUDGE._replace(noise=2.0), JUDGE._replace(position=2.0), JUDGE._replace(length=2.0), JUDGE._replace(length=-2.0)],
    ids=["noisier", "turns to the first", "turns to the longer", "turns to the shorter"],
)
def test_each_kind_of_change_is_told_within_a_few_rounds(changed: Taste) -> None:
    for seed in range(10):
        judge = MadeUpJudge(seed)
        record = known_record(judge)
        for _ in range(10):
            record = ask(record, judge)
        judge.taste = changed
        rounds = 0
        while not record.moved:
            record, rounds = ask(record, judge), rounds + 1
        assert rounds <= 8


def test_what_was_said_before_stays_and_an_alarm_too() -> None:
    judge = MadeUpJudge(1)
    record = known_record(judge)
    judge.taste = JUDGE._replace(length=4.0)
    while not record.moved:
        record = ask(record, judge)
    judge.taste = JUDGE
    assert record.evidence >= -log(FALSE_ALARMS)
    assert ask(record, judge) == record
    assert not record.confirms


def test_nothing_is_confirmed_before_it_is_known_what_the_judge_is_like() -> None:
    judge = MadeUpJudge(2)
    record, rounds = begin_record(judge.anchors), 0
    asked = []
    while not record.is_known:
        assert not record.confirms
        asked += next_round(record, KEY) if not all(record.references) else []
        record, rounds = ask(record, judge), rounds + 1
    assert rounds == 2 * len(judge.anchors) // ROUND + BASE_ROUNDS
    assert len(asked) == len(set(asked)) == 2 * len(judge.anchors)
    assert record.counts["answers"] == BASE_ROUNDS * ROUND


def test_a_round_with_too_few_answers_is_asked_again() -> None:
    judge = MadeUpJudge(3)
    record = known_record(judge)
    questions = next_round(record, KEY)
    assert after_round(record, questions, [""] * 11 + ["first"] * 9) == record
    assert after_round(record, questions, [""] * 10 + ["first"] * 10).rounds == record.rounds + 1
    assert after_round(begin_record(judge.anchors), questions[:0], []).references.count("") == 2 * len(judge.anchors)
    half = after_round(begin_record([Anchor("first")]), next_round(begin_record([Anchor("first")]), KEY), ["tie", ""])
    assert next_round(half, KEY)[0].swapped


@given(st.permutations(range(ROUND)))
def test_in_a_round_the_order_makes_no_difference(order: list[int]) -> None:
    judge = MadeUpJudge(4)
    record = known_record(judge)
    questions = next_round(record, KEY)
    said = [judge.anchor(question) for question in questions]
    shuffled = after_round(record, [questions[i] for i in order], [said[i] for i in order])
    assert shuffled == after_round(record, questions, said)


def test_it_is_bounded_and_survives_a_restart() -> None:
    judge = MadeUpJudge(5)
    record = known_record(judge)
    for _ in range(150):
        record = ask(record, judge)
        assert restored_record(record.anchors, record.dumped) == record
    assert len(record.since) == KEPT
    assert record.since[0].number == 1
    assert record.since[-1].number == 150
    assert record.counts["answers"] == (150 + BASE_ROUNDS) * ROUND
    starts = [one.number for one in record.since]
    assert starts == sorted(set(starts))
    assert starts[-4:] == [147, 148, 149, 150]  # the latest are told apart one by one


@pytest.mark.parametrize(
    "raw", [[], [[], 0, [], [], 0, 0, False], [["x"] * 2, 0, list(NO_ANSWERS), [], 0.0, 0.0, False], "x"]
)
def test_a_record_of_something_else_is_refused(raw: Sequence[object]) -> None:
    with pytest.raises(ValueError, match=r"not a record of anchors|of other anchors|counts"):
        restored_record([Anchor("first")], raw)


def test_the_same_questions_come_from_the_same_key_only() -> None:
    record = known_record(MadeUpJudge(6))
    assert next_round(record, KEY) == next_round(record, KEY)
    assert next_round(record, KEY) != next_round(record, b"another")


def test_a_file_that_shows_all_has_no_blind_spot() -> None:
    assert blind_spots(made_up_anchors()) == []
    few = blind_spots([Anchor("first", "first")] * 3)
    assert len(few) == 3
    assert few[2].startswith("3 anchors are few")


@pytest.mark.parametrize(("says", "unfit"), [("tie", True), ("first", True), ("known", False)])
def test_a_judge_that_does_not_know_which_answer_is_better_is_none(says: str, unfit: bool) -> None:
    """It would pass every candidate: of equal ones it says the same."""
    record = begin_record(made_up_anchors(20))
    while not all(record.references) and not record.moved:
        questions = next_round(record, KEY)
        turned = {"first": "second", "second": "first", "tie": "tie"}
        right = [record.anchors[one.anchor].known for one in questions]
        known = [turned[word] if one.swapped else word for word, one in zip(right, questions, strict=True)]
        record = after_round(record, questions, known if says == "known" else [says] * len(questions))
    assert (record.moved, record.is_unfit) == (unfit, unfit)
    assert record.ability == ({"tie": 0, "first": 10, "known": 20}[says], 20)
    assert restored_record(record.anchors, record.dumped).is_unfit is unfit


def test_one_that_changes_is_not_said_to_be_unfit() -> None:
    judge = MadeUpJudge(7)
    record = known_record(judge)
    judge.taste = JUDGE._replace(position=3.0)
    while not record.moved:
        record = ask(record, judge)
    assert not record.is_unfit
