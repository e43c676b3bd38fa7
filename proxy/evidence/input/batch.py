"""Readings as columns: what every rule reads, one numpy array per fact, row i for pair i.

Which pairs may say what is decided here once, for all rules:

- `valued` (positions): both arms answered, and the request body was not seen among the last 1,000: values may be
  compared.
- `worst` (positions): live answered, the candidate failed (fresh body too): every value rule multiplies its own worst
  factor.
- `mismatch`: both arms answered, whether or not anything was or could be read: in what the two answers differ (-1:
  there are not two answers to compare).
- `timed`: the pair was chosen for latency before its answers, the stage is warm, and live's time is known (a live
  timeout is an infinite time, so is any failure of the candidate; any other live failure says nothing).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from proxy.evidence.process.prf import key_of, pair_keys
from proxy.evidence.process.wealth import Bools, Floats, Ints
from proxy.model import Arm, Kind, Mismatch, Prediction
from proxy.model.reasons import PREDICTION_WORDS, Reason

MISMATCHES = tuple(Mismatch)
"""In what two answers may differ, by its code in `Batch.mismatch`: 0 is in nothing."""
_MISMATCH_CODES: dict[Mismatch | None, int] = {None: -1, **{word: code for code, word in enumerate(MISMATCHES)}}
_ALIKE = Mismatch.NONE

Placed: TypeAlias = tuple[Ints, Ints]
"""Which pairs (positions in the batch, repeated if a pair counts in several categories) go in which categories."""
NOBODY: Placed = np.zeros(0, np.int64), np.zeros(0, np.int64)
"""No pair goes anywhere."""


@dataclass(slots=True)
class Batch:
    """Columns of n pairs. Times in seconds, +inf for a failure; a measure is nan where a pair has none."""

    keys: NDArray[np.uint64]
    answered: Bools  # live gave an answer that could be read
    live_broke: Bools  # live failed as a server (not: gave an answer we could not read)
    failed: Bools
    fresh: Bools
    timed: Bools
    candidate_first: Bools
    live_seconds: Floats
    seconds: Floats
    live_first: Floats
    first: Floats
    live_token: Floats
    token: Floats
    mismatch: Ints
    measures: dict[str, Floats] = field(default_factory=dict)
    aspects: dict[str, Batch] = field(default_factory=dict)  # the same pairs as each of several predictions sees them
    costs: Floats | None = None  # (2, n) of live and of the candidate in bounds (`costs`), nan where not known
    valued: Ints = field(init=False)
    worst: Ints = field(init=False)

    def __post_init__(self) -> None:
        usable = self.answered & self.fresh
        self.valued = np.flatnonzero(usable & ~self.failed)
        self.worst = np.flatnonzero(usable & self.failed)

    def measured(self, name: str) -> tuple[Ints, Floats]:
        """Positions and values of the pairs that have this measure."""
        who = self.valued
        values = self.measures[name]
        if len(who) != self.size:
            values = values[who]
        known = values == values  # false for nan only, and twice as fast as isnan
        return (who, values) if known.all() else (who[known], values[known])

    def repeated(self) -> Batch:
        """The same pairs, of which those speak whose body had been seen: not for latency, which has taken them."""
        aspects = {name: view.repeated() for name, view in self.aspects.items()}
        return replace(self, fresh=~self.fresh, timed=np.zeros(self.size, dtype=bool), aspects=aspects)

    def of(self, aspect: str) -> Batch:
        """The pairs as this prediction sees them; as the only one does where it has no name."""
        return self.aspects[aspect] if aspect else self

    def seen_by(self, live_faults: Sequence[Reason], faults: Sequence[Reason]) -> Batch:
        """The same pairs for one of several predictions, which has faults of its own: an answer may be read as one and
        not as another."""
        return replace(self, answered=faultless(live_faults), failed=~faultless(faults), measures={}, aspects={})

    @property
    def size(self) -> int:
        """How many pairs."""
        return len(self.failed)

    def times(self, quantity: str) -> tuple[Floats, Floats]:
        """Live's and the candidate's seconds: the `whole` answer, its `first` byte, or each `token` after the first."""
        if quantity == "token":
            return self.live_token, self.token
        return (self.live_first, self.first) if quantity == "first" else (self.live_seconds, self.seconds)


def columns(
    by_field: Mapping[str, Sequence[Any]],
    seed: int,
    fresh: Bools,
    warm: Bools,
    costs: Floats | None = None,
    *,
    tokens: bool = False,
) -> Batch:
    """Columns of readings, given by field; `fresh` and `warm` (n,) say which bodies are new and which stages warm.

    `tokens` asks for the times per token too, which cost a loop.
    """
    live_faults = by_field["live_fault"]
    answered, failed = faultless(live_faults), ~faultless(by_field["fault"])
    names = ("live_seconds", "seconds", "live_first", "first")
    live_seconds, seconds, live_first, first = np.array([by_field[name] for name in names], dtype=np.float64)
    live_token, token = _per_token(by_field) if tokens else np.full((2, len(fresh)), np.nan)
    broke = np.zeros(len(fresh), dtype=bool)
    known = answered
    if not answered.all():
        timeout = np.array([fault is Reason.TIMEOUT for fault in live_faults], dtype=bool)
        unread = np.array([fault in PREDICTION_WORDS for fault in live_faults], dtype=bool)
        broke = ~answered & ~unread
        known = answered | timeout
        live_seconds[timeout] = live_first[timeout] = live_token[timeout] = np.inf
    if failed.any():
        seconds[failed] = first[failed] = token[failed] = np.inf
    return Batch(
        keys=pair_keys(_workers(by_field["worker"], seed), np.array(by_field["sequence"], dtype=np.uint64)),
        answered=answered,
        live_broke=broke,
        failed=failed,
        fresh=fresh,
        timed=_flags(by_field["latency_slot"]) & warm & known,
        candidate_first=by_candidate(by_field["served"]),
        live_seconds=live_seconds,
        seconds=seconds,
        live_first=live_first,
        first=first,
        live_token=live_token,
        token=token,
        mismatch=_mismatches(by_field["mismatch"]),
        costs=costs,
    )


def faultless(faults: Sequence[Reason]) -> Bools:
    """Which of these are `NONE`, (n,).

    >>> faultless([Reason.NONE, Reason.TIMEOUT]).tolist()
    [True, False]
    """
    if not any(faults):  # the usual case, and a loop in C
        return np.ones(len(faults), dtype=bool)
    return np.array([not fault for fault in faults], dtype=bool)


def by_candidate(served: Sequence[Arm]) -> Bools:
    """Which requests the candidate answered, (n,).

    >>> by_candidate([Arm.LIVE, Arm.CANDIDATE]).tolist()
    [False, True]
    """
    if Arm.CANDIDATE not in served:
        return np.zeros(len(served), dtype=bool)
    return np.array([arm is Arm.CANDIDATE for arm in served], dtype=bool)


def _mismatches(words: Sequence[Mismatch | None]) -> Ints:
    """The codes of these words, (n,).

    >>> _mismatches([Mismatch.NONE, None, Mismatch.EMPTY]).tolist()
    [0, -1, 3]
    """
    if words.count(_ALIKE) == len(words):  # the usual case
        return np.zeros(len(words), dtype=np.int64)
    return np.array([_MISMATCH_CODES[word] for word in words], dtype=np.int64)


def _flags(values: Sequence[bool]) -> Bools:
    return np.array(values, dtype=bool) if any(values) else np.zeros(len(values), dtype=bool)


def _per_token(by_field: Mapping[str, Sequence[Any]]) -> tuple[Floats, Floats]:
    """Seconds per token after the first, of live and of the candidate; nan for answers of fewer than two tokens."""
    arms = (("live_seconds", "live_first", "live_tokens", "live"), ("seconds", "first", "tokens", "candidate"))
    per_arm = []
    for names in arms:
        rows = zip(*(by_field[name] for name in names), strict=True)
        counted = ((whole - first, _tokens(tokens, prediction)) for whole, first, tokens, prediction in rows)
        per_arm.append(np.array([rest / (n - 1) if n > 1 else np.nan for rest, n in counted]))
    return per_arm[0], per_arm[1]


def _tokens(counted: int, prediction: Prediction | None) -> int:
    """Tokens of an answer; where the protocol does not count them, a word of text is taken for one."""
    if counted or prediction is None or prediction.kind is not Kind.TEXT:
        return counted
    return sum(len(row.split()) for row in prediction.rows)


def _workers(workers: Sequence[str], seed: int) -> NDArray[np.uint64]:
    """The PRF key of each pair's worker incarnation: sequences are counted per worker."""
    if workers.count(workers[0]) == len(workers):
        return np.full(len(workers), key_of(seed, "worker", workers[0]), dtype=np.uint64)
    return np.array([key_of(seed, "worker", worker) for worker in workers], dtype=np.uint64)
