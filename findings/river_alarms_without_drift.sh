#!/usr/bin/env bash
# river 0.26.1 (with numpy 2.4.6, scipy 1.17.1).
#
# One would guess: a drift detector with `alpha=0.005` (KSWIN's default) raises a false alarm on 0.5 % of the streams that
# do not drift, or that the defaults of the detectors are comparable: each rarely speaks where nothing happens.
# What happens, on 10,000 independent normal values whose distribution never changes: KSWIN tests at every value, each
# time with alpha, and raises 11 to 19 alarms a stream; PageHinkley's default threshold raises 4 to 7, and with the
# scale of the values divided by 10 none, since its threshold is in units of the data; ADWIN raises none.
# Why it matters: a model is retrained, or somebody is woken, a dozen times a day for nothing; and a comparison of their
# delays at their defaults compares detectors that speak always with one that never does. Each has to be tuned to the
# same rate of false alarms on the stream in question first.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check river==0.26.1 numpy==2.4.6 scipy==1.17.1 2>/dev/null
seen=$("$folder/venv/bin/python" - <<'PY'
import random

from river.drift import ADWIN, KSWIN, PageHinkley


def alarms(detector, seed: int, scale: float = 1.0) -> int:
    draw, found = random.Random(seed), 0
    for _ in range(10_000):
        detector.update(scale * draw.gauss(0.0, 1.0))
        found += detector.drift_detected
    return found


print("alarms in each of five streams of 10,000 values without drift")
print("KSWIN:", *(alarms(KSWIN(seed=seed), seed) for seed in range(5)))
print("PageHinkley:", *(alarms(PageHinkley(), seed) for seed in range(5)))
print("PageHinkley, values / 10:", *(alarms(PageHinkley(), seed, 0.1) for seed in range(5)))
print("ADWIN:", *(alarms(ADWIN(), seed) for seed in range(5)))
PY
)
printf '%s\n' "$seen"
for told in 'KSWIN: 19 16 15 11 12' 'PageHinkley: 6 7 4 6 6' 'PageHinkley, values / 10: 0 0 0 0 0' 'ADWIN: 0 0 0 0 0'; do
    grep -qxF "$told" <<<"$seen" || { echo "no longer so: $told" >&2; exit 1; }
done
