"""Promise: whatever an arm answers is counted with its reason, ends no judging, and can be saved and shown.

Every kind of prediction with every guard that fits it, on the way that pairs take: frames, reading, order, evidence,
kept pairs and charts, a look, a snapshot, what the API shows. Each odd answer comes from both arms, from live alone and
from the candidate alone, and warnings are errors.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import orjson
import pytest

from proxy.controller.report import rollout_json
from proxy.controller.rollout_run import RolloutRun, fresh_evidence
from proxy.evidence import Evidence
from proxy.evidence.rules.registry import GUARDS
from proxy.model import Arm, Guard, Kind, Outcome, Pair, Plan, PredictionSpec, Segments, Stage, State
from proxy.pairs import link
from proxy.pairs.ledger import PairLedger
from proxy.rollout.machine import begin

PLAIN = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n"
ASKED = b"POST /v2/models/m/infer HTTP/1.1\r\nhost: h\r\n\r\n"
LIMITS = {"max_big_change": (0.005, False, 0.3), **dict.fromkeys(("p99_latency", "median_latency"), (1.2, True, 0.0))}


def plan_for(kind: Kind) -> Plan:
    names = [name for name, known in GUARDS.items() if kind is Kind.AUTO or kind in (known.kinds or {kind})]
    limits = {name: LIMITS.get(name, (0.9, "time_" in name, 0.0)) for name in names}
    guards = tuple(Guard(name, *limits[name]) for name in names)
    spec = PredictionSpec("v2", kind, ignore=("/id",))
    segments = Segments(request_field="/t", top=3)
    return Plan("r/c", "r", "l", "c", "1", (Stage(State.SHADOW, 100.0),), guards, spec, segments, cluster_by="x-user")


def v2(shape: object, datatype: str, data: object) -> bytes:
    raw = data if isinstance(data, bytes) else orjson.dumps(data)
    return b'{"outputs":[{"name":"y","shape":%s,"datatype":"%s","data":%s}]}' % (
        orjson.dumps(shape), datatype.encode(), raw,
    )  # fmt: skip


def good(kind: Kind, number: int) -> bytes:
    share = number % 97 / 97
    by_kind = {
        Kind.LABEL: v2([1], "INT64", [number % 3]),
        Kind.PROBABILITIES: v2([1, 2], "FP64", [share, 1.0 - share]),
        Kind.VECTOR: v2([1, 2], "FP64", [1.0, share]),
        Kind.RANKING: v2([1, 3], "BYTES", ["a", "b", "c"]),
        Kind.TEXT: v2([1], "BYTES", ["yes " * (number % 7)]),
    }
    return by_kind.get(kind, v2([1], "FP64", [share]))


NUMBERS = (
    b"NaN",
    b"Infinity",
    b"-Infinity",
    b"1e308",
    b"-1e308",
    b"1e309",
    b"5e-324",
    b"-0.0",
    b"null",
    b"1e30",
    b'"0"',
)
NUMBERS += (
    b"9223372036854775807",
    b"18446744073709551616",
    b"123456789012345678901234567890",
    b"[0.5]",
    b"{}",
    b"true",
)
ODD = (
    *(v2([1], datatype, b"[%s]" % number) for datatype in ("FP64", "INT64") for number in NUMBERS),
    *(v2([1, 2], "FP64", b"[%s]" % two) for two in (b"1e308,1e308", b"0,0", b"1e-320,1e-320", b"0.5,0.5", b"-1,2")),
    *(v2([1], "BYTES", [text]) for text in ("never seen", "", "x" * 100_000, "\x00")),
    *(v2(shape, "FP64", b"[0.5]") for shape in ([], [2], [-1], [10**18], [1e3], [1] * 9, "1", None)),
    v2([0], "FP64", []), v2([2, 1], "FP64", [0.5, 0.5]), v2([1], "XX", [0.5]), v2([1], "BOOL", [True]),
    v2([1, 10_000], "FP64", [0.0001] * 10_000), v2([1, 10_000], "INT64", list(range(10_000))),
    v2([70_000], "FP64", [0.5] * 70_000), b'{"pad":"%s",%s' % (b"x" * 2_000_000, v2([1], "FP64", [0.5])[1:]),
    b"", b"{}", b"[]", b"null", b"\xff\xfe", b'{"outputs":', b'{"outputs":[]}', b'{"outputs":[{}]}', b'{"outputs":[1]}',
    b"[" * 2000 + b"]" * 2000, b'{"outputs":' + b"[" * 1100 + b"]" * 1100 + b"}", b'{"a":' * 1500 + b"1" + b"}" * 1500,
    b'{"outputs":"y",%s' % v2([1], "FP64", [0.9])[1:],
    b"%s,%s" % (v2([1], "FP64", [0.5])[:-1], v2([1], "FP64", [1])[1:]),
)  # fmt: skip
HEADS = (b"", b"\xff\xff", *(b"HTTP/1.1 200 OK\r\n%s\r\n\r\n" % line for line in (
    b"content-encoding: gzip", b"content-encoding: a,b,c,d,e", b"inference-header-content-length: 99999999999999999999",
    b"inference-header-content-length: -5",
)))  # fmt: skip
TIMES = (0.01, float("nan"), float("inf"), 0.0, -1.0, 1e308, 5e-324)
STATUSES = (0, 1, 199, 204, 304, 399, 400, 404, 429, 499, 500, 599, 65535)


def pairs(kind: Kind) -> Iterator[tuple[Outcome, Outcome, bytes]]:
    """Live's outcome, the candidate's, and the request's body; enough good ones first for all that is learned."""

    def fine(body: bytes, head: bytes = PLAIN, seconds: float = 0.01) -> Outcome:
        return Outcome(200, head=head, body=body, seconds=seconds, first=seconds / 2)

    usual = good(kind, 5)
    for number in range(600):
        yield fine(good(kind, number)), fine(good(kind, number)), b'{"n":%d,"t":"a"}' % number
    for odd in ODD:
        for live, candidate in ((odd, odd), (odd, usual), (usual, odd)):
            yield fine(live), fine(candidate), b'{"t":%d,"odd":%d}' % (len(live), len(candidate))
        yield fine(usual), fine(usual), odd[:100_000]
    for head in HEADS:
        yield fine(usual, head), fine(usual, head), b"head %s" % head
    for one, other in itertools.product(TIMES, TIMES):
        yield fine(usual, seconds=one), fine(usual, seconds=other), b"time %f %f" % (one, other)
    for one, other in itertools.product(STATUSES, (0, 200, 404, 503)):
        yield Outcome(one, body=usual), Outcome(other, body=usual), b"status %d %d" % (one, other)


