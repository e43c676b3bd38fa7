"""Promise: ordinary pairs are read as they come and added in micro-batches, of whatever kind their answers are; none of
them waits in the queue of what takes long."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from proxy.controller.readings import EACH, FULL, MOST, Readings, weight_of
from proxy.model import Arm, Outcome, Pair
from tests.controller.controllers import eventually, running
from tests.controller.worker import HEAD, OK
from tests.evidence.streams import make_reading

CONFIG = """
upstreams: {l: {url: "http://127.0.0.1:1"}, c: {url: "http://127.0.0.1:2"}}
routes:
  - name: r
    live: l
    prediction: {protocol: v2, output: y, kind: KIND}
    rollouts: [{candidate: c, stages: [{shadow: 100%, min_pairs: 100000}], guards: {max_extra_errors: 5%}}]
"""
ROWS = {
    "score": ([1], [0.5]),
    "label": ([1], ["cat"]),
    "text": ([1], ["yes it is"]),
    "probabilities": ([1, 2], [0.25, 0.75]),
    "vector": ([1, 32], [0.5] * 32),
}


@pytest.mark.parametrize("kind", ROWS)
async def test_ordinary_pairs_never_wait(kind: str, tmp_path: Path) -> None:
    shape, data = ROWS[kind]
    datatype = "BYTES" if type(data[0]) is str else "FP64"
    output = {"name": "y", "shape": shape, "datatype": datatype, "data": data}
    outcome = Outcome(200, head=OK, body=orjson.dumps({"outputs": [output]}), seconds=0.01, first=0.01)
    async with running(tmp_path, CONFIG.replace("KIND", kind)) as controller:
        (trial,) = controller.trials.values()
        most = 0
        for n in range(3000):
            pair = Pair(trial.plan.trial, 0, "w", n, f"i{n}", 1e3 + n, Arm.LIVE, HEAD, b"%d" % n, outcome, outcome)
            controller.intake.pair(pair)
            assert not controller.intake.waits(trial)
            most = max(most, len(trial.readings.ready))
        assert most > 150, "they are added many at a time"
        await eventually(lambda: trial.ledger.compared == 3000)


@pytest.mark.parametrize("row", [0.5, "cat", 7, (0.25, 0.75), (0.5,) * 500])
def test_a_micro_batch_is_full_before_it_is_more_than_one(row: object) -> None:
    readings, added = Readings(), 0
    while not readings.full and added < 2 * FULL // EACH:
        assert readings.add(make_reading(added, row, row))
        added += 1
    assert readings.full
    assert FULL <= added * weight_of(make_reading(0, row, row)) <= MOST
    assert not readings.many
    assert len(readings.cut()) == added
    assert not readings.full
