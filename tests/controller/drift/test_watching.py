"""Promise: a controller reads what workers observe, announces each alarm once it is saved, goes on from there after a
restart, and no rollout and no answer of the API depends on it; what it cannot read or save it counts and says."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import orjson
import pytest
from aiohttp.test_utils import TestClient, TestServer

from proxy.controller.admin import application
from proxy.controller.admin.event_view import webhook_schema
from proxy.controller.controller import Controller
from proxy.controller.drift.watch import EARLY
from proxy.controller.store.interface import DriftChange, SavedDrift
from proxy.controller.webhooks.outbox import Sender
from proxy.errors import StoreError
from proxy.model import Arm, Outcome, Pair
from proxy.model.reasons import Reason
from proxy.pairs import link
from proxy.pairs.link import CANDIDATE_SERVED, NO_OUTCOME, Frame
from proxy.pairs.recording import Recorded, header_line, line_of
from tests.controller.admin.test_openapi import check
from tests.controller.controllers import Shaky, desk_of, eventually, reload, running
from tests.controller.worker import FakeWorker

TEXT = """
upstreams: {l: {url: "http://127.0.0.1:1"}, c: {url: "http://127.0.0.1:2"}}
routes:
  - name: r
    live: l
    prediction: {protocol: json, pointer: /score, kind: number}
    drift:
      inputs: {amount: {pointer: /amount}, country: {header: x-country, kind: label}}
      reference: {first: 200}
    rollouts: [{candidate: c, shadow: 100%}]
