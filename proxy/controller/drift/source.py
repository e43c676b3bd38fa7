"""What the file says of a route's drift, as its watch needs it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace

import orjson

from proxy.config import Config
from proxy.config.drift import DriftConfig
from proxy.config.drift_checks import ONLY
from proxy.config.route import RouteConfig
from proxy.drift import DriftField, DriftPlan
from proxy.model import Kind, PredictionSpec
from proxy.predictions.inputs import InputField, input_field
from proxy.predictions.observing import ObservationReader
from proxy.predictions.said import FIELDS


@dataclass(frozen=True)
class DriftSource:
    """One route: `inputs` and what is expected of them, in the same order; `specs` of its predictions. `per` seconds
    have one false alarm on average. `live` and `version` say whose answers they are."""

    route: str
    live: str
    version: str
    inputs: tuple[InputField, ...]
    expected: tuple[DriftField, ...]
    specs: tuple[PredictionSpec, ...]
    first: int
    recording: str
    period: float | None
    per: float
    rate: int
    max_body: int

    def plan(self, kinds: Mapping[str, Kind], first: int) -> DriftPlan:
        """The fields of inputs, and of those predictions whose kind is known, under one budget; `first` values of each
        are the reference."""
        said = tuple(
            DriftField(self.field_name(spec) + end, kind)
            for spec in self.specs
            if spec.name in kinds
            for end, kind in FIELDS[kinds[spec.name]]
        )
        return DriftPlan(self.expected + said, first=first, period=self.period, alarms=1.0, per=self.per)

    @staticmethod
    def field_name(spec: PredictionSpec) -> str:
        """What the fields of a prediction are called."""
        return spec.name or ONLY

    @property
    def identity(self) -> str:
        """The same for as long as what was learned of the route still holds: what is looked at, of whose answers, and
        what is normal. How often it may alarm and what is expected is not part of it."""
        parts = [
            [self.route, self.live, self.version],
            [[one.name, one.kind, one.pointer, one.header] for one in self.inputs],
            [repr(spec) for spec in self.specs],
            [self.first, self.recording, self.period],
        ]
        return hashlib.blake2b(orjson.dumps(parts), digest_size=12).hexdigest()

    def reader(self) -> ObservationReader:
        """What reads its observations."""
        return ObservationReader(self.inputs, self.specs, self.max_body)


def drift_sources(config: Config) -> dict[str, DriftSource]:
    """Every route that has `drift:`, by name."""
    return {route.name: _source(config, route, route.drift) for route in config.routes if route.drift is not None}


def _source(config: Config, route: RouteConfig, drift: DriftConfig) -> DriftSource:
    inputs = tuple(
        input_field(name, Kind(one.kind), one.pointer or "", (one.header or "").lower())
        for name, one in drift.inputs.items()
    )
    expected = tuple(
        DriftField(name, Kind(one.kind), one.missing, one.min, one.max, tuple(one.labels), one.invalid)
        for name, one in drift.inputs.items()
    )
    return DriftSource(
        route=route.name,
        live=route.live,
        version=config.upstreams[route.live].effective_version,
        inputs=inputs,
        expected=expected,
        specs=_specs(route) if drift.predictions else (),
        first=drift.reference.first or 0,
        recording=drift.reference.recording or "",
        period=drift.period,
        per=drift.alarms,
        rate=drift.observations_per_second,
        max_body=max((rollout.mirror.max_body for rollout in route.rollouts), default=1 << 20),
    )


def _specs(route: RouteConfig) -> tuple[PredictionSpec, ...]:
    """How live's answers are read; where the file does not say, by what they show."""
    if route.predictions:
        return tuple(replace(rule.spec, name=name) for name, rule in route.predictions.items())
    return (route.prediction.spec if route.prediction is not None else PredictionSpec(),)
