"""What two pieces of evidence must have in common before they are merged, as hashes."""

from __future__ import annotations

import hashlib

from proxy.evidence.state import EvidenceState
from proxy.model import Plan


def state_hash(state: EvidenceState) -> str:
    """What is counted and how: extractor, bins, thresholds and seed."""
    rules = [(slot.guard.key, slot.rule) for slot in state.tally.slots]
    known = [part for one in state.aspects for part in (one.kind, one.reference)]
    return _digest((state.trial, state.seed, *known, *state.costs.known, rules, state.stage))


def limits_hash(state: EvidenceState, plan: Plan) -> str:
    """The limits in force and those before them, in order, with the error rates."""
    limits = [slot.guard for slot in state.tally.slots]
    before = {name: [c.guard for c in epochs] for name, epochs in sorted(state.tally.closed.items())}
    aspects = [guard.aspect for guard in limits if guard.aspect]
    aspects += [f"{guard.outcome} within {guard.within:g}" for guard in limits if guard.outcome]
    rates = plan.false_rollback_rate, plan.false_promotion_rate
    return _digest((limits, before, state.weights, *rates, *aspects))


def _digest(value: object) -> str:
    return hashlib.blake2b(repr(value).encode(), digest_size=16).hexdigest()
