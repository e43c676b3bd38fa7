"""How late drift is found, beside river's ADWIN, KSWIN and PageHinkley: `python -m loadtests.drift_delays` (needs
river).

Every peer is tuned per field on streams without drift, daily and weekly cycles included: of its settings, those are
allowed that give at most `ALLOWED` alarms in `QUIET` streams of 76 days, which is what our own share of one field in
ten is; of these the one with the least median delay counts, chosen with knowledge of the delays. All see the same
streams, from the first value on; alarms count from the 15th day.

Peers get a field two ways: *raw*, as numbers scaled by median and middle 68 % of the first two weeks (labels: their
number in order of frequency); *helped*, with the mean of each hour of the week taken away that the first two weeks had
(labels: whether it was in the first two weeks), which no peer does by itself. Wild values have no part in either.

One number in 1,500 is wild, one a day, in the streams without drift as in those with: in production some are, and a
detector that any one of them alarms is not usable. The same without wild values is there too.

KSWIN's statistic is computed by sorting, its p-values are scipy's, kept by statistic: the same decisions in a tenth of
the time.
"""

from __future__ import annotations

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import platform
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache
from multiprocessing import get_context
from typing import Any

import numpy as np

from proxy.drift import DriftDetector, DriftField, Observations
from proxy.drift.plan import DAY
from proxy.model import Kind
from tests.calibration import drift_streams as streams
from tests.calibration.drift_streams import TEN, arrivals
from tests.calibration.drifts import DAYS, PER_HOUR, changed, first_alarm, plan

QUIET, ALLOWED, RUNS = 16, 1, 9
TRAINED = 14 * DAY
UNTIL = 25 * DAY
"""After the change; what is later counts as never."""
CASES = (
    ("a new label, 2 %", "country", streams.new_label, False),
    ("0.2 sd", "temperature", streams.shifted, True),
    ("°C → °F", "temperature", streams.fahrenheit, True),
    ("× 1,000", "temperature", streams.thousandfold, True),
    ("0.2 sd, no wild value", "temperature", streams.shifted, False),
    ("°C → °F, no wild value", "temperature", streams.fahrenheit, False),
    ("× 1,000, no wild value", "temperature", streams.thousandfold, False),
)
"""Name, field, what changes, and whether one number in 1,500 is wild (`streams.with_wild_ones`)."""
Setting = tuple[str, Callable[[], Any]]


def settings() -> Iterator[list[Setting]]:
    """Families of settings, each from the most sensitive to the least."""
    from river import drift

    yield [
        (f"ADWIN δ = 1e-{k}", lambda k=k: drift.ADWIN(delta=10.0**-k))
        for k in (1, 2, 3, 4, 6, 8, 12, 16, 24, 40, 80, 160, 300)
    ]
    for delta in (0.005, 0.05, 0.2, 0.5):
        yield [
            (
                f"PageHinkley δ = {delta}, λ = {level:.3g}",
                lambda d=delta, t=level: drift.PageHinkley(delta=d, threshold=t),
            )
            for level in np.geomspace(0.5, 5e6, 29)
        ]
    yield [
        (f"KSWIN 100/30, α = 1e-{k}", lambda k=k: drift.KSWIN(10.0**-k, 100, 30, seed=1))
        for k in (3, 5, 7, 9, 12, 15, 20, 30, 50)
    ]


def faster_kswin() -> None:
    """KSWIN with its statistic by sorting; p-values by scipy, once for each statistic."""
    from river.drift import kswin
    from scipy.stats import ks_2samp

    @lru_cache(maxsize=4096)
    def p_value(n: int, apart: int) -> float:
        """Of two samples of n that are `apart` / n apart."""
        return float(ks_2samp(np.arange(n), np.arange(n) + apart - 0.5 * (apart > 0), method="auto").pvalue)

    class Quick:
        @staticmethod
        def ks_2samp(a: list[float], b: list[float], method: str) -> tuple[float, float]:
            first, second, n = np.sort(a), np.sort(b), len(a)
            both = np.concatenate([first, second])
            apart = np.abs(np.searchsorted(first, both, "right") - np.searchsorted(second, both, "right")).max()
            return float(apart / n), p_value(n, int(apart))

    kswin.stats = Quick


