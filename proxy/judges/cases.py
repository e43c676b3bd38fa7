"""What becomes of a drawn pair before anybody is asked: nothing, a verdict that needs no judge, or questions."""

from __future__ import annotations

from typing import Final, NamedTuple

from proxy.judges.conversation import conversation
from proxy.judges.verdict import Judgment, value_of
from proxy.model import Prediction, Reading
from proxy.model.judged import Judged
from proxy.predictions.bounds import Bounds
from proxy.predictions.message import decoded
from proxy.predictions.unreadable import Unreadable

LOST: Final = -1.0
"""The value of a pair that the candidate failed."""
TIED: Final = 0.0
"""The value of a pair whose two answers are the same."""
UNLIKE: Final = 0.0
ALIKE: Final = 1.0
"""The same where similarity is the question."""


class JudgedCase(NamedTuple):
    """One drawn pair: its `value` and `floor` where they are known without asking; the answers to ask about (live's and
    the candidate's, live's first and its second) where they are not. `unreadable`: there is nothing to judge."""

    value: float | None = None
    floor: float | None = None
    pair: tuple[Prediction, Prediction] | None = None
    live_pair: tuple[Prediction, Prediction] | None = None
    unreadable: bool = False


def case_of(reading: Reading, part: Reading, *, floored: bool, embedded: bool = False) -> JudgedCase | None:
    """The case of a pair, `part` being what one prediction read of it; `None` where it says nothing of the candidate:
    live failed, or was not asked twice where the noise floor needs that. `embedded`: the question is how alike they
    are."""
    if reading.live_fault or part.live_fault or (floored and part.again is None):
        return None
    live, candidate, again = part.live, part.candidate, part.again
    failed = bool(reading.fault or part.fault)
    if live is None or (candidate is None and not failed):
        return JudgedCase(unreadable=True)
    same = ALIKE if embedded else TIED
    lost = JudgedCase(value=UNLIKE if embedded else LOST)
    case = lost if failed else _asked(JudgedCase(), live, candidate, same, floor=False)
    return _asked(case, live, again, same, floor=True) if floored else case


def _asked(case: JudgedCase, live: Prediction, other: Prediction | None, same: float, *, floor: bool) -> JudgedCase:
    if other is None:
        return case
    if live.rows == other.rows:
        return case._replace(floor=same) if floor else case._replace(value=same)
    return case._replace(live_pair=(live, other)) if floor else case._replace(pair=(live, other))


def given_value(said: Judgment, *, candidate_first: bool) -> float:
    """What was said of two answers, as the evidence counts it."""
    return said.value if said.value is not None else value_of(said.winner, candidate_first=candidate_first)


def judged_item(name: str, reading: Reading) -> Judged:
    """What the evidence is told of a pair, still without a verdict."""
    return Judged(
        name, reading.id, reading.request_hash, reading.worker, reading.stage, reading.time, TIED,
        segment=reading.segment, cluster=reading.cluster,
    )  # fmt: skip


def answer_text(prediction: Prediction) -> str:
    """What was read of an answer, as a judge is shown it: its rows, with a line between several.

    >>> from proxy.model import Kind
    >>> answer_text(Prediction(Kind.TEXT, ("Yes.",))), answer_text(Prediction(Kind.CALLS, (("f(1)", "g(2)"),)))
    ('Yes.', 'f(1)\\ng(2)')
    """
    rows = ("\n".join(row) if isinstance(row, tuple) else str(row) for row in prediction.rows)
    return "\n\n---\n\n".join(rows)


def request_text(head: bytes, body: bytes, bounds: Bounds) -> str:
    """What was asked, as text; empty where it cannot be read."""
    try:
        return conversation(decoded(head, body, bounds.inflated))
    except Unreadable:
        return ""
