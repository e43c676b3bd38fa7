"""What is counted of a trial beside evidence: for people, metrics and the requirements of a stage."""

from __future__ import annotations

from proxy.evidence.input.costs import CostTotals
from proxy.evidence.input.labels import LabelsJson
from proxy.evidence.input.units import UnitTotals
from proxy.evidence.state import EvidenceState


class TrialFacts:
    """Figures of a state."""

    _state: EvidenceState

    @property
    def stage_pairs(self) -> int:
        """Compared pairs of this stage."""
        return self._state.stage_pairs

    @property
    def stage_candidate_pairs(self) -> int:
        """Compared pairs of this stage that the candidate answered."""
        return self._state.stage_candidate_pairs

    @property
    def compared(self) -> int:
        """Compared pairs of the trial."""
        return self._state.compared

    @property
    def repeats(self) -> int:
        """Compared pairs whose body had been seen among the last 1,000."""
        return self._state.repeats

    @property
    def candidate_failures(self) -> dict[str, int]:
        """Failures of the candidate by reason word."""
        return {reason.value: n for reason, n in sorted(self._state.failures.items())}

    @property
    def response_mismatches(self) -> dict[str, int]:
        """Pairs of answers that differ as answers, by in what."""
        return {word.value: n for word, n in sorted(self._state.mismatches.items())}

    @property
    def costs(self) -> CostTotals:
        """What both arms and the copies have cost."""
        return self._state.costs.totals

    @property
    def units(self) -> UnitTotals:
        """The users that have counted, and the bound of what one counts for."""
        return self._state.units

    @property
    def labelled(self) -> int:
        """Outcomes that were joined to a pair, whether or not they count already."""
        return self._state.waiting.labelled + self._state.waiting.known

    @property
    def labels(self) -> LabelsJson | None:
        """What became of the requests that wait for their truth (`Waiting.labels`)."""
        return self._state.waiting.labels
