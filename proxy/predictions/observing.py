"""An observation in, the values of its fields out: what of a request and of live's answer is watched for drift.

Each field is a value, `None` where it is missing, or left out: of a request that a candidate served nothing is known of
what live would have said, and an answer with which live refuses a request holds no prediction. A body that cannot be
read leaves out nothing: its fields are unreadable, and the reason word is given beside them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from proxy.model import Arm, Kind, Observation, Outcome, Pair, Prediction, PredictionSpec
from proxy.model.reasons import Reason
from proxy.predictions.bounds import MAX_BODY, Bounds
from proxy.predictions.inputs import InputField, InputValue, read_inputs
from proxy.predictions.reading import PairReader


@dataclass(slots=True)
class Observed:
    """What was read of one observation. `inputs` by name; `said` by the name of the prediction, where one was read;
    `unreadable` the reason words by what could not be read: `inputs`, or the name of a prediction."""

    time: float
    inputs: dict[str, InputValue | None]
    said: dict[str, Prediction] = field(default_factory=dict)
    unreadable: dict[str, Reason] = field(default_factory=dict)
    served_by_candidate: bool = False


class ObservationReader:
    """Reads the observations of one route. `specs` are its predictions, by their names; `max_body` bounds what reading
    one may cost (`bounds`)."""

    def __init__(self, inputs: Sequence[InputField], specs: Sequence[PredictionSpec], max_body: int = MAX_BODY) -> None:
        self._inputs, self._max_body, self._bounds = tuple(inputs), max_body, Bounds.of(max_body)
        self._specs = {spec.name: spec for spec in specs}
        self._readers = {name: PairReader(spec, max_body=max_body) for name, spec in self._specs.items()}

    def settle(self, name: str, kind: Kind) -> None:
        """From now on the prediction is read as this kind."""
        self._readers[name] = PairReader(replace(self._specs[name], kind=kind), max_body=self._max_body)

    def steps(self, observation: Observation) -> Iterator[Observed | None]:
        """What `read` gives, last, after a step for the request and for each prediction."""
        _, _, time, served, head, body, live = observation
        inputs, reason = read_inputs(self._inputs, head, body, self._bounds)
        found = Observed(time, inputs, served_by_candidate=served is Arm.CANDIDATE)
        if reason:
            found.unreadable["inputs"] = reason
        if served is Arm.LIVE:
            pair = Pair("", 0, "", 0, "", time, Arm.LIVE, head, body, live, Outcome(0))
            for name, reader in self._readers.items():
                yield None
                prediction, why = reader.live_alone(pair)
                if prediction is not None:
                    found.said[name] = prediction
                elif why:
                    found.unreadable[name] = why
        yield found

    def read(self, observation: Observation) -> Observed:
        """What was observed; never raises."""
        *_, last = self.steps(observation)
        assert last is not None
        return last