@pytest.mark.parametrize("kind", Kind)
def test_everything_is_counted_and_can_be_judged_saved_and_shown(kind: Kind) -> None:
    plan = plan_for(kind)
    trial = RolloutRun(plan, begin(plan, 1000.0)[0], fresh_evidence(plan), PairLedger())
    sent = 0
    for live, candidate, body in pairs(kind):
        served = Arm.LIVE if sent % 3 else Arm.CANDIDATE
        pair = Pair(
            "t", 0, "w", sent, f"i{sent}", 1e3 + sent, served, ASKED, body, live, candidate, live, sent % 11 == 0
        )
        trial.take(link.decode_pair(link.encode_pair(pair, 0)[5:], {0: "t"}, "w"))
        sent += 1
        if sent % 100 == 0:
            trial.flush()
            trial.look(2000.0 + sent, None)
    trial.flush()
    trial.counts("w", {"sampled": sent, "sent": sent})
    ledger = trial.ledger
    assert (ledger.compared + ledger.unparseable + ledger.live_failed, ledger.pending) == (sent, 0)
    assert "internal" not in trial.failed
    for number, truth in enumerate((0, 1.5, 1e308, float("nan"), "a", [0.1, 0.9], None, {}, True, 10**30, [], ["a"])):
        trial.outcome(f"i{500 + number}", truth)
    trial.look(9000.0, None)
    saved = trial.evidence.dump()
    assert Evidence.load(plan, saved).dump() == saved
    for shown in (rollout_json(trial), trial.charts.shown(plan, 0.0), trial.sample_pairs.shown("worst", 100, ())):
        orjson.dumps(shown)
