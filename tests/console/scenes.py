"""Rollouts in every state for the console to show, with data as the controller would give it; drawn from a seed."""

from __future__ import annotations

import math
import random
import time
from typing import Any

from proxy import config
from proxy.controller.admin.interface import FleetCounts, ReplicaCounts
from proxy.controller.charts import Charts, unit
from proxy.evidence.words import burst_words, forecast_words, in_unit, title
from proxy.model import PARTS, Arm, Assessment, Finding, Guard, Kind, Plan, Prediction, Reading, Stage, State, Verdict
from proxy.model.reasons import Reason
from proxy.rfc3339 import rfc3339
from tests.controller.fake_service import FakeService

FILE = """
admin: {listen: '127.0.0.1:9090'%s}
upstreams: {m1: {url: 'http://127.0.0.1:9001'}}
default: {live: m1}
"""
STAGES = (Stage(State.SHADOW, 100.0), Stage(State.CANARY, 5.0), Stage(State.CANARY, 25.0))
SHADOWED = 120
"""Seconds that a canary was in shadow before."""
WAITS = "Waits for 690 more pairs (about 6 min at 1.9 pairs/s), a pass of p99_latency (about 5.7 min)."


def plan(name: str, *guards: Guard) -> Plan:
    route, candidate = name.split("/", 1)
    return Plan(name, route, f"{route}-v1", candidate, "2026-11-20", STAGES, guards)