def fed(kind: Kind, times: np.ndarray, values: np.ndarray, *, helped: bool) -> np.ndarray:
    """What a peer sees."""
    first = times < TRAINED
    if kind is Kind.LABEL:
        names, counts = np.unique(values[first].astype(str), return_counts=True)
        order = {name: i for i, name in enumerate(names[np.argsort(-counts)])}
        return np.array(
            [name not in order if helped else min(order.get(name, len(order)), 9) for name in values], float
        )
    low, middle, high = np.quantile(values[first], [0.1587, 0.5, 0.8413])  # as a mean and deviation without wild ones
    scaled = (values - middle) / (0.5 * (high - low))
    if helped:
        cells = (times // 3600 % 168).astype(int)
        tame = first & (np.abs(scaled) < 10.0)
        sums, seen = (np.bincount(cells[tame], w, 168) for w in (scaled[tame], None))
        scaled = scaled - (sums / np.maximum(1, seen))[cells]
    found: np.ndarray = scaled
    return found


def alarms(make: Callable[[], Any], times: np.ndarray, values: np.ndarray, most: int) -> list[float]:
    """Times of the first alarms after the first two weeks."""
    detector, found = make(), []
    for time, value in zip(times.tolist(), values.tolist(), strict=True):
        detector.update(value)
        if detector.drift_detected and time >= TRAINED:
            found.append(time)
            if len(found) >= most:
                break
    return found


def quiet_streams(field: str, wild: bool) -> list[tuple[np.ndarray, np.ndarray]]:
    found = []
    for seed in range(QUIET):
        rng = np.random.default_rng([43, seed])
        times = arrivals(rng, DAYS, PER_HOUR)
        values = TEN[field][1](times, rng)
        found.append((times, streams.with_wild_ones(values, rng) if wild else values))
    return found


def allowed(family: list[Setting], quiet: list[tuple[np.ndarray, np.ndarray]]) -> Setting | None:
    """The most sensitive setting with few enough alarms."""
    for name, make in family:
        count = 0
        for times, values in quiet:
            count += len(alarms(make, times, values, ALLOWED + 1))
            if count > ALLOWED:
                break
        else:
            return name, make
    return None


def delays(make: Callable[[], Any], runs: list[tuple[np.ndarray, np.ndarray, float]]) -> np.ndarray:
    """Hours; infinite where there is none in time."""
    found = []
    for times, values, at in runs:
        until = int(np.searchsorted(times, at + UNTIL))
        late = [time for time in alarms(make, times[:until], values[:until], sys.maxsize) if time >= at]
        found.append((late[0] - at) / 3600.0 if late else np.inf)
    return np.array(found)


def ours(field: str, wild: bool) -> int:
    """Our own alarms in the quiet streams."""
    one = DriftField(field, TEN[field][0])
    return sum(
        len(DriftDetector(plan(one, part=0.1)).add(Observations(times.tolist(), (values.tolist(),))))
        for times, values in quiet_streams(field, wild)
    )


def line(case: str, who: str, hours: np.ndarray) -> float:
    middle = float(np.median(hours))
    print(f"| {case} | {who} | {middle:.3g} | {np.isfinite(hours).sum()} of {len(hours)} |", flush=True)
    return middle


def compare(field: str, wild: bool, cases: list[tuple[str, Any]]) -> None:
    """The lines of one field."""
    kind, stream = TEN[field]
    runs = {name: [changed(seed, stream, change, PER_HOUR, wild) for seed in range(RUNS)] for name, change in cases}
    mine = {
        name: line(name, "Understudy", np.array([first_alarm(DriftField(field, kind), *run)[0] for run in found]))
        for name, found in runs.items()
    }
    print(f"| no drift | Understudy: {ours(field, wild)} alarms in {QUIET} streams | | |", flush=True)
    quiet = quiet_streams(field, wild)
    for helped in (False, True):
        best = dict.fromkeys(runs, float("inf"))
        told = [(times, fed(kind, times, values, helped=helped)) for times, values in quiet]
        for setting in (allowed(family, told) for family in settings()):
            for name, found in runs.items() if setting else ():
                seen = [(times, fed(kind, times, values, helped=helped), at) for times, values, at in found]
                who = f"{setting[0]}{', helped' if helped else ''}"
                best[name] = min(best[name], line(name, who, delays(setting[1], seen)))
        for name, hours in best.items():
            ratio = f"{mine[name] / hours:.2f}" if np.isfinite(hours) else "0 (no peer finds half of them)"
            print(f"| {name} | **ours / best {'helped' if helped else 'raw'} peer** | **{ratio}** | |", flush=True)


def compare_all(group: tuple[str, bool]) -> None:
    """The lines of all cases of a field, with wild values or without: in a process of its own, as it takes long."""
    compare(*group, [(name, change) for name, field, change, wild in CASES if (field, wild) == group])


def main() -> None:
    import river

    faster_kswin()
    print(
        f"{platform.machine()}, Python {platform.python_version()}, numpy {np.__version__}, river {river.__version__}\n"
    )
    print("| change | detector | median hours | found |\n|---|---|---|---|")
    with ProcessPoolExecutor(max_workers=3, mp_context=get_context("fork")) as workers:
        list(workers.map(compare_all, dict.fromkeys((field, wild) for _, field, _, wild in CASES)))


if __name__ == "__main__":
    main()
