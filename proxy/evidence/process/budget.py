"""The pooled budget: one error rate for the whole trial, all guards and any number of looks.

Roll back when Σ_i w_i E_i ≥ 1/α. A weighted average of e-processes is an e-process under any dependence between the
guards (arXiv 2210.01948), so by Ville's inequality the chance that a good candidate is ever rolled back is at most α;
this is never later than weighted Bonferroni. FAIL latches at the first look where the sum crosses.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from proxy.evidence.process.wealth import log_sum


@dataclass(frozen=True, slots=True)
class BudgetPool:
    """Log shares w_i E_i α of each guard, and of the sum; 0 or more means crossed."""

    shares: tuple[float, ...]
    total: float

    @property
    def crossed(self) -> bool:
        """Whether the budget is used up: the candidate fails."""
        return self.total >= 0.0

    def causes(self) -> tuple[int, ...]:
        """Guards that crossed alone, else the one that gave most.

        >>> pool([0.0, 7.0], [0.5, 0.5], 0.01).causes()
        (1,)
        """
        alone = tuple(i for i, share in enumerate(self.shares) if share >= 0.0)
        return alone or (int(np.argmax(self.shares)),)


def pool(log_e: list[float], weights: list[float], alpha: float) -> BudgetPool:
    """The pool of guards' log e-values; `weights` sum to at most 1, `alpha` is the false rollback rate.

    >>> pool([0.0, 0.0], [0.5, 0.5], 0.01).crossed, pool([9.0, 0.0], [0.5, 0.5], 0.01).crossed
    (False, True)
    """
    shares = tuple(float(e + np.log(w) + np.log(alpha)) for e, w in zip(log_e, weights, strict=True))
    return BudgetPool(shares, log_sum(shares))