webhooks: [{url: "http://127.0.0.1:4/hook", secret: x, events: [drift.detected, drift.ended]}]
"""
OK = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n"


class Observing:
    """A worker that observes a request a second, by request time."""

    def __init__(self, worker: FakeWorker) -> None:
        self.worker, self.now, self.draw = worker, 1_764_000_000.0, random.Random(3)
        worker.say(link.note(Frame.TRIAL, {"index": 9, "trial": "r"}))

    def send(self, count: int, mean: float = 10.0, flags: int = 0, body: bytes | None = None) -> None:
        for _ in range(count):
            self.now += 1.0
            amount = self.draw.gauss(mean, 2.0)
            head = b"POST / HTTP/1.1\r\nhost: x\r\nx-country: %b\r\n\r\n" % self.draw.choice([b"DE", b"FR"])
            answer = link.pack_outcome(200, 0, 0.1, 0.1, OK, orjson.dumps({"score": amount + self.draw.gauss(0, 1)}))
            outcome = NO_OUTCOME if flags else answer
            asked = orjson.dumps({"amount": amount}) if body is None else body
            self.worker.say(link.pack_observation(9, self.now, flags, head, asked, outcome))


async def looked(controller: Controller, observing: Observing, count: int, mean: float = 10.0) -> None:
    """So many more are observed, read and looked at."""
    watch = controller.drift.watches["r"]
    for _ in range(0, count, 100):  # a look each second: none of them sees all at once
        read = watch.read
        observing.send(100, mean)
        await eventually(lambda read=read: watch.read == read + 100)
        controller.drift._looked_at = 0.0
        await eventually(lambda: not watch._waiting)


def told(controller: Controller) -> list[tuple[str, str]]:
    return [(kind, field) for _, field, kind in controller.drift.changes.elements()]


def as_described(event: dict[str, Any]) -> dict[str, Any]:
    """An event, which must be what the schema of webhooks says where it is one of theirs."""
    if event["type"] == "drift.detected":
        jsonschema.validate(event, webhook_schema())
    return event


async def test_an_alarm_is_saved_with_its_event_and_outlives_the_controller(tmp_path: Path) -> None:
    async with running(tmp_path, TEXT) as controller:
        heard = controller.streams.subscribe()
        observing = Observing(await FakeWorker(tmp_path).connect())
        await looked(controller, observing, 400)
        assert {one.state for one in controller.drift.watches["r"].findings()} == {"steady"}
        await looked(controller, observing, 400, mean=16.0)
        assert sorted(told(controller)) == [("detected", "amount"), ("detected", "prediction")]
        await eventually(lambda: not any(controller.drift._unsaved.values()))
        events = [heard.get_nowait() for _ in range(heard.qsize())]
        alarms = {one["data"]["field"]: one["data"] for one in map(as_described, events) if "alarm" in one["data"]}
        delivery = await controller.store.next_delivery("http://127.0.0.1:4/hook", 4e9, urgent=False)
        assert delivery is not None
        assert delivery.event.data["alarm"] in {one["alarm"] for one in alarms.values()}
        assert controller.trials["r/c"].ledger.sampled == 0  # a rollout knows nothing of it
    async with running(tmp_path, TEXT) as controller:
        observing.worker = await FakeWorker(tmp_path).connect()
        observing.worker.say(link.note(Frame.TRIAL, {"index": 9, "trial": "r"}))
        watch = controller.drift.watches["r"]
        assert {field: alarm.id for field, alarm in watch.alarms.items()} == {
            field: one["alarm"] for field, one in alarms.items()
        }
        await looked(controller, observing, 100, mean=16.0)
        assert told(controller) == []
        await looked(controller, observing, 2500)
        assert sorted(told(controller)) == [("ended", "amount"), ("ended", "prediction")]
        await eventually(lambda: not any(controller.drift._unsaved.values()))
        kinds = [entry["kind"] for entry in await controller.store.journal("r", 99)]
        assert kinds == ["drift_ended", "drift_ended", "drift_detected", "drift_detected", "drift_began"]


async def test_a_store_that_fails_holds_back_the_event_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fine, broken = Shaky.save_drift, [True]

    async def save_drift(self: Shaky, change: DriftChange) -> None:
        if broken[0]:
            raise StoreError("disk full")
        await fine(self, change)

    async with running(tmp_path, TEXT) as controller:
        await eventually(lambda: not any(controller.drift._unsaved.values()))
        heard = controller.streams.subscribe()
        observing = Observing(await FakeWorker(tmp_path).connect())
        monkeypatch.setattr(Shaky, "save_drift", save_drift)
        await looked(controller, observing, 400)
        await looked(controller, observing, 400, mean=16.0)
        assert len(controller.drift._unsaved["r"]) == 2
        assert not [one for one in _all(heard) if one["type"] == "drift.detected"]
        broken[0] = False
        await eventually(lambda: not any(controller.drift._unsaved.values()))
        assert len([one for one in _all(heard) if one["type"] == "drift.detected"]) == 2


def _all(heard: asyncio.Queue[dict[str, Any]]) -> list[dict[str, Any]]:
    return [heard.get_nowait() for _ in range(heard.qsize())]


async def test_another_configuration_begins_anew_says_so_and_ends_what_was_open(tmp_path: Path) -> None:
    async with running(tmp_path, TEXT) as controller:
        observing = Observing(await FakeWorker(tmp_path).connect())
        await looked(controller, observing, 400)
        await looked(controller, observing, 400, mean=16.0)
        same = TEXT.replace("    drift:", "    drift:\n      observations_per_second: 50\n      alarms: 1 per 30d")
        assert await reload(controller, same, tmp_path) == ""
        assert set(controller.drift.watches["r"].alarms) == {"amount", "prediction"}
        assert controller.drift.watches["r"].source.rate == 50
        assert await reload(controller, TEXT.replace("first: 200", "first: 300"), tmp_path) == ""
        assert controller.drift.watches["r"].alarms == {}
        await eventually(lambda: not any(controller.drift._unsaved.values()))
        entries = await controller.store.journal("r", 99)
        assert [entry["kind"] for entry in entries[:3]] == ["drift_began", "drift_ended", "drift_ended"]
        assert entries[0]["reason"] == "learns what is normal anew: another configuration"
    other = TEXT.replace("first: 200", "first: 400")
    async with running(tmp_path, other) as controller:  # it changed while nobody was there
        await eventually(lambda: not any(controller.drift._unsaved.values()))
        entries = await controller.store.journal("r", 1)
        assert entries[0]["reason"] == "learns what is normal anew: another configuration"


async def test_what_cannot_be_read_is_counted_and_what_a_candidate_served_is_no_prediction(tmp_path: Path) -> None:
    async with running(tmp_path, TEXT) as controller:
        observing = Observing(await FakeWorker(tmp_path).connect())
        watch = controller.drift.watches["r"]
        observing.send(3, body=b"amount=7")
        observing.send(2, flags=CANDIDATE_SERVED)
        await eventually(lambda: watch.read == 5)
        assert watch.unreadable == {("inputs", Reason.NOT_JSON): 3}
        observing.worker.say(link.note(Frame.TRIAL, {"index": 8, "trial": "nobody"}))
        observing.worker.say(link.pack_observation(8, observing.now, 0, b"", b"", NO_OUTCOME))
        await eventually(lambda: controller.drift.strays == 1)


async def test_observations_for_which_there_is_no_room_are_dropped_and_counted(tmp_path: Path) -> None:
    async with running(tmp_path, TEXT) as controller:
        observation = link.decode_observation(
            link.pack_observation(0, 1.0, 0, b"", b"x" * (1 << 20), NO_OUTCOME)[5:], {0: "r"}, "w"
        )
        assert observation.served is Arm.LIVE
        assert observation.live.status == Outcome(0).status
        for _ in range(40):
            controller.drift.observe(observation)
        assert controller.drift.dropped == 8
        assert desk_of(controller).counts().dropped["observations"] == 8
        await eventually(lambda: controller.drift.watches["r"].read == 32)


async def test_the_api_says_what_is_described_and_takes_an_acceptance(tmp_path: Path) -> None:
    async with running(tmp_path, TEXT) as controller:
        observing, service = Observing(await FakeWorker(tmp_path).connect()), desk_of(controller)
        async with TestClient(TestServer(application(service, Sender(service)))) as client:
            await check(await client.get("/api/v1/drift"), "/api/v1/drift")
            await looked(controller, observing, 400)
            await looked(controller, observing, 400, mean=16.0)
            found = await check(await client.get("/api/v1/drift/r"), "/api/v1/drift/{route}")
            assert found["state"] == "drifting"
            assert found["charts"]["amount"]
            journal = await check(await client.get("/api/v1/drift/r/journal"), "/api/v1/drift/{route}/journal")
            assert journal["journal"]
            path = "/api/v1/drift/{route}/accept"
            for wrong, status in (({"field": "x"}, 404), ({"field": 7}, 400), ({"actor": "me"}, 400)):
                answer = await client.post("/api/v1/drift/r/accept", json=wrong)
                assert answer.status == status
                await check(answer, path, "post")
            assert (await client.post("/api/v1/drift/nobody/accept")).status == 404
            accepted = {"field": "amount", "reason": "new tariff"}
            after = await check(await client.post("/api/v1/drift/r/accept", json=accepted), path, "post")
            assert [one["state"] for one in after["fields"] if one["field"] == "amount"] == ["learning"]
            (entry, *_) = await controller.store.journal("r", 9)
            assert (entry["kind"], entry["reason"]) == ("drift_accepted", "amount: new tariff")
            assert ("ended", "amount") in told(controller)
            rest = await check(await client.post("/api/v1/drift/r/accept", json={}), path, "post")
            assert {one["state"] for one in rest["fields"]} == {"learning"}


async def test_a_bug_in_drift_stops_drift_of_that_route_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers take a controller that does not judge for lost: drift may never make it that."""

    def broken(*_: Any) -> None:
        raise ZeroDivisionError

    async with running(tmp_path, TEXT) as controller:
        observing = Observing(await FakeWorker(tmp_path).connect())
        watch, alive = controller.drift.watches["r"], list[int]()
        controller.alive = lambda: alive.append(1)
        await looked(controller, observing, 100)
        monkeypatch.setattr(watch, "look", broken)
        controller.drift._looked_at, before = 0.0, len(alive)
        observing.send(10)
        await eventually(lambda: watch.stopped)
        await eventually(lambda: len(alive) > before + 1)
        assert watch.problems == ["a bug in understudy: see the log for drift.watch_broke"]
        assert await reload(controller, TEXT, tmp_path) == ""
        assert controller.drift.watches["r"] is not watch


