"""Units and names of guards, as people read them."""

from __future__ import annotations

from proxy.evidence.input.costs import CostTotals
from proxy.evidence.rules.registry import GUARDS
from proxy.model import Guard
from proxy.rollout.requirements import rough


def title(guard: Guard) -> str:
    """What the guard measures.

    >>> title(Guard("max_disagreement", 0.02))
    'disagreement'
    >>> title(Guard("max_disagreement", 0.02, aspect="tools"))
    'tools: disagreement'
    """
    named = GUARDS[guard.name].title
    return f"{guard.aspect}: {named}" if guard.aspect else named


def in_unit(guard: Guard, value: float | None) -> str:
    """A value in the guard's unit.

    >>> in_unit(Guard("max_disagreement", 0.02), 0.0131), in_unit(Guard("p99_latency", 0.25), 0.2501)
    ('1.31 %', '250 ms')
    >>> in_unit(Guard("p99_latency", 1.2, relative=True), 1.304), in_unit(Guard("p99_latency", 0.25), float("inf"))
    ('1.30 x', 'unbounded')
    """
    if value is None:
        return "unknown"
    if value == float("inf"):
        return "unbounded"
    return GUARDS[guard.name].unit.number(guard, value)


def forecast_words(more: int, unit: str = "pairs") -> str:
    """The forecast in words, rounded to what it is worth: nine in ten come true within a third and three times of it.

    >>> forecast_words(1683)
    'pass expected in about 1,700 pairs (600 to 5,000)'
    >>> forecast_words(7, "latency blocks")
    'pass expected in about 7 latency blocks (2 to 21)'
    """
    low, high = (rounded(n, 1 if more > 99 else 2) for n in (more / 3, 3 * more))
    return f"pass expected in about {rounded(more, 2):,} {unit} ({low:,} to {high:,})"


def rounded(number: float, digits: int) -> int:
    """To so many leading figures.

    >>> rounded(5049, 1), rounded(1683, 2), rounded(7, 2)
    (5000, 1700, 7)
    """
    whole = round(number)
    return int(round(whole, min(0, digits - len(str(whole)))))


def label_words(labelled: int, unlabelled: int, share: int, delay: float) -> str:
    """How many requests have a label, and what share of them waits for one (one in `share`); empty when all do.

    >>> label_words(3100, 1900, 8, 86400.0)
    '3,100 of 5,000 requests had a label within 24 h (label_delay), one request in 8 waits for its label for memory'
    >>> label_words(3100, 0, 1, 86400.0)
    ''
    """
    of_all = f"{labelled:,} of {labelled + unlabelled:,} requests had a label within {rough(delay)} (label_delay)"
    for_memory = f"one request in {share:,} waits for its label for memory"
    return ", ".join([of_all] * (unlabelled > 0) + [for_memory] * (share > 1))


def judged_words(judged: int, unjudged: int, without_floor: int) -> str:
    """How many pairs for which a judge was drawn say nothing; empty when all do.

    >>> judged_words(512, 41, 0), judged_words(512, 0, 0)
    ('41 of 553 pairs drawn were not judged', '')
    >>> judged_words(512, 0, 12)
    '12 verdicts do not count, since live was not judged against itself'
    """
    none = f"{unjudged:,} of {judged + unjudged:,} pairs drawn were not judged"
    floor = f"{without_floor:,} verdicts do not count, since live was not judged against itself"
    return ", ".join([none] * (unjudged > 0) + [floor] * (without_floor > 0))


def cut_cost_words(costs: CostTotals, *, cut: bool) -> list[str]:
    """What is to be known of figures on cost: the ratio without the cut where costs were `cut`, and estimated tokens.

    >>> cut_cost_words(CostTotals(live=300, candidate=2000, pairs=1500, counted=12), cut=True)[0]
    'nothing cut, it is 6.67 x over all 1,500 pairs so far, those that the bound was learned from included'
    >>> cut_cost_words(CostTotals(live=300, candidate=2000, pairs=1500), cut=False)
    []
    """
    of = f"over all {costs.pairs:,} pairs so far, those that the bound was learned from included"
    whole = [f"nothing cut, it is {costs.candidate / costs.live:.2f} x {of}"] if cut and costs.live else []
    estimated = f"tokens were estimated in {costs.counted:,} pairs, since not both models say them (`usage`)"
    return whole + [estimated] * (costs.counted > 0)


def burst_words(size: float) -> str:
    """What it means that differences come `size` at a time; nothing where that is about one.

    >>> burst_words(1.3), burst_words(8.1)
    ('', 'differences come in bursts of about 8: evidence counts an eighth')
    >>> burst_words(23.4)
    'differences come in bursts of about 23: evidence counts 1/23'
    """
    about = round(size)
    if about < 2:
        return ""
    share = _SHARES[about - 2] if about - 2 < len(_SHARES) else f"1/{about:,}"
    return f"differences come in bursts of about {about:,}: evidence counts {share}"


_SHARES = (
    "half", "a third", "a quarter", "a fifth", "a sixth", "a seventh", "an eighth", "a ninth", "a tenth",
)  # fmt: skip
