"""The normal distribution function in log space, without scipy (which is a test dependency only)."""

from __future__ import annotations

import math

import numpy as np

from proxy.evidence.process.wealth import Floats

_SWITCH = -20.0


def _log_cdf(x: float) -> float:
    if x > 0.0:
        return math.log1p(-0.5 * math.erfc(x / math.sqrt(2.0)))
    if x > _SWITCH:
        return math.log(0.5 * math.erfc(-x / math.sqrt(2.0)))
    # Mills' ratio: Φ(x) = φ(x)/|x| · (1 − 1/x² + 3/x⁴ − 15/x⁶ …); at 20 the next term is below 1e-8.
    y = 1.0 / (x * x)
    return -0.5 * x * x - math.log(-x) - 0.5 * math.log(2.0 * math.pi) + math.log1p(-y * (1 - 3 * y * (1 - 5 * y)))


_vectorised = np.frompyfunc(_log_cdf, 1, 1)


def log_cdf(x: Floats) -> Floats:
    """Log of Φ(x), elementwise.

    >>> round(float(log_cdf(np.array(0.0))), 6), round(float(log_cdf(np.array(-30.0))), 3)
    (-0.693147, -454.321)
    """
    return np.asarray(_vectorised(x), dtype=np.float64)
