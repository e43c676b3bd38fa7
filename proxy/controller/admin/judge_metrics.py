"""Metrics of judges, from what the API shows of rollouts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from prometheus_client.core import Metric

from proxy.controller.admin.families import buckets_of, counter, gauge
from proxy.controller.admin.interface import FleetCounts
from proxy.judges.verdict import NotJudged

JUDGE_BOUNDS = (0.1, 0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0)
"""Seconds of a verdict."""
_PAIR = ("rollout", "aspect")


def judge_families(rollouts: Sequence[Mapping[str, Any]], counts: FleetCounts) -> Iterable[Metric]:
    """What judges said of each rollout, and what each of them cost; nothing where none is at work."""
    judged = [(rollout["name"], one) for rollout in rollouts for one in rollout.get("judges") or ()]
    if not judged:
        return
    verdicts = {(name, one["aspect"], word): n for name, one in judged for word, n in one["verdicts"].items()}
    text = "Judged pairs, by the verdict on the candidate's answer."
    yield counter("judge_verdicts", text, (*_PAIR, "verdict"), verdicts)
    none = {
        (name, one["aspect"], str(why)): one["not_judged"].get(str(why), 0) for name, one in judged for why in NotJudged
    }
    yield counter("judge_not_judged", "Drawn pairs without a verdict, by reason.", (*_PAIR, "reason"), none)
    judges = {one["judge"]: one for _, one in judged}
    costs = {name: one["cost"]["total"] for name, one in judges.items()}
    yield counter("judge_cost", "What a judge's answers cost, in the currency of its price.", ("judge",), costs)
    hits = {name: one["cache_hits"] for name, one in judges.items()}
    yield counter("judge_cache_hits", "Questions that a judge had answered before.", ("judge",), hits)
    text = "Whether a judge gives verdicts: 0 when its last five questions had none."
    yield gauge("judge_up", text, ("judge",), {name: float(not one["down"]) for name, one in judges.items()})
    anchored = {name: one["anchors"] for name, one in judges.items() if one["anchors"] is not None}
    moved = {name: float(anchors["state"] in ("changed", "unfit")) for name, anchors in anchored.items()}
    yield gauge("judge_moved", "1 when a judge's anchors say that it has changed, or is unfit.", ("judge",), moved)
    held = {name: anchors["held"] for name, anchors in anchored.items()}
    yield gauge("judge_held", "Verdicts that wait until the anchors have been asked again.", ("judge",), held)
    first = {name: one["first"]["rate"] for name, one in judges.items() if one["first"]["rate"] is not None}
    text = "Share of a judge's verdicts, ties aside, for the answer that stood first; 0.5 without position bias."
    yield gauge("judge_first_ratio", text, ("judge",), first)
    text = "What a verdict took, repeated attempts included."
    yield buckets_of("judge_duration_seconds", text, ("judge",), JUDGE_BOUNDS, counts.judge_seconds)