async def test_what_was_saved_and_cannot_be_read_begins_anew(tmp_path: Path) -> None:
    async with running(tmp_path, TEXT) as controller:
        await eventually(lambda: not any(controller.drift._unsaved.values()))
    for data in (b"", b"{}", b"\xff", b'{"format": 1, "identity": 7}'):
        store = Shaky(tmp_path / "u.db")
        await store.load()
        await store.keep_drift(SavedDrift("r", data), 1.0)
        await store.close()
        async with running(tmp_path, TEXT) as controller:
            assert controller.drift.watches["r"].read == 0


def recorded(path: Path, count: int, redacted: tuple[str, ...] = ()) -> None:
    """A recording of the route, as `record:` writes it."""
    draw = random.Random(8)
    lines = [header_line("r/c", "0f3a")]
    for number in range(count):
        amount = draw.gauss(10.0, 2.0)
        head = b"POST / HTTP/1.1\r\nhost: x\r\nx-country: %b\r\n\r\n" % draw.choice([b"DE", b"FR"])
        live = Outcome(200, head=OK, body=orjson.dumps({"score": amount + draw.gauss(0, 1)}), seconds=0.1, first=0.1)
        asked = orjson.dumps({"amount": amount})
        pair = Pair("t", 1, "w", number, f"i{number}", 1_763_000_000.0 + number, Arm.LIVE, head, asked, live, live)
        lines.append(line_of(Recorded(pair, number), redacted))
    path.write_bytes(b"".join(lines))


