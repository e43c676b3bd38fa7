"""What a stage's verdict still takes if what was seen goes on: pairs, time, and what their copies and judges cost."""

from __future__ import annotations

from dataclasses import dataclass

from proxy.model import Plan, Verdict
from proxy.money import money_text
from proxy.rollout.events import Looked, RolloutState
from proxy.rollout.requirements import needs, rough


@dataclass(frozen=True, slots=True)
class StageForecast:
    """So many more `pairs`, which take `seconds` and cost `cost`, of which `judging` is for judges and embeddings
    (`None` where nothing has a price)."""

    pairs: int
    seconds: float
    cost: float | None
    judging: float | None = None

    def words(self, currency: str) -> str:
        """As a sentence.

        >>> StageForecast(1683, 2400.0, 4.1).words("$")
        'This verdict needs about 1,700 more pairs, 40 min, $4.10.'
        >>> StageForecast(1683, 2400.0, 4.1, 3.0).words("$")
        'This verdict needs about 1,700 more pairs, 40 min, $4.10, of which $3.00 for judging.'
        >>> StageForecast(0, 600.0, None).words("$")
        'This verdict needs no more pairs, 10 min.'
        """
        more = f"about {leading(self.pairs):,} more pairs" if self.pairs else "no more pairs"
        paid = [money_text(self.cost, currency)] if self.cost is not None and self.pairs else []
        if paid and self.judging is not None:
            paid.append(f"of which {money_text(self.judging, currency)} for judging")
        return f"This verdict needs {', '.join([more, rough(self.seconds), *paid])}."


def leading(number: float) -> int:
    """To two leading figures.

    >>> leading(1683), leading(7.2), leading(0)
    (1700, 7, 0)
    """
    whole = round(number)
    return int(round(whole, min(0, 2 - len(str(whole)))))


def stage_forecast(
    rollout: RolloutState, look: Looked, plan: Plan, each: float | None, judging: float | None = None
) -> StageForecast | None:
    """What the present stage still takes, `each` being what the copies of a pair cost, `judging` what its verdicts do.
    `None` where no pairs come, a pass is not expected, or all that is missing is a person."""
    open_guards = [f for f in look.assessment.findings if f.segment is None and f.verdict is not Verdict.PASS]
    etas = [finding.eta_seconds for finding in open_guards]
    if look.rate <= 0.0 or not look.assessment.findings or None in etas:
        return None
    lacking = {need.what: max(0.0, need.want - need.have) for need in needs(rollout, look, plan)}
    share = look.stage_candidate_pairs / look.stage_pairs if look.stage_pairs else 0.0
    answered = lacking.get("candidate_pairs", 0.0)
    if answered and not share:
        return None
    pairs = max(lacking.get("pairs", 0.0), answered / share if answered else 0.0)
    pairs = max(pairs, look.rate * max((eta for eta in etas if eta is not None), default=0.0))
    seconds = max(pairs / look.rate, lacking.get("seconds", 0.0))
    if not seconds:
        return None
    judged = None if judging is None else judging * round(pairs)
    copies = None if each is None else each * round(pairs)
    cost = None if copies is None and judged is None else (copies or 0.0) + (judged or 0.0)
    return StageForecast(round(pairs), seconds, cost, judged)
