"""Drift for the console to show: a real watch that was given a day of requests, drawn from a seed."""

from __future__ import annotations

import random
import time
from typing import Any

from proxy.config import parse
from proxy.controller.drift.shown import chart_json, drift_json
from proxy.controller.drift.source import drift_sources
from proxy.controller.drift.watch import DriftWatch
from proxy.model import Kind, Prediction
from proxy.model.reasons import Reason
from proxy.predictions.observing import Observed
from tests.controller.fake_service import FakeDrift

CONFIG = """
upstreams: {v1: {url: 'http://127.0.0.1:1', version: "2026-11-20"}}
routes:
  - name: NAME
    live: v1
    prediction: {protocol: json, pointer: /score, kind: score}
    drift:
      inputs:
        amount: {pointer: /amount, kind: number, missing: 1%, min: 0}
        country: {header: x-country, kind: label}
      reference: {first: 1000}
"""
COUNTRIES = ("DE", "FR", "IT", "ES", "PL")


def watch(name: str = "fraud", minutes: int = 90, shift: float = 0.0, new: float = 0.0) -> DriftWatch:
    """A watch whose route had a request each second for so many minutes; for the last third amounts are `shift` more,
    and a share of `new` comes from a new country."""
    draw, now = random.Random(name), time.time()
    found = DriftWatch(drift_sources(parse(CONFIG.replace("NAME", name)))[name], now - 60 * minutes)
    for second in range(60 * minutes):
        late = second > 40 * minutes
        amount = draw.gauss(100 + shift * late, 20)
        country = "BR" if late and draw.random() < new else draw.choices(COUNTRIES, (5, 3, 2, 1, 1))[0]
        inputs: dict[str, Any] = {"amount": None if draw.random() < 0.004 else amount, "country": country}
        score = min(1.0, max(0.0, amount / 300 + draw.gauss(0, 0.05)))
        observed = Observed(now - 60 * minutes + second, inputs, {"": Prediction(Kind.SCORE, (score,))})
        if draw.random() < 0.001:
            observed.unreadable["inputs"] = Reason.NOT_JSON
        found.take(observed)
        if second % 60 == 59:
            found.look(now - 60 * minutes + second)
    return found


class WatchedDrift(FakeDrift):
    """`drift_view.DriftView` over real watches."""

    def __init__(self, *watches: DriftWatch) -> None:
        super().__init__()
        self.watches_of = {one.source.route: one for one in watches}
        self.entries = [
            {"number": 2, "time": time.time() - 600, "kind": "drift_detected", "actor": "understudy",
             "reason": "amount drifts: level +0.9 sd (0.7 to 1.1): mean 100 → 118", "detail": {}},
            {"number": 1, "time": time.time() - 6000, "kind": "drift_began", "actor": "understudy",
             "reason": "learns what is normal", "detail": {}},
        ]  # fmt: skip

    def routes(self) -> list[dict[str, Any]]:
        return [drift_json(one) for one in self.watches_of.values()]

    def watches(self, name: str) -> bool:
        return name in self.watches_of

    async def route(self, name: str) -> dict[str, Any] | None:
        one = self.watches_of.get(name)
        return (
            None
            if one is None
            else drift_json(one) | {"charts": {field.name: chart_json(one, field.name) for field in one.fields}}
        )

    async def journal(self, name: str, limit: int, before: int | None = None) -> list[dict[str, Any]]:
        return self.entries if name in self.watches_of else []

    async def accept(self, name: str, field: str | None, *, reason: str, actor: str) -> dict[str, Any]:
        self.accepted.append((name, field, reason, actor))
        self.watches_of[name].accept(field or "")
        return drift_json(self.watches_of[name])