class Scene:
    """One rollout with its charts; `step()` lets a second pass."""

    def __init__(self, plan: Plan, state: State, kind: Kind, **how: Any) -> None:
        self.plan, self.state, self.kind = plan, state, kind
        self.how = {"rate": 90, "wrong": 0.011, "slow": 1.05, "failing": 0.0, "stage": 1, "minutes": 14} | how
        self.random = random.Random(plan.name)
        self.charts = Charts()
        self.seconds, self.compared, self.shed = 0, 0, 0
        self.began = time.time() - 60 * self.how["minutes"]
        for _ in range(60 * self.how["minutes"]):
            self.step()

    def step(self) -> None:
        if self.state in (State.ROLLED_BACK, State.COMPLETED) and self.seconds > 400:
            return
        self.seconds += 1
        self.compared += self.how["rate"]
        self.shed += self.random.random() < 0.02
        if self.seconds % 3 == 0:
            self.charts.add([self._reading() for _ in range(10)], self.plan)
        self.charts.look(self.began + self.seconds, Assessment(Verdict.INCONCLUSIVE, self.findings()), self.weight)

    @property
    def weight(self) -> float:
        if self.state is State.CANARY and self.seconds < SHADOWED < 60 * self.how["minutes"]:
            return 0.0  # it came from the shadow
        if self.state is State.CANARY:
            return self.plan.stages[self.how["stage"]].percent
        return 100.0 if self.state is State.PROMOTED else 0.0

    def _reading(self) -> Reading:
        draw = self.random
        seconds = draw.lognormvariate(math.log(0.012), 0.35)
        if self.kind is Kind.PROBABILITIES:
            top = draw.randrange(10)
            other = draw.randrange(10) if draw.random() < self.how["wrong"] * 3 else top
            live, candidate = (self._row(label, draw) for label in (top, other))
        elif self.kind is Kind.LABEL:
            live, candidate = (draw.choice(self.how.get("labels", ("yes", "no"))) for _ in range(2))
        else:
            live = min(1.0, max(0.0, draw.betavariate(2, 6)))
            candidate = min(1.0, max(0.0, live + draw.gauss(0.02, 0.03)))
        pair = (Prediction(self.kind, (live,)), Prediction(self.kind, (candidate,)))
        times = (seconds, seconds * self.how["slow"] * draw.lognormvariate(0, 0.2))
        none = Reason.NONE
        return Reading(0, "w", 0, "i", 0.0, Arm.LIVE, none, none, *pair, None, *times, 0, 0, True, False, False, 0)

    @staticmethod
    def _row(label: int, draw: random.Random) -> tuple[float, ...]:
        sure = draw.betavariate(8, 2)
        return tuple(sure if i == label else (1 - sure) / 9 for i in range(10))

    def findings(self) -> tuple[Finding, ...]:
        return tuple(self._finding(guard) for guard in self.plan.guards)

    def _finding(self, guard: Guard) -> Finding:
        n = max(1, self.compared)
        wide = 1.6 / math.sqrt(n)
        failing = self.state is State.ROLLED_BACK and guard.name == self.how.get("cause")
        settle = 1 - math.exp(-n / 20_000)
        wobble = 0.06 * math.sin(self.seconds / 37 + len(guard.name)) + 0.03 * math.sin(self.seconds / 11)
        evidence = min(1.0, max(0.0, n / 9_000 if failing else 0.25 + wobble - 0.2 * settle))
        if guard.relative:
            value = self.how["slow"] * (1.4 if failing else 1.0)
            low, high = value * (1 - 12 * wide), value * (1 + 12 * wide)
        elif guard.name == "max_mean_shift":
            value, low, high = 0.0042, 0.0042 - wide / 3, 0.0042 + wide / 3
        else:
            value = guard.limit * (2.4 if failing else 0.55)
            low, high = max(0.0, value - wide / 4), value + wide / 4
        verdict = Verdict.FAIL if failing and evidence >= 1 else Verdict.INCONCLUSIVE
        if not failing and self.state in (State.PROMOTED, State.COMPLETED):
            verdict = Verdict.PASS
        end = {
            Verdict.FAIL: "the evidence against it is enough: fail",
            Verdict.PASS: f"evidence {100 * evidence:.0f} of 100, pass",
            Verdict.INCONCLUSIVE: f"evidence {100 * evidence:.0f} of 100, {forecast_words(690)}",
        }[verdict]
        now, least, most, limit = (in_unit(guard, one) for one in (value, low, high, guard.limit))
        said = f"{title(guard)} now {now} ({least} – {most}), limit {limit}, {end}"
        eta = None if verdict is not Verdict.INCONCLUSIVE else 340.0
        burst = 8.1 if guard.name == "max_disagreement" else 1.0
        said = ", ".join(filter(None, (said, burst_words(burst))))
        return Finding(
            guard.name, None, verdict, value, low, high, guard.limit, evidence, n, eta, said, burst, aspect=guard.aspect
        )

    def segments(self) -> list[dict[str, Any]]:
        rows = []
        for at, segment in enumerate(self.how.get("segments", ())):
            finding = self._finding(self.plan.guards[0])
            of_it = {"segment": segment, "evidence": 0.4 / (at + 1), "pairs": 900 - 100 * at}
            rows.append(self.as_json(finding) | of_it)
        return rows

    def as_json(self, finding: Finding) -> dict[str, Any]:
        value = {name: getattr(finding, name) for name in Finding.__slots__} | {"verdict": finding.verdict.value}
        guard = next(guard for guard in self.plan.guards if guard.key == finding.key)
        return value | {"key": finding.key, "unit": unit(guard), "title": title(guard)}

    def needs(self) -> list[dict[str, Any]]:
        served = [{"what": "candidate_pairs", "have": 200, "want": 200}] * (self.state is State.CANARY)
        return [
            {"what": "pairs", "have": 310, "want": 1000},
            *served,
            {"what": "seconds", "have": 402.0, "want": 600.0},
            {"what": "guards", "have": 1, "want": len(self.plan.guards)},
        ]

    def json(self) -> dict[str, Any]:
        sampled = self.compared + self.shed + 3
        ledger = dict.fromkeys(("sampled", *PARTS, "pending"), 0) | {
            "sampled": sampled,
            "compared": self.compared,
            "shed": self.shed,
            "pending": 3,
        }
        rungs = [stage.name for stage in self.plan.stages]
        ended = self.state in (State.PROMOTED, State.COMPLETED)
        stage = len(rungs) if ended else self.how["stage"]
        verdicts = {finding.verdict for finding in self.findings()}
        verdict = (
            Verdict.FAIL
            if Verdict.FAIL in verdicts
            else Verdict.PASS
            if verdicts == {Verdict.PASS}
            else Verdict.INCONCLUSIVE
        )
        return {
            "name": self.plan.name,
            "route": self.plan.route,
            "owner": self.how.get("owner"),
            "live": self.plan.live,
            "candidate": self.plan.candidate,
            "version": self.plan.version,
            "state": self.state.value,
            "since": rfc3339(self.began + SHADOWED),
            "paused": self.how.get("paused", False),
            "held": self.how.get("held", False),
            "stalled": self.how.get("stalled", False),
            "blocked_by": self.how.get("blocked_by"),
            "stage": {
                "index": stage,
                "name": "promoted" if ended else rungs[stage],
                "entered_at": rfc3339(self.began + SHADOWED),
                "waiting_for": self.how.get("waiting_for", WAITS),
                "forecast": self.how.get("forecast"),
                "needs": [] if ended or self.state is State.ROLLED_BACK else self.needs(),
            },
            "stages": rungs,
            "weight": self.weight,
            "verdict": verdict.value,
            "findings": [self.as_json(finding) for finding in self.findings()] + self.segments(),
            "ledger": ledger,
            "repeats": 12,
            "candidate_failures": self.how.get("failures", {}),
            "response_mismatches": self.how.get("mismatches", {}),
            "reason": self.how.get("reason"),
        }


