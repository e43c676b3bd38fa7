"""What is shown of the judges of a rollout: the JSON of the API, of `status --json` and of the metrics."""

from __future__ import annotations

from proxy.controller.admin.judge_view import FirstRateJson, JudgeCostJson, JudgedJson, SeenVerdictJson, SimilarityJson
from proxy.controller.judging.asker import JudgeAsker
from proxy.controller.judging.rollout_judging import JudgedAspect, RolloutJudging
from proxy.model import EMBEDDER


def judges_json(judging: RolloutJudging | None, currency: str = "$") -> list[JudgedJson]:
    """Each judged prediction of a rollout, with its judge. Counts are those of the present trial since this controller
    began; `earlier` pairs of it were drawn before that, and count in its findings."""
    if judging is None:
        return []
    each = (one for one in judging.aspects if not one.queue.asker.name.startswith(EMBEDDER))
    return [_judged(judging, aspect, currency) for aspect in each]


def similarities_json(judging: RolloutJudging | None, currency: str = "$") -> list[SimilarityJson]:
    """Each prediction whose similarity is that of embeddings, with what makes them; `mean` is over `compared` pairs,
    and `earlier` is as a judge's."""
    if judging is None:
        return []
    each = (one for one in judging.aspects if one.queue.asker.name.startswith(EMBEDDER))
    return [_similarity(judging, aspect, currency) for aspect in each]


def pair_json(judging: RolloutJudging | None, pair_id: str, *, hidden: bool) -> list[SeenVerdictJson]:
    """What judges said of a kept pair, one entry for each prediction that it was drawn for; without their reasons,
    which may quote an answer, where something is `hidden`."""
    each = [(one, judging.shown(pair_id, one.name)) for one in judging.aspects] if judging is not None else []
    return [
        {**said, "aspect": aspect.name, "judge": aspect.queue.asker.name, "reason": "" if hidden else said["reason"]}
        for aspect, said in each
        if said is not None and not aspect.queue.asker.name.startswith(EMBEDDER)
    ]


def _similarity(judging: RolloutJudging, aspect: JudgedAspect, currency: str) -> SimilarityJson:
    counts, asker = judging.counts_of(aspect), aspect.queue.asker
    compared = sum(counts.verdicts.values())
    return {
        "aspect": aspect.name,
        "model": asker.config.model,
        "compared": compared,
        "mean": counts.total / compared if compared else None,
        "not_judged": dict(sorted(counts.not_judged.items())),
        "waiting": len(aspect.queue),
        "earlier": judging.drawn_earlier(aspect),
        "judge": asker.name,
        "down": asker.down,
        "cost": cost_json(asker, currency),
        "cache_hits": asker.stats.cache_hits,
    }


def _judged(judging: RolloutJudging, aspect: JudgedAspect, currency: str) -> JudgedJson:
    counts, asker = judging.counts_of(aspect), aspect.queue.asker
    return {
        "aspect": aspect.name,
        "judge": asker.name,
        "model": asker.config.model,
        "share": asker.config.share,
        "verdicts": {word: counts.verdicts[word] for word in ("win", "tie", "loss")},
        "failed": counts.failed,
        "same": counts.same,
        "repeats": counts.repeats,
        "not_judged": dict(sorted(counts.not_judged.items())),
        "earlier": judging.drawn_earlier(aspect),
        "last_not_judged": counts.last_why or None,
        "waiting": len(aspect.queue),
        "down": asker.down,
        "first": first_json(asker),
        "cost": cost_json(asker, currency),
        "cache_hits": asker.stats.cache_hits,
        "anchors": aspect.queue.gate.shown(),
    }


def first_json(asker: JudgeAsker) -> FirstRateJson:
    """How often the answer that stood first won, of the verdicts that are no tie, with a 95 % interval."""
    low, high = asker.first.interval
    return {"rate": asker.first.rate, "low": low, "high": high, "verdicts": asker.first.first + asker.first.second}


def cost_json(asker: JudgeAsker, currency: str) -> JudgeCostJson:
    """What a judge has spent in the present period of `max_cost`, that limit, and the sum since this controller began;
    `counted` answers did not say how many tokens they took."""
    limit = asker.config.max_cost
    return {
        "currency": currency,
        "spent": asker.spent,
        "limit": str(limit) if limit is not None else None,
        "total": asker.stats.cost,
        "counted": asker.stats.counted,
    }
