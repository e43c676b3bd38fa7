"""From a guard's name to its rule: what it measures, on which bins, in which unit it is shown.

The counts of all guards of a rollout lie side by side in one vector, so that a batch is counted with one scatter, a
merge is one addition and a snapshot is one array. `Slot` says which part belongs to which guard.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from proxy.evidence.input.batch import Batch, Placed
from proxy.evidence.input.measures import CLIP
from proxy.evidence.input.projections import PROJECTION_NAMES
from proxy.evidence.input.reference import Reference
from proxy.evidence.process.estimate import Estimate
from proxy.evidence.process.prf import key_of
from proxy.evidence.process.wealth import Counts, Floats, Ints, Numbers
from proxy.evidence.rules.discordance import ExtraErrors
from proxy.evidence.rules.ks import Ks
from proxy.evidence.rules.latency import Slower
from proxy.evidence.rules.mean import Labelled, Mean, Similarity
from proxy.evidence.rules.mismatch import Mismatched
from proxy.evidence.rules.projections import Projections
from proxy.evidence.rules.psi import Psi
from proxy.evidence.rules.rate import Rate
from proxy.evidence.rules.ratio import Ratio
from proxy.model import Guard, Kind, PredictionSpec


class Rule(Protocol):
    """What a guard is made of: pure functions of counts `(…, width)`. `log_fail` and `log_pass` give log e-values.
    `shed_at` is the category of copies never sent, `worst_at` that of a pair that is the worst for a PASS.
    `burst_values` (width, k) is what `bursts` adds up of a pair, in k columns, by category, `pass_gains`
    (width, directions + 1) what `pass_blocks` does."""

    @property
    def width(self) -> int: ...
    @property
    def shed_at(self) -> int | None: ...
    @property
    def worst_at(self) -> int | None: ...
    def place(self, batch: Batch, salt: int) -> Placed: ...
    def log_fail(self, counts: Numbers, limit: float) -> Floats: ...
    def log_pass(self, counts: Numbers, limit: float) -> Floats: ...
    def log_bets(self, counts: Counts, limit: float) -> Floats: ...
    def burst_values(self) -> Ints: ...
    def pass_gains(self, limit: float) -> Floats: ...
    def estimates(self, counts: Counts, limit: float) -> list[Estimate]: ...


@dataclass(frozen=True, slots=True)
class Slot:
    """One guard's place in the vector of counts: `start` to `stop`, with the key of its roundings."""

    guard: Guard
    rule: Rule
    start: int
    stop: int
    salt: int
    burst_values: NDArray[np.int16] = field(init=False, compare=False)  # (width, columns) of the rule, made once
    pass_gains: Floats = field(init=False, compare=False)  # (width, directions + 1), likewise

    def __post_init__(self) -> None:
        object.__setattr__(self, "burst_values", np.asfortranarray(self.rule.burst_values(), dtype=np.int16))
        object.__setattr__(self, "pass_gains", self.rule.pass_gains(self.guard.limit))

    @property
    def directions(self) -> int:
        """How many nulls a PASS of blocks must reject; 0 for none."""
        return int(self.pass_gains.shape[1]) - 1


@dataclass(frozen=True, slots=True)
class Context:
    """What a rule may depend on besides its guard."""

    kind: Kind
    spec: PredictionSpec
    reference: Reference | None = None
    noise_floor: bool = False

    @property
    def span(self) -> float:
        """Length of a score's range."""
        return self.spec.high - self.spec.low


def _shift(context: Context) -> Rule:
    """A mean shift within its range: a score's own, ±1 for probabilities, ±8 interquartile ranges for numbers. For
    vectors that of random projections, where the owner wrote the kind down: a width may not change in mid-trial."""
    if context.spec.kind is Kind.VECTOR:
        return Projections()
    bounded = {Kind.SCORE: context.span, Kind.PROBABILITIES: 1.0}
    reach = bounded.get(context.kind, CLIP)
    return Mean("shift", -reach, reach, two_sided=True, unit=_unit(context, context.kind not in bounded))


def _unit(context: Context, scaled: bool = True) -> str:
    """The unit of what is `scaled` by live's first answers, in words; empty before they are known."""
    return context.reference.unit if scaled and context.reference is not None else ""


def _latency(quantity: str, p0: float) -> Callable[[Guard, Context], Rule]:
    def build(guard: Guard, _context: Context) -> Rule:
        if guard.relative and p0 < 0.5:
            return Ratio.at(quantity, guard.limit, p0)
        return Slower.at(quantity, guard.limit, p0, relative=guard.relative)

    return build


def _disagreement(context: Context) -> Rule:
    """How often the two decide differently; with a noise floor, how much more often than live with itself."""
    return Mean("excess_differs", -1.0, 1.0, two_sided=False) if context.noise_floor else Rate("differs")


def _similarity(context: Context) -> Rule:
    """Mean similarity; with a noise floor, the loss of similarity beyond that of live with itself."""
    if context.noise_floor:
        return Similarity("excess", -1.0, 1.0, two_sided=False)
    return Similarity("distance", 0.0, 1.0, two_sided=False)


def _ks(context: Context) -> Rule:
    ref = context.reference
    return Ks(ref.thresholds, ref.gap) if ref is not None else Ks()


def _psi(context: Context) -> Rule:
    ref = context.reference
    return Psi(ref.edges, ref.fullest) if ref is not None else Psi()


