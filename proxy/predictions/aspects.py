"""Several predictions of one answer: a pair in, a reading of the whole and one of each prediction out.

Whose fault is what:

- An arm that fails as a server fails in every aspect (`reading`).
- An answer of the candidate that cannot be read as one of the predictions, where live's can, fails that prediction's
  guards and, an unreadable answer being an error, counts as a failure of the candidate as a whole. The other guards
  judge what they read.
- An answer of live's that cannot be read as one of them says nothing of that one. The pair is `unparseable` only where
  it can be read as none.
"""

from __future__ import annotations

from collections.abc import Iterator

from proxy.model import Pair, Plan, PredictionSpec, Reading, Segments
from proxy.model.reasons import Reason
from proxy.predictions.bounds import MAX_BODY, Bounds
from proxy.predictions.pricing import PricedReader
from proxy.predictions.reading import PairReader


class AspectsReader:
    """Reads the pairs of a plan with several predictions, as `PairReader` those of a plan with one. `ignore` are the
    fields of requests that any of them ignores."""

    __slots__ = ("_names", "_readers", "_whole", "bounds")

    def __init__(
        self,
        specs: tuple[PredictionSpec, ...],
        segments: Segments | None = None,
        cluster_by: str = "",
        max_body: int = MAX_BODY,
    ) -> None:
        self.bounds = Bounds.of(max_body)
        ignored = tuple(dict.fromkeys(field for spec in specs for field in spec.ignore))
        self._whole = PairReader(PredictionSpec("none", ignore=ignored), segments, cluster_by, max_body)
        self._names = [spec.name for spec in specs]
        self._readers = [PairReader(spec, None, "", max_body) for spec in specs]

    def is_short(self, pair: Pair) -> bool:
        """Whether a pair takes no time worth counting to read."""
        return self._whole.is_short(pair)

    def steps(self, pair: Pair) -> Iterator[Reading | None]:
        """What `read` gives, last, after a step for each answer and prediction."""
        found = []
        for reader in self._readers:
            reading = None
            for reading in reader.steps(pair):
                if reading is None:
                    yield None
            if reading is not None:
                found.append(reading)
        yield self._joined(self._whole.read(pair), tuple(found))

    def read(self, pair: Pair) -> Reading:
        """The reading of a pair; never raises."""
        return self._joined(self._whole.read(pair), tuple(reader.read(pair) for reader in self._readers))

    def _joined(self, whole: Reading, parts: tuple[Reading, ...]) -> Reading:
        """The reading of the whole, with what failed in its parts and the tokens that some protocol counted."""
        live_fault, fault, detail = whole.live_fault, whole.fault, whole.detail
        if not live_fault and all(part.live_fault for part in parts):
            live_fault = parts[0].live_fault
        if not (fault or live_fault):
            fault = next((part.fault for part in parts if part.fault), Reason.NONE)
        if not detail or fault is not whole.fault or live_fault is not whole.live_fault:
            said = [f"{name}: {part.detail}" for name, part in zip(self._names, parts, strict=True) if part.detail]
            detail = "; ".join(dict.fromkeys(said)) or detail
        counted = next((part for part in parts if part.live_tokens or part.tokens), whole)
        return whole._replace(
            live_fault=live_fault,
            fault=fault,
            detail=detail,
            live_tokens=counted.live_tokens,
            tokens=counted.tokens,
            pieces=counted.pieces,
            aspects=parts,
        )


def reader_of(plan: Plan) -> PairReader | AspectsReader | PricedReader:
    """What reads the pairs of a plan, and says what they cost where that is known."""
    found: PairReader | AspectsReader
    if plan.predictions:
        found = AspectsReader(plan.predictions, plan.segments, plan.cluster_by, plan.max_body)
    else:
        found = PairReader(plan.prediction, plan.segments, plan.cluster_by, plan.max_body)
    if plan.live_price is None and plan.candidate_price is None:
        return found
    return PricedReader(found, plan.live_price, plan.candidate_price)
