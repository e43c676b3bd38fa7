"""Sample ratio mismatch (SRM): does the candidate answer the share of requests that it was given?

Dirichlet-multinomial Bayes factor (Lindon, Malek, arXiv 2011.03567) for two arms with a uniform prior centred on the
expected share: an e-process, so it may be looked at any time. It is reported and never decides: sticky keys of heavy
users break the independence that it assumes.
"""

from __future__ import annotations

from math import lgamma, log

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


def _log_beta(a: float, b: float) -> float:
    return lgamma(a) + lgamma(b) - lgamma(a + b)
