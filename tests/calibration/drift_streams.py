"""What live is sent in 90 days: fields with daily and weekly cycles, bursts, heavy tails and days that differ, without
drift; and what can happen to them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import scipy

from proxy.drift import DriftField
from proxy.drift.plan import DAY
from proxy.model import Kind

Floats: TypeAlias = np.ndarray
Rng: TypeAlias = np.random.Generator
WILD = 1.0 / 1500.0
FieldStream: TypeAlias = Callable[[Floats, Rng], np.ndarray]
"""From times (n,) in seconds to values (n,) or (n, dimensions)."""


def arrivals(rng: Rng, days: float, per_hour: float) -> Floats:
    """Times of a Poisson process: about `per_hour` by day, a third of that at night, half at weekends."""
    times = np.sort(rng.random(rng.poisson(days * 24 * per_hour * 1.8)) * days * DAY)
    by_day = 0.5 + 0.5 * np.cos(2 * np.pi * (times / DAY - 0.55))
    kept = (0.33 + 0.67 * by_day) * np.where(times // DAY % 7 >= 5, 0.5, 1.0)
    found: Floats = times[rng.random(len(times)) < kept]
    return found


def cycle(times: Floats, rng: Rng) -> Floats:
    """Of the day and of the week, which is not the sum of the two; standard deviation about 1."""
    a, b, c = rng.random(3)
    daily = np.sin(2 * np.pi * (times / DAY + a)) + 0.4 * np.sin(4 * np.pi * (times / DAY + b))
    weekly = np.where(times // DAY % 7 >= 5, -1.0, 0.3) * (1 + 0.5 * np.sin(2 * np.pi * (times / DAY + c)))
    found: Floats = daily + 0.7 * weekly
    return found


def wandering(times: Floats, rng: Rng, hours: float) -> Floats:
    """Noise of variance 1 that is the same for about so many hours (Ornstein and Uhlenbeck)."""
    keeps = np.exp(-300.0 / (3600.0 * hours))
    steps = rng.normal(size=int(times[-1] // 300.0) + 2) * np.sqrt(1 - keeps**2)
    found: Floats = np.interp(times, 300.0 * np.arange(len(steps)), scipy.signal.lfilter([1.0], [1.0, -keeps], steps))
    return found


def by_day(times: Floats, rng: Rng, deviation: float) -> Floats:
    """Days that differ."""
    found: Floats = rng.normal(0.0, deviation, int(times[-1] // DAY) + 1)[(times // DAY).astype(int)]
    return found


def drawn(logits: Floats, names: list[str], rng: Rng) -> np.ndarray:
    """Labels with these logits (n, k)."""
    shares = np.exp(logits).cumsum(axis=1)
    return np.array(names, object)[(shares / shares[:, -1:] < rng.random(len(shares))[:, None]).sum(axis=1)]


def temperature(times: Floats, rng: Rng) -> np.ndarray:
    return 20.0 + 5.0 * (cycle(times, rng) + rng.normal(size=len(times)))


def lognormal(times: Floats, rng: Rng) -> np.ndarray:
    return np.exp(3.0 + 0.4 * cycle(times, rng) + 0.8 * rng.normal(size=len(times)))


def bursty(times: Floats, rng: Rng) -> np.ndarray:
    return 0.7 * cycle(times, rng) + 0.3 * wandering(times, rng, 0.3) + rng.normal(size=len(times))


def pareto(times: Floats, rng: Rng) -> np.ndarray:
    return (1.0 + rng.pareto(1.5, len(times))) * np.exp(0.3 * cycle(times, rng))


def counts(times: Floats, rng: Rng) -> np.ndarray:
    return rng.poisson(0.7 * np.exp(0.4 * cycle(times, rng))).astype(float)


def moody(times: Floats, rng: Rng) -> np.ndarray:
    return 0.7 * cycle(times, rng) + by_day(times, rng, 0.1) + rng.normal(size=len(times))


def country(times: Floats, rng: Rng) -> np.ndarray:
    moves = np.stack([0.4 * cycle(times, rng) for _ in range(5)], axis=1)
    found = drawn(np.log([0.4, 0.3, 0.15, 0.1, 0.05]) + moves, ["de", "fr", "it", "es", "pl"], rng)
    typed = rng.random(len(times)) < 1e-4  # once in 10,000 somebody types something else
    found[typed] = [f"typo {number}" for number in rng.integers(10**9, size=typed.sum())]
    return found


def product(times: Floats, rng: Rng) -> np.ndarray:
    shares = np.arange(1, 301) ** -1.1
    return np.array([f"p{number}" for number in rng.choice(300, len(times), p=shares / shares.sum())], object)


def channel(times: Floats, rng: Rng) -> np.ndarray:
    moves = np.stack([by_day(times, rng, 0.15) + 0.3 * cycle(times, rng) for _ in range(3)], axis=1)
    return drawn(np.log([0.6, 0.3, 0.1]) + moves, ["app", "web", "shop"], rng)


def image(times: Floats, rng: Rng) -> np.ndarray:
    return rng.normal(size=(len(times), 16)) + 0.5 * np.outer(cycle(times, rng), rng.normal(size=16))


TEN: dict[str, tuple[Kind, FieldStream]] = {
    "temperature": (Kind.NUMBER, temperature),
    "lognormal": (Kind.NUMBER, lognormal),
    "bursty": (Kind.NUMBER, bursty),
    "pareto": (Kind.NUMBER, pareto),
    "counts": (Kind.NUMBER, counts),
    "moody": (Kind.NUMBER, moody),
    "country": (Kind.LABEL, country),
    "product": (Kind.LABEL, product),
    "channel": (Kind.LABEL, channel),
    "image": (Kind.VECTOR, image),
}
FIELDS = tuple(DriftField(name, kind) for name, (kind, _) in TEN.items())


def with_wild_ones(values: np.ndarray, rng: Rng) -> np.ndarray:
    """One value in 1,500, one a day at 60 an hour, is 10 to 10,000 times as large as it ought to be, of either sign: a
    typing error, another unit, a number that stands for none. Labels and embeddings stay as they are."""
    if values.dtype == object or values.ndim > 1:
        return values
    hit = rng.random(len(values)) < WILD
    times = 10.0 ** rng.uniform(1.0, 4.0, len(values)) * rng.choice([-1.0, 1.0], len(values))
    found: np.ndarray = np.where(hit, times * values, values)
    return found


def shifted(values: np.ndarray, times: Floats, at: float, rng: Rng) -> np.ndarray:
    """By 0.2 of the standard deviation that a look at all values gives, the cycle included."""
    return values + 0.2 * values.std() * (times >= at)


def fahrenheit(values: np.ndarray, times: Floats, at: float, rng: Rng) -> np.ndarray:
    return np.where(times >= at, 1.8 * values + 32.0, values)


def thousandfold(values: np.ndarray, times: Floats, at: float, rng: Rng) -> np.ndarray:
    return np.where(times >= at, 1000.0 * values, values)


def ramped(values: np.ndarray, times: Floats, at: float, rng: Rng) -> np.ndarray:
    """By 0.02 standard deviations a day, for ever."""
    return values + 0.02 * values.std() * np.maximum(0.0, times - at) / DAY


def new_label(values: np.ndarray, times: Floats, at: float, rng: Rng) -> np.ndarray:
    found = values.copy()
    found[(times >= at) & (rng.random(len(times)) < 0.02)] = "xx"
    return found


def wider_cycle(values: np.ndarray, times: Floats, at: float, rng: Rng) -> np.ndarray:
    """A second daily cycle comes up in 30 days, as large as the first."""
    grown = np.clip((times - at) / (30 * DAY), 0.0, 1.0)
    return values + 5.0 * grown * np.sin(2 * np.pi * times / DAY)


def holiday(values: np.ndarray, times: Floats, at: float, rng: Rng) -> np.ndarray:
    """The day after is a whole deviation lower, as a Sunday is."""
    return values - values.std() * (times // DAY == at // DAY + 1.0)
