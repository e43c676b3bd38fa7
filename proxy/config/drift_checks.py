"""What is wrong between the lines of `drift:`, and what it says, in words."""

from __future__ import annotations

from collections.abc import Iterator

from proxy.config.blaming import Blamer
from proxy.config.drift import DriftConfig, DriftInput
from proxy.config.files import unreadable
from proxy.config.route import RouteConfig
from proxy.config.text import Path
from proxy.config.tree import Config
from proxy.http.credentials import HEADERS
from proxy.json_pointer import parse_pointer
from proxy.pairs.redaction import pointers
from proxy.rollout.requirements import rough
from proxy.units import duration, ratio_text

ONLY = "prediction"
"""What the fields of a route's only prediction are called."""


def check_drift(config: Config, blame: Blamer) -> None:
    """Fields that cannot be read, limits that mean nothing, names given twice."""
    for n, route in enumerate(config.routes):
        path: Path = ("routes", n, "drift")
        if route.drift is None:
            continue
        live = config.upstreams.get(route.live)
        _whole(path, route.drift, blame)
        for name, one in route.drift.inputs.items():
            here = (*path, "inputs", name)
            if blame.is_broken(here):
                continue
            _place(here, one, route, blame, grpc=live is not None and live.grpc)
            _limits(here, one, blame)
            _name(here, name, route, blame)


def _whole(path: Path, drift: DriftConfig, blame: Blamer) -> None:
    if not drift.inputs and not drift.predictions:
        blame(path, "watches nothing", "name `inputs`, or write `predictions: true`")
    if drift.period is not None and drift.period < 60.0:
        blame((*path, "period"), f"{duration(drift.period)} is too short for a cycle", "at least 1m")
    reference = drift.reference
    given = [f"`{key}`" for key in ("first", "recording") if getattr(reference, key) is not None]
    if len(given) != 1 and not blame.is_broken((*path, "reference")):
        said = " and ".join(given or ["`first`", "`recording`"])
        blame((*path, "reference"), f"has {'both' if given else 'neither'} of {said}", "write one of them")


def _place(path: Path, one: DriftInput, route: RouteConfig, blame: Blamer, *, grpc: bool) -> None:
    if (one.pointer is None) == (one.header is None):
        said = "both" if one.pointer is not None else "neither"
        blame(path, f"has {said} of `pointer` and `header`", "write one of them")
    elif one.header is not None and one.header.lower() in HEADERS:
        blame((*path, "header"), f"`{one.header}` carries credentials, which are not looked at", "use another header")
    elif one.header is not None and one.kind == "vector":
        blame((*path, "kind"), "a header holds no vector", "a field of the body does: `pointer`")
    elif one.pointer is not None and grpc:
        blame((*path, "pointer"), "the messages of gRPC calls are not looked into", "name a `header`")
    elif one.pointer is not None and (mask := _mask(one.pointer, route)):
        blame((*path, "pointer"), f"is masked by `record.redact` ({mask})", "what is masked is not looked at")


def _mask(pointer: str, route: RouteConfig) -> str:
    """The entry of `redact` that hides a field; `*` is every item."""
    field = parse_pointer(pointer)
    for rollout in route.rollouts:
        for entry in pointers(rollout.record.redact) if rollout.record is not None else ():
            steps = parse_pointer(entry)
            if all(step in ("*", token) for step, token in zip(steps, field, strict=False)):
                return entry
    return ""


def _limits(path: Path, one: DriftInput, blame: Blamer) -> None:
    for key in ("min", "max"):
        if getattr(one, key) is not None and one.kind != "number":
            blame((*path, key), f"has no meaning for a `{one.kind}`", "only a number has a range")
    if one.labels and one.kind != "label":
        blame((*path, "labels"), f"has no meaning for a `{one.kind}`", "write `kind: label`")
    if one.min is not None and one.max is not None and one.min >= one.max:
        blame((*path, "min"), f"{one.min:g} is not below `max` ({one.max:g})")
    limited = one.min is not None or one.max is not None or bool(one.labels)
    if "invalid" in one.model_fields_set and not limited:
        blame((*path, "invalid"), "has no effect without `min`, `max` or `labels`")
    for key in ("missing", "invalid"):
        share = getattr(one, key)
        if share is not None and not 0.0 < share < 1.0 and (key == "missing" or limited):
            blame((*path, key), f"{ratio_text(share)} is no rate that can be exceeded", "more than 0%, less than 100%")


def _name(path: Path, name: str, route: RouteConfig, blame: Blamer) -> None:
    taken = [base for base in (route.predictions or (ONLY,)) if name == base or name.startswith(f"{base}.")]
    if taken and route.drift is not None and route.drift.predictions:
        blame(path, f"`{taken[0]}` is what live's answers are called", "another name")


def drift_in_words(route: RouteConfig) -> Iterator[str]:
    """What is watched of a route, as a sentence."""
    drift = route.drift
    if drift is None:
        return
    watched = [", ".join(drift.inputs)] if drift.inputs else []
    watched += ["live's answers"] if drift.predictions else []
    reference, rate = drift.reference, drift.observations_per_second
    if reference.recording is not None:
        normal = f"with {reference.recording}"
    else:
        first = reference.first or 0
        normal = f"with the first {first:,} ({rough(first / rate)} or more)"
    cycle = f", by the time of a cycle of {duration(drift.period)}" if drift.period is not None else ""
    yield (
        f"drift of {' and '.join(watched)}: up to {rate} requests a second are compared {normal}{cycle}; "
        f"one false alarm in {duration(drift.alarms)}; no rollout depends on it"
    )


def drift_warnings(config: Config) -> Iterator[str]:
    """References that are not there (yet)."""
    for route in config.routes:
        recording = route.drift.reference.recording if route.drift is not None else None
        if recording is not None and (problem := unreadable(recording)):
            yield f"{route.name}: {problem}; drift is not watched until it is there and the configuration is reloaded"
