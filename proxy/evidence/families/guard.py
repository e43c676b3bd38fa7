"""A guard's type: all that Understudy knows of a guard, in one value.

One file of `evidence/rules/` makes one (or a few that differ in a quantile), in `GUARDS`; everything else walks
`registry.GUARDS`: the configuration and its JSON Schema, `check`, counting, findings, charts, the console, `suggest`,
`judge` and the tables of the documentation.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from proxy.evidence.families.effort import UPWARDS, Effort, Scale
from proxy.evidence.families.rule import Context, Rule
from proxy.evidence.families.unit import Unit
from proxy.model import Guard, Kind

EVERY = frozenset(Kind) - {Kind.AUTO}
"""Every kind of prediction there is."""
COUNTED = frozenset({Kind.SCORE, Kind.NUMBER, Kind.PROBABILITIES, Kind.TEXT})
"""Kinds whose answers are on a line; text by its length."""


class Question(StrEnum):
    """What a guard answers, as the gate of `judge` and `replay` asks."""

    ACCURATE = "accurate"
    """What it answers is right, or as good as what live answers."""
    COMPATIBLE = "compatible"
    """Its answers have the form that clients of live expect."""
    FAST = "fast enough"
    """It answers in time."""
    RELIABLE = "reliable"
    """It answers as often as live does."""
    CHEAP = "cheap enough"
    """Its answers cost no more than the limit."""


@dataclass(frozen=True, slots=True)
class LimitProblem:
    """What is wrong with a limit, and a hint; `key` is the key below the guard's own that it is about."""

    problem: str
    hint: str = ""
    key: str = ""


def nothing(_guard: Guard, _kind: Kind) -> LimitProblem | None:
    """No problem, whatever the limit."""
    return None


def below_one(guard: Guard, _kind: Kind) -> LimitProblem | None:
    """The problem of a limit on a quantity that never exceeds 1.

    >>> below_one(Guard("max_ks", 1.0), Kind.SCORE).problem
    'a limit of 100% can never fail'
    """
    return LimitProblem("a limit of 100% can never fail") if guard.limit >= 1 else None


def never(_guard: Guard, _kind: Kind) -> bool:
    """Nothing is to be learned from live's first answers."""
    return False


def always(_guard: Guard, _kind: Kind) -> bool:
    """Thresholds, edges or a scale are taken from live's first answers."""
    return True


def no_pairs(_guard: Guard) -> str:
    """Why a guard on pairs has nothing to say yet."""
    return "no pairs that can be compared yet"


@dataclass(frozen=True, slots=True)
class GuardType:
    """One guard: what the file calls it, how it is written, what it counts and how it is told.

    `name` is the key under `guards:`, `place` orders lists (10, 20, …), `about` is its description in the reference and
    the JSON Schema, `title` what it measures in findings and on the console. `kinds` are the kinds of prediction that
    it can judge, `None` when it reads no prediction; `rule` makes what counts for it.
    """

    name: str
    place: int
    title: str
    about: str
    question: Question
    unit: Unit
    rule: Callable[[Guard, Context], Rule]
    effort: Effort
    kinds: frozenset[Kind] | None = None
    compares: bool = False  # what the two answers say: where one such is listed, no `implied` guard is in force, so its
    # rule counts a candidate that failed, or cannot be read, as the worst (`Batch.worst`)
    default: str = ""  # as written in the file, for a rollout without `guards`
    implied: bool = False  # the default is in force too where `guards` lists none that `compares`
    check: Callable[[Guard, Kind], LimitProblem | None] = nothing
    fits: Callable[[Guard, Kind], bool] = lambda _guard, _kind: True  # beside `kinds`: what a limit asks of the kind
    learns: Callable[[Guard, Kind], bool] = never  # whether it needs what live's first answers show
    gap: Callable[[Guard], str] = no_pairs  # why it has nothing to say yet
    noise_floor: bool = False  # under `mirror.noise_floor` it counts what goes beyond live's own noise
    labelled: bool = False  # counts truths, which come `label_delay` after their request
    embeds: bool = False  # counts the prediction's `similarity`, where it has one
    judged: bool = False  # counts verdicts of the prediction's `judge`, which it must have
    priced: bool = False  # counts what answers cost: both arms have a price
    by_users: bool = False  # counts users of both arms of a canary and what they do later, not pairs
    beside: str = ""  # a guard without which this one cannot pass, since it leaves failures out
    scale: Scale = UPWARDS
    least: float = 1e-3  # `suggest` proposes no limit nearer to two arms that are alike
    most: float = float("inf")  # nor one that is so far away or farther
    generous: Callable[[Kind], Guard | None] = lambda _kind: None  # under which it measures and hardly ever fails

    @property
    def counts(self) -> str:
        """What it counts, in words."""
        return "users" if self.by_users else "pairs"

    @property
    def reads(self) -> bool:
        """Whether it needs a prediction."""
        return self.kinds is not None

    @property
    def timed(self) -> bool:
        """Whether it is about time, and counts by blocks of request time."""
        return self.effort.blocks is not None

    def judges(self, guard: Guard, kind: Kind) -> bool:
        """Whether this limit can be judged on this kind of prediction; `auto` is not known yet, so it may."""
        return (self.kinds is None or kind is Kind.AUTO or kind in self.kinds) and self.fits(guard, kind)
