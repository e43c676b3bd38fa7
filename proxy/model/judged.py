"""A judge's verdict on one pair, as the evidence gets it: what asking costs, and how, is the asker's."""

from __future__ import annotations

from typing import NamedTuple


class Judged(NamedTuple):
    """One pair that was judged. `Evidence.judged` takes them in the order of their requests, per worker.

    `aspect` is the name of the prediction, "" for the only one; `id` the request's, `key` its reading's `request_hash`,
    by which repeats are told; `worker`, `stage`, `time` (s), `segment` and `cluster` are the reading's. `value` is the
    candidate's answer against live's: 1 won, 0 tied, −1 lost (for a similarity: 0 to 1). `floor` is live's second
    answer against its first in the same way, `None` where that was not asked for.

    - A candidate that failed where live did not has lost: −1, without asking. Where live failed there is no verdict.
    - Which pairs are judged is drawn beforehand, by a keyed hash of the request id: a pair that was drawn and not
      judged (the judge was down, slow, too dear, or made no sense) never comes, and is counted with
      `Evidence.not_judged`.
    - Under `mirror.noise_floor` only pairs with a `floor` count, so of those drawn that have a second answer of live's
      both questions are asked, also where the candidate failed.
    - With anchors a verdict is held back until `judges.anchors` says that the judge was then as it had been.
    """

    aspect: str
    id: str
    key: int
    worker: str
    stage: int
    time: float
    value: float
    floor: float | None = None
    segment: str = ""
    cluster: str = ""
