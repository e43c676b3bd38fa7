"""Every guard there is, found by walking the files of this room: each that has `GUARDS` brings its own.

A guard is one file; nothing else in the package knows a guard by its name.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from importlib import import_module
from pkgutil import iter_modules

from proxy.evidence import rules
from proxy.evidence.families.guard import GuardType
from proxy.evidence.families.rule import Context, Slot
from proxy.evidence.process.prf import key_of
from proxy.model import Guard, Kind


def _found() -> dict[str, GuardType]:
    names = [info.name for info in iter_modules(rules.__path__) if info.name != "registry"]
    modules = [import_module(f"{rules.__name__}.{name}") for name in names]
    kinds: list[GuardType] = [kind for module in modules for kind in getattr(module, "GUARDS", ())]
    found = {kind.name: kind for kind in sorted(kinds, key=lambda kind: (kind.place, kind.name))}
    if len(found) != len(kinds):
        raise RuntimeError(f"two guards have one name: {sorted(kind.name for kind in kinds)}")
    if len({kind.place for kind in kinds}) != len(kinds):
        raise RuntimeError(f"two guards have one place: {sorted((kind.place, kind.name) for kind in kinds)}")
    return found


GUARDS = _found()
"""Every guard by name, in the order of lists."""


def judges(guard: Guard, kind: Kind) -> bool:
    """Whether a guard with its limit can judge this kind; `auto` is not known yet, so it may.

    >>> judges(Guard("max_big_change", 0.01, True, 2.0), Kind.LABEL), judges(Guard("max_ks", 0.1), Kind.SCORE)
    (False, True)
    """
    return GUARDS[guard.name].judges(guard, kind)


def needs_reference(guards: Sequence[Guard], kind: Kind) -> bool:
    """Whether any guard needs thresholds or a scale from live's first answers.

    >>> needs_reference([Guard("max_big_change", 0.01)], Kind.SCORE)
    False
    """
    return any(GUARDS[guard.name].learns(guard, kind) and judges(guard, kind) for guard in guards)


def measures_of_rules(slots: Iterable[Slot]) -> frozenset[str]:
    """Names of all measures that the guards' rules read.

    >>> from proxy.model import PredictionSpec
    >>> slots = layout((Guard("max_ks", 0.05), Guard("p99_latency", 0.25)), Context(Kind.SCORE, PredictionSpec()), 1)
    >>> sorted(measures_of_rules(slots))
    ['candidate', 'live']
    """
    return frozenset(name for slot in slots for name in slot.rule.measures)


def layout(guards: tuple[Guard, ...], context: Context, seed: int) -> tuple[Slot, ...]:
    """Slots of the guards, side by side in the order given; raises `KeyError` for a name that is not a guard's.

    >>> from proxy.model import PredictionSpec
    >>> slots = layout((Guard("max_disagreement", 0.02), Guard("max_extra_errors", 0.002)),
    ...                Context(Kind.LABEL, PredictionSpec()), seed=1)
    >>> [(s.guard.name, s.start, s.stop) for s in slots]
    [('max_disagreement', 0, 3), ('max_extra_errors', 3, 7)]
    """
    slots, at = [], 0
    for guard in guards:
        rule = GUARDS[guard.name].rule(guard, context.of(guard))
        slots.append(Slot(guard, rule, at, at + rule.width, key_of(seed, "round", guard.key)))
        at += rule.width
    return tuple(slots)
