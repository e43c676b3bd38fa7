"""What judging costs for each pair of a stage, from what judges have cost so far."""

from __future__ import annotations

from proxy.config.trial_costs import AssumedAnswer
from proxy.config.verdict_costs import question_cost, questions_per_pair
from proxy.controller.judging.rollout_judging import AspectCounts, JudgedAspect, RolloutJudging
from proxy.model import Plan


def judging_each(judging: RolloutJudging | None, plan: Plan) -> float | None:
    """What the judges of a rollout and its embeddings cost for each pair on average; `None` where none has a price."""
    found = [_each(aspect, plan) for aspect in (judging.aspects if judging is not None else ())]
    known = [each for each in found if each is not None]
    return sum(known) if known else None


def _each(aspect: JudgedAspect, plan: Plan) -> float | None:
    """By the mean cost of a question so far, or as `check` reckons it before the first answer."""
    asker, spec = aspect.queue.asker, plan.aspects[aspect.index]
    each = question_cost(asker.config, spec, AssumedAnswer(), floored=plan.noise_floor > 0)
    if each is None:
        return None
    if answered := sum(asker.stats.answered.values()):
        each = asker.stats.cost / answered
    return each * questions_per_pair(plan, spec, asker.config) * asked_share(aspect.counts)


def asked_share(counts: AspectCounts) -> float:
    """The share of the drawn pairs that anything was paid for: not those whose verdict is known without a question,
    that came again, or that a budget or a full queue left out.

    >>> counts = AspectCounts(failed=5, same=15, repeats=20)
    >>> counts.verdicts.update(win=50, tie=20, loss=10)
    >>> asked_share(counts), asked_share(AspectCounts())
    (0.6, 1.0)
    """
    told = counts.verdicts.total()
    drawn = told + counts.repeats + counts.not_judged.total()
    return max(0, told - counts.failed - counts.same) / drawn if told else 1.0