def usual() -> list[Scene]:
    """A canary that is well, a shadow that waits for it, one that was rolled back, one that was promoted."""
    disagree, errors = Guard("max_disagreement", 0.02), Guard("max_extra_errors", 0.002)
    p99, median = Guard("p99_latency", 1.2, relative=True), Guard("median_latency", 1.2, relative=True)
    shift = Guard("max_mean_shift", 0.01)
    return [
        Scene(
            plan("digits/digits-forest", disagree, p99, median, errors),
            State.CANARY,
            Kind.PROBABILITIES,
            failures={"timeout": 2},
            mismatches={"media_type": 3},
            segments=("tenant-7", "tenant-1", ""),
        ),
        Scene(
            plan("credit/credit-v2", shift, p99, errors),
            State.SHADOW,
            Kind.SCORE,
            stage=0,
            rate=31,
            minutes=9,
            waiting_for="Waits for 1 more minute in the stage, a pass of p99_latency.",
        ),
        Scene(
            plan("fraud/fraud-skewed", disagree, p99, errors),
            State.ROLLED_BACK,
            Kind.PROBABILITIES,
            stage=0,
            cause="max_disagreement",
            wrong=0.2,
            reason="disagreement now 4.8 % (4.4 % – 5.2 %), limit 2 %, the evidence against it is enough: fail",
            waiting_for="Waits for a new version, retry or restart.",
            failures={"status_5xx": 11, "timeout": 4},
        ),
        Scene(
            plan("search/rank-v3", p99, errors),
            State.PROMOTED,
            Kind.SCORE,
            minutes=20,
            waiting_for="Waits for the configuration to name rank-v3 as live; it is watched until then.",
        ),
    ]


