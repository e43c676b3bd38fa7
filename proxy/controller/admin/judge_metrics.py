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
_Named = Sequence[tuple[str, Mapping[str, Any]]]


def judge_families(rollouts: Sequence[Mapping[str, Any]], counts: FleetCounts) -> Iterable[Metric]:
    """What judges said of each rollout, and what each of them cost; nothing where none is at work."""
    judged = [(rollout["name"], one) for rollout in rollouts for one in rollout.get("judges") or ()]
    alike = [(rollout["name"], one) for rollout in rollouts for one in rollout.get("similarities") or ()]
    if not judged and not alike:
        return
    yield from _pairs_judged(judged, alike)
    judges, every = {one["judge"]: one for _, one in judged}, {one["judge"]: one for _, one in (*judged, *alike)}
    costs = {name: one["cost"]["total"] for name, one in every.items()}
    text = "What the answers of a judge, or of a model of embeddings, cost, in the currency of its price."
    yield counter("judge_cost", text, ("judge",), costs)
    hits = {name: one["cache_hits"] for name, one in every.items()}
    yield counter(
        "judge_cache_hits", "Questions that a judge had answered before, texts embedded before.", ("judge",), hits
    )
    text = "Whether a judge gives verdicts: 0 when its last five questions had none."
    yield gauge("judge_up", text, ("judge",), {name: float(not one["down"]) for name, one in every.items()})
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


def _pairs_judged(judged: _Named, alike: _Named) -> Iterable[Metric]:
    """Pairs with a verdict or embeddings, and those without."""
    verdicts = {(name, one["aspect"], word): n for name, one in judged for word, n in one["verdicts"].items()}
    text = "Judged pairs, by the verdict on the candidate's answer."
    yield counter("judge_verdicts", text, (*_PAIR, "verdict"), verdicts)
    compared = {(name, one["aspect"]): one["compared"] for name, one in alike}
    yield counter("embedded_pairs", "Pairs that were compared by their embeddings.", _PAIR, compared)
    none = {
        (name, one["aspect"], str(why)): one["not_judged"].get(str(why), 0)
        for name, one in (*judged, *alike)
        for why in NotJudged
    }
    text = "Drawn pairs without a verdict or an embedding, by reason."
    yield counter("judge_not_judged", text, (*_PAIR, "reason"), none)
