"""Whether a judge is still what it was: pairs with known verdicts are asked again and again, and an e-process tells
when the answers have changed.

A provider may replace the model behind a name without a word. Verdicts then measure something else, and a candidate
would be rolled back, or promoted, for what the judge did. So anchors are asked, once each in either order (what the
judge says then are its *references*), and from then on in *rounds* of questions drawn at random. Each answer is placed
four times: is it the reference (constancy); is it the known verdict (agreement); is it first, second or tie (position);
is it the longer answer, the shorter or neither (length). Null hypothesis: the shares of these are what they were in the
first rounds. Every later round j is tested as the moment of a change, by universal inference (Wasserman, Ramdas,
Balakrishnan, PNAS 117, 2020):

    E = Σ over the four of ¼ Σ_j w_j KT(before j) · KT(since j) / ML(all),

KT the Krichevsky-Trofimov probability of the counts, ML their greatest under one law. Questions are drawn, so under the
null answers are independent and of one law however different the anchors are. ML is at least what the true law gives,
so E is at most a martingale, and the chance that it ever reaches 1/`FALSE_ALARMS` is at most `FALSE_ALARMS` (Ville),
however many rounds there are and whatever decides about them. Any change of the judge shows in constancy, most of all
on pairs where it is in two minds; `blind_spots` says what a file of anchors cannot show.

**How to use it.** A change is noticed after it has happened, so verdicts wait for anchors that are asked after them:

1. `begin_record`, then rounds: ask what `next_round` says, past every cache, and give the answers to `after_round`, ""
   for one that was not judged. No verdict counts before the record is known (references and first rounds).
2. Verdicts are held back. A round is due once `ROUND_EVERY` of them wait, or the oldest has waited for as long as the
   asker wants. It is asked after the last of them was given.
3. If the record then `confirms`, all that waited when the round began go to `Evidence.judged`, in the order of their
   requests' times.
4. If it is in *doubt* (a recent change explains the answers `DOUBT` times better than none), nothing is let go of and
   the next round is asked at once, until the record confirms or the judge has `moved`. Doubt costs anchors, no
   evidence. Pairs may be judged meanwhile and wait too, in a bounded queue; who drops some counts them as not judged.
5. Once it has `moved`, it stays so: `Evidence.judge_moved` for each prediction of this judge; what waits is dropped.
   The same is done with one that `is_unfit`: a judge that calls everything a tie, or always the first answer better,
   passes every candidate, and shows it by its first verdicts on pairs of which one answer is better.

Nothing of this looks at a verdict on a pair, so evidence by an unchanged judge is as valid as without anchors. What is
counted after a change are the verdicts of rounds that raised no doubt: a change that is small on the anchors is small
on pairs like them. How small, and what comes of it, is in `docs/calibration.md`.

Pure, and bounded: the references, and ten counts of at most `KEPT` moments.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import exp, lgamma, log
from typing import Any, Final, NamedTuple

from proxy.judges.verdict import FIRST, SECOND, TIE, WINNERS

FALSE_ALARMS: Final = 0.001
"""The chance, over all rounds, that an unchanged judge is said to have changed."""
ROUND: Final = 20
"""Questions of a round; one with fewer answers than half of that is not counted, and asked again."""
BASE_ROUNDS: Final = 3
"""Rounds that say what the judge is like, before any verdict counts."""
ROUND_EVERY: Final = 100
"""Verdicts that may wait until a round is due."""
DOUBT: Final = 50.0
"""Likelihood ratio of a change from which verdicts wait on."""
RECENT: Final = 200
"""Answers: a change farther back than these raises no doubt, what followed it has been let go of already."""
KEPT: Final = 20
"""Moments that are kept as those of a change."""

GROUPS: Final = ((0, 2), (2, 4), (4, 7), (7, 10))
"""Which of the ten counts are of constancy, of agreement, of position and of length."""
FIT: Final = 0.6
"""Share of its first verdicts on anchors with a better answer that a judge must get right; always `first` makes 0.5."""
NO_ANSWERS: Final[tuple[int, ...]] = (0,) * 10


class Anchor(NamedTuple):
    """One anchor: the `known` verdict (`first`, `second` or `tie`) and which of its two answers is `longer` (`first`,
    `second`, or "" where they are about as long), in the order of the file."""

    known: str
    longer: str = ""


class AnchorQuestion(NamedTuple):
    """One anchor by its place in the file, to be asked with its two answers in the other order where `swapped`."""

    anchor: int
    swapped: bool


class AnchorMoment(NamedTuple):
    """A moment at which the judge may have changed: before this round, with the counts from there to the next one."""

    number: int
    counts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class AnchorRecord:
    """What a judge's answers to anchors have come to.

    `references` are its first verdicts, two for each anchor (in the order of the file, and swapped), "" where not known
    yet. `base` counts the first rounds, `since` the later ones, from each moment to the next. `evidence` is log E and
    `doubt` the log likelihood ratio of the likeliest recent change, as of the last round.
    """

    anchors: tuple[Anchor, ...]
    references: tuple[str, ...]
    rounds: int = 0
    base: tuple[int, ...] = NO_ANSWERS
    since: tuple[AnchorMoment, ...] = ()
    evidence: float = 0.0
    doubt: float = 0.0
    moved: bool = False

    @property
    def is_known(self) -> bool:
        """Whether it is known what the judge is like."""
        return self.rounds >= BASE_ROUNDS

    @property
    def confirms(self) -> bool:
        """Whether verdicts that were given before the last round may count."""
        return self.is_known and not self.moved and self.doubt < log(DOUBT)

    @property
    def ability(self) -> tuple[int, int]:
        """How many of its first verdicts on anchors that have a better answer were right, and how many those are."""
        clear = [
            (_meant(verdict, swapped=bool(place % 2)), self.anchors[place // 2].known)
            for place, verdict in enumerate(self.references)
            if verdict and self.anchors[place // 2].known != TIE
        ]
        return sum(meant == known for meant, known in clear), len(clear)

    @property
    def is_unfit(self) -> bool:
        """Whether it has not changed, but never knew which answer is better: it `moved` before the first round."""
        return self.moved and not self.rounds

    @property
    def counts(self) -> dict[str, int]:
        """How many answers there were, and how many were the reference, the known verdict, `first`, and the longer one:
        to be shown."""
        every = _added([self.base, *(one.counts for one in self.since)])
        names = {"answers": every[0] + every[1], "constant": every[0], "agreed": every[2], "first": every[4]}
        return names | {"longer": every[7]}

    @property
    def dumped(self) -> list[Any]:
        """What `restored_record` takes, as JSON values."""
        since = [[one.number, list(one.counts)] for one in self.since]
        return [list(self.references), self.rounds, list(self.base), since, self.evidence, self.doubt, self.moved]


def begin_record(anchors: Sequence[Anchor]) -> AnchorRecord:
    """A record of nothing, of at least one anchor."""
    return AnchorRecord(tuple(anchors), ("",) * (2 * len(anchors)))


def restored_record(anchors: Sequence[Anchor], raw: Sequence[Any]) -> AnchorRecord:
    """The record whose `dumped` this is; raises `ValueError` for anything else, or one of other anchors.

    >>> record = begin_record([Anchor("first")])
    >>> restored_record(record.anchors, record.dumped) == record
    True
    """
    try:
        references, rounds, base, since, evidence, doubt, moved = raw
        moments = tuple(AnchorMoment(int(number), _ten(counts)) for number, counts in since)
    except (TypeError, ValueError) as error:
        raise ValueError(f"not a record of anchors: {error}") from None
    if len(references) != 2 * len(anchors) or not set(references) <= {"", *WINNERS}:
        raise ValueError("a record of other anchors")
    known = (int(rounds), _ten(base), moments, float(evidence), float(doubt), bool(moved))
    return AnchorRecord(tuple(anchors), tuple(references), *known)


def next_round(record: AnchorRecord, key: bytes) -> list[AnchorQuestion]:
    """The questions to be asked next, at most `ROUND`: those without a reference in their order, and from then on drawn
    at random with a secret `key` of at most 64 bytes.

    >>> record = begin_record([Anchor("first"), Anchor("tie")])
    >>> next_round(record, b"k")[:3]
    [AnchorQuestion(anchor=0, swapped=False), AnchorQuestion(anchor=0, swapped=True), AnchorQuestion(anchor=1, \
swapped=False)]
    >>> len(next_round(replace(record, references=("first",) * 4), b"k"))
    20
    """
    missing = [place for place, verdict in enumerate(record.references) if not verdict]
    if missing:
        return [AnchorQuestion(place // 2, bool(place % 2)) for place in missing[:ROUND]]
    return [_drawn(key, record.rounds * ROUND + n, len(record.anchors)) for n in range(ROUND)]


def _drawn(key: bytes, number: int, anchors: int) -> AnchorQuestion:
    digest = hashlib.blake2b(number.to_bytes(8, "little"), digest_size=16, key=key, person=b"anchor").digest()
    return AnchorQuestion(int.from_bytes(digest[:15], "little") % anchors, bool(digest[15] & 1))


def after_round(record: AnchorRecord, questions: Sequence[AnchorQuestion], given: Sequence[str]) -> AnchorRecord:
    """The record once the questions of `next_round` were answered: `first`, `second` or `tie` as they were asked, ""
    for one that was not judged. A round of too few answers leaves it as it is.

    >>> def answered(record: AnchorRecord, *ways: str) -> AnchorRecord:
    ...     asked = next_round(record, b"k")
    ...     return after_round(record, asked, [ways[question.swapped] for question in asked])
    >>> record = begin_record([Anchor("first"), Anchor("first")])
    >>> for _ in range(9):
    ...     record = answered(record, "first", "second")
    >>> record.confirms, answered(record, "first", "first").moved
    (True, True)
    """
    said = [(question, verdict) for question, verdict in zip(questions, given, strict=True) if verdict]
    if record.moved:
        return record
    if not all(record.references):
        references = list(record.references)
        for question, verdict in said:
            references[2 * question.anchor + question.swapped] = verdict
        record = replace(record, references=tuple(references))
        right, clear = record.ability
        return replace(record, moved=all(references) and right < FIT * clear)
    if 2 * len(said) < ROUND:
        return record
    counts, rounds = _counted(record, said), record.rounds + 1
    if not record.is_known:
        return replace(record, rounds=rounds, base=_added([record.base, counts]))
    since = _thinned((*record.since, AnchorMoment(rounds - BASE_ROUNDS, counts)))
    evidence, doubt = log_evidence(record.base, since), recent_change(record.base, since)
    moved = evidence >= -log(FALSE_ALARMS)
    return replace(record, rounds=rounds, since=since, evidence=evidence, doubt=doubt, moved=moved)


def log_evidence(base: tuple[int, ...], since: Sequence[AnchorMoment]) -> float:
    """Log E of the counts of the first rounds and since each moment; moments are numbered from 1.

    >>> counts = (20, 0, 20, 0, 10, 10, 0, 10, 10, 0)
    >>> log_evidence(counts, [AnchorMoment(1, counts)]) < 0 < log_evidence(counts, [AnchorMoment(1, counts[1::-1] * 5)])
    True
    """
    whole, after, logs = _added([base, *(one.counts for one in since)]), NO_ANSWERS, []
    for moment in reversed(since):
        after = _added([after, moment.counts])
        before = tuple(a - b for a, b in zip(whole, after, strict=True))
        for start, stop in GROUPS:
            split = _mixed(before[start:stop]) + _mixed(after[start:stop])
            logs.append(round_weight(moment.number) - log(len(GROUPS)) + split - _greatest(whole[start:stop]))
    top = max(logs)
    return top + log(sum(exp(one - top) for one in logs))


def recent_change(base: tuple[int, ...], since: Sequence[AnchorMoment]) -> float:
    """Log likelihood ratio, at least 0, of the likeliest change within the last `RECENT` answers.

    >>> counts = (20, 0, 20, 0, 10, 10, 0, 10, 10, 0)
    >>> recent_change(counts, [AnchorMoment(1, counts)]), recent_change(counts, [AnchorMoment(1, counts[::-1])]) > 10
    (0.0, True)
    """
    whole, after, most = _added([base, *(one.counts for one in since)]), NO_ANSWERS, 0.0
    for moment in reversed(since):
        after = _added([after, moment.counts])
        if sum(after[:2]) > RECENT:
            break
        before = tuple(a - b for a, b in zip(whole, after, strict=True))
        for start, stop in GROUPS:
            split = _greatest(before[start:stop]) + _greatest(after[start:stop])
            most = max(most, split - _greatest(whole[start:stop]))
    return most


def round_weight(j: int) -> float:
    """Log of w_j, j ≥ 1, the weight of a change before the j-th round: 1/(1 + ln j) − 1/(1 + ln(j + 1)).

    >>> round(sum(exp(round_weight(j)) for j in range(1, 1000)) + 1 / (1 + log(1000)), 9)
    1.0
    """
    return log(1 / (1 + log(j)) - 1 / (1 + log(j + 1)))


def longer_of(first: str, second: str) -> str:
    """Which of two texts is the longer one; "" where they differ by less than a tenth.

    >>> longer_of("a" * 50, "a" * 20), longer_of("a" * 20, "a" * 50), longer_of("a" * 50, "a" * 48)
    ('first', 'second', '')
    """
    if abs(len(first) - len(second)) * 10 < max(len(first), len(second), 1):
        return ""
    return FIRST if len(first) > len(second) else SECOND


def blind_spots(anchors: Sequence[Anchor]) -> list[str]:
    """What a file of anchors cannot show, in words.

    >>> blind_spots([Anchor("first", "second"), Anchor("first", "first"), Anchor("tie", "first")] * 7)
    []
    >>> blind_spots([Anchor("first", "first")] * 20)[0]
    'the shorter answer is the better one in 0 of 20 anchors: a judge that turns towards length hardly shows'
    """
    least, found = len(anchors) / 10, []
    if all(one.known == TIE for one in anchors):
        found.append("no anchor has a better answer: a judge that sees no difference between any two would not be seen")
    shorter = sum(one.known != TIE and bool(one.longer) and one.known != one.longer for one in anchors)
    twins = sum(one.known == TIE and bool(one.longer) for one in anchors)
    hardly = "a judge that turns towards length hardly shows"
    if shorter < least:
        found.append(f"the shorter answer is the better one in {shorter} of {len(anchors)} anchors: {hardly}")
    if twins < least:
        found.append(f"{twins} of {len(anchors)} anchors are two equally good answers of another length: {hardly}")
    if len(anchors) < ROUND:
        found.append(f"{len(anchors)} anchors are few: a change shows on those alone about which the judge is in doubt")
    return found


def _thinned(since: tuple[AnchorMoment, ...]) -> tuple[AnchorMoment, ...]:
    """At most `KEPT` moments: the one goes that is nearest to its neighbours for its age, never the first or last."""
    if len(since) <= KEPT:
        return since
    ages = [since[-1].number + 2 - one.number for one in since]
    gone = min(range(1, len(since) - 1), key=lambda i: ages[i - 1] / ages[i + 1])
    before = since[gone - 1]
    joined = AnchorMoment(before.number, _added([before.counts, since[gone].counts]))
    return (*since[: gone - 1], joined, *since[gone + 1 :])


def _counted(record: AnchorRecord, said: Sequence[tuple[AnchorQuestion, str]]) -> tuple[int, ...]:
    """[the reference, another, agrees, does not, first, second, tie, longer, shorter, neither] of a round."""
    counts = list(NO_ANSWERS)
    for question, given in said:
        known, longer = record.anchors[question.anchor]
        meant = _meant(given, swapped=question.swapped)
        counts[0 if given == record.references[2 * question.anchor + question.swapped] else 1] += 1
        counts[2 if meant == known else 3] += 1
        counts[4 + WINNERS.index(given)] += 1
        counts[9 if meant == TIE or not longer else 7 if meant == longer else 8] += 1
    return tuple(counts)


def _meant(verdict: str, *, swapped: bool) -> str:
    """A verdict in the order of the file."""
    return {FIRST: SECOND, SECOND: FIRST}.get(verdict, verdict) if swapped else verdict


def _mixed(counts: Sequence[int]) -> float:
    """Log probability of a sequence with these counts under Krichevsky and Trofimov's mixture (Dirichlet ½)."""
    half, n = 0.5 * len(counts), sum(counts)
    return lgamma(half) - lgamma(n + half) + sum(lgamma(c + 0.5) - lgamma(0.5) for c in counts)


def _greatest(counts: Sequence[int]) -> float:
    """Log of its greatest probability under any law."""
    n = sum(counts)
    return sum(c * log(c / n) for c in counts if c)


def _added(rows: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    return tuple(map(sum, zip(*rows, strict=True)))


def _ten(counts: Sequence[Any]) -> tuple[int, ...]:
    if len(counts) != len(NO_ANSWERS):
        raise ValueError(f"{len(counts)} counts")
    return tuple(int(count) for count in counts)
