"""Locust users of a proxy with a shadow and a canary: real digits, every label checked.

    python -m loadtests.run_locust                             starts models, proxy and this, headless, 20 seconds
    locust -f loadtests/locustfile.py --host http://HOST:PORT  against a proxy that runs already

Three kinds of user: one digit pair at a time on the shadowed route, pages of 20 digits on the same route, and a
thousand users with ids on the canaried route (`sticky`). An answer counts as a failure unless it is 200 and
holds the labels that the model named by `x-served-by` must give.
"""

from __future__ import annotations

import random
import tempfile
from pathlib import Path

import gevent
import orjson
from locust import FastHttpUser, between, events, task
from locust.env import Environment

from proxy.demo.digits import DigitRequest, Studio, train

_studio: list[Studio] = []


@events.init.add_listener
def _train(environment: Environment, **_: object) -> None:
    """Train the models once per locust process, to know what each must answer."""
    with tempfile.TemporaryDirectory() as folder:
        _studio.append(train(Path(folder)))
    gevent.sleep(0.01)  # lets the event loop see that time has passed, or the run's time limit counts the training


class _Client(FastHttpUser):
    """Sends digits to one route and checks the labels."""

    abstract = True
    route = ""
    digits = 2

    def on_start(self) -> None:
        self.source = random.Random()
        self.headers = {"content-type": "application/json"}

    @task
    def infer(self) -> None:
        """One inference request."""
        asked = _studio[0].draw(self.source, self.digits)
        path = f"/v2/models/{self.route}/infer"
        headers = {**self.headers, "x-user-id": f"user-{self.source.randrange(1000)}"}
        with self.client.post(path, data=asked.body, headers=headers, catch_response=True) as answer:
            problem = _problem(asked, answer.status_code, answer.headers or {}, answer.content or b"")
            if problem:
                answer.failure(problem)


def _problem(asked: DigitRequest, status: int, headers: dict[str, str], body: bytes) -> str:
    """What is wrong with an answer; empty when nothing is."""
    if status != 200:
        return f"status {status}: {body[:200]!r}"
    served_by = headers.get("x-served-by", "")
    if served_by not in asked.expected:
        return f"x-served-by is {served_by!r}"
    labels = tuple(orjson.loads(body)["outputs"][0]["data"])
    return "" if labels == asked.expected[served_by] else f"{served_by} answered {labels}"


class Reader(_Client):
    """One pair of digits at a time, in shadow."""

    weight = 4
    route = "shadowed"
    wait_time = between(0.02, 0.1)


class Scanner(_Client):
    """A page of digits at a time, in shadow."""

    weight = 1
    route = "shadowed"
    digits = 20
    wait_time = between(0.2, 0.6)


class Visitor(_Client):
    """Many users with ids, on the route with a canary."""

    weight = 4
    route = "canaried"
    wait_time = between(0.02, 0.1)
