"""Promise: a plan with one `prediction` counts as before there were several, under the same trial's name: to the bit.

The digests are of snapshots of these streams whose counts were compared, number by number, with those that the version
before had written.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable

import pytest

from proxy.evidence import Evidence
from proxy.evidence.snapshot import MAGIC
from proxy.model import Guard, Kind, Plan, PredictionSpec, Reading, Segments
from proxy.model.reasons import Reason
from tests.evidence.streams import ALL_GUARDS, make_plan, make_reading, score_stream

Case = tuple[Plan, list[Reading]]


def scores() -> Case:
    """Ten guards on scores, with segments and repeats."""
    stream = score_stream(1500, 3, wrong=0.02, segment="a")
    again = [r._replace(sequence=1500 + i, request_hash=7, segment="b") for i, r in enumerate(stream[:300])]
    return make_plan(*ALL_GUARDS, segments=Segments(header="x", top=3)), stream + again


def labels() -> Case:
    """Labels whose kind is found out, some of which fail or cannot be compared."""
    faults = {5: Reason.STATUS_5XX, 9: Reason.NOT_JSON}
    stream = [
        make_reading(i, "a", "ab"[i % 40 == 0], kind=Kind.LABEL, fault=faults.get(i % 100, Reason.NONE))
        for i in range(900)
    ]
    guards = Guard("max_disagreement", 0.02), Guard("max_extra_errors", 0.01), Guard("max_quality_drop", 0.05)
    return make_plan(*guards, kind=Kind.AUTO), stream


def numbers() -> Case:
    """Numbers by blocks of request time, live asked twice, and a delay for labels."""
    stream = [
        make_reading(i, i % 17 / 3, i % 17 / 3 + (i % 30 == 0), kind=Kind.NUMBER, again=i % 17 / 3, time=i / 50)
        for i in range(2200)
    ]
    guards = Guard("max_mean_shift", 0.1), Guard("max_big_change", 0.05, True, 2.0), Guard("p99_latency", 1.2, True)
    spec = PredictionSpec("json", Kind.NUMBER, pointer="/x", ignore=("/id",), jmespath="y", label_delay=60.0)
    return make_plan(*guards, prediction=spec, noise_floor=0.1, latency_block=0.1, asked="f00d"), stream


GOLDEN = {
    "scores": "4307751f55bfe29babe1d38f329169bf",
    "labels": "cfba47f318bf1f87aaa71971d241e5f8",
    "numbers": "d6b69690f67cc4ddd33f30dececbdc72",
}


def digest(plan: Plan, stream: list[Reading]) -> str:
    """Of the trial's name and of all that its snapshot holds."""
    evidence = Evidence.begin(plan, 17)
    evidence.add(stream[:700])
    evidence.enter_stage(1)
    evidence.shed(3)
    evidence.add([reading._replace(stage=1) for reading in stream[700:]])
    held = zlib.decompress(evidence.dump().removeprefix(MAGIC))
    return hashlib.blake2b(plan.trial.encode() + held, digest_size=16).hexdigest()


@pytest.mark.parametrize("case", [scores, labels, numbers])
def test_the_only_prediction_counts_as_before(case: Callable[[], Case]) -> None:
    assert digest(*case()) == GOLDEN[case.__name__]