async def test_a_recording_is_the_reference_at_once(tmp_path: Path) -> None:
    recorded(tmp_path / "pairs.jsonl", 500)
    text = TEXT.replace("{first: 200}", "{recording: pairs.jsonl}")
    async with running(tmp_path, text) as controller:
        watch = controller.drift.watches["r"]
        await eventually(lambda: watch.detector is not None)
        observing = Observing(await FakeWorker(tmp_path).connect())
        await looked(controller, observing, 100)
        assert {one.state for one in watch.findings()} == {"steady"}
        await looked(controller, observing, 400, mean=16.0)
        assert sorted(told(controller)) == [("detected", "amount"), ("detected", "prediction")]
    async with running(tmp_path, text) as controller:  # it is read once
        assert set(controller.drift.watches["r"].alarms) == {"amount", "prediction"}


@pytest.mark.parametrize(
    ("write", "says"),
    [
        (lambda path: None, "cannot read"),
        (lambda path: path.write_bytes(b"[1, 2]\n"), "not a recorded file"),
        (lambda path: recorded(path, 50), "50 values of amount among 50 requests, expected at least 100"),
        (lambda path: recorded(path, 500, ("/amount",)), "500 requests, expected at least 100"),
    ],
)
async def test_a_recording_that_is_no_reference_is_a_problem_that_is_shown(
    tmp_path: Path, write: Callable[[Path], object], says: str
) -> None:
    write(tmp_path / "pairs.jsonl")
    text = TEXT.replace("{first: 200}", "{recording: pairs.jsonl}")
    async with running(tmp_path, text) as controller:
        watch = controller.drift.watches["r"]
        await eventually(lambda: watch.problem)
        observing = Observing(await FakeWorker(tmp_path).connect())
        observing.send(300)
        await eventually(lambda: watch.read == 300)
        assert len(watch._waiting) <= EARLY
        (shown,) = desk_of(controller).drift.routes()
        assert shown["state"] == "learning"
        (problem,) = shown["problems"]
        assert says in problem
        assert "pairs.jsonl" in problem


async def test_a_recording_that_was_missing_is_read_at_the_next_reload(tmp_path: Path) -> None:
    """As the runbook has it, with nothing else changed."""
    text = TEXT.replace("{first: 200}", "{recording: pairs.jsonl}")
    async with running(tmp_path, text) as controller:
        watch = controller.drift.watches["r"]
        await eventually(lambda: watch.problem)
        recorded(tmp_path / "pairs.jsonl", 500)
        assert await reload(controller, text, tmp_path) == ""
        await eventually(lambda: watch.detector is not None)
        assert watch.problems == []
        assert controller.drift.watches["r"] is watch
