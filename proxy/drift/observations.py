"""Observations by columns: when, and what each field was."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias

import numpy as np

from proxy.evidence.process.wealth import Ints


class Absent(Enum):
    """Why a field has no value. The first two count as missing; nothing counts of what was not looked at."""

    MISSING = "missing"
    UNREADABLE = "unreadable"
    UNSEEN = "unseen"


FieldValue: TypeAlias = float | str | Sequence[float] | Absent


@dataclass(frozen=True, slots=True)
class Observations:
    """n observations: `times` (n,) in epoch seconds, and one column (n,) per field of the plan, in its order.

    They may come in any order of time; one that is older than the block under way counts in it. Numbers are floats (nan
    and what is beyond ±1e100 is unreadable), labels strings, embeddings sequences of floats.
    """

    times: Sequence[float]
    columns: tuple[Sequence[FieldValue], ...]

    def __post_init__(self) -> None:
        for column in self.columns:
            if len(column) != len(self.times):
                raise ValueError(f"{len(self.times)} times, but a column has {len(column)} values")

    def order(self) -> Ints:
        """Positions by time, (n,)."""
        return np.argsort(np.asarray(self.times, np.float64), kind="stable")