class SceneSurface(FakeService):
    """A controller that shows scenes."""

    def __init__(self, scenes: list[Scene], token: str | None = None, admin: str = "") -> None:
        super().__init__()
        self.config = config.parse(FILE % ((f", token: '{token}'" if token else "") + admin))
        self.scenes = scenes
        self.answered: dict[tuple[str, str, str, str], int] = {}
        self.sample_pairs = [pair(n) for n in range(12)]
        self.entries = journal()
        self.replicas = False
        """Whether it leads a fleet."""

    def step(self) -> None:
        """A second passes."""
        for scene in self.scenes:
            scene.step()
            share = scene.weight / 100
            for upstream, part in ((scene.plan.live, 1 - share), (scene.plan.candidate, share)):
                self._count(scene.plan.route, upstream, "served", round(scene.how["rate"] * part))
                self._count(scene.plan.route, upstream, "copy", round(scene.how["rate"] * (1 - part)))
        self.emit("rollout.changed", {"rollout": ""})

    def _count(self, route: str, upstream: str, leg: str, n: int) -> None:
        for code, some in (("200", n), ("timeout", int(n > 60 and upstream.endswith("forest")))):
            key = (route, upstream, leg, code)
            self.answered[key] = self.answered.get(key, 0) + some

    def counts(self) -> FleetCounts:
        return FleetCounts(requests=dict(self.answered))

    def replica_counts(self) -> list[ReplicaCounts]:
        """One replica, or the three of `fleet_of`: two have half of it each, and the third is cut off."""
        if not self.replicas:
            return [ReplicaCounts("host-1", True, 0.1, self.counts())]
        halves = [
            {key: n // 2 for key, n in self.answered.items()},
            {key: n - n // 2 for key, n in self.answered.items()},
        ]
        found = [
            ReplicaCounts(f"host-{n}:9091", True, 0.1, FleetCounts(requests=half)) for n, half in enumerate(halves)
        ]
        return [
            *found,
            ReplicaCounts("host-2:9091", False, 40.0, FleetCounts(requests=dict.fromkeys(self.answered, 7))),
        ]

    def rollouts(self) -> list[dict[str, Any]]:
        return [scene.json() for scene in self.scenes]

    def rollout(self, name: str) -> dict[str, Any] | None:
        return next((scene.json() for scene in self.scenes if scene.plan.name == name), None)

    def charts(self, name: str) -> dict[str, Any] | None:
        scene = next((scene for scene in self.scenes if scene.plan.name == name), None)
        return None if scene is None else scene.charts.shown(scene.plan, time.time())

    async def transcript(self, name: str, pair_id: str) -> dict[str, Any] | None:
        return None

    def pairs(self, name: str, order: str, limit: int) -> list[dict[str, Any]] | None:
        return None if self.rollout(name) is None else self.sample_pairs[:limit]

    async def journal(self, name: str, limit: int, before: int | None = None) -> list[dict[str, Any]]:
        written = self.entries if name == self.scenes[0].plan.name else []
        return [entry for entry in written if before is None or entry["number"] < before][:limit]

    async def act(
        self, name: str, action: str, *, reason: str, actor: str, person: str = "", full: bool = False
    ) -> dict[str, Any]:
        found = next(scene for scene in self.scenes if scene.plan.name == name)
        self.acts.append((name, action, reason, actor, full))
        if action == "abort":
            found.state = State.ROLLED_BACK
            found.how["reason"] = f"Aborted by {actor}: {reason}"
            kind = "rolled_back"
        else:
            found.how["paused"] = action == "pause"
            kind = f"{action}d"
        entry = {"number": len(self.entries) + 1, "time": time.time(), "kind": kind, "actor": actor, "reason": reason}
        self.entries.insert(0, entry)
        self.emit(f"rollout.{kind}", {"rollout": name, "reason": reason})
        return found.json()


def pair(n: int) -> dict[str, Any]:
    """A kept pair of the digits route."""
    draw = random.Random(n)
    label, other = draw.randrange(10), draw.randrange(10)

    def answer(top: int) -> str:
        data = ",".join("0.91" if i == top else f"0.0{draw.randrange(1, 9)}" for i in range(10))
        return f'{{"id":"{n}","outputs":[{{"name":"predict_proba","shape":[1,10],"datatype":"FP64","data":[{data}]}}]}}'

    def arm(top: int) -> dict[str, Any]:
        return {
            "status": 200,
            "reason": None,
            "seconds": 0.008 + draw.random() / 100,
            "body": answer(top),
            "prediction": None,
        }

    failed = n == 0
    return {
        "id": (own := f"0192f{n:03x}-7c1e-7aa0-b1c2-{draw.randrange(16**12):012x}"),
        "request_id": own,
        "time": rfc3339(time.time() - 40 * n),
        "served": "live",
        "difference": 2.0 if failed else round(0.92 - n / 20, 3),
        "fault": "timeout" if failed else None,
        "live_fault": None,
        "detail": "no answer within 2 s" if failed else "",
        "aspects": [],
        "segment": None,
        "request": {
            "method": "POST",
            "path": "/v2/models/digits/infer",
            "body": (asked := '{"inputs":[{"name":"x","data":[0,3,9]}]}'),
            "size": len(asked),
            "whole": True,
        },
        "live": arm(label),
        "candidate": arm(other) | ({"status": 0, "reason": "timeout", "seconds": None, "body": ""} if failed else {}),
    }


def journal() -> list[dict[str, Any]]:
    """A canary's journal."""
    now = time.time()
    return [
        {"number": 3, "time": now - 240, "kind": "resumed", "actor": "ada", "reason": "Sale is over."},
        {"number": 2, "time": now - 700, "kind": "paused", "actor": "ada", "reason": "Flash sale until noon."},
        {
            "number": 1,
            "time": now - 800,
            "kind": "advanced",
            "actor": "understudy",
            "reason": "shadow passed: all 4 guards.",
        },
    ]
