"""Sample ratio mismatch (SRM): does the candidate answer the share of requests that it was given?

Dirichlet-multinomial Bayes factor (Lindon, Malek, arXiv 2011.03567) for two arms with a uniform prior centred on the
expected share: an e-process, so it may be looked at any time. It is reported, and can hold a climb (`on_srm: hold`).
Of pairs, sticky keys of heavy users break the independence that it assumes; where users are known, it is of users.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import lgamma, log
from typing import Literal

PRIOR = 100.0
"""Concentration of the prior around the expected share: small deviations are what matters."""


def log_bayes_factor(candidate: int, live: int, expected: float) -> float:
    """Log Bayes factor against "each request goes to the candidate with probability `expected`" (0 < expected < 1).

    >>> log_bayes_factor(50, 950, 0.05) < 0.0, log_bayes_factor(150, 850, 0.05) > 20.0
    (True, True)
    """
    a, b = PRIOR * expected, PRIOR * (1.0 - expected)
    marginal = _log_beta(a + candidate, b + live) - _log_beta(a, b)
    return marginal - candidate * log(expected) - live * log(1.0 - expected)


HOLD = log(100.0)
"""Log Bayes factor from which a climb may be held (`on_srm: hold`): of sound stages one in a hundred gets there."""


@dataclass(frozen=True, slots=True)
class SampleRatio:
    """How many of `total` are the candidate's, and the share that is expected; `what` is `pairs` or `users`."""

    candidate: int
    total: int
    expected: float
    what: Literal["pairs", "users"]

    @property
    def log_bayes_factor(self) -> float:
        """That of `log_bayes_factor`."""
        return log_bayes_factor(self.candidate, self.total - self.candidate, self.expected)

    @property
    def mismatch(self) -> str:
        """What is wrong, as a sentence; empty while nothing is proven.

        >>> SampleRatio(50, 1000, 0.05, "users").mismatch
        ''
        >>> SampleRatio(150, 1000, 0.05, "users").mismatch
        'an end of the sample ratio mismatch: the candidate has 150 of 1,000 users (15.0 %) where 5.0 % are expected'
        """
        if self.log_bayes_factor < HOLD:
            return ""
        share = 100.0 * self.candidate / self.total
        of_all = f"{self.candidate:,} of {self.total:,} {self.what} ({share:.1f} %)"
        expected = f"{100 * self.expected:.1f} % are expected"
        return f"an end of the sample ratio mismatch: the candidate has {of_all} where {expected}"


def _log_beta(a: float, b: float) -> float:
    return lgamma(a) + lgamma(b) - lgamma(a + b)