RULES: dict[str, Callable[[Guard, Context], Rule]] = {
    "max_disagreement": lambda _g, c: _disagreement(c),
    "max_mean_shift": lambda _g, c: _shift(c),
    "max_ks": lambda _g, c: _ks(c),
    "max_psi": lambda _g, c: _psi(c),
    "max_big_change": lambda g, c: Rate("jump_iqr" if g.relative else "jump", g.tolerance, _unit(c, g.relative)),
    "max_spread_change": lambda _g, c: Mean("spread", -CLIP, CLIP, two_sided=True, unit=_unit(c)),
    "min_similarity": lambda _g, c: _similarity(c),
    "max_quality_drop": lambda _g, c: Labelled("", -1.0, 1.0, False, _unit(c, c.kind is Kind.NUMBER)),
    "p99_latency": _latency("whole", 0.01),
    "median_latency": _latency("whole", 0.5),
    "time_to_first_token": _latency("first", 0.5),
    "time_per_token": _latency("token", 0.5),
    "max_extra_errors": lambda _g, _c: ExtraErrors(),
    "max_response_mismatch": lambda _g, _c: Mismatched(),
}
"""How each guard's rule is made."""


_ORDERED = frozenset((Kind.SCORE, Kind.NUMBER, Kind.PROBABILITIES))
FITS: dict[str, frozenset[Kind]] = {
    "max_disagreement": frozenset(Kind) - {Kind.NUMBER, Kind.VECTOR},
    "max_mean_shift": _ORDERED | {Kind.TEXT, Kind.VECTOR},
    "max_ks": _ORDERED | {Kind.TEXT},
    "max_psi": _ORDERED | {Kind.TEXT},
    "max_spread_change": _ORDERED | {Kind.TEXT},
    "max_quality_drop": frozenset(Kind) - {Kind.VECTOR},
}
"""Kinds of prediction a guard has something to say about; a guard that is not here fits all (text counts by length)."""


def fits_kind(name: str, kind: Kind) -> bool:
    """Whether a guard can judge this kind; `auto` is not known yet, so it may.

    >>> fits_kind("max_ks", Kind.LABEL), fits_kind("p99_latency", Kind.LABEL)
    (False, True)
    """
    return kind is Kind.AUTO or kind in FITS.get(name, frozenset(Kind))


def judges(guard: Guard, kind: Kind) -> bool:
    """The same of a guard with its limit: a change in interquartile ranges is one of scores or numbers.

    >>> judges(Guard("max_big_change", 0.01, True, 2.0), Kind.LABEL), judges(Guard("max_ks", 0.1), Kind.SCORE)
    (False, True)
    """
    in_ranges = guard.name == "max_big_change" and guard.relative
    return fits_kind(guard.name, kind) and (not in_ranges or kind in (Kind.AUTO, Kind.SCORE, Kind.NUMBER))


def needs_reference(guards: Sequence[Guard], kind: Kind) -> bool:
    """Whether any guard needs thresholds or a scale from live's first answers.

    >>> needs_reference([Guard("max_big_change", 0.01)], Kind.SCORE)
    False
    """
    unbounded = kind in (Kind.NUMBER, Kind.TEXT)
    scaled = {"max_mean_shift", "max_quality_drop"} if unbounded else set()
    wanted = {"max_ks", "max_psi", "max_spread_change"} | scaled
    in_ranges = any(guard.name == "max_big_change" and guard.relative and judges(guard, kind) for guard in guards)
    return in_ranges or any(guard.name in wanted and judges(guard, kind) for guard in guards)


def measures_of(rule: Rule) -> tuple[str, ...]:
    """Names of the measures that a rule reads.

    >>> measures_of(Rate("differs")), measures_of(Ks())
    (('differs',), ('live', 'candidate'))
    """
    if isinstance(rule, Ks | Psi):
        return ("live", "candidate")
    if isinstance(rule, Projections):
        return PROJECTION_NAMES
    return (rule.measure,) if isinstance(rule, Rate | Mean) else ()


def measures_of_rules(slots: Iterable[Slot]) -> frozenset[str]:
    """Names of all measures that the guards' rules read.

    >>> slots = layout((Guard("max_ks", 0.05), Guard("p99_latency", 0.25)), Context(Kind.SCORE, PredictionSpec()), 1)
    >>> sorted(measures_of_rules(slots))
    ['candidate', 'live']
    """
    return frozenset(name for slot in slots for name in measures_of(slot.rule))


def layout(guards: tuple[Guard, ...], context: Context, seed: int) -> tuple[Slot, ...]:
    """Slots of the guards, side by side in the order given; raises `KeyError` for a name that is not a guard's.

    >>> slots = layout((Guard("max_disagreement", 0.02), Guard("max_extra_errors", 0.002)),
    ...                Context(Kind.LABEL, PredictionSpec()), seed=1)
    >>> [(s.guard.name, s.start, s.stop) for s in slots]
    [('max_disagreement', 0, 3), ('max_extra_errors', 3, 7)]
    """
    slots, at = [], 0
    for guard in guards:
        rule = RULES[guard.name](guard, context)
        slots.append(Slot(guard, rule, at, at + rule.width, key_of(seed, "round", guard.name)))
        at += rule.width
    return tuple(slots)
