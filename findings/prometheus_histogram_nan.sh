#!/usr/bin/env bash
# prometheus_client 0.26.0.
#
# One would guess: a histogram that is given a NaN either refuses it or counts it; in both cases what was observed before
# and after stays true.
# What happens: a NaN falls into no bucket, +Inf included, so `_count` does not rise; it is added to `_sum`, which is NaN
# from then on, for the life of the process.
# Why it matters: a model server that keeps a histogram of its scores, or of a ratio that may be 0/0, loses the mean
# (`rate(_sum) / rate(_count)`) with its first NaN until it is restarted, and the one metric that could say how many NaNs
# there were does not count them. An alert on the mean compares with NaN, which is false: it never fires again.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check prometheus_client==0.26.0 2>/dev/null
seen=$("$folder/venv/bin/python" - <<'PY'
from prometheus_client import CollectorRegistry, Histogram, Summary, generate_latest

registry = CollectorRegistry()
histogram = Histogram("score", "of a model", buckets=[0.5, 1.0], registry=registry)
summary = Summary("other", "the same as a summary", registry=registry)
for value in (0.25, float("nan"), 0.75, 0.25):
    histogram.observe(value)
    summary.observe(value)
print("four observations, the second is NaN")
for line in generate_latest(registry).decode().splitlines():
    if not line.startswith("#") and "_created" not in line:
        print(line)
PY
)
printf '%s\n' "$seen"
for told in 'score_bucket{le="+Inf"} 3.0' 'score_count 3.0' 'score_sum NaN' 'other_count 4.0' 'other_sum NaN'; do
    grep -qxF "$told" <<<"$seen" || { echo "no longer so: $told" >&2; exit 1; }
done
